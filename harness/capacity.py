# SPDX-License-Identifier: GPL-2.0
"""How many VMs this host carries, and who of several cells gets room for its own next."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.hostcpus import host_cpus
from harness.run import LeashError
from harness.vm import VM_MEMORY

# VMs of one run at a time, however many cores: the suite is not larger than that.
MOST_JOBS = 4
# MiB that QEMU takes beside its guest's memory.
_QEMU = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is, or what somebody takes of it.

    Attributes:
        cpus: virtual CPUs that run at a time, one a core of the host.
        memory: MiB.
    """

    cpus: int
    memory: int


def host_capacity() -> Capacity:
    """Return what VMs can have of this host."""
    return Capacity(cpus=host_cpus(), memory=_free_memory())


def default_jobs() -> int:
    """Return how many VMs of one run to run at a time: at most four, with one more in memory.

    Most have one CPU; those with more are few, and come last (harness/lanes.py).
    """
    host = host_capacity()
    each = VM_MEMORY + _QEMU
    return max(1, min(host.cpus, MOST_JOBS, host.memory // each - 1))


def _free_memory() -> int:
    """MiB that can be had without swapping (proc(5), MemAvailable)."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    return int(found[1]) >> 10 if found else 0


class Room:
    """Shares a capacity out: whoever asks for a part waits until it is free.

    Args:
        capacity: what there is.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._cpus, self._memory = capacity.cpus, capacity.memory
        self._guests = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, *, vms: int, cpus: int, memory: int) -> Iterator[None]:
        """Wait for room, and have it until the end of the block.

        What is larger than all there is gets the whole, alone.

        Args:
            vms: that run at a time; one guest more gets ready meanwhile (session.py), which needs
                memory but no core.
            cpus: virtual ones of each guest.
            memory: of each guest, MiB.

        Raises:
            LeashError: the room was closed meanwhile.
        """
        megabytes = (vms + 1) * (memory + _QEMU)
        cpus *= vms
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(cpus, megabytes))
            if self._closed:
                raise LeashError("interrupted")
            self._take(cpus, megabytes, 1)
        try:
            yield
        finally:
            with self._changed:
                self._take(-cpus, -megabytes, -1)
                self._changed.notify_all()

    def close(self) -> None:
        """Turn away all who wait, and who will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, cpus: int, megabytes: int) -> bool:
        return self._guests == 0 or (cpus <= self._cpus and megabytes <= self._memory)

    def _take(self, cpus: int, megabytes: int, guests: int) -> None:
        self._cpus -= cpus
        self._memory -= megabytes
        self._guests += guests
