# SPDX-License-Identifier: GPL-2.0
"""Many failures, few causes: what failed alike in several tests and cells is told once. Pure.

A kernel that complains of one line of the driver does so in every test that comes by, on every
kernel of the matrix; a reader wants that line, not fifty tests.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.results import RunResult, Status, TestResult
from harness.spot import Spot, driver_spot, without_variant

# The line that rundir puts above a splat's own.
_SPLAT = re.compile(r"vm-[0-9]+/console\.log:[0-9]+: (.+)")
# A failed expectation of the test harness: file, line, test, words.
_EXPECTED = re.compile(r"[\w.-]+\.[ch]:[0-9]+:[^:]*:(.+)")
_DIGITS = re.compile(r"(?:0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*")
# Which tells most, first: a test that was lost with its VM tells only that there was a cause.
_ORDER = (
    Status.FAIL,
    Status.TIMEOUT,
    Status.DIRTY,
    Status.ERROR,
    Status.CRASHED,
    Status.MISSING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A test that did not pass, and the cell that it was in."""

    cell: str
    test: TestResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What several failures have in common.

    Attributes:
        title: one line.
        splat: whether the kernel itself complained.
        spot: the line of the driver that it complained in; None when not known.
        failures: at least one; cell by cell, in the order of the tests.
    """

    title: str
    splat: bool
    spot: Spot | None
    failures: tuple[Failure, ...]

    @property
    def status(self) -> Status:
        """The most telling status among the failures."""
        return min((one.test.status for one in self.failures), key=_ORDER.index)

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells in which it struck."""
        return tuple(dict.fromkeys(one.cell for one in self.failures))

    @property
    def tests(self) -> tuple[str, ...]:
        """The ids of the tests in which it struck, whatever the cell."""
        return tuple(dict.fromkeys(one.test.id for one in self.failures))


def find_causes(cells: Iterable[tuple[str, RunResult]]) -> tuple[Cause, ...]:
    """Group the failures of all cells; the most telling cause comes first.

    Args:
        cells: name and verdicts of each cell that was judged.
    """
    groups: dict[tuple[str, ...], list[Failure]] = {}
    titles: dict[tuple[str, ...], str] = {}
    for name, result in cells:
        for test in result.tests:
            if not test.status.good:
                key, title = _key(test)
                groups.setdefault(key, []).append(Failure(cell=name, test=test))
                titles.setdefault(key, title)
    causes = [
        Cause(
            title=titles[key],
            splat=key[0] == "splat",
            spot=_spot(failures) if key[0] == "splat" else None,
            failures=tuple(failures),
        )
        for key, failures in groups.items()
    ]
    return tuple(sorted(causes, key=_rank))


def expectation(test: TestResult) -> str:
    """Return the words of the first expectation that failed, without its place; "" if none did."""
    words = (found[1] for line in test.lines if (found := _EXPECTED.fullmatch(line)))
    return next(words, "")


def _rank(cause: Cause) -> tuple[bool, int, int]:
    """What sorts causes; those that are alike in it stay in the order in which they struck."""
    return not cause.splat, _ORDER.index(cause.status), -len(cause.failures)


def _key(test: TestResult) -> tuple[tuple[str, ...], str]:
    """Return what a failure is grouped by, and what the group is called."""
    for line in test.lines:
        if splat := _SPLAT.fullmatch(line):
            return ("splat", splat[1]), splat[1]
    if test.status in (Status.CRASHED, Status.MISSING):
        return ("lost", test.status, _alike(test.reason)), test.reason or str(test.status)
    if test.status is Status.DIRTY:
        return ("dirt", _alike(test.reason)), test.reason or str(test.status)
    title = expectation(test) or test.reason or next(iter(test.lines), "") or str(test.status)
    what = without_variant(test.id)
    return ("test", test.status, what), f"{what}: {title}"


def _spot(failures: Iterable[Failure]) -> Spot | None:
    spots = (driver_spot(one.test.lines) for one in failures)
    return next((spot for spot in spots if spot is not None), None)


def _alike(text: str) -> str:
    return _DIGITS.sub("#", text)
