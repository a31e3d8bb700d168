# SPDX-License-Identifier: GPL-2.0
"""`harness bench`: how long each path takes and what memory it peaks at, against stock virtme-ng.

All in one run on one machine, so that the ratios hold although the seconds drift. The baseline is
`vng -v -r KERNEL -- uname -r` as one would type it: the packaged vmlinuz, the host's root. What is
built for it stands on a shelf of its own in the cache, which is emptied again. One bench runs at a
time, and says how much of the CPUs others had meanwhile: on a busy host seconds mean little.
"""

import os
import resource
import secrets
import shutil
import statistics
import sys
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
from harness.guestroot import Load, Plan, SuiteRun
from harness.kernel import Kernel
from harness.place import Place
from harness.progress import Progress
from harness.results import RunResult, VmEnd, VmExit
from harness.rundir import rejudge
from harness.scratch import scratch_folder
from harness.target import (
    COLD,
    EDITED,
    FIRST_TEST,
    LESS_TESTS,
    STOCK,
    TARGETS,
    UNCHANGED,
    WARM,
    hold,
)
from harness.vm import VmConfig, run_vm
from harness.warm import run_warm

_STOCK_DEADLINE = 600.0
# Seconds that Python may take to start.
_START_DEADLINE = 60.0
_SHELF = "bench"
_RUN = b"#  RUN "
# The part of the CPU time that others may have had.
_BUSY = 0.1


class BenchError(HarnessError):
    """What was to be measured did not work."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: wall time.
        harness: peak RSS of the process that goes through it, MiB.
        largest: the same of the largest of those that it starts: QEMU, where there is a VM.
    """

    seconds: float
    harness: float
    largest: float


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
        load, before = os.getloadavg()[0], _cpu_time()
        try:
            contests = (
                *_vms(quiet, ready, scratch),
                *_checks(quiet, ready, kernel_name),
            )
            samples = _race(place, contests, rounds)
        finally:
            remove_tree(shelf)
    host = _host(load, _share_of_others(before, _cpu_time()))
    for lines in (_table(samples, ready.accelerator.name), _promises(samples), host):
        place.progress.console.print(lines)
    return 0


def _cpu_time() -> tuple[float, float]:
    """Return what the CPUs have done, and what of it for this process: seconds.

    proc(5): the first line of /proc/stat, in ticks; its fourth and fifth number are idle time.
    """
    ticks = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    busy = sum(int(count) for at, count in enumerate(ticks) if at not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def _share_of_others(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return the part of what the CPUs did that was not for this process, 0 to 1."""
    busy, own = after[0] - before[0], after[1] - before[1]
    return max(0.0, 1 - own / busy) if busy > 0 else 0.0


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
        Contest(name=STOCK, job=stock_vng),
        Contest(name=COLD, job=lambda: _whole(cold())),
        Contest(name=WARM, job=lambda: _whole(warm())),
        Contest(name="restore to hello", job=lambda: warm().boot_seconds),
        Contest(name=FIRST_TEST, job=lambda: _to_the_first_test(place, ready, config, scratch)),
    )


def _to_the_first_test(
    place: Place, ready: runner.Ingredients, config: VmConfig, scratch: Path
) -> float:
    """Restore a VM, load what a check loads, and return when the first test began, seconds."""
    suite = ready.selftests.suites[0]
    plan = Plan(
        nonce=secrets.token_hex(16),
        loads=tuple(Load(ko=one.ko) for one in (ready.driver, *ready.helpers)),
        suites=(SuiteRun(name=suite.name, binary=suite.binary, ids=suite.ids[:1]),),
    )
    begun: list[float] = []

    def hear(line: bytes) -> None:
        if line.startswith(_RUN):
            begun.append(time.monotonic())

    start, folder = time.monotonic(), _fresh(scratch)
    run_warm(config, plan, folder=folder, spawner=place.spawner, cache=place.cache, on_line=hear)
    if not begun:
        raise BenchError("no test ran in a restored VM")
    return begun[0] - start


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
        _start(place)
        result, folder = runner.check(place, kernel_name, runner.Options())
        return _judged(result, folder)

    def after_an_edit(on_line: Callable[[bytes], None] = lambda line: None) -> Path:
        with (edited / "main.c").open("a") as file:
            file.write(f"/* {secrets.token_hex(8)} */\n")
        _start(place)
        # As in a check, but for where the driver comes from.
        again = runner.prepare(place, kernel_name)
        driver = runner.build(place, ready.kernel, edited, shelf=_SHELF)
        edited_one = replace(again, driver=driver)
        folder = runner.trial(place, edited_one, runner.Options(), on_line=on_line)
        return _judged(rejudge(folder, runner.decoder(place, folder)), folder)

    def build() -> None:
        with (edited / "main.c").open("a") as file:
            file.write(f"/* {secrets.token_hex(8)} */\n")
        runner.build(place, ready.kernel, edited, shelf=_SHELF)

    return (
        Contest(name="module build after an edit", job=build),
        Contest(name=UNCHANGED, job=lambda: _whole(nothing_changed())),
        Contest(name=EDITED, job=lambda: _whole(after_an_edit())),
        Contest(name=LESS_TESTS, job=lambda: _less(after_an_edit)),
    )


def _start(place: Place) -> None:
    """Start and import, as a check does before anything else: this process has long done so."""
    argv = (sys.executable, "-m", "harness", "check", "--help")
    place.spawner.run(argv, deadline=_START_DEADLINE)


def _judged(result: RunResult, folder: Path) -> Path:
    if result.exit_status == 2:
        raise BenchError("the check came to no verdict; run `harness check`")
    return folder


def _less(check: Callable[[Callable[[bytes], None]], object]) -> float:
    """Seconds of a check before its first test began and after its last one ended.

    In between there are always VMs with tests: the next one gets ready meanwhile.
    """
    told: list[float] = []

    def listen(line: bytes) -> None:
        if line.startswith((b"#  RUN", b"ok ", b"not ok ")):
            told.append(time.monotonic())

    start = time.monotonic()
    check(listen)
    end = time.monotonic()
    if not told:
        raise BenchError("no test ran; run `harness check`")
    return told[0] - start + end - told[-1]


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
    harness, largest = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    sender.send(Sample(seconds=seconds, harness=harness, largest=largest))


def _table(samples: dict[str, list[Sample]], accelerator: str) -> Table:
    columns = ("median s", "spread s", "to stock", "harness MiB", "largest MiB")
    table = Table(f"path ({accelerator})", *columns, box=None)
    medians = _medians(samples)
    baseline = next(iter(medians.values()))
    for name, of in samples.items():
        spread = max(one.seconds for one in of) - min(one.seconds for one in of)
        table.add_row(
            name,
            f"{medians[name]:.2f}",
            f"{spread:.2f}",
            f"{medians[name] / baseline:.2f}",
            f"{max(one.harness for one in of):.0f}",
            f"{max(one.largest for one in of):.0f}",
        )
    return table


def _medians(samples: dict[str, list[Sample]]) -> dict[str, float]:
    return {name: statistics.median(one.seconds for one in of) for name, of in samples.items()}


def _promises(samples: dict[str, list[Sample]]) -> Table:
    table = Table("promise (2 cores, TCG)", "is", "measured", "", box=None)
    for result in hold(TARGETS, _medians(samples)):
        table.add_row(result.words, result.limit, result.measured, result.verdict)
    return table


def _host(load: float, share: float) -> str:
    """Say how far the figures are this host's own."""
    words = (
        f"host: {os.cpu_count()} CPUs, load average {load:.2f} when it began; "
        f"others had {share:.0%} of the CPU time used meanwhile"
    )
    return words if share < _BUSY else f"{words}: busy, the seconds above say little"
