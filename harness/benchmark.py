# SPDX-License-Identifier: GPL-2.0
"""`harness bench`: how long each path takes and what memory it peaks at, against stock virtme-ng.

All in one run on one machine, so that the ratios hold although the seconds drift. The baseline is
`vng -v -r KERNEL -- uname -r` as one would type it: the packaged vmlinuz, the host's root. What is
built for it stands on a shelf of its own in the cache, which is emptied again.
"""

import resource
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness import runner
from harness.cache import locked, remove_tree
from harness.errors import HarnessError
from harness.guestroot import Plan
from harness.kernel import Kernel
from harness.manifest import load_manifest
from harness.place import Place
from harness.progress import Progress
from harness.results import RunResult, VmEnd, VmExit
from harness.rundir import rejudge
from harness.scratch import scratch_folder
from harness.vm import VmConfig, run_vm
from harness.warm import run_warm

_STOCK_DEADLINE = 600.0
_SHELF = "bench"


class BenchError(HarnessError):
    """What was to be measured did not work."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement: wall seconds, and the peak RSS of the largest process, MiB."""

    seconds: float
    peak: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One path.

    Attributes:
        name: what it is called.
        job: goes through it once; returns seconds where it is not the whole job that counts.
    """

    name: str
    job: Callable[[], float | None]


def bench(place: Place, kernel_name: str, *, rounds: int) -> int:
    """Measure and print.

    Args:
        place: where.
        kernel_name: as in `--kernel`; must be from Debian's archive (stock vng boots its vmlinuz).
        rounds: repetitions; the median counts.

    Raises:
        BenchError: a path under measurement failed.
    """
    ready = runner.prepare(place, kernel_name)
    shelf = place.cache / _SHELF
    with (
        scratch_folder() as scratch,
        locked(shelf, waiting=partial(place.progress.note, "waiting for another bench")),
    ):
        quiet = replace(place, progress=Progress(Console(quiet=True)), runs=scratch / "runs")
        try:
            contests = (
                *_vms(quiet, ready, scratch),
                *_checks(quiet, ready, kernel_name),
            )
            samples = _race(place, contests, rounds)
        finally:
            remove_tree(shelf)
    place.progress.console.print(_table(samples, ready.accelerator.name))
    return 0


def _race(place: Place, contests: tuple[Contest, ...], rounds: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {contest.name: [] for contest in contests}
    # Round by round, so that a machine that slows down slows every path.
    for number in range(rounds):
        for contest in contests:
            with place.progress.phase(f"round {number + 1}/{rounds}") as phase:
                sample = _measure(contest.job)
                samples[contest.name].append(sample)
                phase.done(contest.name)
    return samples


def _vms(place: Place, ready: runner.Ingredients, scratch: Path) -> tuple[Contest, ...]:
    """The same work in VMs of several kinds: none."""
    kernel, accelerator = ready.kernel, ready.accelerator
    vmlinuz = _packaged_image(kernel)
    # Verbose: without a console, what the command prints is lost where there is no udev.
    stock = ["vng", "-v", "-r", vmlinuz, *(() if accelerator.kvm else ("--disable-kvm",))]
    home = scratch / "home"
    home.mkdir()
    config = VmConfig(kernel=kernel, accelerator=accelerator, cmdline=runner.cmdline(kernel))

    def stock_vng() -> None:
        spawner = place.spawner.with_env(HOME=str(home))
        # On a host without udev its script ports are not found: status 255, although it ran.
        done = spawner.run([*stock, "--", "uname", "-r"], deadline=_STOCK_DEADLINE, check=False)
        if f"\n{kernel.release}\n" not in done.output.replace("\r", ""):
            raise BenchError(f"stock vng did not print {kernel.release}: {done.output[-200:]!r}")

    def cold() -> VmEnd:
        plan, folder = Plan(nonce=secrets.token_hex(16)), _fresh(scratch)
        outcome = run_vm(config, plan, folder=folder, spawner=place.spawner, cache=place.cache)
        return _clean(outcome.end)

    def warm() -> VmEnd:
        plan, folder = Plan(nonce=secrets.token_hex(16)), _fresh(scratch)
        outcome = run_warm(config, plan, folder=folder, spawner=place.spawner, cache=place.cache)
        return _clean(outcome.end)

    # A snapshot is made once.
    warm()
    return (
        Contest(name="vng -v -r KERNEL -- uname -r", job=stock_vng),
        Contest(name="cold boot, the same work", job=lambda: _whole(cold())),
        Contest(name="restored VM, the same work", job=lambda: _whole(warm())),
        Contest(name="restore to hello", job=lambda: warm().boot_seconds),
    )


def _clean(end: VmEnd) -> VmEnd:
    if end.exit is not VmExit.CLEAN:
        raise BenchError(f"our VM: {end.describe()}")
    return end


def _whole(_: object) -> None:
    """What counts is the job, from its start to its end."""


def _checks(place: Place, ready: runner.Ingredients, kernel_name: str) -> tuple[Contest, ...]:
    """What a user waits for, with all tests."""
    edited = place.cache / _SHELF / "source"
    remove_tree(edited)
    shutil.copytree(place.source / "module", edited)
    # The first build of a folder is a whole one; what counts is the edit after it.
    runner.build(place, ready.kernel, edited, shelf=_SHELF)

    def nothing_changed() -> Path:
        result, folder = runner.check(place, kernel_name, runner.Options())
        return _judged(result, folder)

    def after_an_edit() -> Path:
        with (edited / "main.c").open("a") as file:
            file.write(f"/* {secrets.token_hex(8)} */\n")
        # As in a check, but for where the driver comes from.
        again = runner.prepare(place, kernel_name)
        driver = runner.build(place, ready.kernel, edited, shelf=_SHELF)
        folder = runner.trial(place, replace(again, driver=driver), runner.Options())
        return _judged(rejudge(folder, runner.decoder(place, folder)), folder)

    def build() -> None:
        with (edited / "main.c").open("a") as file:
            file.write(f"/* {secrets.token_hex(8)} */\n")
        runner.build(place, ready.kernel, edited, shelf=_SHELF)

    return (
        Contest(name="module build after an edit", job=build),
        Contest(name="check, nothing changed", job=lambda: _whole(nothing_changed())),
        Contest(name="check after an edit", job=lambda: _whole(after_an_edit())),
        Contest(name="check after an edit, less the tests", job=lambda: _less(after_an_edit)),
    )


def _judged(result: RunResult, folder: Path) -> Path:
    if result.exit_status == 2:
        raise BenchError("the check came to no verdict; run `harness check`")
    return folder


def _less(check: Callable[[], Path]) -> float:
    """Seconds of a check without those that its VMs spent after hello.

    VMs side by side count as if they had shared that time evenly, which takes off too little.
    """
    start = time.monotonic()
    folder = check()
    seconds = time.monotonic() - start
    ends = [vm.seen_end for vm in load_manifest(folder).vms]
    tests = sum(end.seconds - (end.boot_seconds or end.seconds) for end in ends)
    return seconds - tests / min(len(ends), runner.Options().jobs)


def _packaged_image(kernel: Kernel) -> Path:
    """Find the vmlinuz beside an unpacked kernel's vmlinux; it moved with 6.19's split."""
    tree = kernel.image.parent
    for folder in ("boot", f"usr/lib/modules/{kernel.release}"):
        for image in (tree / folder).glob("vmlinuz*"):
            return image
    raise BenchError(
        f"{tree}: no vmlinuz to boot stock vng with", "name a series, such as --kernel 6.12"
    )


def _fresh(scratch: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=scratch))


def _measure(job: Callable[[], float | None]) -> Sample:
    """Run a job in a process of its own: RUSAGE_CHILDREN has no reset."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(job, sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        raise BenchError("the measuring process died") from None
    except BaseException:
        # SIGTERM unwinds it like Ctrl-C: its VM goes with it.
        process.terminate()
        raise
    finally:
        process.join()
    if not isinstance(answer, Sample):
        raise BenchError(*answer)
    return answer


def _measured(job: Callable[[], float | None], sender: Connection) -> None:
    start = time.monotonic()
    try:
        told = job()
    except HarnessError as error:
        sender.send((str(error), error.hint))
        return
    except KeyboardInterrupt:
        # The parent tells; what had to be cleaned up has been.
        return
    seconds = time.monotonic() - start if told is None else told
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sender.send(Sample(seconds=seconds, peak=peak))


def _table(samples: dict[str, list[Sample]], accelerator: str) -> Table:
    table = Table(f"path ({accelerator})", "median s", "spread s", "to stock", "peak MiB", box=None)
    medians = {name: statistics.median(one.seconds for one in of) for name, of in samples.items()}
    baseline = next(iter(medians.values()))
    for name, of in samples.items():
        spread = max(one.seconds for one in of) - min(one.seconds for one in of)
        table.add_row(
            name,
            f"{medians[name]:.2f}",
            f"{spread:.2f}",
            f"{medians[name] / baseline:.2f}",
            f"{max(one.peak for one in of):.0f}",
        )
    return table
