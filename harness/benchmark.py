# SPDX-License-Identifier: GPL-2.0
"""`harness bench`: how long each path takes and what memory it peaks at, against stock virtme-ng.

All in one run on one machine, so that the ratios hold although the seconds drift. The baseline is
`vng -v -r KERNEL -- uname -r` as one would type it: the packaged vmlinuz, the host's root.
"""

import resource
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness import runner
from harness.errors import HarnessError
from harness.guestroot import Plan
from harness.kernel import Kernel
from harness.place import Place
from harness.progress import Progress
from harness.results import VmExit
from harness.vm import VmConfig, run_vm

_STOCK_DEADLINE = 600.0


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
    """One path: what it is called, and how to go through it once."""

    name: str
    job: Callable[[], object]


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
    quiet = replace(place, progress=Progress(Console(quiet=True)))
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        contests = _contests(quiet, ready, kernel_name, Path(scratch))
        samples: dict[str, list[Sample]] = {contest.name: [] for contest in contests}
        # Round by round, so that a machine that slows down slows every path.
        for number in range(rounds):
            for contest in contests:
                with place.progress.phase(f"round {number + 1}/{rounds}") as phase:
                    sample = _measure(contest.job)
                    samples[contest.name].append(sample)
                    phase.done(contest.name)
    place.progress.console.print(_table(samples, ready.accelerator.name))
    return 0


def _contests(
    place: Place, ready: runner.Ingredients, kernel_name: str, scratch: Path
) -> tuple[Contest, ...]:
    kernel, accelerator = ready.kernel, ready.accelerator
    vmlinuz = _packaged_image(kernel)
    # Verbose: without a console, what the command prints is lost where there is no udev.
    stock = ["vng", "-v", "-r", vmlinuz, *(() if accelerator.kvm else ("--disable-kvm",))]
    home = scratch / "home"
    home.mkdir()
    config = VmConfig(
        kernel=kernel, accelerator=accelerator, deadlines=runner.patience(accelerator)
    )
    edited = scratch / "source"
    shutil.copytree(place.source / "module", edited)
    # The first build of a folder is a whole one; what counts is the edit after it.
    runner.build(place, kernel, edited)

    def stock_vng() -> None:
        spawner = place.spawner.with_env(HOME=str(home))
        # On a host without udev its script ports are not found: status 255, although it ran.
        done = spawner.run([*stock, "--", "uname", "-r"], deadline=_STOCK_DEADLINE, check=False)
        if f"\n{kernel.release}\n" not in done.output.replace("\r", ""):
            raise BenchError(f"stock vng did not print {kernel.release}: {done.output[-200:]!r}")

    def our_vm() -> None:
        plan = Plan(nonce=secrets.token_hex(16))
        end = run_vm(config, plan, folder=_fresh(scratch), spawner=place.spawner).end
        if end.exit is not VmExit.CLEAN:
            raise BenchError(f"our VM: {end.describe()}")

    def warm() -> None:
        result, _ = runner.check(place, kernel_name, runner.Options())
        if result.exit_status == 2:
            raise BenchError("the check came to no verdict; run `harness check`")

    def edit() -> None:
        with (edited / "main.c").open("a") as file:
            file.write(f"/* {secrets.token_hex(8)} */\n")
        runner.build(place, kernel, edited)

    return (
        Contest(name="vng -v -r KERNEL -- uname -r", job=stock_vng),
        Contest(name="our VM, the same work", job=our_vm),
        Contest(name="check, nothing changed", job=warm),
        Contest(name="module build after an edit", job=edit),
    )


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


def _measure(job: Callable[[], object]) -> Sample:
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


def _measured(job: Callable[[], object], sender: Connection) -> None:
    start = time.monotonic()
    try:
        job()
    except HarnessError as error:
        sender.send((str(error), error.hint))
        return
    except KeyboardInterrupt:
        # The parent tells; what had to be cleaned up has been.
        return
    seconds = time.monotonic() - start
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
