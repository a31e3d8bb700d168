# SPDX-License-Identifier: GPL-2.0
"""`harness lint`: every tool that finds something is red, none that did not look is green.
With tools and a make of our own; and, where a kernel is cached, with the real ones."""

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import platformdirs
import pytest
from rich.console import Console

from harness.clint import CLinter, with_tools
from harness.errors import HarnessError
from harness.finding import Finding, LintResult, Outcome, parse_messages
from harness.kernel import Kernel
from harness.lint import lint
from harness.lintreport import print_lint
from harness.localkernel import load_local
from harness.matrix import BuildRootSpec, load_matrix
from harness.place import Place
from harness.progress import Progress
from harness.run import Spawner
from harness.runner import kernel_store
from harness.toolchain import Toolchain, choose_toolchain
from tests.kmodlab import RELEASE, WORKS, compiler, fake_kernel

ROOT = Path(__file__).parents[1]
CACHE = platformdirs.user_cache_path("udmabuf-harness")

# As kbuild: the compiler, and when it shall check, what CHECK names.
CHECKING = "$(if $(KBUILD_CHECKSRC),"
RECIPE = f"$(CC) $(flags) -c -o $@ $< {CHECKING}&& echo '  CHECK   $<' && $(CHECK) $(CF) $<)"
CLEAN = "int first(void);\nint first(void) { return 1; }\n"
SPARSE = """\
[ "$1" = --version ] && echo 0.6.4 && exit
[ "$1" = -include ] && grep -q typeof_unqual "$2" || exit
! grep -q -n user "$3" || {
	echo "$3:1:5: warning: incorrect type"
	echo "$3:1:5:    expected void *"
	echo "$3:1:5:    got void __user *"
}
"""
CHECKPATCH = """\
foreach $name (@ARGV) {
	next unless $name =~ /^module/;
	open(my $file, "<", $name);
	while (<$file>) {
		print "$name:$.: ERROR:SPACING: space required\\n" if /if\\(/;
	}
}
exit(0);
"""
CLANG = f'[ "$1" = --version ] && echo "clang version 30.1.0" && exit; {WORKS}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a lint ended, and what it printed."""

    returncode: int
    output: str


@dataclass(slots=True, kw_only=True)
class Lab:
    """A checkout, a kernel tree and tools that all find nothing yet."""

    folder: Path
    tools: Path

    def write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def lint(self, *, strict: bool = False) -> Done:
        console = Console(file=io.StringIO(), width=200)
        try:
            result = lint(self.place, [str(self.folder / "linux")], strict=strict)
        except HarnessError as error:
            return Done(returncode=2, output="\n".join((*error.lines, str(error))))
        print_lint(result, console)
        assert isinstance(console.file, io.StringIO)
        return Done(returncode=result.exit_status, output=console.file.getvalue())

    @property
    def path(self) -> str:
        return f"{self.tools}:{self.folder / 'host'}"

    @property
    def place(self) -> Place:
        # The host's own sparse and clang must not be found where a test removes ours.
        return Place(
            source=self.folder / "checkout",
            cache=self.folder / "cache",
            runs=self.folder / "runs",
            spawner=Spawner(env={"PATH": self.path, "HOME": str(self.folder)}),
            progress=Progress(Console(quiet=True)),
        )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(folder=tmp_path, tools=tmp_path / "tools")
    kernel = fake_kernel(tmp_path / "linux", RELEASE, RECIPE)
    lab.write("linux/Module.symvers", "")
    lab.write("linux/include/config/kernel.release", RELEASE)
    lab.write("linux/arch/x86/boot/bzImage", "")
    assert kernel.build == tmp_path / "linux"
    lab.write("linux/scripts/checkpatch.pl", CHECKPATCH)
    lab.write("linux/scripts/const_structs.checkpatch", "")
    lab.write("linux/scripts/spelling.txt", "")
    lab.write("checkout/module/Kbuild", "obj-m := demo.o\n")
    lab.write("checkout/module/first.c", CLEAN)
    lab.write("checkout/ci/static", "#!/bin/sh\n", mode=0o755)
    shutil.copytree(ROOT / "kconfigs", tmp_path / "checkout/kconfigs")
    compiler(lab.tools, "sparse", SPARSE)
    compiler(lab.tools, "clang-30", CLANG)
    (tmp_path / "host").mkdir()
    for name in ("make", "sh", "cat", "grep", "perl"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "host" / name).symlink_to(found)
    compiler(tmp_path / "host", "gcc", f'PATH={os.environ["PATH"]} exec gcc "$@"')
    return lab


def cells(done: Done) -> dict[str, str]:
    """The table: the first word of a row to its last."""
    rows = [line.split() for line in done.output.splitlines() if line.strip()]
    return {row[0]: row[-1] for row in rows if row[0] in TOOLS}


TOOLS = ("ci/static", "W=1", "sparse", "clang", "checkpatch")


def test_nothing_to_find(lab: Lab) -> None:
    done = lab.lint(strict=True)
    assert done.returncode == 0, done.output
    assert cells(done) == dict.fromkeys(TOOLS, "ok")
    assert "0 findings, 0 skipped" in done.output


@pytest.mark.parametrize(
    ("tool", "line", "place"),
    [
        ("W=1", "static int unused(void) { return 1; }", "1:12: warning: .unused. defined"),
        ("sparse", "/* user */", "1:5: warning: incorrect type; expected void *; got void __user"),
        ("checkpatch", "/* if( */", "1: ERROR:SPACING: space required"),
    ],
)
def test_what_a_tool_finds_is_red(lab: Lab, tool: str, line: str, place: str) -> None:
    lab.write("checkout/module/first.c", f"{line}\n{CLEAN}")
    for _ in ("found", "remembered"):
        done = lab.lint()
        assert done.returncode == 1, done.output
        first, *_ = [one for one in done.output.splitlines() if one.startswith("module/")]
        head, _, text = place.partition(": ")
        assert first.startswith(f"module/first.c:{head}: ")
        assert text.split(".")[0] in first
        assert tool in first
        assert cells(done)[tool] == "1"
    # Mended, it is green again.
    lab.write("checkout/module/first.c", CLEAN)
    assert lab.lint().returncode == 0


def test_one_finding_of_two_tools_is_told_once(lab: Lab) -> None:
    lab.write("checkout/module/first.c", f"static int unused(void) {{ return 1; }}\n{CLEAN}")
    done = lab.lint()
    assert cells(done) == {**dict.fromkeys(TOOLS, "ok"), "W=1": "1", "clang": "1"}
    assert done.output.count("module/first.c:1:12") == 1
    assert "1 findings" in done.output


@pytest.mark.parametrize("name", ["sparse", "clang-30"])
def test_a_missing_tool_is_skipped_and_in_ci_an_error(lab: Lab, name: str) -> None:
    (lab.tools / name).unlink()
    tool = name.partition("-")[0]
    done = lab.lint()
    assert done.returncode == 0, done.output
    assert cells(done)[tool] == "skipped"
    assert f"{tool} is not installed" in done.output
    assert lab.lint(strict=True).returncode == 2


def test_sparse_that_kbuild_does_not_run_is_no_pass(lab: Lab) -> None:
    text = (lab.folder / "linux/Makefile").read_text()
    lab.write("linux/Makefile", text.replace(CHECKING, "$(if $(never),"))
    done = lab.lint(strict=True)
    assert cells(done)["sparse"] == "skipped"
    assert "kbuild did not run it" in done.output
    assert done.returncode == 2
    assert lab.lint().returncode == 0


def test_sparse_that_cannot_parse_the_headers_is_no_pass(lab: Lab) -> None:
    header = "/usr/include/linux/x.h:3:1: error: unknown"
    compiler(lab.tools, "sparse", f'[ "$1" = --version ] && echo 0.6.4 || echo "{header}"')
    done = lab.lint()
    assert cells(done)["sparse"] == "skipped"
    assert f"sparse 0.6.4 cannot parse the kernel's headers: {header}" in done.output


def test_clang_that_does_not_know_the_options_is_no_pass(lab: Lab) -> None:
    failing = 'echo "clang: error: unknown argument: -mx" >&2; exit 1'
    compiler(
        lab.tools, "clang-30", f'[ "$1" = --version ] && echo "version 3.1.0" || {{ {failing}; }}'
    )
    done = lab.lint(strict=True)
    assert cells(done)["clang"] == "skipped"
    assert (
        "clang-30 does not compile for this kernel: clang: error: unknown argument" in done.output
    )
    assert done.returncode == 2, "another clang may do"


def test_no_checkpatch_in_a_local_tree(lab: Lab) -> None:
    (lab.folder / "linux/scripts/checkpatch.pl").unlink()
    done = lab.lint(strict=True)
    assert cells(done)["checkpatch"] == "skipped"
    assert "no scripts/checkpatch.pl in" in done.output
    assert done.returncode == 2


def test_checkpatch_that_breaks_is_no_pass(lab: Lab) -> None:
    lab.write("linux/scripts/checkpatch.pl", "die 'broken';\n")
    done = lab.lint()
    assert done.returncode == 2
    assert "broken" in done.output


def test_kernels_that_nobody_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(lab.folder / "linux", lab.folder / "newer", symlinks=True)
    spec = load_matrix(ROOT / "kconfigs/matrix.toml").find("7.3").suites[0].buildroot
    names = tuple(str(lab.folder / name) for name in ("linux", "newer"))
    kernels = {name: replace(load_local(name), buildroot=spec) for name in names}
    store = SimpleNamespace(
        get=kernels.__getitem__,
        listing=lambda: tuple(SimpleNamespace(series=name, kernel=None) for name in names),
    )
    monkeypatch.setattr("harness.lint.kernel_store", lambda place: store)
    roots: list[BuildRootSpec | None] = []

    def choose(kernel: Kernel, **rest: Any) -> Toolchain:
        roots.append(kernel.buildroot)
        return choose_toolchain(kernel, **rest)

    monkeypatch.setattr("harness.lint.choose_toolchain", choose)
    result = lint(lab.place, (), strict=True)
    assert result.exit_status == 0
    # All kernels, but one script for the text; and one build root for every tool.
    for tool in TOOLS[1:]:
        judged = tuple(one.kernel for one in result.outcomes if one.tool == tool)
        assert judged == (names[1:] if tool == "checkpatch" else names)
    assert roots == [with_tools(spec)] * 2
    assert {"sparse", "clang", *spec.packages} == set(with_tools(spec).packages)


def test_a_module_that_does_not_compile(lab: Lab) -> None:
    lab.write("checkout/module/first.c", "nonsense\n")
    done = lab.lint()
    assert done.returncode == 2
    assert f"{lab.folder}/checkout/module/first.c:1:1: error:" in done.output.splitlines()[0]


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("echo harness/x.py:1:2: E501 long; exit 1", 1, "harness/x.py:1:2: E501 long  (ci/static)"),
        ("echo static: mypy is not installed; exit 2", 2, "skipped ci/static: mypy is not"),
        ("echo oops; exit 3", 2, "exit status 3: oops"),
    ],
)
def test_ci_static_is_part_of_it(lab: Lab, script: str, status: int, said: str) -> None:
    lab.write("checkout/ci/static", f"#!/bin/sh\n{script}\n", mode=0o755)
    done = lab.lint(strict=True)
    assert done.returncode == status
    assert said in done.output


@pytest.mark.parametrize(
    ("options", "ci", "status"), [((), "", 1), ((), "true", 2), (("--no-skip",), "", 2)]
)
def test_the_command(lab: Lab, options: tuple[str, ...], ci: str, status: int) -> None:
    (lab.tools / "sparse").unlink()
    lab.write("checkout/module/first.c", f"/* if( */\n{CLEAN}")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness", "--source", str(lab.folder / "checkout")),
            *("--cache", str(lab.folder / "cache"), "lint"),
            *("--kernel", str(lab.folder / "linux"), *options),
        ],
        cwd=ROOT,
        env={"PATH": lab.path, "HOME": str(lab.folder), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "module/first.c:1: ERROR:SPACING" in done.stdout
    assert "skipped sparse on" in done.stdout


def test_messages() -> None:
    text = """\
In file included from /co/module/a.c:1:
/co/module/a.h:2:3: warning: twice
/co/module/a.h:2:3: warning: twice
    2 | code: here
/usr/src/x.h:9: error: theirs
/usr/src/x.h:9:    a detail of theirs
/co/module/a.c:4:5: warning: types
/co/module/a.c:4:5:    expected int
/co/module/a.c:7:5:    of another message
make[1]: Leaving directory '/co'
"""
    ours, foreign = parse_messages(text, Path("/co"))
    assert [f"{one.where} {one.text}" for one in ours] == [
        "module/a.h:2:3 warning: twice",
        "module/a.c:4:5 warning: types; expected int",
    ]
    assert foreign == (Finding(where="/usr/src/x.h:9", text="error: theirs"),)


def test_what_could_not_be_judged_wins_over_findings() -> None:
    found = Outcome(tool="a", kernel="1", findings=(Finding(where="", text="x"),))
    skipped = Outcome(tool="b", kernel="1", skipped="absent")
    for strict, status in ((False, 1), (True, 2)):
        assert LintResult(outcomes=(found, skipped), strict=strict).exit_status == status


DEMO = """\
// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/uaccess.h>

static const int only_w1_sees_this = 1;

static void *only_sparse_sees_this(void __user *from)
{
	return from;
}

static int __init demo_init(void)
{
	/* Only checkpatch sees this. */
	if(!only_sparse_sees_this(NULL))
		return 0;
	return -EINVAL;
}
module_init(demo_init);

MODULE_DESCRIPTION("Each tool has something to find here");
MODULE_LICENSE("GPL");
"""


@pytest.mark.kernel
def test_the_real_tools(tmp_path: Path) -> None:
    default = load_matrix(ROOT / "kconfigs/matrix.toml").default
    (tmp_path / "cache").mkdir()
    for shared in ("kernels", "toolchains", "source", "apt"):
        (CACHE / shared).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / shared).symlink_to(CACHE / shared)
    (tmp_path / "module").mkdir()
    (tmp_path / "module/Kbuild").write_text("obj-m := demo.o\n")
    (tmp_path / "module/demo.c").write_text(DEMO)
    shutil.copytree(ROOT / "kconfigs", tmp_path / "kconfigs")
    place = Place(
        source=tmp_path,
        cache=tmp_path / "cache",
        runs=tmp_path / "runs",
        spawner=Spawner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}),
        progress=Progress(Console(quiet=True)),
    )
    kernel = kernel_store(place).get(default)
    toolchain = choose_toolchain(
        kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
    )
    linter = CLinter(place=place, kernel=kernel, toolchain=toolchain)
    expected = {
        "W=1": ("module/demo.c:5:18", "only_w1_sees_this"),
        "sparse": ("module/demo.c:9:16", "different address spaces"),
        "clang": ("module/demo.c:5:18", "only_w1_sees_this"),
        "checkpatch": ("module/demo.c:15", "ERROR:SPACING"),
    }
    for tool, judge in linter.tools():
        outcome = linter.outcome(tool, judge)
        if outcome.skipped is not None and tool in ("sparse", "clang"):
            assert "is not installed" in outcome.skipped
            continue
        (finding,) = outcome.findings
        where, text = expected[tool]
        assert finding.where == where
        assert text in finding.text
