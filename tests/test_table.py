# SPDX-License-Identifier: GPL-2.0
"""table.py: what a developer sees of a run, on a terminal and in a log."""

import io
from pathlib import Path
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.results import RunResult, Status, TestResult, VmEnd, VmExit
from harness.table import print_run
from tests.conftest import Golden

FOLDER = Path("build/runs/20260801T120000Z-6.12")
CLEAN = VmEnd(exit=VmExit.CLEAN, seconds=4.25)
DEATH = "the VM died in sg:vgem.map (panic: Fatal exception)"


def run(
    *tests: TestResult, vm: VmEnd = CLEAN, problems: tuple[str, ...] = (), release: str = "6.12.117"
) -> RunResult:
    return RunResult(
        kernel="6.12",
        release=release,
        accelerator="tcg",
        vms=(CLEAN, vm),
        tests=tests,
        problems=problems,
    )


def printed(result: RunResult, *, verbose: bool = False, terminal: bool = False) -> str:
    file = io.StringIO()
    colours: Literal["standard", "auto"] = "standard" if terminal else "auto"
    console = Console(file=file, force_terminal=terminal, width=60, color_system=colours)
    print_run(result, FOLDER, console, verbose=verbose)
    return file.getvalue()


def passed(fixture: str, count: int) -> list[TestResult]:
    return [
        TestResult(id=f"{fixture}.t{at}", status=Status.PASS, seconds=0.25) for at in range(count)
    ]


LONG_ID = f"mmap:content.{'two_pages_' * 12}swapped"
LINES = tuple(f"mmap.c:{at}:swapped:Expected 0x{'0' * 80} == {at}" for at in range(12))
MIXED = run(
    *passed("mmap:content", 3),
    TestResult(id=LONG_ID, status=Status.FAIL, seconds=0.5, lines=LINES, line=123, vm=1),
    *passed("mmap:content", 2),
    *passed("mmap:offset", 1),
    TestResult(id="mmap:huge.a", status=Status.SKIP, reason="no huge pages"),
    TestResult(id="mmap:huge.b", status=Status.SKIP, reason="no huge pages"),
    TestResult(id="mmap:huge.c", status=Status.SKIP, reason="no memory"),
    TestResult(id="sg:vgem.map", status=Status.CRASHED, reason=DEATH, lines=("mapping",), vm=2),
    TestResult(id="sg:vgem.unmap", status=Status.CRASHED, reason=DEATH, vm=2),
    TestResult(id="sg:prime.map", status=Status.CRASHED, reason=DEATH, vm=2),
    TestResult(id="vm-2:end", status=Status.CRASHED, reason=DEATH, vm=2),
    vm=VmEnd(exit=VmExit.PANIC, detail="Fatal exception", seconds=3.125),
    problems=tuple(f"vm-1/results.ktap:{at}: second plan" for at in range(20)),
)


def test_golden(golden: Golden) -> None:
    golden.check("table/mixed.txt", printed(MIXED))
    golden.check("table/mixed-verbose.txt", printed(MIXED, verbose=True))
    golden.check("table/passed.txt", printed(run(*passed("mmap:content", 300))))
    golden.check("table/no-tests.txt", printed(run(release="6.12")))


def test_a_log_has_whole_lines_and_no_colours() -> None:
    text = printed(MIXED)
    assert "\x1b" not in text
    assert f"\n{LONG_ID}  FAIL " in text
    assert all(f"\n    {line}\n" in text for line in LINES[:8])
    assert LINES[8] not in text
    assert LINES[8] in printed(MIXED, verbose=True)
    assert f"\n    log: {FOLDER}/vm-1/results.ktap:123\n" in text


def test_a_terminal_has_colours() -> None:
    assert "\x1b[1;31mFAIL" in printed(MIXED, terminal=True)


def test_hundreds_of_passes_are_one_row() -> None:
    tests = passed("mmap:content", 300)
    assert len(printed(run(*tests)).splitlines()) == 4
    assert len(printed(run(*tests), verbose=True).splitlines()) == 303


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from("ab")), min_size=1))
def test_every_failure_that_has_something_to_say_has_its_row(
    entries: list[tuple[Status, str]],
) -> None:
    tests = [
        TestResult(id=f"s:{fixture}.t{at}", status=status, line=at)
        for at, (status, fixture) in enumerate(entries)
    ]
    text = printed(run(*tests))
    for test in tests:
        if not test.status.good:
            assert f"\n{test.id}  " in text
    for status in {status for status, _ in entries}:
        assert f"  {status.upper()}" in text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_terminal_is_safe_from_the_guest(text: str) -> None:
    test = TestResult(id=f"a:{text}", status=Status.FAIL, reason=text, lines=(text,))
    shown = printed(run(test, problems=(text,), release=text))
    assert not [char for char in shown if ord(char) < 32 and char != "\n"]
    assert "\x7f" not in shown
    assert len(shown.splitlines()) >= 6
    assert shown.count("\n") <= 9


def test_markup_of_the_guest_is_text() -> None:
    test = TestResult(id="a:b.c", status=Status.FAIL, lines=("[bold]array[0] :smile:",))
    assert "    [bold]array[0] :smile:\n" in printed(run(test))


def test_the_same_reason_is_told_once() -> None:
    lines = ("vm-1/console.log:7: WARNING in f", "a frame")
    tests = [
        TestResult(id=f"a:b.{name}", status=Status.FAIL, reason="WARNING in f", lines=lines, vm=1)
        for name in ("one", "two")
    ]
    text = printed(run(*tests))
    assert text.count("a frame") == 1
    assert "    as a:b.one: WARNING in f\n" in text
    assert printed(run(*tests), verbose=True).count("a frame") == 2
