# SPDX-License-Identifier: GPL-2.0
"""What became of each cell of a matrix: matrix.json, and a run folder for each cell.

matrix.json         which cells, where, and why one could not be run
cells/NAME/         an ordinary run folder (rundir.py)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import jsonfile
from harness.coverage import stale_reasons
from harness.errors import HarnessError
from harness.results import RunResult
from harness.rundir import VERDICTS

INDEX = "matrix.json"
# Raise it when the meaning or the form of matrix.json changes.
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One cell of a matrix, after its run.

    Attributes:
        name: of the cell.
        folder: its run folder; perhaps missing where it could not be run.
        result: the verdicts; None when there are none.
        error: one line, why it could not be run or judged; None when it was.
        seconds: wall time of kernel, builds, VMs and judging, without waiting for other cells.
        inputs: hash of all that the verdicts depend on; "" when it is not known.
        as_known: of mainline's driver: whether it did what is known of it (known.py), no more and
            no less; None of ours.
        stale: reasons that are given for what the tests ran, of a driver that counts (coverage.py).
    """

    name: str
    folder: Path
    result: RunResult | None
    error: str | None
    seconds: float
    inputs: str = ""
    as_known: bool | None = None
    stale: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """As of a run; a cell that could not be run is 2, not a gap, and so is a stale reason.

        Mainline's driver need not pass, but do what is known of it.
        """
        status = 2 if self.result is None or self.stale else self.result.exit_status
        if self.as_known is None or status == 2:
            return status
        return 0 if self.as_known else 1

    @property
    def test_seconds(self) -> dict[str, float]:
        """What tests took, by id; without those that did not tell."""
        tests = () if self.result is None else self.result.tests
        return {test.id: test.seconds for test in tests if test.seconds is not None}


def save_cells(folder: Path, cells: Sequence[CellResult], *, started: str) -> None:
    """Write matrix.json.

    Args:
        folder: of the matrix run; holds the cells' folders.
        cells: in the order to report them in.
        started: start of the matrix run, ISO 8601 with zone.

    Raises:
        HarnessError: it cannot be written (disk full).
    """
    document: dict[str, object] = {
        "schema": SCHEMA,
        "started": started,
        "cells": [
            {
                "name": cell.name,
                "folder": str(cell.folder.relative_to(folder)),
                "error": cell.error,
                "seconds": round(cell.seconds, 3),
                "inputs": cell.inputs,
                "as_known": cell.as_known,
            }
            for cell in cells
        ],
    }
    jsonfile.write_text(folder / INDEX, jsonfile.dump(document))


def is_matrix(folder: Path) -> bool:
    """Tell a matrix run's folder from that of an ordinary run."""
    return (folder / INDEX).exists()


def load_cells(folder: Path) -> tuple[CellResult, ...]:
    """Read the cells of a matrix run, or an ordinary run as a matrix of one.

    Raises:
        DocumentError: `folder` is neither, or its matrix.json is not whole; names file and key.
    """
    if is_matrix(folder):
        return load_matrix_run(folder)[1]
    result = _result(folder)
    cell = CellResult(
        name=result.kernel,
        folder=folder,
        result=result,
        error=None,
        seconds=sum(vm.seconds for vm in result.vms),
        stale=stale_reasons(folder),
    )
    return (cell,)


def load_matrix_run(
    folder: Path, verdicts: Callable[[Path], RunResult] | None = None
) -> tuple[str, tuple[CellResult, ...]]:
    """Read matrix.json; returns the start, ISO 8601, and the cells.

    Args:
        folder: of the matrix run.
        verdicts: gives those of a run folder; None reads its results.json. A cell whose verdicts
            cannot be had is one that could not be judged.

    Raises:
        DocumentError: it is not whole; names file and key.
    """
    index = folder / INDEX
    fields = jsonfile.Fields.parse(jsonfile.read_text(index), source=str(index), schema=SCHEMA)
    started = fields.text("started")
    cells = tuple(_cell(folder, entry, verdicts or _result) for entry in fields.objects("cells"))
    fields.end()
    return started, cells


def _cell(
    folder: Path, fields: jsonfile.Fields, verdicts: Callable[[Path], RunResult]
) -> CellResult:
    name, error = fields.text("name"), fields.text_or_none("error")
    own = folder / fields.text("folder")
    if not own.resolve().is_relative_to(folder.resolve()):
        raise fields.error("folder", "expected a folder below this one")
    result = None
    stale: tuple[str, ...] = ()
    if error is None:
        try:
            result, stale = verdicts(own), stale_reasons(own)
        except HarnessError as unreadable:
            error = str(unreadable)
    cell = CellResult(
        name=name,
        folder=own,
        result=result,
        error=error,
        seconds=fields.seconds("seconds"),
        inputs=fields.text("inputs"),
        as_known=fields.flag_or_none("as_known"),
        stale=stale,
    )
    fields.end()
    return cell


def _result(folder: Path) -> RunResult:
    path = folder / VERDICTS
    return RunResult.from_json(jsonfile.read_text(path), source=str(path))
