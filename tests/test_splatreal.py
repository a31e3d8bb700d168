# SPDX-License-Identifier: GPL-2.0
"""Consoles of real kernels: what the canaries provoked (data/splats/real/KERNEL-WORD.log).

Recorded under TCG from Debian's 5.10.0-46, 6.12.117+deb12 and 7.3.4+deb13, and from 6.12.117 with
kconfigs/debug.config, with selftests/canaries/module, from the test's mark on. What becomes of them
is golden; that it is what canaries.toml asks of a run is checked here too.
"""

import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.attribute import attribute
from harness.splat import scan
from harness.splattable import table
from tests.conftest import Golden

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("data") / "splats/real"
LOGS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.log"))}
CANARIES: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "selftests/canaries/canaries.toml").read_text()
)["canary"]


def word(name: str) -> str:
    return name.partition("-")[2]


@pytest.mark.parametrize("name", LOGS)
def test_golden(name: str, golden: Golden) -> None:
    charges = [
        {"test": one.test, "line": one.line, **asdict(one.splat), "text": len(one.splat.text)}
        for one in attribute([LOGS[name]])
    ]
    golden.check(f"splats/real/{name}.json", json.dumps(charges, indent=1) + "\n")


@pytest.mark.parametrize("name", LOGS)
def test_the_canary_is_heard_and_its_test_charged(name: str) -> None:
    charges = attribute([LOGS[name]])
    test = word(name).replace("-", "_")
    expected = [one for one in CANARIES if one["test"] == f"canary.{test}" and "kind" in one]
    first = charges[0].splat
    assert [
        one
        for one in expected
        if one["kind"] == first.kind and re.fullmatch(one["title"], first.title)
    ]
    # Some were recorded by a script that had shorter names.
    names = (f"canary:{word(name)}", f"canary:canary.{test}", f"canaries:canary.{test}")
    assert {one.test for one in charges} <= {*names}


@pytest.mark.parametrize("name", LOGS)
def test_equal_splats_have_equal_fingerprints(name: str) -> None:
    found = scan(LOGS[name])
    assert len({one.fingerprint for one in found}) == len({one.title for one in found})


def test_kernels_agree() -> None:
    marks: dict[tuple[str, str], set[str]] = {}
    for name, log in LOGS.items():
        first = scan(log)[0]
        # KFENCE and KASAN see the same in different ways.
        marks.setdefault((word(name), first.kind), set()).add(first.fingerprint)
    assert {key for key, found in marks.items() if len(found) > 1} == set()


def test_the_table_of_canaries() -> None:
    kinds = {wording.kind for wording in table().wordings}
    kinds |= {refinement.kind for refinement in table().refinements}
    source = (ROOT / "selftests/canaries/canaries.c").read_text()
    provoked = (ROOT / "selftests/canaries/module/canary.c").read_text()
    tests = {f"canary.{one}" for one in re.findall(r"TEST_F\w*\(canary, (\w+)", source)}
    assert {one["test"] for one in CANARIES} == tests
    for asked in re.findall(r'write_file\(DOOR, "([\w-]+)', source):
        assert asked == "nothing" or f'{{ "{asked}", ' in provoked
    for one in CANARIES:
        assert one.get("kind", "warning") in kinds
        assert ("kind" in one) == ("title" in one)
