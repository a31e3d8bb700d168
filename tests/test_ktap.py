# SPDX-License-Identifier: GPL-2.0
"""ktap.py: golden documents, and properties that hold for any bytes."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import ktap
from harness.results import Status
from tests.conftest import Golden

FOLDER = Path(__file__).with_name("data") / "ktap"
DOCUMENTS = sorted(FOLDER.glob("*.txt"))


def tree(test: ktap.Test) -> dict[str, object]:
    """A test as the golden files show it: what is empty is left out."""
    shown = {"status": test.status, **asdict(test), "subtests": list(map(tree, test.subtests))}
    return {key: value for key, value in shown.items() if value not in (None, "", (), [])}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_golden(path: Path, golden: Golden) -> None:
    document = ktap.parse(path.read_bytes())
    shown = {**asdict(document), "tests": list(map(tree, document.tests))}
    golden.check(f"ktap/{path.stem}.json", json.dumps(shown, indent=1) + "\n")


def flat(tests: tuple[ktap.Test, ...], path: str = "") -> Iterator[tuple[str, Status]]:
    """All tests of a tree, each with its path; those without a result line are not tests."""
    for test in tests:
        name = f"{path}/{test.number} {test.name}"
        yield from flat(test.subtests, name)
        if test.ok is not None:
            yield name, test.status


def passes(text: bytes) -> list[str]:
    """The verdicts of the outermost level that let a run pass."""
    return [f"{t.number} {t.name} {t.status}" for t in ktap.parse(text).tests if t.status.good]


@given(st.binary())
def test_any_bytes_parse(text: bytes) -> None:
    ktap.parse(text)


FRAGMENTS = st.sampled_from(
    [
        *(
            "ok ",
            "not ok ",
            "1",
            "2",
            " ",
            "  ",
            "# ",
            "#",
            "\n",
            "\r",
            "\0",
            "\x1b[1m",
            "1..",
            "2",
        ),
        *("TAP version 13", "KTAP version 1", "# Subtest: a", "#  RUN           a ...", "a"),
        *("# SKIP", "# TIMEOUT", "# DURATION a 5", "Bail out!", "[    1.2] ", "[T1]", "<6>"),
    ]
)


@given(st.lists(FRAGMENTS, max_size=60).map("".join))
def test_any_mixture_of_ktap_parses(text: str) -> None:
    document = ktap.parse(text)
    for test in document.tests:
        assert test.status in Status


@given(st.lists(FRAGMENTS, max_size=40).map(lambda parts: "".join(parts).encode()), st.data())
def test_cutting_off_any_text_invents_no_pass(text: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    whole = list(flat(ktap.parse(text).tests))
    for test in ktap.parse(text[:cut]).tests:
        if test.status.good:
            assert any(
                name.endswith(f"{test.number} {test.name}") and status is test.status
                for name, status in whole
            )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_cutting_off_a_document_invents_no_pass(path: Path) -> None:
    text = path.read_bytes()
    whole = passes(text)
    for cut in range(len(text)):
        assert passes(text[:cut]) == whole[: len(passes(text[:cut]))]


NOISE = st.lists(
    st.sampled_from(
        [
            "[   12.345678] usb 1-1: new high-speed USB device number 2",
            "[    1.0][T1234] BUG: KASAN: slab-use-after-free in udmabuf_release+0x10/0x40",
            "      indented words",
            "# a diagnostic",
            "okay 3 no result",
            "nok 1 x",
            "ok",
            "not ok",
            "ok computer",
            "1...",
            "# # deep",
            "",
            "\x1b[2J",
            "the book 1 mapping.two.content of 2",
        ]
    ),
    max_size=8,
)


@pytest.mark.parametrize(
    "name", ["kselftest-harness", "kselftest-runner", "kunit-dmesg", "directives", "documents"]
)
@given(data=st.data())
def test_noise_between_lines_changes_no_verdict(name: str, data: st.DataObject) -> None:
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    expected = list(flat(ktap.parse("\n".join(lines) + "\n").tests))
    for noise in data.draw(NOISE):
        lines.insert(data.draw(st.integers(0, len(lines))), noise)
    assert list(flat(ktap.parse("\n".join(lines) + "\n").tests)) == expected


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=12))
def test_every_result_line_is_kept(results: list[tuple[bool, str]]) -> None:
    lines = [f"{'ok' if ok else 'not ok'} {at} {name}" for at, (ok, name) in enumerate(results, 1)]
    document = ktap.parse("\n".join(["KTAP version 1", *lines, ""]))
    assert [(test.ok, test.name) for test in document.tests] == results


@pytest.mark.parametrize("word", ["ok", "not ok"])
def test_text_in_front_of_another_tests_result_is_not_believed(word: str) -> None:
    text = f"#  RUN           a.b ...\nfoo{word} 1 a.c\nfoo{word} 2 a.b\nfoo{word} 1 a.b.c\n"
    assert ktap.parse(text).tests == ()


def test_a_later_pass_does_not_hide_a_failure() -> None:
    tests = ktap.parse("not ok 1 a\nok 2 a\n").tests
    assert [test.status for test in tests] == [Status.FAIL, Status.PASS]


def test_parent_is_no_better_than_its_subtests() -> None:
    parent = "  KTAP version 1\n  1..1\n  not ok 1 child\n{} 1 parent{}\n"
    for word, directive, status in [
        ("ok", "", Status.FAIL),
        ("ok", " # SKIP", Status.FAIL),
        ("not ok", " # XFAIL", Status.XFAIL),
    ]:
        (test,) = ktap.parse("KTAP version 1\n" + parent.format(word, directive)).tests
        assert test.status is status


def test_nesting_without_end_is_refused() -> None:
    depths = range(0, 3000, 2)
    opening = "".join(" " * depth + "KTAP version 1\n" for depth in depths)
    closing = "".join(" " * depth + "ok 1 a\n" for depth in reversed(depths))
    document = ktap.parse(opening + closing)
    assert "nested too deep" in {problem.text for problem in document.problems}
    assert [test.ok for test in document.tests] == [True]


def test_line_numbers_count_from_the_first_line() -> None:
    document = ktap.parse("KTAP version 1\n1..1\r\r\nok 2 a\nok 3", first_line=100)
    assert document.tests[0].line == 102
    assert [problem.line for problem in document.problems] == [102, 103]


def test_a_flood_is_parsed_in_one_pass() -> None:
    text = b"#  RUN           a.b ...\n" + b"ok 1 " * 200_000 + b"\n" + b"x\n" * 100_000
    assert len(ktap.parse(text).running_lines) == 100_000
