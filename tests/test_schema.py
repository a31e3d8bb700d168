# SPDX-License-Identifier: GPL-2.0
"""The documents that the harness writes are those that their published schemas describe."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from referencing import Registry, Resource

from harness.cell import CellResult
from harness.merged import save_merged
from harness.results import SCHEMA, RunResult
from tests.test_cell import cell
from tests.test_results import RUNS

DATA = Path(__file__).parents[1] / "harness/data"


def load(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((DATA / name).read_text())
    return schema


RUN, MATRIX = load("results.schema.json"), load("matrix-results.schema.json")
REGISTRY: Registry[Any] = Registry().with_resources(
    [("results.schema.json", Resource.from_contents(RUN))]
)


def check(document: object, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(document)


@pytest.mark.parametrize("schema", [RUN, MATRIX])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@given(RUNS)
def test_every_run_fits(run: RunResult) -> None:
    assert RUN["properties"]["schema"] == {"const": SCHEMA}
    document = json.loads(run.to_json())
    check(document, RUN)


def without(document: Any, key: str) -> Any:
    return {name: value for name, value in document.items() if name != key}


@pytest.mark.parametrize("key", RUN["required"])
def test_every_key_is_described(key: str) -> None:
    document = json.loads(RunResult(**EMPTY).to_json())
    check(document, RUN)
    with pytest.raises(jsonschema.ValidationError):
        check(without(document, key), RUN)
    with pytest.raises(jsonschema.ValidationError):
        check({**document, "more": 1}, RUN)


EMPTY: dict[str, Any] = {
    "kernel": "6.12",
    "release": None,
    "accelerator": "tcg",
    "vms": (),
    "tests": (),
}


def matrix(folder: Path, *cells: CellResult) -> Any:
    save_merged(folder, cells, started="2026-08-01T12:00:00+00:00")
    return json.loads((folder / "results.json").read_text())


def test_a_matrix_fits(tmp_path: Path) -> None:
    document = matrix(tmp_path, cell(tmp_path, "7.3", None, error="no kernel 7.3"))
    check(document, MATRIX)
    assert document["exit_status"] == 2
    document["cells"][0]["result"] = json.loads(RunResult(**EMPTY).to_json())
    check(document, MATRIX)
    document["cells"][0]["result"]["accelerator"] = "steam"
    with pytest.raises(jsonschema.ValidationError):
        check(document, MATRIX)
