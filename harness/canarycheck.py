# SPDX-License-Identifier: GPL-2.0
"""Is the harness itself awake: provoke every kind of trouble, each in a VM of its own.

A canary that was not seen, or was taken for something else, means that no verdict of this harness
can be trusted: exit status 2, like everything that it cannot judge.
"""

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness import runner
from harness.canary import Canary, load_canaries
from harness.errors import HarnessError
from harness.kselftest import SelftestBuild, build_one
from harness.manifest import vm_folder
from harness.place import Place
from harness.progress import Progress
from harness.results import Status, TestResult
from harness.run import Leash
from harness.rundir import CONSOLE, charges_of, rejudge, was_asked

_FOLDER = "selftests/canaries"
_MODULE = "canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of one canary: the verdict on its test, and what is wrong with that."""

    canary: Canary
    test: TestResult
    titles: tuple[str, ...]
    faults: tuple[str, ...]
    folder: Path


def run_canaries(
    place: Place, kernel_name: str, patterns: Sequence[str], *, cold: bool, jobs: int
) -> int:
    """Provoke, judge and print a row for each canary.

    Args:
        place: where; the runs are kept in its runs folder's `canaries`.
        kernel_name: as in `--kernel`.
        patterns: globs over `fixture.test`; none means all.
        cold: boot each VM instead of restoring a snapshot.
        jobs: VMs at a time.

    Returns:
        0 when all were seen for what they are; 2 when one was not.

    Raises:
        HarnessError: none matches, or they could not be run.
    """
    folder = place.source / _FOLDER
    canaries = [
        canary
        for canary in load_canaries(folder / "canaries.toml")
        if not patterns or any(fnmatch.fnmatchcase(canary.test, pattern) for pattern in patterns)
    ]
    if not canaries:
        raise HarnessError(f"no canary matches {' '.join(patterns)!r}", hint=f"see {folder}")
    ready = _prepare(place, kernel_name, folder)
    console = place.progress.console
    width = max(len(canary.test) for canary in canaries)
    chosen = []
    for canary in canaries:
        if why := canary.why_not(ready.kernel):
            _say(console, f"{canary.test:<{width}}  ", "not here", "yellow", f"  {why}")
        else:
            chosen.append(canary)
    if not chosen:
        raise HarnessError(
            f"{ready.kernel.name} can show none of these canaries", hint="choose another kernel"
        )
    faults = 0
    for heard in _run(place, ready, chosen, cold=cold, jobs=jobs):
        words, style = ("seen", "green") if not heard.faults else ("NOT SEEN", "bold red")
        told = "; ".join(heard.titles) or heard.test.reason
        _say(
            console,
            f"{heard.canary.test:<{width}}  ",
            words,
            style,
            f"  {heard.test.status}: {told}",
        )
        for fault in heard.faults:
            faults += 1
            _say(console, "    ", fault, "bold red", f"; run: {heard.folder}")
    if faults:
        _say(console, "", "the harness is broken: do not trust its verdicts", "bold red", "")
        return 2
    _say(console, "", f"{len(chosen)} canaries seen", "green", f"; kernel {ready.kernel.name}")
    return 0


def _say(console: Console, start: str, middle: str, style: str, end: str) -> None:
    text = Text(start)
    text.append(middle, style=style)
    text.append(end)
    console.print(text, soft_wrap=True, highlight=False)


def _prepare(place: Place, kernel_name: str, folder: Path) -> runner.Ingredients:
    """Return what boots, with the canaries in the place of driver and tests."""
    suite = build_one(
        folder / "canaries.c",
        source=place.source,
        cache=place.cache / "selftests",
        spawner=place.spawner,
    )
    selftests = SelftestBuild(suites=(suite,), cached=0)
    ready = runner.prepare(place, kernel_name, selftests)
    driver = runner.build(place, ready.kernel, folder / "module", name=_MODULE)
    return replace(ready, driver=driver, helpers=())


def _run(
    place: Place, ready: runner.Ingredients, canaries: Sequence[Canary], *, cold: bool, jobs: int
) -> Iterator[Heard]:
    """Run canaries side by side, and yield them in their order."""
    leashes = [Leash() for _ in canaries]
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(_one, place, ready, canary, leash, cold=cold)
            for canary, leash in zip(canaries, leashes, strict=True)
        ]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for leash in leashes:
                leash.pull()
            raise


def _one(
    place: Place, ready: runner.Ingredients, canary: Canary, leash: Leash, *, cold: bool
) -> Heard:
    (suite,) = ready.selftests.suites
    # Some hang one CPU and are seen by another.
    suite = replace(suite, ids=(canary.test,), cmdline=canary.cmdline, cpus=2)
    quiet = replace(
        place,
        runs=place.runs / "canaries",
        spawner=replace(place.spawner, leash=leash),
        progress=Progress(Console(quiet=True)),
    )
    folder = runner.trial(
        quiet,
        replace(ready, selftests=SelftestBuild(suites=(suite,), cached=0)),
        runner.Options(cold=cold, jobs=1, more=0),
        on_line=_killer(canary, leash),
    )
    (id_,) = suite.full_ids
    return hear(canary, id_, folder)


def _killer(canary: Canary, leash: Leash) -> Callable[[bytes], None]:
    """Return what kills the VM from outside, once the test of a canary for that has begun."""
    begun = f"#  RUN           {canary.test} ...".encode()

    def listen(line: bytes) -> None:
        if canary.by == "host" and line.startswith(begun):
            leash.kill()

    return listen


def hear(canary: Canary, id_: str, folder: Path) -> Heard:
    """Judge what became of a canary.

    Args:
        canary: which one.
        id_: its test's full id.
        folder: of its run, which had one VM.

    Raises:
        DocumentError: that is no run folder.
    """
    result = rejudge(folder)
    test = next(test for test in result.tests if test.id == id_)
    end = result.vms[0]
    charges = charges_of(vm_folder(folder, 1) / CONSOLE, (id_,), asked=was_asked(end))
    faults = canary.faults(test, end, charges)
    if (result.exit_status == 0) != (Status.PASS in canary.status):
        faults.append(f"exit status {result.exit_status}")
    titles = tuple(dict.fromkeys(charge.splat.title for charge in charges))
    return Heard(canary=canary, test=test, titles=titles, faults=tuple(faults), folder=folder)
