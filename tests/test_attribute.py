# SPDX-License-Identifier: GPL-2.0
"""attribute.py: which test a splat is charged to, whatever else is on the console."""

from pathlib import Path

import pytest

from harness.attribute import Charge, attribute

FOLDER = Path(__file__).with_name("data") / "splats"
WARNING = (FOLDER / "warning.log").read_bytes()
FATAL = b"[   13.000000] Kernel panic - not syncing: Fatal exception\n"
CRASH = b"[   13.000000] Kernel panic - not syncing: sysrq triggered crash\n"
LEAK = (FOLDER / "memory-leak.log").read_bytes()
SEAM = b"[harness] restored: above is the boot that the snapshot was made of, below is this run\n"
IDS = ("ioctl:a.b", "ioctl:a.bc", "mmap:x.y.z")


def test(name: str, prefix: str = "[   12.345678] ") -> bytes:
    return f"{prefix}harness: test {name}\n".encode()


test.__test__ = False  # type: ignore[attr-defined]

ENDED = b"[   13.000000] harness: suite ioctl ended\n"


def charged(*parts: bytes, tests: tuple[str, ...] = IDS) -> list[str | None]:
    return [charge.test for charge in attribute(parts, tests=tests)]


def of(console: bytes) -> tuple[Charge, ...]:
    return attribute([console], tests=IDS)


def test_the_last_test_named_above_is_charged() -> None:
    console = [WARNING, test(IDS[0]), test(IDS[1]), WARNING, test(IDS[2]), WARNING, ENDED, WARNING]
    assert charged(*console) == [None, IDS[1], IDS[2], None]
    assert charged(*console, tests=()) == [None, IDS[1], IDS[2], None]


def test_chunks_make_no_difference() -> None:
    console = b"".join([WARNING, test(IDS[0]), WARNING, ENDED, WARNING])
    whole = of(console)
    assert attribute((console[n : n + 1] for n in range(len(console))), tests=IDS) == whole
    for cut in range(0, len(console), 7):
        assert attribute([console[:cut], console[cut:]], tests=IDS) == whole


def test_the_line_is_that_of_the_console() -> None:
    quiet = b"[   12.000000] all is well\n" * 50_000
    console = test(IDS[0]) + quiet + b"no end" + WARNING + b"\r\n\r\n" + LEAK
    lines = console.decode().split("\n")
    first, second = of(console)
    parts = (test(IDS[0]), quiet[:-27], quiet[-27:] + b"no end" + WARNING)
    assert attribute(parts, tests=IDS)[0].line == 50_002
    assert first.line == first.splat.line == 50_002
    assert lines[first.line - 1] == "no end" + first.splat.text.split("\n")[0]
    assert lines[second.line - 1] == second.splat.text.split("\n")[0]


def test_the_boot_of_a_snapshot_is_not_charged_again() -> None:
    assert charged(WARNING, SEAM, test(IDS[0]), LEAK) == [IDS[0]]
    assert charged(WARNING + b"Poking KASLR using", SEAM, WARNING) == [None]
    assert charged(WARNING[:-80], SEAM, LEAK) == [None]
    assert charged(WARNING[:200] + b"\n", SEAM, FATAL) == [None]


def test_a_seam_is_believed_once_and_before_any_test() -> None:
    assert charged(WARNING, SEAM, test(IDS[0]), WARNING, SEAM, WARNING) == [IDS[0], IDS[0]]
    assert charged(test(IDS[0]), WARNING, SEAM, WARNING) == [IDS[0], IDS[0]]


@pytest.mark.parametrize(
    "prefix",
    [
        "[   12.345678] ",
        "[   12.345678][  T123] ",
        "[12345.345678][    C0] ",
        "<6>[   12.345678] ",
        "some output without an end[   12.345678] ",
        "[    1.000000] cut off in the mid[   12.345678][ T7] ",
        "\x1b[0m[   12.345678] ",
    ],
)
def test_marks_with_any_prefix(prefix: str) -> None:
    assert charged(test(IDS[0]), test(IDS[1], prefix), WARNING) == [IDS[1]]
    assert charged(test(IDS[1], prefix).replace(b"\n", b"\r\n"), WARNING) == [IDS[1]]
    suite = test(IDS[1], prefix).replace(b"test " + IDS[1].encode(), b"suite ioctl ended")
    assert charged(test(IDS[0]), suite, WARNING) == [None]


@pytest.mark.parametrize(
    "prefix",
    ["", "# ", "said: ", "[T123] ", "[   12.345678] foo: ", "[   12.345678] ioctl:a.b ", "<6>"],
)
def test_user_space_cannot_make_marks(prefix: str) -> None:
    assert charged(test(IDS[0]), test(IDS[1], prefix), WARNING) == [IDS[0]]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("ioctl:a.b", "ioctl:a.b"),
        ("ioctl:a.b # ok", "ioctl:a.b"),
        ("mmap:xlogin: .y.z", "mmap:x.y.z"),
        ("ioctl:a. and c", None),
        ("ioctl:a.b and c", None),
        ("ioctl:a", None),
        ("noise mmap:x.y.z", None),
        ("never:heard.of", None),
    ],
)
def test_a_damaged_mark_names_a_test_only_when_it_can_be_no_other(
    said: str, named: str | None
) -> None:
    assert charged(test(IDS[2]), test(said), WARNING) == [named]


def test_what_a_test_left_behind_is_not_merged_with_the_next_tests() -> None:
    assert charged(test(IDS[0]), LEAK, test(IDS[1]), LEAK) == [IDS[0], IDS[1]]
    stall = (FOLDER / "hung-task.log").read_bytes()
    assert charged(test(IDS[0]), stall, test(IDS[1]), stall) == [IDS[0], IDS[1]]
    head = b"[   12.000000] BUG: Bad something\n"
    assert charged(test(IDS[0]), head, test(IDS[1]), head) == [IDS[0], IDS[1]]
    assert charged(test(IDS[0]), WARNING, test(IDS[1]), CRASH) == [IDS[0], IDS[1]]
    assert charged(test(IDS[0]), WARNING, test(IDS[1]), FATAL) == [IDS[0]]


def test_a_mark_among_the_lines_of_a_splat_changes_nothing() -> None:
    log = (FOLDER / "null-deref.log").read_bytes()
    lines = log.splitlines(keepends=True)
    for cut in range(1, len(lines)):
        (charge,) = of(test(IDS[0]) + b"".join([*lines[:cut], test(IDS[1]), *lines[cut:]]))
        assert charge.test == IDS[0]
        assert charge.splat.fingerprint == of(log)[0].splat.fingerprint


def test_an_interleaved_splat_is_charged_by_its_first_line() -> None:
    lines = (FOLDER / "interleaved.log").read_bytes().splitlines(keepends=True)
    mark = test(IDS[1], "[   56.000150][  T672] ")
    console = b"".join([test(IDS[0]), lines[0], mark, *lines[1:]])
    assert [(one.test, one.splat.task) for one in of(console)] == [
        (IDS[0], "test_a:671"),
        (IDS[1], "test_b:672"),
    ]
