# SPDX-License-Identifier: GPL-2.0
"""Which lines of the driver a run's tests have run, added up over its VMs.

RUN/coverage/index.html      each source with its counts (gcovr)
RUN/coverage/coverage.json   the sums, and each line that was not run with its reason

Each VM sends its counters after its last test (guest/counters); one that crashed sends none, which
is told.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness import transcript
from harness.cache import cache_errors
from harness.errors import HarnessError
from harness.gcov import CountersError, Counts, FileCounts, add, read_counts, tracefile, unpack
from harness.jsonfile import Fields, dump, read_text, write_text
from harness.kernel import Kernel
from harness.kmod import GCOV, ModuleBuild
from harness.manifest import BUILTIN, load_manifest, vm_folder
from harness.place import Place
from harness.run import CommandError, Spawner
from harness.rundir import RESULTS, chunks
from harness.scratch import scratch_folder
from harness.toolchain import Toolchain, choose_toolchain
from harness.uncovered import FILE, Line, Reason, explain, load_reasons, numbered

FOLDER = "coverage"
_DOCUMENT = "coverage/coverage.json"
_SCHEMA = 1
_DEADLINE = 120.0
_OTHER = re.compile(r"(stamp|profile|checksum|counter) mismatch")


class CoverageError(HarnessError):
    """The coverage of a run cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many of how many were run."""

    run: int
    total: int

    def __str__(self) -> str:
        # Nearly all is not 100.0 %.
        tenths = 1000 * self.run // self.total if self.total else 1000
        return f"{tenths / 10:.1f} % ({self.run} of {self.total})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a run's tests have run of the driver.

    Attributes:
        lines: of the sources, those that are code.
        branches: ways that a condition can go, as compiled: in macros too.
        functions: as compiled.
        missed: lines that were not run.
        stale: reasons for lines that were run.
        notes: VMs that sent nothing.
    """

    lines: Tally
    branches: Tally
    functions: Tally
    missed: tuple[Line, ...]
    stale: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unexplained(self) -> tuple[Line, ...]:
        """Lines that were not run, and nobody knows why."""
        return tuple(line for line in self.missed if line.reason is None)

    def words(self, most: int) -> Iterator[str]:
        """Yield the lines that a table ends with, with so many lines of the driver."""
        yield (
            f"coverage: lines {self.lines}, functions {self.functions}, branches {self.branches}"
        )
        yield from self.notes
        explained = len(self.missed) - len(self.unexplained)
        if self.missed:
            yield f"not run: {len(self.missed)} lines, {explained} of them with a known reason"
        for line in self.unexplained[:most]:
            yield f"  {line.file}:{line.number} {line.function}: {line.text}"
        if len(self.unexplained) > most:
            yield f"  ... {len(self.unexplained) - most} more lines"
        for words in self.stale:
            yield f"stale reason: {words}"


def cover(place: Place, kernel: Kernel, driver: ModuleBuild, run: Path) -> Coverage | None:
    """Make the coverage of a run, if its driver counts; as :func:`make_coverage`."""
    if driver.gcov is None or load_manifest(run).driver == BUILTIN:
        return None
    with place.progress.phase("coverage") as phase:
        toolchain = choose_toolchain(
            kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
        )
        reasons = load_reasons(place.source / FILE, sources_of(driver.gcov))
        coverage = make_coverage(
            run, driver.gcov, toolchain, spawner=place.spawner, reasons=reasons
        )
        phase.done(f"{coverage.lines} of the lines")
    return coverage


def objects_of(ko: Path) -> Path | None:
    """Return the folder by which the guest's kernel knows a module's counters; None without.

    Raises:
        DocumentError: the cache is damaged.
    """
    gcov = ko.parent / GCOV
    return _objects(gcov) if gcov.is_dir() else None


def _objects(gcov: Path) -> Path:
    path = gcov / "gcov.json"
    return Path(Fields.parse(read_text(path), source=str(path), schema=_SCHEMA).text("objects"))


def sources_of(gcov: Path) -> dict[str, str]:
    """Return the C sources of a module that counts, as they were compiled: text by name."""
    folder = gcov / "source"
    found = (path for path in sorted(folder.rglob("*.[ch]")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def make_coverage(
    run: Path,
    gcov: Path,
    toolchain: Toolchain,
    *,
    spawner: Spawner,
    reasons: Sequence[Reason],
) -> Coverage:
    """Read what a run's VMs counted, and write `coverage/` into its folder.

    Args:
        run: the run's folder; all its VMs have ended.
        gcov: what the module's build kept (kmod.py).
        toolchain: that built it.
        spawner: runs its gcov, and gcovr.
        reasons: why lines may be left out.

    Raises:
        CoverageError: gcov or gcovr cannot make sense of it.
        HarnessError: a file cannot be read or written.
    """
    objects = _objects(gcov)
    sources = sources_of(gcov)
    counts = _nothing(gcov, objects, toolchain, spawner)
    notes = []
    manifest = load_manifest(run)
    for number, vm in enumerate(manifest.vms, 1):
        told = transcript.parse(b"".join(chunks(vm_folder(run, number) / RESULTS)), vm.nonce)
        try:
            if not told.counters:
                raise CountersError(vm.seen_end.describe())
            files = {name: unpack(data) for name, data in told.counters}
            add(counts, _count(gcov, files, objects, toolchain, spawner))
        except CountersError as error:
            notes.append(f"vm-{number} sent no counters: {error}")
    coverage = _coverage(counts, sources, reasons, notes)
    with cache_errors(run):
        _write(run, gcov, counts, coverage, spawner)
    return coverage


def load_coverage(run: Path) -> Coverage | None:
    """Return the coverage of a run, None for one without.

    Raises:
        DocumentError: the file is not whole.
    """
    path = run / _DOCUMENT
    if not path.is_file():
        return None
    fields = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
    coverage = Coverage(
        lines=_tally(fields.nested("lines")),
        branches=_tally(fields.nested("branches")),
        functions=_tally(fields.nested("functions")),
        missed=tuple(_line(one) for one in fields.objects("missed")),
        stale=fields.texts("stale"),
        notes=fields.texts("notes"),
    )
    fields.end()
    return coverage


def stale_reasons(run: Path) -> tuple[str, ...]:
    """Return what selftests/uncovered.toml gives a reason for although a run's tests ran it.

    Raises:
        DocumentError: as :func:`load_coverage`.
    """
    coverage = load_coverage(run)
    return () if coverage is None else coverage.stale


def _nothing(
    gcov: Path, objects: Path, toolchain: Toolchain, spawner: Spawner
) -> dict[str, FileCounts]:
    """Return what would be counted if no VM had run."""
    try:
        return _count(gcov, {}, objects, toolchain, spawner)
    except CountersError as error:
        raise CoverageError(
            f"{toolchain.compiler}'s gcov cannot read what it compiled: {error}",
            hint=f"apt-get install {toolchain.compiler}",
        ) from None


def _count(
    gcov: Path,
    counters: dict[str, bytes],
    objects: Path,
    toolchain: Toolchain,
    spawner: Spawner,
) -> dict[str, FileCounts]:
    """Return what the counters of one VM say; none are all zero.

    Raises:
        CountersError: gcov does not understand them.
    """
    with scratch_folder() as folder:
        for notes in gcov.glob("*.gcno"):
            shutil.copy(notes, folder)
        for name, content in counters.items():
            # It is the guest that says what the file is called.
            (folder / PurePosixPath(name).name).write_bytes(content)
        known = sorted(folder.glob("*.gcno"))
        completed = toolchain.gcov(known, visible=folder, spawner=spawner)
    # gcov takes counters of other code for none at all.
    if _OTHER.search(completed.output):
        raise CountersError("they are of another build")
    if completed.status != 0 or not known:
        raise CountersError(completed.output.strip().rpartition("\n")[2] or "no .gcno files")
    return read_counts(completed.output, PurePosixPath(objects))


def _coverage(
    counts: Counts, sources: dict[str, str], reasons: Sequence[Reason], notes: Iterable[str]
) -> Coverage:
    lines = [line for file in counts.values() for line in file.lines.values()]
    calls = [count for file in counts.values() for count in file.functions.values()]
    ways = [count for line in lines for count in line.branches]
    counted = [
        line
        for name, file in sorted(counts.items())
        for line in numbered(name, sources.get(name, ""))
        if line.number in file.lines
    ]
    missed = [one for one in counted if not counts[one.file].lines[one.number].count]
    explained, stale = explain(missed, counted, reasons)
    return Coverage(
        lines=_tally_of(line.count for line in lines),
        branches=_tally_of(ways),
        functions=_tally_of(calls),
        missed=explained,
        stale=stale,
        notes=tuple(notes),
    )


def _tally_of(counts: Iterable[int]) -> Tally:
    run = [count > 0 for count in counts]
    return Tally(run=sum(run), total=len(run))


def _write(run: Path, gcov: Path, counts: Counts, coverage: Coverage, spawner: Spawner) -> None:
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    (run / FOLDER).mkdir()
    with scratch_folder() as folder:
        trace = folder / "trace.json"
        trace.write_text(tracefile(counts))
        argv = (
            *(sys.executable, "-m", "gcovr", "--root", gcov / "source"),
            *("--add-tracefile", trace, "--html-title", f"{run.name}: udmabuf_iov"),
            *("--html-details", run / FOLDER / "index.html"),
        )
        try:
            spawner.run(argv, deadline=_DEADLINE)
        except CommandError as error:
            said = error.completed.output.strip().rpartition("\n")[2]
            raise CoverageError(f"gcovr: {said}", hint="pip install -e . again") from error
    document = {
        "schema": _SCHEMA,
        "lines": _figures(coverage.lines),
        "branches": _figures(coverage.branches),
        "functions": _figures(coverage.functions),
        "missed": [
            {
                "file": line.file,
                "line": line.number,
                "function": line.function,
                "text": line.text,
                "reason": line.reason,
            }
            for line in coverage.missed
        ],
        "stale": list(coverage.stale),
        "notes": list(coverage.notes),
    }
    write_text(run / _DOCUMENT, dump(document))


def _figures(tally: Tally) -> dict[str, int]:
    return {"run": tally.run, "total": tally.total}


def _tally(fields: Fields) -> Tally:
    tally = Tally(run=fields.count("run"), total=fields.count("total"))
    fields.end()
    return tally


def _line(fields: Fields) -> Line:
    line = Line(
        file=fields.text("file"),
        number=fields.count("line"),
        function=fields.text("function"),
        text=fields.text("text"),
        reason=fields.text_or_none("reason"),
    )
    fields.end()
    return line
