# SPDX-License-Identifier: GPL-2.0
"""How many of this host's CPUs our processes may keep busy: not always all that there are."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def host_cpus(
    *, memberships: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")
) -> int:
    """Return the CPUs that affinity and control groups leave us, at least one.

    A group's limit is of time, not of cores: with 1.5 CPUs, two VMs would each be held back again
    and again, in the middle of whatever has a deadline. They are taken for one.
    """
    return max(1, min(_limits(memberships, cgroups)))


def _limits(memberships: Path, cgroups: Path) -> Iterator[int]:
    yield len(os.sched_getaffinity(0))
    for line in memberships.read_text().splitlines() if memberships.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, read = cgroups, _of_v2
        elif "cpu" in controllers.split(","):
            mount, read = cgroups / "cpu", _of_v1
        else:
            continue
        own = mount / path.lstrip("/")
        # What holds for a group holds for those below it. In a container the path may be the
        # host's, and only the mount's own folder be there.
        for group in (own, *(above for above in own.parents if above.is_relative_to(mount))):
            with suppress(OSError, ValueError):
                yield read(group)


def _of_v2(group: Path) -> int:
    """cgroup-v2.rst, cpu.max: "max 100000" where there is none, which is no number."""
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota) // int(period)


def _of_v1(group: Path) -> int:
    """sched-bwc.rst: a quota of -1 is none."""
    quota, period = (
        int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
    )
    if quota < 0:
        raise ValueError("no limit")
    return quota // period
