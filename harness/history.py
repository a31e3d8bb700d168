# SPDX-License-Identifier: GPL-2.0
"""What earlier runs came to: JSON lines in a folder that any number of runs may append to.

YEAR-MONTH.jsonl    of the month in which the run began (UTC); lines of two kinds:

    {"schema": 1, "kind": "tests", "key": KEY, "ids": [...]}     a list of tests
    {"schema": 1, "kind": "run", "run": ..., "cell": ..., "tests": KEY, "not_passed": {...}, ...}

A run's line has only the tests that did not pass, by status; the others of its list passed. So a
run of 776 tests takes some 400 bytes, and the list of them 30 KiB, once in a file.

A run is told once however often it is appended, and two runs of the same inputs are two lines: a
retry that passed does not take back what failed before.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from harness.errors import HarnessError
from harness.jsonfile import DocumentError, Fields
from harness.manifest import Manifest
from harness.results import RunResult, Status

# Raise it when the meaning or the form of the lines changes.
SCHEMA = 1

_MONTH = re.compile(r"([0-9]{4}-[0-9]{2})-[0-9]{2}T")
# Facts of a manifest that no verdict may depend on unseen: with all of them equal, a test that does
# not end alike has decided by itself. The hashes of modules and tests are in its extra facts.
_INPUTS = ("kernel_sha256", "driver", "accelerator")
_EXTRA = re.compile(r".*_sha256|memory_mib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of one cell.

    Attributes:
        run: names the run, whatever folder it is in.
        cell: of the matrix; for a run of its own the kernel as the user named it.
        started: ISO 8601 with zone.
        inputs: hash of all that went in; equal for runs that must come to the same.
        tests: key of the list of the tests that were to run.
        exit_status: as of the run.
        seconds: wall time of the VMs, added up.
        boot_seconds: that until the guests said hello; None when none did.
        not_passed: tests that did not pass, and entries beside the tests, with their status.
    """

    run: str
    cell: str
    started: str
    inputs: str
    tests: str
    exit_status: int
    seconds: float
    boot_seconds: float | None
    not_passed: Mapping[str, Status]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that a folder tells.

    Attributes:
        records: the runs, oldest first.
        lists: lists of tests, by key.
        notes: lines that could not be read, one phrase each.
    """

    records: tuple[Record, ...] = ()
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def status(self, record: Record, test: str) -> Status | None:
        """Return how a test ended in a run; None when it was not to run there."""
        found = record.not_passed.get(test)
        if found is None and test in self.lists.get(record.tests, ()):
            return Status.PASS
        return found


def record_of(cell: str, manifest: Manifest, result: RunResult) -> Record:
    """Return what is to be remembered of a run."""
    nonces = [vm.nonce for vm in manifest.vms]
    facts = {name: str(getattr(manifest, name)) for name in _INPUTS}
    facts |= {name: fact for name, fact in manifest.extra if _EXTRA.fullmatch(name)}
    facts["machines"] = repr(sorted({(vm.cmdline, vm.cpus) for vm in manifest.vms}))
    boots = [vm.boot_seconds for vm in result.vms if vm.boot_seconds is not None]
    return Record(
        run=_hash([manifest.started, manifest.kernel, *nonces]),
        cell=cell,
        started=manifest.started,
        inputs=_hash([f"{name}={facts[name]}" for name in sorted(facts)]),
        tests=_hash(sorted(manifest.expected)),
        exit_status=result.exit_status,
        seconds=round(sum(vm.seconds for vm in result.vms), 3),
        boot_seconds=round(sum(boots), 3) if boots else None,
        not_passed={
            test.id: test.status
            for test in result.tests
            if test.status not in (Status.PASS, Status.XFAIL)
        },
    )


def append(folder: Path, runs: Iterable[tuple[Record, Sequence[str]]]) -> None:
    """Add runs to a folder, each once.

    Other runs may append at the same time. A last line that was cut off, by a full disk or a
    machine that went down, stays as it is; what is added begins a new one.

    Args:
        folder: made when missing.
        runs: each with the ids of the tests that it was to run.

    Raises:
        HarnessError: the folder cannot be written to; then nothing was added.
    """
    months: dict[str, list[tuple[Record, Sequence[str]]]] = {}
    for record, ids in runs:
        found = _MONTH.match(record.started)
        if found is None:
            raise HarnessError(f"run {record.run}: started at {record.started!r}, which is no date")
        months.setdefault(found[1], []).append((record, ids))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for month, some in months.items():
            _append(folder / f"{month}.jsonl", some)
    except OSError as error:
        raise HarnessError(
            f"{error.filename or folder}: cannot add to the history: {error.strerror}",
            hint="free some space, or choose another folder with --history",
        ) from None


def _append(path: Path, runs: Sequence[tuple[Record, Sequence[str]]]) -> None:
    # The lock is the file's own: it ends with the process, and leaves no other file behind.
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = file.read()
        reader = _Reader()
        reader.text(str(path), before)
        lines: list[str] = []
        known = {record.run for record in reader.records}
        for record, ids in runs:
            if record.run in known:
                continue
            known.add(record.run)
            if record.tests not in reader.lists:
                reader.lists[record.tests] = frozenset(ids)
                lines.append(_line({"kind": "tests", "key": record.tests, "ids": list(ids)}))
            lines.append(_line({"kind": "run", **_document(record)}))
        if before and not before.endswith(b"\n"):
            lines.insert(0, "\n")
        text = memoryview("".join(lines).encode())
        try:
            while text:
                text = text[file.write(text) :]
        except OSError:
            os.ftruncate(file.fileno(), len(before))
            raise


def load(folder: Path) -> History:
    """Read a folder; what is missing or cannot be read is left out, and noted.

    Raises:
        HarnessError: a file is there, but may not be read.
    """
    reader = _Reader()
    for path in sorted(folder.glob("*.jsonl")):
        try:
            reader.text(str(path), path.read_bytes())
        except OSError as error:
            raise HarnessError(f"{path}: cannot read: {error.strerror}") from None
    unique = {record.run: record for record in reader.records}
    records = sorted(unique.values(), key=lambda one: (one.started, one.run))
    return History(records=tuple(records), lists=reader.lists, notes=tuple(reader.notes))


class _Reader:
    """Takes lines, whole or not."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lists: dict[str, frozenset[str]] = {}
        self.notes: list[str] = []

    def text(self, source: str, text: bytes) -> None:
        for number, line in enumerate(text.split(b"\n"), start=1):
            if line.strip():
                try:
                    self._line(f"{source}:{number}", line.decode(errors="replace"))
                except DocumentError as error:
                    self.notes.append(str(error))

    def _line(self, source: str, line: str) -> None:
        entry = Fields.parse(line, source=source, schema=SCHEMA)
        kind = entry.text("kind")
        if kind == "tests":
            self.lists[entry.text("key")] = frozenset(entry.texts("ids"))
            entry.end()
        elif kind == "run":
            self.records.append(_record(entry))
        else:
            raise entry.error("kind", f'unknown value "{kind}"')


def _line(document: dict[str, object]) -> str:
    return json.dumps({"schema": SCHEMA, **document}, separators=(",", ":")) + "\n"


def _document(record: Record) -> dict[str, object]:
    document = {field.name: getattr(record, field.name) for field in fields(Record)}
    return document | {"not_passed": dict(record.not_passed)}


def _record(line: Fields) -> Record:
    record = Record(
        run=line.text("run"),
        cell=line.text("cell"),
        started=line.text("started"),
        inputs=line.text("inputs"),
        tests=line.text("tests"),
        exit_status=line.count("exit_status"),
        seconds=line.seconds("seconds"),
        boot_seconds=line.seconds_or_none("boot_seconds"),
        not_passed={test: _status(line, word) for test, word in line.pairs("not_passed")},
    )
    line.end()
    return record


def _status(line: Fields, word: str) -> Status:
    try:
        return Status(word)
    except ValueError:
        raise line.error("not_passed", f'unknown status "{word}"') from None


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode(errors="backslashreplace")).hexdigest()[:16]
