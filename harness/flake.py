# SPDX-License-Identifier: GPL-2.0
"""Which tests decide by themselves, and how often: statistics over earlier runs. Pure.

A test is flaky when it both passed and failed on the same inputs (kernel, driver, tests, machine:
:func:`harness.history.record_of`): nobody's change can explain that. How often it fails there is a
proportion of few runs, so it comes with its interval (Wilson, 95 %). Runs in which it was skipped,
or in which nothing is known of it, do not count.

A verdict is never changed by any of this.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.history import History, Record
from harness.results import Status

# The 97.5 % quantile of the normal distribution.
_Z = 1.959964
# What happens more rarely than this by a known rate has another cause.
_UNLIKELY = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something failed.

    Attributes:
        failed: times.
        runs: times that it could have.
    """

    failed: int
    runs: int

    @property
    def interval(self) -> tuple[float, float]:
        """Between which proportions the true one is, 95 % sure (Wilson 1927, eq. 2)."""
        if self.runs == 0:
            return 0.0, 1.0
        share, weight = self.failed / self.runs, _Z * _Z / self.runs
        middle = share + weight / 2
        half = math.sqrt(weight * (share * (1 - share) + weight / 4))
        low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
        return max(0.0, low), min(1.0, high)

    @property
    def percent(self) -> str:
        """The interval in words."""
        low, high = self.interval
        return f"{low * 100:.2g} to {high * 100:.2g} %"

    def explains(self, other: "Rate") -> bool:
        """Tell whether as many failures as in `other` happen by this rate, not too rarely.

        The upper end of the interval is taken for the rate: few runs explain much.
        """
        high = self.interval[1]
        chance = sum(
            math.comb(other.runs, times) * high**times * (1 - high) ** (other.runs - times)
            for times in range(other.failed, other.runs + 1)
        )
        return chance >= _UNLIKELY


@dataclass(frozen=True, slots=True, kw_only=True)
class Flake:
    """A test of a cell that both passed and failed on the same inputs.

    Attributes:
        cell: of the matrix.
        test: its id.
        rate: how often it failed on inputs on which it can pass.
        newest: the same for the inputs of the cell's newest run alone.
        worse: it fails more often in the newest inputs than its rate on older ones explains.
    """

    cell: str
    test: str
    rate: Rate
    newest: Rate
    worse: bool


def find_flakes(history: History) -> tuple[Flake, ...]:
    """Return all flaky tests, by cell and id."""
    found = []
    for cell, records in sorted(_by_cell(history.records).items()):
        tests = {test for one in records for test, status in one.not_passed.items() if _is(status)}
        newest = records[-1]
        for test in sorted(tests):
            rates = dict(_rates(history, records, test))
            able = {inputs: rate for inputs, rate in rates.items() if rate.failed < rate.runs}
            if not any(rate.failed for rate in able.values()):
                continue
            now = rates.get(newest.inputs, Rate(failed=0, runs=0))
            older = _sum(rate for inputs, rate in able.items() if inputs != newest.inputs)
            found.append(
                Flake(
                    cell=cell,
                    test=test,
                    rate=_sum(able.values()),
                    newest=now,
                    worse=older.runs > 0 and not older.explains(now),
                )
            )
    return tuple(found)


def tell(history: History, run: Record, test: str) -> str:
    """Say in a phrase what other runs of the same cell tell of a test that failed in this one.

    Returns:
        "" when they tell nothing.
    """
    records = _by_cell(history.records).get(run.cell, [])
    same = dict(_rates(history, records, test)).get(run.inputs, Rate(failed=0, runs=0))
    if same.failed < same.runs:
        return f"flaky: failed in {same.failed} of {same.runs} runs of the same inputs"
    before = [(one, history.status(one, test)) for one in records if one.started < run.started]
    known = [(one, status) for one, status in before if status and _counts(status)]
    if not known:
        return "never judged before" if before else ""
    since: Record | None = None
    for one, status in reversed(known):
        if not _is(status):
            break
        since = one
    if since is not None:
        return f"fails since {since.started}"
    failed = sum(_is(status) for _, status in known)
    often = f", though it failed in {failed} of {len(known)} runs before" if failed else ""
    return f"new: passed in the last run of other inputs{often}"


def _by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    cells: dict[str, list[Record]] = defaultdict(list)
    for one in records:
        cells[one.cell].append(one)
    return cells


def _rates(history: History, records: Iterable[Record], test: str) -> Iterator[tuple[str, Rate]]:
    """Yield for each inputs how often the test failed."""
    groups: dict[str, list[Status]] = defaultdict(list)
    for one in records:
        status = history.status(one, test)
        if status and _counts(status):
            groups[one.inputs].append(status)
    for inputs, statuses in groups.items():
        yield inputs, Rate(failed=sum(map(_is, statuses)), runs=len(statuses))


def _sum(rates: Iterable[Rate]) -> Rate:
    total = Rate(failed=0, runs=0)
    for rate in rates:
        total = Rate(failed=total.failed + rate.failed, runs=total.runs + rate.runs)
    return total


def _is(status: Status) -> bool:
    """Whether this is a failure of the test's own."""
    return status.judged and not status.good


def _counts(status: Status) -> bool:
    """Whether this is a verdict at all."""
    return status.judged and status is not Status.SKIP
