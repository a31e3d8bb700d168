# SPDX-License-Identifier: GPL-2.0
"""toolchain.py, through module builds: which compiler is taken, and what is said if none works."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.matrix import BuildRootSpec
from harness.run import Spawner
from harness.toolchain import ToolchainError
from tests.kmodlab import WORKS, Lab, compiler, make_lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


@pytest.fixture
def tools(lab: Lab, tmp_path: Path) -> Path:
    """A PATH with no compiler on it, to which tests add some."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "cat"):
        found = lab.spawner.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    lab.spawner = Spawner(env={"PATH": str(folder), "HOME": str(tmp_path)})
    lab.kernel = replace(lab.kernel, compiler="gcc-14")
    return folder


FAILS = "echo \"cc1: error: unrecognized option '-mnew'\" >&2; exit 1"


def test_the_named_compiler_is_taken_if_it_works(lab: Lab, tools: Path) -> None:
    compiler(tools, "gcc", FAILS)
    compiler(tools, "gcc-14", WORKS)
    assert lab.build().compiler.endswith("gcc-14 9")


def test_another_is_taken_if_it_is_proven(lab: Lab, tools: Path) -> None:
    compiler(tools, "gcc-14", FAILS)
    compiler(tools, "gcc", f"{FAILS}; exit 1 #")
    compiler(tools, "gcc-11", WORKS)
    assert lab.build().compiler.endswith("gcc-11 9")
    assert "probe.c" in lab.compiled()
    lab.write("other.c", "int other(void) { return 6; }\n")
    lab.build()
    assert "probe.c" not in lab.compiled(), "the verdict is kept"
    compiler(tools, "gcc-14", WORKS)
    assert lab.build().compiler.endswith("gcc-14 9")


def test_none_works_and_there_is_no_root(lab: Lab, tools: Path) -> None:
    compiler(tools, "gcc", FAILS)
    with pytest.raises(ToolchainError, match="gcc: cc1: error: unrecognized option") as caught:
        lab.build()
    assert caught.value.hint == "apt-get install gcc-14"
    (tools / "make").unlink()
    with pytest.raises(ToolchainError, match="make not found"):
        lab.build()


def test_none_works_and_no_root_can_be_made(lab: Lab, tools: Path) -> None:
    spec = BuildRootSpec(suite="x", mirror="http://x", compiler="gcc-14", packages=("make",))
    with pytest.raises(HarnessError, match="mmdebstrap not found") as caught:
        lab.build(kernel=replace(lab.kernel, buildroot=spec))
    assert caught.value.hint == "install gcc-14, or the package mmdebstrap"
