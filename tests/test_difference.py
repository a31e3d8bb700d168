# SPDX-License-Identifier: GPL-2.0
"""difference.py: what a developer who changed one thing wants to see."""

from harness.difference import changed
from harness.results import RunResult, Status, TestResult


def run(*tests: TestResult) -> RunResult:
    return RunResult(kernel="6.12", release=None, accelerator="tcg", vms=(), tests=tests)


def test_what_is_new() -> None:
    before = run(
        TestResult(id="a:same", status=Status.PASS, seconds=1, lines=("0x1",)),
        TestResult(id="a:broken", status=Status.PASS),
        TestResult(id="a:mended", status=Status.FAIL),
        TestResult(id="a:otherwise", status=Status.FAIL, lines=("expected 1, got 2",)),
        TestResult(id="a:skipped", status=Status.SKIP, reason="no memory"),
        TestResult(id="a:gone", status=Status.PASS),
    )
    after = run(
        TestResult(id="a:new", status=Status.PASS),
        TestResult(id="a:same", status=Status.PASS, seconds=2, lines=("0x2",)),
        TestResult(id="a:broken", status=Status.FAIL),
        TestResult(id="a:mended", status=Status.PASS),
        TestResult(id="a:otherwise", status=Status.FAIL, lines=("expected 1, got 3",)),
        TestResult(id="a:skipped", status=Status.SKIP, reason="no kernel"),
    )
    assert changed(before, after) == ("a:new", "a:broken", "a:mended", "a:otherwise", "a:skipped")
    assert changed(after, after) == ()
