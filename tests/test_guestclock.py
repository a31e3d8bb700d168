# SPDX-License-Identifier: GPL-2.0
"""guestclock.py: a clock that stands still while a VM waits for a CPU."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.guestclock import GuestClock

SECOND = 10**9


class Host:
    """A host whose time and whose threads' waiting are what the test says."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.time = 100.0
        self.clock = GuestClock(proc=proc, wall=lambda: self.time)

    def waited(self, **threads: float) -> None:
        for name, seconds in threads.items():
            folder = self.proc / "7/task" / name.removeprefix("t")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "schedstat").write_text(f"123 {int(seconds * SECOND)} 5\n")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_a_process_or_its_figures_it_is_the_wall_s(host: Host) -> None:
    host.time += 5
    assert host.clock.now() == 105
    host.clock.follow(7)
    host.time += 5
    assert host.clock.now() == 110


def test_what_the_busiest_thread_has_waited_does_not_count(host: Host) -> None:
    host.waited(t7=50, t8=60)
    host.clock.follow(7)
    host.time += 10
    host.waited(t7=51, t8=64)
    assert host.clock.now() == pytest.approx(106)
    # A thread that was not there before, one that has gone, and an idle guest.
    host.time += 10
    host.waited(t9=2)
    (host.proc / "7/task/8/schedstat").unlink()
    assert host.clock.now() == pytest.approx(114)
    host.time += 10
    assert host.clock.now() == pytest.approx(124)


def test_it_never_goes_back(host: Host) -> None:
    host.waited(t7=0)
    host.clock.follow(7)
    host.time += 1
    host.waited(t7=30)
    assert host.clock.now() == 100
    host.waited(t7=0)
    assert host.clock.now() == 100


def test_the_vm_is_not_looked_at_for_every_line_it_says(host: Host) -> None:
    host.waited(t7=0)
    host.clock.follow(7)
    looks = [host.clock.now() for host.time in (100.03, 100.06, 100.09, 100.12)]
    assert looks == pytest.approx([100, 100.06, 100.06, 100.12])


def test_patience_is_the_vm_s_own_up_to_ten_times_as_long(host: Host) -> None:
    host.waited(t7=0)
    host.clock.follow(7)
    since = host.clock.moment()
    host.time += 6
    assert host.clock.left(since, 10) == pytest.approx(4)
    # Nothing is left for it of this host's CPUs.
    for second in range(1, 94):
        host.time += 1
        host.waited(t7=second)
    assert host.clock.left(since, 10) == pytest.approx(1)
    host.time += 1
    host.waited(t7=94)
    assert host.clock.left(since, 10) == 0


def test_waiting_in_slices_ends(host: Host) -> None:
    host.waited(t7=0)
    host.clock.follow(7)
    waits = []
    for wait in host.clock.slices(1):
        waits.append(wait)
        host.time += wait
        host.waited(t7=sum(waits) / 2)
    assert waits[0] == 1
    assert sum(waits) == pytest.approx(2, abs=0.2)
    assert min(waits) >= 0.05, "it does not spin"


def test_a_real_process_that_has_to_share_its_cpu() -> None:
    """Three that loop on one CPU: each of them has two thirds of the time taken away."""
    (cpu, *_) = os.sched_getaffinity(0)
    loop = (Path(__file__).parent / "data/loop.py").read_text()
    with ExitStack() as stack:
        loops = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", loop, str(cpu)], stdout=subprocess.PIPE)
            )
            for _ in range(3)
        ]
        for process in loops:
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        if not Path(f"/proc/{loops[0].pid}/task/{loops[0].pid}/schedstat").exists():
            pytest.skip("this kernel does not count waiting")
        clock = GuestClock()
        clock.follow(loops[0].pid)
        before, start = clock.now(), time.monotonic()
        assert loops[0].stdout is not None
        loops[0].stdout.readline()
        share = (clock.now() - before) / (time.monotonic() - start)
    assert share < 0.7
