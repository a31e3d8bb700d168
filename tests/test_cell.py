# SPDX-License-Identifier: GPL-2.0
"""cell.py: a matrix's cells survive the round trip, and no cell that says nothing is a gap."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cell import CellResult, load_cells, save_cells
from harness.jsonfile import DocumentError
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit

STARTED = "2026-08-01T12:00:00+00:00"


def run(*statuses: Status, kernel: str = "6.12") -> RunResult:
    tests = tuple(TestResult(id=f"s:f.t{at}", status=one) for at, one in enumerate(statuses))
    vms = (VmEnd(exit=VmExit.CLEAN, seconds=4.5), VmEnd(exit=VmExit.CLEAN, seconds=2.0))
    return RunResult(kernel=kernel, release="6.12.1", accelerator="tcg", vms=vms, tests=tests)


def cell(
    folder: Path, name: str, result: RunResult | None, *, error: str | None = None
) -> CellResult:
    own = folder / "cells" / name
    if result is not None:
        own.mkdir(parents=True)
        (own / "results.json").write_text(result.to_json())
    return CellResult(name=name, folder=own, result=result, error=error, seconds=12.5, inputs="abc")


def test_the_round_trip(tmp_path: Path) -> None:
    cells = (
        cell(tmp_path, "6.12", run(Status.PASS)),
        cell(tmp_path, "7.3", None, error="no kernel 7.3"),
        cell(tmp_path, "6.1", run(Status.FAIL)),
    )
    save_cells(tmp_path, cells, started=STARTED)
    assert load_cells(tmp_path) == cells
    assert [one.exit_status for one in cells] == [0, 2, 1]


@pytest.mark.parametrize(
    ("statuses", "as_known", "expected"),
    [
        ([Status.FAIL], None, 1),
        ([Status.FAIL], True, 0),
        ([Status.FAIL], False, 1),
        ([Status.PASS], False, 1),
        ([Status.FAIL, Status.CRASHED], True, 2),
    ],
)
def test_mainlines_driver_need_not_pass_but_do_what_is_known(
    tmp_path: Path, statuses: list[Status], as_known: bool | None, expected: int
) -> None:
    made = replace(cell(tmp_path, "builtin", run(*statuses)), as_known=as_known)
    save_cells(tmp_path, [made], started=STARTED)
    assert load_cells(tmp_path) == (made,)
    assert made.exit_status == expected


def test_a_run_is_a_matrix_of_one(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(run(Status.FAIL).to_json())
    (one,) = load_cells(tmp_path)
    assert one == CellResult(
        name="6.12", folder=tmp_path, result=run(Status.FAIL), error=None, seconds=6.5
    )


def test_a_cell_whose_verdicts_are_gone_is_an_error(tmp_path: Path) -> None:
    made = cell(tmp_path, "6.12", run(Status.PASS))
    save_cells(tmp_path, [made], started=STARTED)
    path = made.folder / "results.json"
    path.unlink()
    (one,) = load_cells(tmp_path)
    assert one == replace(made, result=None, error=f"{path}: no such file")
    assert one.exit_status == 2


@pytest.mark.parametrize("folder", ["..", "/etc", "cells/../.."])
def test_a_cell_lies_in_its_matrix(tmp_path: Path, folder: str) -> None:
    save_cells(tmp_path, [cell(tmp_path, "6.12", run(Status.PASS))], started=STARTED)
    index = tmp_path / "matrix.json"
    document = json.loads(index.read_text())
    document["cells"][0]["folder"] = folder
    index.write_text(json.dumps(document))
    with pytest.raises(DocumentError, match=r"matrix\.json: cells\[0\]\.folder: expected a folder"):
        load_cells(tmp_path)


def test_neither_matrix_nor_run(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"results\.json: no such file"):
        load_cells(tmp_path)
