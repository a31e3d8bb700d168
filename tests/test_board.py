# SPDX-License-Identifier: GPL-2.0
"""board.py: rows on a terminal, lines in a log, and nothing lost in either."""

import io
import time

import pytest
from rich.console import Console

from harness import progress
from harness.board import Board
from harness.progress import Progress


def on(*, terminal: bool, kind: str = "xterm") -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    environ = {"TERM": kind}
    return Console(
        file=file, force_terminal=terminal, width=60, color_system=None, _environ=environ
    ), file


@pytest.mark.parametrize(("terminal", "kind"), [(False, "xterm"), (True, "dumb")])
def test_a_log_has_a_line_for_each_end_and_note(terminal: bool, kind: str) -> None:
    console, file = on(terminal=terminal, kind=kind)
    board = Board(console, ["6.12", "7.3"])
    with board.shown():
        row = board.begin("6.12")
        with row.phase("module") as phase:
            phase.done("built")
        row.note("waiting [for] another run")
        board.end("6.12", "2 passed", seconds=3.21, style="green")
    assert file.getvalue() == (
        "6.12:      waiting [for] another run\n6.12:      2 passed (3.2 s)\n"
    )


def test_a_log_tells_seldom_what_a_row_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 19.0, 21.0, 21.0, 22.0, 42.0, 42.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    said: list[str] = []
    show = progress.seldom(said.append, interval=20)
    for text in "abcde":
        show(text)
    assert said == ["c", "e"]


def test_a_terminal_has_a_row_for_each() -> None:
    console, file = on(terminal=True)
    board = Board(console, ["6.12", "7.2", "7.3"])
    row = board.begin("6.12")
    with row.phase("vm") as phase:
        phase.update("12/[776] mmap " + "x" * 80)
        board.begin("7.2")
        board.end("7.2", "ERROR: no disk", seconds=1.0, style="red")
        console.print(board._draw())
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("6.12")
    assert "vm: 12/[776] mmap" in lines[0]
    assert len(lines[0]) <= 60
    assert lines[1].split() == ["7.2", "1.0", "s", "ERROR:", "no", "disk"]
    assert lines[2].split() == ["7.3", "waiting"]


def test_what_is_printed_meanwhile_stays_and_the_rows_go() -> None:
    console, file = on(terminal=True)
    board = Board(console, ["6.12"])
    with board.shown():
        board.begin("6.12").note("a warning")
        board.end("6.12", "2 passed", seconds=1.0, style="green")
    shown = file.getvalue()
    assert "6.12:      a warning" in shown
    # ESC [ 2 K: the row's line is erased at the end.
    assert shown.rstrip("\n").endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in shown


def test_phases_of_a_row_are_timed_like_others() -> None:
    console, _ = on(terminal=False)
    row: Progress = Board(console, ["6.12"]).begin("6.12")
    with row.phase("kernel") as phase:
        phase.done("cached")
    (took,) = row.times
    assert (took.title, took.outcome) == ("kernel", "cached")
