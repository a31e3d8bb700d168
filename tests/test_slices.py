# SPDX-License-Identifier: GPL-2.0
"""slices.py: what stands on the console around a test."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.slices import Slice, cut

TESTS = ("a:b.one", "a:b.one_more", "a:b.two")


def console(*texts: str) -> bytes:
    return "".join(f"[{at:5}.000000] {text}\n" for at, text in enumerate(texts, start=1)).encode()


LOG = console(
    "boot",
    "harness: test a:b.one",
    "first",
    "harness: test a:b.one_more",
    "second",
    "late",
    "harness: suite a ended",
    "nobody's",
    "harness: test a:b.two",
    "third",
)


def texts(found: Slice) -> list[str]:
    return [line.partition("] ")[2] for line in found.lines]


def test_from_above_its_mark_to_the_next() -> None:
    found = cut([LOG], ["a:b.one_more"], tests=TESTS)
    assert list(found) == ["a:b.one_more"]
    assert found["a:b.one_more"].line == 1
    assert texts(found["a:b.one_more"]) == [
        "boot",
        "harness: test a:b.one",
        "first",
        "harness: test a:b.one_more",
        "second",
        "late",
        "harness: suite a ended",
    ]


def test_the_last_one_goes_to_the_end() -> None:
    found = cut([LOG], ["a:b.two"], tests=TESTS)["a:b.two"]
    assert found.line == 5
    assert texts(found) == [
        "second",
        "late",
        "harness: suite a ended",
        "nobody's",
        "harness: test a:b.two",
        "third",
    ]


def test_a_mark_that_was_printed_into() -> None:
    damaged = LOG.replace(b"test a:b.two", b"test a:b.t[noise]wo")
    assert "third" in texts(cut([damaged], ["a:b.two"], tests=TESTS)["a:b.two"])


def test_a_longer_id_is_another_test() -> None:
    only = console("harness: test a:b.one_more", "second")
    assert cut([only], ["a:b.one"], tests=TESTS) == {}


def test_what_a_snapshot_was_made_of_is_not_this_run() -> None:
    seam = b"cut off[harness] restored: a snapshot of 6.12\n"
    found = cut([LOG + seam + console("harness: test a:b.one", "mine")], TESTS, tests=TESTS)
    assert list(found) == ["a:b.one"]
    assert texts(found["a:b.one"])[-2:] == ["harness: test a:b.one", "mine"]
    assert len(found["a:b.one"].lines) == 3


def test_a_test_that_floods_the_console() -> None:
    flood = console("harness: test a:b.one", *(f"line {at}" for at in range(1000)))
    found = texts(cut([flood], TESTS, tests=TESTS)["a:b.one"])
    assert len(found) < 120
    assert found[:2] == ["harness: test a:b.one", "line 0"]
    assert found[-1] == "line 999"
    (gap,) = (line for line in cut([flood], TESTS, tests=TESTS)["a:b.one"].lines if "left" in line)
    assert gap == f"... {1001 - len(found) + 1} lines left out ..."


def test_bytes_that_are_no_text() -> None:
    found = cut([b"[    1.000] harness: test a:b.one\n\xff\0" + b"x" * 9999], TESTS, tests=TESTS)
    assert found["a:b.one"].lines[1].startswith("\\xff\0xxx")
    assert len(found["a:b.one"].lines[1]) < 500


@given(st.lists(st.integers(0, len(LOG)), max_size=5))
def test_chunks_make_no_difference(cuts: list[int]) -> None:
    places = sorted({0, *cuts, len(LOG)})
    chunks = [LOG[start:end] for start, end in pairwise(places)]
    assert cut(chunks, TESTS, tests=TESTS) == cut([LOG], TESTS, tests=TESTS)
