# SPDX-License-Identifier: GPL-2.0
"""A matrix run as one junit.xml and one results.json, from what its cells left.

harness/data/matrix-results.schema.json describes results.json, results.schema.json the documents of
the cells in it.
"""

from collections.abc import Sequence
from pathlib import Path

from harness import jsonfile, junit
from harness.cell import CellResult
from harness.manifest import load_manifest
from harness.rundir import JUNIT, VERDICTS, environment

# Raise it when the meaning or the form of a matrix's results.json changes.
SCHEMA = 1


def exit_status(cells: Sequence[CellResult]) -> int:
    """0 all passed, 1 a test failed in a cell, 2 not every cell could be judged; no cells are 2."""
    return max((cell.exit_status for cell in cells), default=2)


def save_merged(folder: Path, cells: Sequence[CellResult], *, started: str) -> None:
    """Write results.json and junit.xml of a matrix run.

    Args:
        folder: of the matrix run.
        cells: in the order to report them in.
        started: its start, ISO 8601 with zone.

    Raises:
        HarnessError: a cell's manifest cannot be read, or the files cannot be written.
    """
    document: dict[str, object] = {
        "schema": SCHEMA,
        "kind": "matrix",
        "started": started,
        "exit_status": exit_status(cells),
        "cells": [_document(folder, cell) for cell in cells],
    }
    jsonfile.write_text(folder / VERDICTS, jsonfile.dump(document))
    xml = junit.to_xml([_suite(cell, started) for cell in cells])
    jsonfile.write_text(folder / JUNIT, xml)


def _document(folder: Path, cell: CellResult) -> dict[str, object]:
    return {
        "name": cell.name,
        "folder": str(cell.folder.relative_to(folder)),
        "seconds": round(cell.seconds, 3),
        "exit_status": cell.exit_status,
        "error": cell.error,
        "result": None if cell.result is None else cell.result.document(),
    }


def _suite(cell: CellResult, started: str) -> object:
    if cell.result is None:
        return junit.error_suite(cell.name, cell.error or "not run", started=started)
    manifest = load_manifest(cell.folder)
    return junit.run_suite(
        cell.result,
        environment=environment(manifest),
        started=manifest.started,
        name=cell.name,
        as_known=bool(cell.as_known),
    )
