# SPDX-License-Identifier: GPL-2.0
import os
import re
import shutil
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.errors import HarnessError
from harness.generate import render
from harness.kselftest import CompileError, SelftestBuild, build
from harness.run import Spawner
from harness.spec import load_specs
from tests.conftest import Golden

ROOT = Path(__file__).parents[1]
INCLUDE = ROOT / "selftests" / "include"
SPAWNER = Spawner(env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
SUITES = [spec.name for spec in load_specs(ROOT / "selftests" / "specs")]


@pytest.fixture(scope="session")
def harness_selftest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harness")
    shutil.copy(ROOT / "tests" / "data" / "harness_selftest.c", folder)
    flags = ["-static", "-Wall", "-Wextra", "-Werror", "-I", str(INCLUDE)]
    SPAWNER.run(["gcc", *flags, "-o", "selftest", "harness_selftest.c"], deadline=60, cwd=folder)
    return folder / "selftest"


def test_every_way_in_which_a_test_can_end(harness_selftest: Path, golden: Golden) -> None:
    completed = SPAWNER.run([harness_selftest], deadline=60, check=False)
    assert completed.status == 1
    output = re.sub(r"^(# DURATION \S+) \d+$", r"\1 N", completed.output, flags=re.M)
    # Only root sees the stack of a process, and it depends on the kernel.
    output = re.sub(r"^# STACK: .*\n", "", output, flags=re.M)
    golden.check("harness_selftest.tap", output)


def test_timeouts_scale(harness_selftest: Path) -> None:
    spawner = SPAWNER.with_env(KSFT_TIMEOUT_SCALE="2")
    output = spawner.run([harness_selftest, "-r", "ends.one.late"], deadline=60, check=False).output
    assert "1..1\n" in output
    assert "not ok 1 ends.one.late # TIMEOUT after 2 s\n" in output


@pytest.mark.parametrize(
    ("arguments", "scale", "complaint"),
    [
        (("-r", "global.nothing"), "1", "no such test"),
        (("-x",), "1", "usage: "),
        (("global.pass",), "1", "usage: "),
        ((), "0", "KSFT_TIMEOUT_SCALE"),
    ],
)
def test_bad_use_is_refused(
    harness_selftest: Path, arguments: tuple[str, ...], scale: str, complaint: str
) -> None:
    spawner = SPAWNER.with_env(KSFT_TIMEOUT_SCALE=scale)
    completed = spawner.run([harness_selftest, *arguments], deadline=60, check=False)
    assert completed.status == 1
    assert complaint in completed.output
    assert "TAP" not in completed.output


SPEC = """
doc = "A suite."
template = "suite.c.j2"
modules = ["helper"]
cmdline = ["swiotlb=force"]
[[fixture]]
name = "call"
doc = "A call."
fields = { value = "int" }
variant.one = { value = 1 }
variant.two = { value = 2 }
[[fixture.test]]
name = "answers"
guards = "a wrong answer"
"""

TEMPLATE = """{{ header() }}
#include "kselftest_harness.h"

FIXTURE(call) { };

{{ variants("call") }}

FIXTURE_SETUP(call) { }
FIXTURE_TEARDOWN(call) { }

{{ test("call", "answers") }}
{
	EXPECT_LT(0, variant->value);
}

TEST_HARNESS_MAIN
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with one small suite."""
    root = tmp_path / "source"
    shutil.copytree(INCLUDE, root / "selftests" / "include")
    for name in ("specs", "templates"):
        (root / "selftests" / name).mkdir()
    (root / "selftests" / "specs" / "suite.toml").write_text(SPEC)
    (root / "selftests" / "templates" / "suite.c.j2").write_text(TEMPLATE)
    return root


def build_in(source: Path, cache: Path, spawner: Spawner = SPAWNER) -> SelftestBuild:
    return build(source / "selftests" / "specs", source=source, cache=cache, spawner=spawner)


def test_a_build_has_programs_and_their_ids(source: Path, tmp_path: Path) -> None:
    result = build_in(source, tmp_path / "cache")
    (suite,) = result.suites
    assert suite.ids == ("call.one.answers", "call.two.answers")
    assert result.full_ids == ("suite:call.one.answers", "suite:call.two.answers")
    assert (suite.modules, suite.cmdline) == (("helper",), ("swiotlb=force",))
    assert "ok 2 call.two.answers" in SPAWNER.run([suite.binary], deadline=60).output
    with suite.binary.open("rb") as file:
        segments = [segment["p_type"] for segment in ELFFile(file).iter_segments()]
    assert "PT_LOAD" in segments
    assert "PT_INTERP" not in segments


def test_the_cache_is_by_content(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = build_in(source, cache)
    again = build_in(source, cache)
    assert (first.cached, again.cached) == (0, 1)
    assert again.suites == first.suites
    elsewhere = build_in(source, tmp_path / "elsewhere")
    assert elsewhere.sha256 == first.sha256
    header = source / "selftests" / "include" / "kselftest_harness.h"
    header.write_text(header.read_text() + "\n")
    changed = build_in(source, cache)
    assert changed.cached == 0
    assert changed.sha256 != first.sha256
    template = source / "selftests" / "templates" / "suite.c.j2"
    template.write_text(TEMPLATE.replace("0,", "-1,"))
    assert build_in(source, cache).cached == 0


def test_a_compile_error_shows_the_compilers_lines(source: Path, tmp_path: Path) -> None:
    template = source / "selftests" / "templates" / "suite.c.j2"
    template.write_text(TEMPLATE.replace("variant->value", "variant->valeu"))
    with pytest.raises(CompileError, match=r"suite does not compile: suite\.c:.*valeu") as info:
        build_in(source, tmp_path / "cache")
    assert "suite.c: In function" in "\n".join(info.value.lines)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_tests_beside_the_specification_are_refused(source: Path, tmp_path: Path) -> None:
    template = source / "selftests" / "templates" / "suite.c.j2"
    template.write_text(TEMPLATE.replace("TEST_HARNESS", "TEST(stray) { }\nTEST_HARNESS"))
    with pytest.raises(HarnessError, match=r"not define the same tests: global\.stray"):
        build_in(source, tmp_path / "cache")


def test_no_compiler(source: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no C compiler") as info:
        build_in(source, tmp_path / "cache", Spawner(env={"PATH": str(tmp_path)}))
    assert info.value.hint == "ci/install-deps installs what is missing"


@pytest.mark.kernel
@pytest.mark.parametrize("name", [*SUITES, "harness_selftest"])
def test_suites_compile_against_the_kernels_harness(
    name: str, kernel_source: Path, tmp_path: Path
) -> None:
    """As in the kernel's tree: its kselftest_harness.h, its flags, no warning."""
    kernel_headers = kernel_source / "tools/testing/selftests"
    if name == "harness_selftest":
        text = (ROOT / "tests" / "data" / "harness_selftest.c").read_text()
    else:
        (spec,) = [s for s in load_specs(ROOT / "selftests" / "specs") if s.name == name]
        text = render(spec, ROOT / "selftests" / "templates")
    (tmp_path / f"{name}.c").write_text(text)
    include = [
        *("-I", str(kernel_headers)),
        *("-I", str(INCLUDE)),
        *("-I", str(ROOT / "selftests" / "modules")),
        *("-isystem", str(ROOT / "module" / "include" / "uapi")),
    ]
    argv = ["gcc", "-Wall", "-Werror", "-O2", *include, f"{name}.c", "-o", name, "-lpthread"]
    SPAWNER.run(argv, deadline=60, cwd=tmp_path)
    depends = SPAWNER.run(["gcc", "-M", *include, f"{name}.c"], deadline=60, cwd=tmp_path).output
    assert str(kernel_headers / "kselftest_harness.h") in depends
    assert str(INCLUDE / "kselftest_harness.h") not in depends
