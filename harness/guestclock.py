# SPDX-License-Identifier: GPL-2.0
"""Time as a VM had it: wall time, less what its busiest thread has waited for a CPU of this host.

A deadline in wall time has to be long enough for the busiest host, and is then too long for an idle
one. The kernel counts for each thread how long it was ready to run and was not run (schedstat,
Documentation/scheduler/sched-stats.rst). A guest that loops has what it was given; one that sleeps
for ever loses nothing, so that a hang of either kind is seen at the same time on any host.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Seconds for which one look at a VM's threads is good enough. A look takes a tenth of a
# millisecond, and a VM that runs its tests says several hundred lines a second.
_GRAIN = 0.05
# But a VM that this host gives no CPU at all must end some day: wall time, for each second that the
# VM may have. Several VMs on each core leave it a third or a fourth.
CEILING = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A point in time, in seconds: the VM's own, and of the wall."""

    guest: float
    wall: float


class GuestClock:
    """A clock that stands still while a VM waits for a CPU.

    Where the host's kernel does not count that, and before :meth:`follow`, it is the wall's.

    Args:
        proc: where the kernel tells of processes.
        wall: seconds of wall time.
    """

    def __init__(self, *, proc: Path = _PROC, wall: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._wall = wall
        self._tasks: Path | None = None
        self._waited: dict[str, int] = {}
        self._seen = wall()
        self._now = self._seen

    def follow(self, pid: int) -> None:
        """Take the threads of this process for the VM's from now on."""
        self.now()
        self._tasks = self._proc / str(pid) / "task"
        self._waited = self._read()

    def now(self) -> float:
        """Return the time in seconds; it never goes back, and never runs faster than the wall's.

        It may be late by a twentieth of a second.
        """
        wall = self._wall()
        if wall - self._seen < _GRAIN:
            return self._now
        waited = self._read()
        lost = max((ns - self._waited.get(thread, 0) for thread, ns in waited.items()), default=0)
        passed = wall - self._seen
        self._now += passed - min(max(lost / 1e9, 0.0), passed)
        self._seen, self._waited = wall, waited
        return self._now

    def moment(self) -> Moment:
        """Return this moment, to be patient from."""
        return Moment(guest=self.now(), wall=self._wall())

    def left(self, since: Moment, seconds: float) -> float:
        """Return what is left of so many seconds of the VM's since a moment; 0 when none are.

        None are left either when ten times as many have passed on the wall.
        """
        now = self.moment()
        guest, wall = now.guest - since.guest, now.wall - since.wall
        return max(0.0, min(seconds - guest, seconds * CEILING - wall))

    def slices(self, seconds: float) -> Iterator[float]:
        """Yield how long to wait next, wall time, until :meth:`left` says 0 from now."""
        since = self.moment()
        while left := self.left(since, seconds):
            yield max(left, _GRAIN)

    def _read(self) -> dict[str, int]:
        """Return for each thread how long it has waited so far, ns."""
        waited: dict[str, int] = {}
        # The process has ended, or a thread has while it was looked at.
        with suppress(OSError):
            for thread in os.scandir(self._tasks) if self._tasks else ():
                with suppress(OSError, IndexError, ValueError):
                    waited[thread.name] = int(Path(thread, "schedstat").read_bytes().split()[1])
        return waited
