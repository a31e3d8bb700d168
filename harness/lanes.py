# SPDX-License-Identifier: GPL-2.0
"""Which suites share a VM: one kind of machine a VM, and no lane much longer than another. Pure.

The tests of a lane run one after the other in one VM; lanes run side by side. How tests are spread
depends on what they took last time, so a run's manifest records it.

Most suites do one thing at a time and get a VM of one CPU. Two emulated CPUs cost more than they
give: each invalidation of a TLB waits for the other one, and two such VMs on two cores wait for a
CPU that has no core (13.7 s for a run that took 12.2 s one VM after the other; with one CPU each,
7.8 s).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.kselftest import Suite

# Seconds that a test is thought to take before it ever ran (664 tests in 12 s under TCG).
_UNKNOWN = 0.02
# What is looked at after each (selftests/include/kselftest_dirt.h).
_BETWEEN = 0.004
# Seconds that a VM costs beside its tests: restored, under TCG.
_VM = 1.0
# Seconds of tests that are worth a VM.
_WORTH = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Suites for one VM, the kernel parameters and the number of CPUs that they want."""

    cmdline: tuple[str, ...]
    suites: tuple[Suite, ...]
    cpus: int = 1


@dataclass(slots=True)
class _Group:
    """Suites, by their place in the order, that run in the same kind of machine."""

    cpus: int
    suites: list[int]
    cost: float


def plan_lanes(
    suites: Sequence[Suite], *, jobs: int, seconds: Mapping[str, float], cpus: int = 1
) -> tuple[Lane, ...]:
    """Spread suites over lanes, the longest lane first; behind them those of more CPUs.

    At the end a VM of two CPUs has the host to itself: beside another one, one of them would wait
    for the other one's lock holder, which has no core.

    Args:
        suites: what is to run; none is split.
        jobs: how many VMs may run at a time, at least one.
        seconds: what each test took in an earlier run, by its full id.
        cpus: that each VM has at least.
    """
    costs = [
        sum(seconds.get(id_, _UNKNOWN) + _BETWEEN for id_ in suite.full_ids) for suite in suites
    ]
    machines: dict[tuple[str, ...], dict[int, _Group]] = {}
    for at, suite in enumerate(suites):
        wanted = max(cpus, suite.cpus)
        group = machines.setdefault(suite.cmdline, {}).setdefault(wanted, _Group(wanted, [], 0.0))
        group.suites.append(at)
        group.cost += costs[at]
    groups = [
        (cmdline, group) for cmdline, by_cpus in machines.items() for group in _joined(by_cpus)
    ]
    plans: list[list[tuple[float, Lane]]] = []
    for most in range(1, jobs + 1):
        lanes = []
        for cmdline, group in groups:
            # Two VMs of two CPUs are not beside each other before there is room for four.
            parts = max(1, min(most // group.cpus, len(group.suites), int(group.cost / _WORTH)))
            for cost, part in _split(group.suites, costs, parts):
                chosen = tuple(suites[at] for at in part)
                lanes.append((cost, Lane(cmdline=cmdline, cpus=group.cpus, suites=chosen)))
        plans.append(sorted(lanes, key=lambda lane: (lane[1].cpus, -lane[0])))
    # Where further VMs gain nothing, the plan with the fewest.
    best = min(plans, key=lambda plan: _length([cost for cost, _ in plan], jobs))
    return tuple(lane for _, lane in best)


def lone_lanes(suites: Sequence[Suite], *, cpus: int = 1) -> tuple[Lane, ...]:
    """Give each test a VM of its own: what passes there needs nothing that another one left.

    Args:
        suites: what is to run.
        cpus: that each VM has at least.
    """
    return tuple(
        Lane(
            cmdline=suite.cmdline, cpus=max(cpus, suite.cpus), suites=(replace(suite, ids=(id_,)),)
        )
        for suite in suites
        for id_ in suite.ids
    )


def _length(costs: Sequence[float], jobs: int) -> float:
    """Return when the last of some lanes ends, if each begins as soon as one of the jobs can."""
    ends = [0.0] * jobs
    for cost in costs:
        ends[ends.index(min(ends))] += cost + _VM
    return max(ends)


def _joined(by_cpus: Mapping[int, _Group]) -> list[_Group]:
    """Have what is not worth a VM run in one of more CPUs, where there is one anyway."""
    joined: list[_Group] = []
    for cpus in sorted(by_cpus, reverse=True):
        group = by_cpus[cpus]
        if joined and group.cost < _VM:
            joined[-1].suites = sorted(joined[-1].suites + group.suites)
            joined[-1].cost += group.cost
        else:
            joined.append(group)
    return joined


def _split(
    group: Sequence[int], costs: Sequence[float], parts: int
) -> list[tuple[float, list[int]]]:
    """Give each suite, the longest first, to the part that has least to do."""
    loads = [0.0] * parts
    chosen: list[list[int]] = [[] for _ in range(parts)]
    for at in sorted(group, key=lambda at: -costs[at]):
        least = loads.index(min(loads))
        loads[least] += costs[at]
        chosen[least].append(at)
    # Within a lane the order stays that of the suites, whatever the times were.
    return [(load, sorted(part)) for load, part in zip(loads, chosen, strict=True) if part]
