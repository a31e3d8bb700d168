# SPDX-License-Identifier: GPL-2.0
"""Which suites share a VM: one command line a VM, and no lane much longer than another. Pure.

The tests of a lane run one after the other in one VM; lanes run side by side. How tests are spread
depends on what they took last time, so a run's manifest records it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.kselftest import Suite

# Seconds that a test is thought to take before it ever ran (664 tests in 12 s under TCG).
_UNKNOWN = 0.02
# Seconds of tests that are worth a VM: restoring one under TCG costs about one.
_WORTH = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Suites for one VM, and the kernel parameters that they want."""

    cmdline: tuple[str, ...]
    suites: tuple[Suite, ...]


def plan_lanes(
    suites: Sequence[Suite], *, jobs: int, seconds: Mapping[str, float]
) -> tuple[Lane, ...]:
    """Spread suites over lanes, the longest lane first.

    Args:
        suites: what is to run; none is split.
        jobs: how many VMs may run at a time, at least one.
        seconds: what each test took in an earlier run, by its full id.
    """
    groups: dict[tuple[str, ...], list[tuple[float, Suite]]] = {}
    for suite in suites:
        cost = sum(seconds.get(id_, _UNKNOWN) for id_ in suite.full_ids)
        groups.setdefault(suite.cmdline, []).append((cost, suite))
    lanes: list[tuple[float, Lane]] = []
    for cmdline, group in groups.items():
        total = sum(cost for cost, _ in group)
        parts = max(1, min(jobs, len(group), int(total / _WORTH)))
        lanes += [
            (cost, Lane(cmdline=cmdline, suites=tuple(part))) for cost, part in _split(group, parts)
        ]
    return tuple(lane for _, lane in sorted(lanes, key=lambda lane: -lane[0]))


def _split(group: list[tuple[float, Suite]], parts: int) -> list[tuple[float, list[Suite]]]:
    """Give each suite, the longest first, to the part that has least to do."""
    loads = [0.0] * parts
    chosen: list[list[tuple[int, Suite]]] = [[] for _ in range(parts)]
    order = sorted(range(len(group)), key=lambda at: -group[at][0])
    for at in order:
        least = loads.index(min(loads))
        loads[least] += group[at][0]
        chosen[least].append((at, group[at][1]))
    # Within a lane the order stays that of the suites, whatever the times were.
    return [
        (load, [suite for _, suite in sorted(part, key=lambda entry: entry[0])])
        for load, part in zip(loads, chosen, strict=True)
    ]
