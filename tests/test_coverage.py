# SPDX-License-Identifier: GPL-2.0
"""What a driver counts of itself, from the guest's script to the report: against real gcc and gcov,
with a program in the driver's place."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from harness.coverage import CoverageError, Tally, load_coverage, make_coverage, sources_of
from harness.gcov import CountersError, read_counts, tracefile, unpack
from harness.guestroot import Load, Plan
from harness.manifest import save_manifest, vm_folder
from harness.run import Spawner
from harness.toolchain import Toolchain
from harness.transcript import parse
from harness.uncovered import UncoveredError, load_reasons
from tests.test_rundir import MANIFEST, VM

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "harness/guest/counters"
DEMO = """\
#include <stdlib.h>
#include "half.h"

static int never(int value)
{
	return value + 1;
}

static int choose(int value)
{
	if (value == 1)
		return half(rand());
	if (value == 2)
		return rand();
	if (value == 99)
		return never(rand());
	return 0;
}

int main(int count, char **words)
{
	return choose(count) == -1;
}
"""
HALF = "static inline int half(int value)\n{\n\treturn value / 2;\n}\n"
REASONS = """\
[[uncovered]]
file = "demo.c"
function = "choose"
lines = ["return never(*);"]
reason = "Nobody has so many words."
"""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A run of a program that counts, as if it were the driver in VMs."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def gcov(self) -> Path:
        return self.folder / "gcov"

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    @property
    def spawner(self) -> Spawner:
        return Spawner(env={"PATH": os.environ["PATH"]})

    def counters(self, *words: str) -> str:
        """What the guest sends after the program has run in it with these words."""
        guest = self.folder / "guest"
        place = guest / "sys/kernel/debug/gcov" / self.objects.relative_to("/")
        place.mkdir(parents=True, exist_ok=True)
        env = {"GCOV_PREFIX": str(place), "GCOV_PREFIX_STRIP": "99"}
        subprocess.run([self.objects / "demo", *words], env=env, check=True)
        (guest / "rmmod").write_text(f"#!/bin/sh\necho $1 >>{guest}/unloaded\n")
        (guest / "rmmod").chmod(0o755)
        env = {"PATH": f"{guest}:{os.environ['PATH']}", "KSFT_ROOT": str(guest)}
        sent = subprocess.run(
            ["sh", SCRIPT, "demo", self.objects, f"@{VM.nonce} gcda"],
            env=env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        shutil.rmtree(place)
        return sent

    def ran(self, *sent: str) -> None:
        """Make a run whose VMs sent this."""
        vms = []
        for number, text in enumerate(sent, 1):
            vm_folder(self.run, number).mkdir(parents=True)
            (vm_folder(self.run, number) / "results.ktap").write_text(text)
            vms.append(VM)
        save_manifest(self.run, replace(MANIFEST, vms=tuple(vms)))

    def coverage(self, reasons: str = "", compiler: str = "gcc") -> Path:
        path = self.folder / "uncovered.toml"
        path.write_text(reasons)
        toolchain = Toolchain(compiler=compiler, version="", root=None)
        loaded = load_reasons(path, sources_of(self.gcov))
        make_coverage(self.run, self.gcov, toolchain, spawner=self.spawner, reasons=loaded)
        return self.run / "coverage"


def compile_demo(objects: Path, gcov: Path) -> None:
    objects.mkdir(exist_ok=True)
    (objects / "demo.c").write_text(DEMO)
    (objects / "half.h").write_text(HALF)
    flags = ("-O2", "-fno-early-inlining", "--coverage", "-I", objects)
    subprocess.run(["gcc", *flags, "-c", objects / "demo.c", "-o", objects / "demo.o"], check=True)
    subprocess.run(["gcc", "--coverage", objects / "demo.o", "-o", objects / "demo"], check=True)
    (gcov / "source").mkdir(parents=True)
    shutil.copy(objects / "demo.gcno", gcov)
    for name in ("demo.c", "half.h"):
        shutil.copy(objects / name, gcov / "source")
    (gcov / "gcov.json").write_text(json.dumps({"schema": 1, "objects": str(objects)}))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(folder=tmp_path)
    made.run.mkdir()
    compile_demo(made.objects, made.gcov)
    return made


def missed(lab: Lab) -> dict[str, str | None]:
    coverage = load_coverage(lab.run)
    assert coverage is not None
    return {line.text: line.reason for line in coverage.missed}


def test_counts_of_all_vms_are_added(lab: Lab) -> None:
    lab.ran(lab.counters(), lab.counters("two", "more"))
    page = (lab.coverage() / "index.html").read_text()
    assert "demo.c" in page and "half.h" in page and "stdlib.h" not in page
    assert missed(lab) == {
        "static int never(int value)": None,
        "return value + 1;": None,
        "return rand();": None,
        "return never(rand());": None,
    }
    coverage = load_coverage(lab.run)
    assert coverage is not None and coverage.notes == ()
    assert coverage.functions == Tally(run=3, total=4)
    assert {line.function for line in coverage.missed} == {"never", "choose", ""}


def test_the_module_is_unloaded_first(lab: Lab) -> None:
    lab.counters()
    assert (lab.folder / "guest/unloaded").read_text() == "demo\n"


def test_what_gcovr_shows_is_what_we_say(lab: Lab) -> None:
    lab.ran(lab.counters("one more"))
    lab.coverage()
    coverage = load_coverage(lab.run)
    assert coverage is not None
    files = dict([parse(lab.counters("one more").encode(), VM.nonce).counters[0]])
    (lab.folder / "demo.gcda").write_bytes(unpack(files["demo.gcda"]))
    shutil.copy(lab.gcov / "demo.gcno", lab.folder)
    toolchain = Toolchain(compiler="gcc", version="", root=None)
    said = toolchain.gcov([lab.folder / "demo.gcda"], visible=lab.folder, spawner=lab.spawner)
    trace = lab.folder / "trace.json"
    trace.write_text(tracefile(read_counts(said.output, PurePosixPath(lab.objects))))
    words = ("--root", lab.gcov / "source", "--add-tracefile", trace, "--json-summary", "-")
    summary = json.loads(
        subprocess.run(
            [sys.executable, "-m", "gcovr", *words], check=True, capture_output=True
        ).stdout
    )
    for name, tally in (
        ("line", coverage.lines),
        ("function", coverage.functions),
        ("branch", coverage.branches),
    ):
        assert summary[f"{name}_covered"], name
        assert Tally(run=summary[f"{name}_covered"], total=summary[f"{name}_total"]) == tally


@pytest.mark.parametrize("bad", ["", "cut short", "damaged", "of another build"])
def test_a_vm_without_counters_is_told(bad: str, lab: Lab, tmp_path: Path) -> None:
    good = lab.counters()
    if bad == "of another build":
        other = Lab(folder=tmp_path / "other")
        other.folder.mkdir()
        compile_demo(other.objects, other.gcov)
        sent = other.counters()
    else:
        sent = {"": "", "cut short": f"{good[:-20]}\n", "damaged": good.replace("H4", "H5")}[bad]
    lab.ran(good, sent)
    lab.coverage()
    coverage = load_coverage(lab.run)
    assert coverage is not None
    (note,) = coverage.notes
    assert note.startswith("vm-2 sent no counters: ") and coverage.lines.run > 0
    assert bad not in ("cut short", "of another build") or note.endswith(bad), note


def test_no_vm_at_all_ran_no_line(lab: Lab) -> None:
    lab.ran("")
    lab.coverage()
    coverage = load_coverage(lab.run)
    assert coverage is not None and coverage.lines.run == 0 < coverage.lines.total
    words = list(coverage.words(2))
    assert words[0].startswith("coverage: lines 0.0 % (0 of ")
    assert words[-1] == f"  ... {coverage.lines.total - 2} more lines"


def test_a_line_can_have_a_reason(lab: Lab) -> None:
    lab.ran(lab.counters())
    lab.coverage(REASONS)
    assert missed(lab)["return never(rand());"] == "Nobody has so many words."
    assert missed(lab)["return rand();"] is None
    coverage = load_coverage(lab.run)
    assert coverage is not None and coverage.stale == ()


@pytest.mark.parametrize("sometimes", [False, True])
def test_a_reason_for_what_was_run_is_stale(sometimes: bool, lab: Lab) -> None:
    lab.ran(lab.counters())
    more = "sometimes = true\n" if sometimes else ""
    lab.coverage(REASONS.replace('"return never(*);"', '"return half*"') + more)
    coverage = load_coverage(lab.run)
    assert coverage is not None
    assert coverage.stale == (() if sometimes else ("demo.c, choose: 'return half*' was run",))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("demo.c", "other.c", r"uncovered.toml:2: .*one of demo\.c, half\.h"),
        ('"choose"', '"chose"', "a function of demo.c"),
        ("never", "ever", "lines of choose: 'return ever"),
        ("reason", "because", "reason: expected a string"),
    ],
)
def test_reasons_for_what_is_not_there_are_errors(old: str, new: str, says: str, lab: Lab) -> None:
    lab.ran("")
    with pytest.raises(UncoveredError, match=says):
        lab.coverage(REASONS.replace(old, new))


def test_the_real_reasons_are_about_the_real_driver() -> None:
    module = ROOT / "module"
    sources = {path.name: path.read_text() for path in module.glob("*.[ch]")}
    reasons = load_reasons(ROOT / "selftests/uncovered.toml", sources)
    assert len({(one.function, one.lines) for one in reasons}) == len(reasons)


def test_no_gcov_is_an_error(lab: Lab) -> None:
    lab.ran("")
    with pytest.raises(CoverageError, match="gcc-99's gcov cannot read"):
        lab.coverage(compiler="gcc-99")


def test_names_relative_to_the_objects() -> None:
    """As since Linux 6.13; a file of the kernel's is not counted."""
    line = {"line_number": 3, "count": 1, "branches": [{"count": 1}, {"count": 0}]}
    files = [
        {"file": "main.c", "lines": [line, line], "functions": []},
        {"file": "/usr/src/linux/mm.h", "lines": [line], "functions": []},
    ]
    document = json.dumps({"current_working_directory": "/work/src", "files": files})
    counts = read_counts(f"gcov: a warning\n{document}{document}\n", PurePosixPath("/work/src"))
    assert list(counts) == ["main.c"]
    assert counts["main.c"].lines[3].count == 4
    assert counts["main.c"].lines[3].branches == (2, 0, 2, 0)


@pytest.mark.parametrize("text", ['{"files": []}', '{"files"', "{}"])
def test_what_is_not_gcov_s(text: str) -> None:
    with pytest.raises(CountersError, match="not gcov's JSON"):
        read_counts(text, PurePosixPath("/"))


def test_the_plan_says_where_counters_are() -> None:
    loads = (Load(ko=Path("a.ko"), objects=Path("/work/src")), Load(ko=Path("b.ko")))
    assert Plan(nonce=VM.nonce, loads=loads).text() == (
        f"nonce {VM.nonce}\nmodule a.ko\nmodule b.ko\ngcov a /work/src\n"
    )
