# SPDX-License-Identifier: GPL-2.0
"""A matrix run on one screen: the tests that differ between cells or do not pass, why, the cells.

What passes in every cell has no row. Tests of one fixture that ended alike in each cell share one;
what failed is told by its causes (cause.py), since one bug fails many tests on many kernels.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.baseline import news_of
from harness.cause import Cause, find_causes
from harness.cell import CellResult
from harness.results import Status, TestResult
from harness.table import STYLES, count_words, log_of, plain

_ERROR = "bold magenta"
# A screen; results.json and --verbose have all.
_ROWS = 20
_CAUSES = 8
# An id that is longer than this does not push all columns aside.
_WIDTH = 60


@dataclass(frozen=True, slots=True)
class _Row:
    """Tests that ended alike, cell by cell."""

    ids: tuple[str, ...]
    tests: tuple[TestResult | None, ...]

    @property
    def good(self) -> bool:
        return all(test is None or test.status.good for test in self.tests)

    @property
    def label(self) -> str:
        if len(self.ids) == 1:
            return plain(self.ids[0])
        fixtures = {_fixture(id_) for id_ in self.ids}
        stem = fixtures.pop() if len(fixtures) == 1 else self.ids[0].partition(":")[0] + ":"
        return f"{plain(stem)}* ({len(self.ids)} tests)"


def cell_words(cell: CellResult) -> tuple[str, str]:
    """Return what came of a cell in a few words, and their style."""
    if cell.result is None:
        return f"ERROR: {plain(cell.error or 'not run')}", _ERROR
    style = ("green", "bold red", _ERROR)[cell.exit_status]
    as_known = {None: "", True: "as known: ", False: "not as known: "}[cell.as_known]
    stale = "".join(f"; stale reason: {plain(words)}" for words in cell.stale)
    return as_known + count_words(cell.result).plain + stale, style


def print_matrix(
    cells: Sequence[CellResult],
    folder: Path,
    console: Console,
    *,
    seconds: float | None = None,
    verbose: bool = False,
) -> None:
    """Print a matrix run.

    Args:
        cells: in the order of the columns, at least one.
        folder: of the matrix run.
        console: where to; colours only where rich finds a terminal.
        seconds: wall time of all of it; None when nobody knows.
        verbose: all rows and causes.
    """
    # What mainline's driver is known for is no news.
    shown = cells if verbose else [cell for cell in cells if not cell.as_known]
    rows = sorted(_rows(shown), key=lambda row: row.good)
    _print_trouble(rows, shown, shown, console, verbose=verbose)
    _print_cells(cells, console)
    _print(console, _summary(cells, seconds))
    _print(console, Text(f"run: {folder}"))


def print_news(
    cells: Sequence[CellResult],
    base: Sequence[CellResult],
    folder: Path,
    console: Console,
    *,
    verbose: bool = False,
) -> None:
    """Print what is wrong in a matrix run and was not in that of its base.

    Args:
        cells: in the order of the columns, at least one.
        base: the same cells at the base.
        folder: of the matrix run.
        console: where to.
        verbose: all rows and causes.
    """
    news = [news_of(cell, before) for cell, before in zip(cells, base, strict=True)]
    only = {test.id for one in news for test in one.new}
    fresh = [
        replace(cell, result=replace(cell.result, tests=one.new))
        for cell, one in zip(cells, news, strict=True)
        if cell.result is not None
    ]
    rows = [row for row in _rows(cells, only) if not row.good]
    _print_trouble(rows, cells, fresh, console, verbose=verbose)
    width = max(map(len, ("cell", *(cell.name for cell in cells))))
    for cell, one in zip(cells, news, strict=True):
        words, style = one.words
        _print(console, Text(f"{cell.name:<{width}}  ").append(words, style=style))
    _print(console, Text(f"run: {folder}"))


def _print_trouble(
    rows: Sequence[_Row],
    cells: Sequence[CellResult],
    failing: Sequence[CellResult],
    console: Console,
    *,
    verbose: bool,
) -> None:
    """Print rows for these cells, and why tests of those that are failing did."""
    causes = find_causes((cell.name, cell.result) for cell in failing if cell.result is not None)
    kept = len(rows) if verbose else _ROWS
    if rows:
        _print_rows(rows[:kept], cells, console)
    if len(rows) > kept:
        _print(console, Text(f"{len(rows) - kept} more rows: --verbose shows them"))
    kept = len(causes) if verbose else _CAUSES
    for cause in causes[:kept]:
        _print_cause(cause, cells, console)
    if len(causes) > kept:
        _print(console, Text(f"{len(causes) - kept} more causes: --verbose shows them"))


def _print(console: Console, text: Text) -> None:
    # soft_wrap: the terminal may wrap a line, rich must not: in a log it would break it.
    console.print(text, soft_wrap=True, highlight=False)


def _rows(cells: Sequence[CellResult], only: Container[str] | None = None) -> Iterator[_Row]:
    """Yield what differs between cells or did not pass, in the order of the tests."""
    found = [
        {} if cell.result is None else {test.id: test for test in cell.result.tests}
        for cell in cells
    ]
    groups: dict[tuple[object, ...], list[str]] = {}
    for id_ in dict.fromkeys(id_ for tests in found for id_ in tests):
        if only is not None and id_ not in only:
            continue
        tests = [one.get(id_) for one in found]
        if any(test and test.status not in (Status.PASS, Status.XFAIL) for test in tests):
            groups.setdefault(_kin(id_, tests), []).append(id_)
    for ids in groups.values():
        yield _Row(ids=tuple(ids), tests=tuple(one.get(ids[0]) for one in found))


def _kin(id_: str, tests: Sequence[TestResult | None]) -> tuple[object, ...]:
    """Return what tests of one row share: skips of a suite for one reason, failures of a fixture.

    Why something failed is told below the rows.
    """
    statuses = tuple(None if test is None else test.status for test in tests)
    if all(test is None or test.status.good for test in tests):
        return (id_.partition(":")[0], statuses, tuple(_skip(test) for test in tests))
    return (_fixture(id_), statuses)


def _skip(test: TestResult | None) -> str:
    return test.reason if test is not None and test.status is Status.SKIP else ""


def _fixture(id_: str) -> str:
    suite, _, name = id_.partition(":")
    return f"{suite}:{name.partition('.')[0]}."


def _print_rows(rows: Sequence[_Row], cells: Sequence[CellResult], console: Console) -> None:
    labels = [row.label for row in rows]
    width = max(len("test"), *(min(len(label), _WIDTH) for label in labels))
    columns = [max(len(cell.name), *map(len, Status)) for cell in cells]
    names = "  ".join(f"{cell.name:<{column}}" for cell, column in zip(cells, columns, strict=True))
    _print(console, Text(f"{'test':<{width}}  {names}".rstrip(), style="bold"))
    for row, label in zip(rows, labels, strict=True):
        line = Text(f"{label:<{width}}")
        for cell, test, column in zip(cells, row.tests, columns, strict=True):
            word, style = _status(cell, test)
            line.append(f"  {word:<{column}}", style=style)
        line.rstrip()
        _print(console, line)
        for reason, names in _skips(row, cells):
            _print(console, Text(f"    {names}: {plain(reason)}"))


def _status(cell: CellResult, test: TestResult | None) -> tuple[str, str]:
    if cell.result is None:
        return "ERROR", _ERROR
    return ("-", "dim") if test is None else (test.status.upper(), STYLES[test.status])


def _skips(row: _Row, cells: Sequence[CellResult]) -> Iterator[tuple[str, str]]:
    """Yield each reason why tests were skipped, and the cells that gave it."""
    told = [(_skip(test), cell.name) for test, cell in zip(row.tests, cells, strict=True)]
    for reason, group in groupby(sorted(told, key=lambda one: one[0]), key=lambda one: one[0]):
        if reason:
            yield reason, ", ".join(name for _, name in group)


def _print_cause(cause: Cause, cells: Sequence[CellResult], console: Console) -> None:
    """Print what went wrong, where it struck, and where to read on."""
    first = cause.failures[0]
    where = f" ({cause.spot})" if cause.spot is not None else ""
    line = Text(cause.status.upper(), style=STYLES[cause.status])
    line.append(f"  {plain(cause.title)}{where}", style="")
    _print(console, line)
    tests = plain(cause.tests[0])
    if len(cause.tests) > 1:
        tests += f" and {len(cause.tests) - 1} more"
    _print(console, Text(f"    {', '.join(cause.cells)}: {tests}"))
    folder = next(cell.folder for cell in cells if cell.name == first.cell)
    _print(console, Text(f"    log: {log_of(first.test, folder)}"))


def _print_cells(cells: Sequence[CellResult], console: Console) -> None:
    width = max(len("cell"), *(len(cell.name) for cell in cells))
    _print(console, Text(f"{'cell':<{width}}  {'time':>7}", style="bold"))
    for cell in cells:
        words, style = cell_words(cell)
        line = Text(f"{cell.name:<{width}}  {cell.seconds:>5.1f} s  ")
        line.append(words, style=style)
        if cell.result is not None:
            line.append(f"; {plain(cell.result.release or 'no release told')}")
            line.append(f", {cell.result.accelerator}")
        _print(console, line)


def _summary(cells: Sequence[CellResult], seconds: float | None) -> Text:
    words = Text()
    shown = (("passed", "green"), ("failed", "bold red"), ("could not be judged", _ERROR))
    for status, (word, style) in enumerate(shown):
        count = sum(cell.exit_status == status for cell in cells)
        if count or not status:
            words.append(", " if words else "")
            words.append(f"{count} of {len(cells)} cells {word}", style=style if count else "")
    tests = sum(len(cell.result.tests) for cell in cells if cell.result is not None)
    words.append(f"; {tests} verdicts")
    if seconds is not None:
        words.append(f" in {seconds:.1f} s")
    return words
