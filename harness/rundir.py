# SPDX-License-Identifier: GPL-2.0
"""A run is a folder: all that went into it and all that came of it, enough to judge it again.

    manifest.json   what was run, written before boot, and again with how the VM ended
    console.log     the guest's console, from the first byte (vm.py)
    results.ktap    the results channel, verbatim (vm.py)
    results.json    the verdicts (results.py)
    junit.xml       the same for CI

A manifest without the VM's end belongs to a harness that was killed: whatever the results say, the
end of that VM was not seen, and it is judged as lost.
"""

import re
import secrets
import shlex
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from harness import jsonfile, junit, transcript
from harness.errors import HarnessError
from harness.judge import judge
from harness.results import RunResult, VmEnd, VmExit, vm_document, vm_from
from harness.splat import Scanner

MANIFEST = "manifest.json"
CONSOLE = "console.log"
RESULTS = "results.ktap"
VERDICTS = "results.json"
JUNIT = "junit.xml"

# Raise it when the meaning or the form of manifest.json changes.
SCHEMA = 1

_UNSEEN = VmEnd(exit=VmExit.LOST, detail="the harness did not live to see its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was run. Everything but the VM's output that a verdict depends on is here.

    Attributes:
        kernel: what the user asked for ("6.12").
        release: the `uname -r` that is to come up.
        package: Debian package and version of the kernel; None when it is not from Debian.
        kernel_sha256: hash of that package, or of the image.
        compiler: the C compiler that built the module.
        accelerator: "kvm" or "tcg".
        accelerator_why: the reason for it, one line.
        qemu: QEMU's version.
        vng: virtme-ng's version.
        host: the host's kernel and CPU, one line.
        started: start of the run, ISO 8601 with zone.
        nonce: marks the frames of this run's results.
        expected: the ids of all tests.
        argv: the vng command; empty before boot.
        vm: how the VM ended; None before it has.
        extra: further facts by name, for the reader (module hash, git revision).
    """

    kernel: str
    release: str
    package: str | None
    kernel_sha256: str
    compiler: str
    accelerator: str
    accelerator_why: str
    qemu: str
    vng: str
    host: str
    started: str
    nonce: str
    expected: tuple[str, ...]
    argv: tuple[str, ...] = ()
    vm: VmEnd | None = None
    extra: tuple[tuple[str, str], ...] = ()


def new_run(runs: Path, kernel: str, *, now: datetime | None = None) -> Path:
    """Make a run's folder and point `latest` at it.

    Args:
        runs: the folder of all runs, made when missing.
        kernel: a name for the kernel, perhaps a path; becomes part of the id.
        now: the start of the run, in any zone; None for this moment.

    Returns:
        `runs/ID`. Ids sort by time (UTC); runs that start in the same second get a number.

    Raises:
        HarnessError: the folder cannot be made.
    """
    words = re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(kernel).name).strip("-.") or "kernel"
    stem = f"{(now or datetime.now(UTC)).astimezone(UTC):%Y%m%dT%H%M%SZ}-{words[:40]}"
    number = 1
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            run = runs / (stem if number == 1 else f"{stem}-{number}")
            with suppress(FileExistsError):
                run.mkdir()
                break
            number += 1
        _point(runs / "latest", run.name)
    except OSError as error:
        raise HarnessError(
            f"{runs}: cannot make a run folder: {error.strerror}", hint="free some space"
        ) from None
    return run


def _point(link: Path, target: str) -> None:
    """Make a symbolic link, or turn an existing one, so that it always points somewhere."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink()
        raise


def save_manifest(run: Path, manifest: Manifest) -> None:
    """Write manifest.json; raises HarnessError when it cannot (disk full)."""
    document: dict[str, object] = {"schema": SCHEMA}
    document |= {field.name: getattr(manifest, field.name) for field in fields(Manifest)}
    document["vm"] = None if manifest.vm is None else vm_document(manifest.vm)
    document["extra"] = dict(manifest.extra)
    jsonfile.write_text(run / MANIFEST, jsonfile.dump(document))


def load_manifest(run: Path) -> Manifest:
    """Read manifest.json.

    Raises:
        DocumentError: there is none, or it is not whole; names file and key.
    """
    path = run / MANIFEST
    entry = jsonfile.Fields.parse(jsonfile.read_text(path), source=str(path), schema=SCHEMA)
    manifest = Manifest(
        kernel=entry.text("kernel"),
        release=entry.text("release"),
        package=entry.text_or_none("package"),
        kernel_sha256=entry.text("kernel_sha256"),
        compiler=entry.text("compiler"),
        accelerator=entry.text("accelerator"),
        accelerator_why=entry.text("accelerator_why"),
        qemu=entry.text("qemu"),
        vng=entry.text("vng"),
        host=entry.text("host"),
        started=entry.text("started"),
        nonce=entry.text("nonce"),
        expected=entry.texts("expected"),
        argv=entry.texts("argv"),
        vm=None if (vm := entry.nested_or_none("vm")) is None else vm_from(vm),
        extra=entry.pairs("extra"),
    )
    entry.end()
    if not re.fullmatch("[0-9a-f]{32}", manifest.nonce):
        raise entry.error("nonce", "expected 32 hex digits")
    return manifest


def rejudge(run: Path) -> RunResult:
    """Judge a run from its files alone, and write results.json and junit.xml.

    This is also how a run is judged the first time, so that both times the same comes out. A
    missing results.ktap is an empty one: the VM never said a word.

    Raises:
        HarnessError: the manifest is missing or not whole; a file cannot be read, or cannot be
            written (disk full): then what was there before stays.
    """
    manifest = load_manifest(run)
    result = _judge(run, manifest)
    jsonfile.write_text(run / VERDICTS, result.to_json())
    xml = junit.to_xml(result, environment=_environment(manifest), started=manifest.started)
    jsonfile.write_text(run / JUNIT, xml)
    return result


def _judge(run: Path, manifest: Manifest) -> RunResult:
    path = run / RESULTS
    try:
        stream = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise HarnessError(f"{path}: cannot read: {error.strerror}") from None
    told = transcript.parse(stream, manifest.nonce)
    vm = manifest.vm or _UNSEEN
    judgement = judge(manifest.expected, told, vm, release=manifest.release)
    return RunResult(
        kernel=manifest.kernel,
        release=told.release,
        accelerator=manifest.accelerator,
        vm=vm,
        tests=judgement.tests,
        problems=(*judgement.problems, *_splats(run / CONSOLE)),
    )


def _splats(console: Path) -> list[str]:
    """Return the titles of what the kernel complained of; what it means is for the taint to say."""
    scanner = Scanner()
    try:
        with console.open("rb") as file:
            while chunk := file.read(1 << 20):
                scanner.feed(chunk)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HarnessError(f"{console}: cannot read: {error.strerror}") from None
    return [f"{CONSOLE}: {splat.title}" for splat in scanner.finish()]


def _environment(manifest: Manifest) -> dict[str, str]:
    """Return the facts that a report repeats, by name."""
    names = (
        "release",
        "package",
        "kernel_sha256",
        "compiler",
        "accelerator",
        "accelerator_why",
        "qemu",
        "vng",
        "host",
    )
    facts = {name: getattr(manifest, name) for name in names}
    facts["command"] = shlex.join(manifest.argv)
    return {name: fact for name, fact in facts.items() if fact is not None} | dict(manifest.extra)
