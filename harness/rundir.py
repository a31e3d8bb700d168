# SPDX-License-Identifier: GPL-2.0
"""A run is a folder: all that went into it and all that came of it, enough to judge it again.

manifest.json       what was run, and how each VM ended (manifest.py)
modules/            the kernel modules that were loaded; vmlinux.path: where the kernel is
vm-N/console.log    the Nth guest's console, from the first byte
vm-N/results.ktap   its results channel, verbatim
vm-N/vng.log        what virtme-ng and QEMU said
results.json        the verdicts (results.py)
junit.xml           the same for CI
"""

import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness import answers, jsonfile, junit, transcript
from harness.attribute import Charge, attribute
from harness.emulator import excuse
from harness.errors import HarnessError
from harness.evidence import Blame, Evidence
from harness.judge import judge, merge
from harness.manifest import BUILTIN, Manifest, load_manifest, vm_folder
from harness.results import RunResult, VmEnd, VmExit

CONSOLE = "console.log"
# A kind of splats.toml: guest/leaks asks for them when all tests are over.
LEAK = "memory-leak"
RESULTS = "results.ktap"
VERDICTS = "results.json"
JUNIT = "junit.xml"
MODULES = "modules"
# In the same folder: the path of the kernel that was booted. No link: who uploads a run would take
# it along.
_KERNEL = "vmlinux.path"

Decode = Callable[[str], str]


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


def make_run(folder: Path) -> Path:
    """Make a run's folder at a given place, which must be free; returns it.

    Raises:
        HarnessError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise HarnessError(f"{folder}: cannot make a run folder: {error.strerror}") from None
    return folder


def _point(link: Path, target: str) -> None:
    """Make a symbolic link, or turn an existing one, so that it always points somewhere."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink()
        raise


def keep_modules(run: Path, modules: Iterable[Path], image: Path) -> None:
    """Keep the modules that are loaded with the run: a splat is decoded by their debug info.

    Args:
        run: the run's folder.
        modules: copied.
        image: the kernel, whose splats are decoded, too, as long as it is there.

    Raises:
        HarnessError: no space.
    """
    folder = run / MODULES
    try:
        folder.mkdir()
        for ko in modules:
            shutil.copy(ko, folder)
        (folder / _KERNEL).write_text(f"{image}\n")
    except OSError as error:
        raise HarnessError(
            f"{folder}: cannot keep the modules: {error.strerror}", hint="free some space"
        ) from None


def kept_kernel(run: Path) -> Path | None:
    """Return the kernel that a run has booted, which may have gone meanwhile; None if unknown."""
    try:
        return Path((run / MODULES / _KERNEL).read_text().rstrip("\n"))
    except (OSError, UnicodeDecodeError):
        return None


def rejudge(run: Path, decode: Decode | None = None) -> RunResult:
    """Judge a run from its files alone, and write results.json and junit.xml.

    This is also how a run is judged the first time, so that both times the same comes out. A
    missing results.ktap is an empty one: the VM never said a word.

    Args:
        run: the run's folder.
        decode: returns a splat's text with source lines (:class:`harness.decode.Decoder`).

    Raises:
        HarnessError: the manifest is missing or not whole; a file cannot be read, or cannot be
            written (disk full): then what was there before stays.
    """
    manifest = load_manifest(run)
    result = _judge(run, manifest, decode or str)
    jsonfile.write_text(run / VERDICTS, result.to_json())
    suite = junit.run_suite(result, environment=environment(manifest), started=manifest.started)
    jsonfile.write_text(run / JUNIT, junit.to_xml([suite]))
    return result


def _judge(run: Path, manifest: Manifest, decode: Decode) -> RunResult:
    evidence = list(_evidence(run, manifest, decode))
    watched = manifest.driver != BUILTIN
    judgements = [judge(one, release=manifest.release, watched=watched) for one in evidence]
    judgement = merge(manifest.expected, judgements)
    releases = (one.told.release for one in evidence if one.told.release is not None)
    notes = (note for vm in manifest.vms for note in vm.notes)
    return RunResult(
        kernel=manifest.kernel,
        release=next(releases, None),
        accelerator=manifest.accelerator,
        vms=tuple(one.vm for one in evidence),
        tests=judgement.tests,
        problems=(*judgement.problems, *dict.fromkeys(notes)),
    )


def _evidence(run: Path, manifest: Manifest, decode: Decode) -> Iterator[Evidence]:
    """Yield what each VM left; a test is judged in the last one that was to run it."""
    last = {id_: number for number, vm in enumerate(manifest.vms, 1) for id_ in vm.planned}
    for number, vm in enumerate(manifest.vms, 1):
        folder = vm_folder(run, number)
        console = folder / CONSOLE
        asked = was_asked(vm.end)
        told = answers.read(chunks(console)) if asked else None
        yield Evidence(
            number=number,
            planned=vm.planned,
            expected=tuple(id_ for id_ in vm.planned if last[id_] == number),
            told=transcript.parse(b"".join(chunks(folder / RESULTS)), vm.nonce),
            vm=vm.seen_end,
            blames=tuple(
                _excused(blame, manifest)
                for blame in blames_of(console, vm.planned, decode, asked=asked)
            ),
            answers=None if told is None else answers.decoded(told, decode),
        )


def _excused(blame: Blame, manifest: Manifest) -> Blame:
    words = excuse(blame.title, accelerator=manifest.accelerator, qemu=manifest.qemu)
    return replace(blame, excuse=words)


def was_asked(end: VmEnd | None) -> bool:
    """Whether a VM may have been asked where it hung.

    Only one that was still there when it was given up (watch.py). In any other the mark of the
    question is a test's, which must not hide a splat.

    Args:
        end: of the VM; None if the harness did not live to see it.
    """
    return end is None or end.exit in (VmExit.SILENT, VmExit.DEADLINE, VmExit.NEVER_BOOTED)


def charges_of(console: Path, planned: Sequence[str], *, asked: bool) -> tuple[Charge, ...]:
    """Return the splats on a console; the arguments are those of :func:`blames_of`."""
    log = chunks(console)
    return attribute(answers.unasked(log) if asked else log, tests=planned)


def blames_of(
    console: Path, planned: Sequence[str], decode: Decode = str, *, asked: bool = True
) -> Iterator[Blame]:
    """Yield the splats on a console, each with the test that it is charged to.

    Args:
        console: the log.
        planned: the ids of the tests that were to run there.
        decode: as in :func:`rejudge`.
        asked: whether the guest may have been asked where it hung; what it answered is no splat.
    """
    for charge in charges_of(console, planned, asked=asked):
        splat = charge.splat
        where = f"{console.parent.name}/{console.name}:{charge.line}: {splat.title}"
        text = decode(splat.text).splitlines()
        yield Blame(
            test=charge.test,
            title=splat.title,
            lines=(where, *text),
            late=splat.kind == LEAK,
            before=charge.before,
        )


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's content; a missing one is empty: the VM never said a word."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk
    except FileNotFoundError:
        return
    except OSError as error:
        raise HarnessError(f"{path}: cannot read: {error.strerror}") from None


def environment(manifest: Manifest) -> dict[str, str]:
    """Return the facts that a report repeats, by name."""
    names = (
        "release",
        "driver",
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
    facts["command"] = shlex.join(manifest.vms[0].argv) if manifest.vms else ""
    return {name: fact for name, fact in facts.items() if fact is not None} | dict(manifest.extra)
