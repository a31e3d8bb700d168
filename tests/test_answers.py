# SPDX-License-Identifier: GPL-2.0
"""answers.py on what real kernels said (tests/data/answers, by tests/test_interrogate.py)."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import answers
from harness.answers import ASKED, Answers, unasked

DATA = Path(__file__).parent / "data/answers"
PRELUDE = b"[    1.000000] booted\nthree\nlines\n"


def read(name: str) -> Answers:
    found = answers.read([PRELUDE + (DATA / f"{name}.log").read_bytes()])
    assert found is not None
    assert found.line == 4
    return found


@pytest.mark.parametrize(
    ("name", "words", "idle"),
    [
        ("blocked", "task program:166 is blocked in hang_stuck", 2),
        # The answer to the key interrupted a soft interrupt, which had interrupted the task.
        ("spin", "CPU 0 (program) is in hang_spin", 1),
        ("deaf", "CPU 1 (program) is in hang_spin", 1),
        ("nmi", "CPU 0 (program) is in hang_spin", 0),
        ("idle", "no task is blocked in the kernel, and every CPU is idle", 2),
        ("idle-5.10", "no task is blocked in the kernel, and every CPU is idle", 2),
    ],
)
def test_where_a_kernel_hangs(name: str, words: str, idle: int) -> None:
    found = read(name)
    assert (found.words, found.idle) == (words, idle)
    assert found.lines[0] == words


def test_a_stack_is_what_was_interrupted_and_no_registers() -> None:
    shown = "\n".join(read("deaf").lines)
    assert re.fullmatch(
        r"CPU 1 .*\n  RIP: 0010:hang_spin\+0x7/0x10 \[hang\]\n  hang_deaf\+.*(\n  \w+\+0x.*)+",
        shown,
    ), shown
    assert not re.search(r"serial8250|nmi_|RAX|Code:|swapper|\?", shown)


def test_what_a_task_was_doing_in_user_space() -> None:
    text = (DATA / "nmi.log").read_text()
    text = text.replace("RIP: 0010:hang_spin+0x7/0x10 [hang]", "RIP: 0033:0x401234", 1)
    found = answers.read([text.encode()])
    assert found is not None
    assert found.lines == ("CPU 0 (program) is in user space",)


def test_a_kernel_that_says_nothing() -> None:
    found = answers.read([f"{ASKED} sysrq 9, w, l, h\n\n{ASKED} NMI\n".encode()])
    assert found is not None
    assert found.lines == ("the kernel did not say where it hung",)
    assert answers.read([b"[    1.000000] Kernel panic - not syncing: of itself\n"]) is None


def task(comm: str, pid: int) -> str:
    return (
        f"[    6.8] task:{comm:<15} state:D stack:0     pid:{pid:<5} tgid:1     ppid:1\n"
        f"[    6.9]  schedule+0x27/0xc0\n[    6.9]  wait_{pid}+0x41/0x60 [hang]\n"
    )


def test_the_tests_own_program_comes_first_and_no_screenful_follows() -> None:
    said = f"{ASKED} sysrq w\n" + "".join(task(f"other{at}", at) for at in range(1, 40))
    # The kernel keeps 15 bytes of a name.
    said += task("a_long_name_of_", 77)
    found = answers.read([said.encode()])
    assert found is not None
    assert found.words == "task other1:1 is blocked in wait_1"
    mine = found.about("a_long_name_of_a_suite")
    assert mine.words == "task a_long_name_of_:77 is blocked in wait_77"
    assert mine.lines[-1] == "... 37 more tasks and CPUs that were not idle"
    assert len(mine.lines) == 3 * 3 + 1


def test_a_cpu_that_is_asked_twice_is_told_of_once() -> None:
    said = (DATA / "spin.log").read_text().partition("Sending NMI")[0]
    found = answers.read([(said + (DATA / "nmi.log").read_text()).encode()])
    assert found is not None
    assert [one.who for one in found.stacks] == ["CPU 0"]


def test_stacks_have_source_lines_and_stay_short() -> None:
    found = answers.decoded(
        read("blocked"),
        lambda text: "\n".join(f"{line} (f.c:1)\n  more" for line in text.split("\n")),
    )
    assert found.lines[1] == "  __schedule+0x4e0/0xbf0 (f.c:1)"
    assert len(found.lines) == 11


@given(st.integers(0, 200), st.binary(max_size=300))
def test_the_cut_of_the_console_makes_no_difference(size: int, noise: bytes) -> None:
    whole = PRELUDE + noise + b"\n" + (DATA / "idle.log").read_bytes()
    pieces = [whole[at : at + size + 1] for at in range(0, len(whole), size + 1)]
    assert answers.read(pieces) == answers.read([whole])
    assert b"".join(unasked(pieces)) == b"".join(unasked([whole]))


@given(st.lists(st.sampled_from([b"", b"\n", b"\na\n", b"[harness] ", b"x" * 15]), max_size=12))
def test_a_line_is_counted_once(pieces: list[bytes]) -> None:
    """However short the pieces are, beside the mark."""
    found = answers.read([*pieces, ASKED.encode(), b" sysrq\n"])
    assert found is not None
    assert found.line == b"".join(pieces).count(b"\n") + 1


@pytest.mark.parametrize("follows", ["Not tainted 6.12.1 #1", "Tainted: G", "Kdump: loaded"])
def test_a_name_may_have_words(follows: str) -> None:
    text = (DATA / "nmi.log").read_text()
    name = "program Test Not"
    text = re.sub(r"(?<=Comm: )program .*", f"{name} {follows}", text)
    found = answers.read([text.encode()])
    assert found is not None
    assert [one.comm for one in found.stacks] == [name]


@given(st.binary(max_size=2000))
def test_any_answer_can_be_read(noise: bytes) -> None:
    found = answers.read([ASKED.encode(), noise])
    assert found is not None
    assert found.lines
