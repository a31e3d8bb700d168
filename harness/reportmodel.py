# SPDX-License-Identifier: GPL-2.0
"""What a report shows, as plain values: a template sets them, and decides nothing. Pure."""

import shlex
from dataclasses import dataclass

from harness.cause import Cause, Failure
from harness.coverage import Coverage
from harness.flake import Flake
from harness.history import History, Record
from harness.manifest import Manifest
from harness.results import RunResult, Status, TestResult
from harness.slices import Slice
from harness.spot import Spot

# Of a hash, as git shows one; manifest.json has them all.
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A file beside the report."""

    name: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell, with what its folder says beyond the verdicts.

    Attributes:
        exit_status: as of a run.
        as_known: of mainline's driver: it did what is known of it, so what failed is no news.
        result: None when it could not be run or judged; `error` says why.
        manifest: None when it could not be read.
        record: of the history; None without a manifest.
        again: the command that runs all of it again.
        links: its files.
        coverage: of its coverage report; empty without.
        covered: what that says.
    """

    name: str
    seconds: float
    exit_status: int
    as_known: bool
    result: RunResult | None
    error: str
    manifest: Manifest | None
    record: Record | None
    again: str
    links: tuple[Link, ...]
    coverage: tuple[Link, ...]
    covered: Coverage | None

    @property
    def verdict(self) -> str:
        """Two words at most: what became of it."""
        if self.result is None:
            return "not run"
        if self.as_known and self.exit_status == 0:
            return "as known"
        return ("passed", "failed", "not judged")[self.exit_status]

    @property
    def boot_seconds(self) -> float:
        """Until the guests said hello, added up."""
        return sum(vm.boot_seconds or 0.0 for vm in self.result.vms) if self.result else 0.0

    @property
    def test_seconds(self) -> float:
        """In tests, added up."""
        return sum(test.seconds or 0.0 for test in self.result.tests) if self.result else 0.0

    @property
    def vm_seconds(self) -> float:
        """Of the VMs, from start to end, added up."""
        return sum(vm.seconds for vm in self.result.vms) if self.result else 0.0

    @property
    def passed(self) -> int:
        """Tests."""
        return self._count(Status.PASS, Status.XFAIL)

    @property
    def skipped(self) -> int:
        """Tests."""
        return self._count(Status.SKIP)

    @property
    def failed(self) -> int:
        """Tests, and entries beside them, that judge the driver."""
        return self._count(Status.FAIL, Status.TIMEOUT, Status.DIRTY)

    @property
    def unjudged(self) -> int:
        """Tests, and entries beside them, of which nothing is known."""
        return self._count(Status.MISSING, Status.CRASHED, Status.ERROR)

    def _count(self, *statuses: Status) -> int:
        counts = self.result.counts if self.result else {}
        return sum(counts.get(status, 0) for status in statuses)

    @property
    def commands(self) -> tuple[str, ...]:
        """The command of each VM, as one would type it; "" where it is not known."""
        known = [shlex.join(vm.argv) for vm in self.manifest.vms] if self.manifest else []
        missing = len(self.result.vms) - len(known) if self.result else 0
        return (*known, *[""] * missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One failure, with all that explains it.

    Attributes:
        anchor: its id in the document.
        told: what other runs tell of it; "" for nothing.
        spec: the line on which the test is specified.
        console: what the kernel said around it.
        log: the file to read on.
        again: the command that runs it again.
        shown: whether there was room for its lines.
    """

    anchor: str
    cell: str
    test: TestResult
    told: str
    spec: Spot | None
    console: Slice | None
    log: Link | None
    again: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A cause and its failures; the one that is shown at once comes first."""

    cause: Cause
    details: tuple[Detail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One field of the matrix: how a test ended in a cell.

    Attributes:
        anchor: where that is told; "" where it is not.
        news: whether a failure is one; what is known of mainline's driver is none.
    """

    status: Status
    seconds: float | None
    anchor: str
    news: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A test across the cells: a Mark for each, None where it was not to run.

    Attributes:
        notes: reasons, each once.
    """

    id: str
    marks: tuple[Mark | None, ...]
    notes: tuple[str, ...]

    @property
    def telling(self) -> bool:
        """Whether it failed somewhere, or not all cells agree."""
        statuses = {mark and mark.status for mark in self.marks}
        return len(statuses) > 1 or not all(mark and mark.status.good for mark in self.marks)

    @property
    def statuses(self) -> tuple[Status, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(mark.status for mark in self.marks if mark))

    @property
    def bad(self) -> bool:
        """Whether it failed anywhere, and that is news."""
        return any(mark and mark.news and not mark.status.good for mark in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The tests of a fixture that ended alike in all cells."""

    name: str
    status: Status
    rows: tuple[Row, ...]

    @property
    def most(self) -> float:
        """Seconds in the cell where they took longest."""
        columns = zip(*(row.marks for row in self.rows), strict=True)
        return max(sum(one.seconds or 0.0 for one in marks if one) for marks in columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact about the environment: one value for all cells, or one for each."""

    name: str
    values: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether the cells differ in it."""
        return len(self.values) > 1

    @property
    def brief(self) -> tuple[str, ...]:
        """The values for a table, where whole hashes leave the others no room."""
        return tuple(one[:_DIGITS] if self.name.endswith("sha256") else one for one in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that a report shows.

    Attributes:
        title: the folder's name.
        started: of the earliest run.
        groups: what went wrong, the most telling first.
        rows: tests that failed or differ between cells.
        families: the others.
        suites: seconds in tests by suite, a value for each cell.
        slowest: the tests that took longest, with their cells.
        flakes: tests that decide by themselves.
        history: the earlier runs of these cells.
        facts: with one value those that all cells share.
        notes: of each cell, what is worth reading; and of the history.
    """

    title: str
    started: str
    cells: tuple[Cell, ...]
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    families: tuple[Family, ...]
    suites: tuple[tuple[str, tuple[float, ...]], ...]
    slowest: tuple[Failure, ...]
    flakes: tuple[Flake, ...]
    history: History
    facts: tuple[Fact, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def judged(self) -> tuple[Cell, ...]:
        """The cells that have verdicts: the columns of the matrix."""
        return tuple(cell for cell in self.cells if cell.result is not None)

    @property
    def statuses(self) -> tuple[Status, ...]:
        """All that occur, the worst first."""
        found = {status for row in self.rows for status in row.statuses}
        found |= {family.status for family in self.families}
        return tuple(status for status in reversed(Status) if status in found)

    @property
    def headline(self) -> str:
        """One line: what came of it all."""
        bad = [cell.name for cell in self.cells if cell.exit_status != 0]
        if len(self.cells) != 1:
            if bad:
                return f"{len(bad)} of {len(self.cells)} cells did not pass: {', '.join(bad)}"
            return f"All {len(self.cells)} cells passed"
        (cell,) = self.cells
        if cell.result is None:
            return f"{cell.name} could not be run"
        counts = sorted(cell.result.counts.items(), key=lambda item: item[0].good)
        words = ", ".join(f"{count} {status.words}" for status, count in counts) or "no tests"
        return f"{words} on {cell.name}"
