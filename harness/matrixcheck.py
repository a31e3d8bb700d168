# SPDX-License-Identifier: GPL-2.0
"""`harness matrix`: run cells, print and report them, and keep what there is to compare with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from harness import baseline, jsonfile, merged, runner
from harness.cell import is_matrix, load_cells, load_matrix_run, save_cells
from harness.errors import HarnessError
from harness.matrix import Cell, Matrix
from harness.matrixrun import BASE, MatrixOptions, known_cells, run_matrix, with_known
from harness.matrixtable import print_matrix, print_news
from harness.place import Place
from harness.reporting import write_reports
from harness.results import RunResult
from harness.rundir import new_run, rejudge
from harness.selection import NoTestError, narrow
from harness.spec import load_specs


def whole_matrix(place: Place) -> Matrix:
    """Return the checkout's matrix, with each cell's tests held against those that there are.

    Raises:
        MatrixError, SpecError: one of the files is not what it must be.
    """
    specs = load_specs(place.source / "selftests/specs")
    return runner.matrix_of(place, tests=[id_ for spec in specs for id_ in spec.full_ids])


def check_matrix(
    place: Place,
    cells: Sequence[Cell],
    options: MatrixOptions,
    *,
    changed_only: bool = False,
    verbose: bool = False,
) -> int:
    """Run cells and print them.

    Args:
        place: where.
        cells: at least one.
        options: how.
        changed_only: what a cell said last still stands where all that it depends on is the same.
        verbose: print all rows.

    Returns:
        0 all passed, 1 a test failed in a cell, 2 not every cell could be judged.
    """
    start = monotonic()
    known = tuple(known_cells(place.runs)) if changed_only else ()
    folder = new_run(place.runs, "matrix")
    with _told_when_interrupted(place, folder, verbose=verbose):
        results = run_matrix(place, cells, options, folder=folder, before=known)
    console = place.progress.console
    print_matrix(results, folder, console, seconds=monotonic() - start, verbose=verbose)
    write_reports(place, folder)
    return merged.exit_status(results)


@contextmanager
def _told_when_interrupted(place: Place, folder: Path, *, verbose: bool) -> Iterator[None]:
    """Print and report what Ctrl-C leaves of a matrix run: the cells that ended have verdicts."""
    try:
        yield
    except KeyboardInterrupt:
        # Trouble with that must not hide what was asked for.
        with suppress(HarnessError):
            if is_matrix(folder):
                print_matrix(load_cells(folder), folder, place.progress.console, verbose=verbose)
                write_reports(place, folder)
        raise


def compare_matrix(
    place: Place,
    cells: Sequence[Cell],
    options: MatrixOptions,
    revision: str,
    *,
    changed_only: bool = False,
    verbose: bool = False,
) -> int:
    """Run cells at a revision and as they are now, and print only what is new.

    What is known of the revision from an earlier comparison is not run again.

    Args:
        place: where.
        cells: at least one.
        options: how.
        revision: of driver and tests, as git takes it.
        changed_only: the same for the cells as they are now.
        verbose: print all rows.

    Returns:
        0 nothing new, 1 new failures, splats or dirt, 2 something could not be judged.
    """
    known = tuple(known_cells(place.runs))
    folder = new_run(place.runs, "matrix")
    with baseline.checked_out(place, revision) as old:
        place.progress.note(f"{revision}:")
        there = _with_tests(old, cells, options)
        ran = run_matrix(old, there, options, folder=folder / BASE, before=known) if there else ()
    found = {cell.name: cell for cell in ran}
    before = [
        found.get(cell.name) or baseline.without_tests(cell.name, folder / BASE) for cell in cells
    ]
    place.progress.note("now:")
    still = known if changed_only else ()
    with _told_when_interrupted(place, folder, verbose=verbose):
        now = run_matrix(place, cells, options, folder=folder, before=still)
    print_news(now, before, folder, place.progress.console, verbose=verbose)
    write_reports(place, folder)
    return baseline.exit_status(now, before)


def _with_tests(place: Place, cells: Sequence[Cell], options: MatrixOptions) -> list[Cell]:
    """Return the cells that have a test to run: a revision may not have those asked for yet."""
    specs = load_specs(place.source / "selftests/specs")
    found = []
    for cell in cells:
        with suppress(NoTestError):
            narrow(specs, cell.tests, options.patterns)
            found.append(cell)
    return found


def parse_matrix(place: Place, folder: Path, *, verbose: bool = False) -> int:
    """Judge a matrix run again from its files, without a VM; prints and returns as it did.

    A cell that could not be run stays an error.
    """

    def judged(own: Path) -> RunResult:
        return rejudge(own, runner.decoder(place, own))

    started, found = load_matrix_run(folder, judged)
    cells = tuple(with_known(place, cell, cell.as_known is not None) for cell in found)
    save_cells(folder, cells, started=started)
    merged.save_merged(folder, cells, started=started)
    print_matrix(cells, folder, place.progress.console, verbose=verbose)
    write_reports(place, folder)
    return merged.exit_status(cells)


def list_cells(cells: Sequence[Cell]) -> str:
    """Return cells as GitHub's strategy.matrix takes them: JSON on one line."""
    entries = [
        {
            "cell": cell.name,
            "kernel": cell.kernel,
            "driver": "builtin" if cell.builtin else "ours",
            "group": cell.group,
        }
        for cell in cells
    ]
    return jsonfile.line({"include": entries})
