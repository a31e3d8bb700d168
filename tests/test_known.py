# SPDX-License-Identifier: GPL-2.0
"""known.py: a control that is not red where it must be, or red where it must not, is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.known import Known, KnownError, compare, load_known, of_checkout, words
from harness.results import Status, TestResult
from harness.spec import Fixture, Variant, load_specs

ROOT = Path(__file__).parents[1]
RACE = Known(
    of="2.4a",
    wrong="A race.",
    bug=True,
    kernels=("6.12",),
    tests=("a:race.*",),
    ids=("a:race.x", "a:race.y", "a:race.z"),
)
SLOW = Known(of="", wrong="It is slow.", bug=False, kernels=("6.12", "7.3"), tests=("a:slow.x",))
RELEASE = "6.12.117+deb12-amd64"


def result(id_: str, status: Status) -> TestResult:
    return TestResult(id=id_, status=status)


def test_all_as_known() -> None:
    tests = [
        result("a:race.x", Status.FAIL),
        result("a:race.y", Status.DIRTY),
        result("a:race.z", Status.SKIP),
        result("a:slow.x", Status.FAIL),
        result("a:good", Status.PASS),
    ]
    comparison = compare(tests, (RACE, SLOW), RELEASE)
    assert comparison.exit_status == 0
    assert words(comparison) == (
        "bug    2 of 2   red  A race.",
        "way    1 of 1   red  It is slow.",
        "known of mainline's driver here: bugs 1, ways of its own 1; all shown, and nothing else",
    )


@pytest.mark.parametrize(
    ("release", "shown"),
    [
        ("6.12.117-debug", 1),
        ("6.12.117-kcsan", 0),
        (RELEASE, 0),
        ("7.3.4-debug", 0),
    ],
)
def test_what_only_a_debug_kernel_shows(release: str, shown: int) -> None:
    known = replace(RACE, kernels=("6.12+debug",))
    comparison = compare([result("a:race.x", Status.FAIL)], (known,), release)
    assert len(comparison.shown) == shown
    assert len(comparison.strange) == 1 - shown


def test_a_test_that_misses_a_bug_is_a_difference() -> None:
    tests = [result("a:race.x", Status.FAIL), result("a:race.y", Status.PASS)]
    comparison = compare(tests, (RACE,), RELEASE)
    assert comparison.exit_status == 1
    assert "difference: a:race.y passes, but detects what is there" in words(comparison)
    assert words(comparison)[-1].endswith("not as known")


@pytest.mark.parametrize("status", [Status.FAIL, Status.CRASHED])
def test_red_without_a_reason_is_a_difference(status: Status) -> None:
    tests = [result("a:race.x", Status.FAIL), result("a:good", status)]
    comparison = compare(tests, (RACE,), RELEASE)
    assert comparison.exit_status == 1
    assert comparison.strange == ("a:good",)


def test_what_depends_on_luck_is_no_difference_either_way() -> None:
    lucky = replace(RACE, may=("a:luck",))
    for status in (Status.FAIL, Status.PASS):
        tests = [result("a:race.x", Status.FAIL), result("a:luck", status)]
        assert compare(tests, (lucky,), RELEASE).exit_status == 0


def test_a_bug_of_another_kernel_explains_nothing() -> None:
    comparison = compare([result("a:race.x", Status.FAIL)], (RACE, SLOW), "7.3.4+deb13-amd64")
    assert comparison.strange == ("a:race.x",)


def test_what_did_not_run_is_no_difference() -> None:
    tests = [result("a:race.x", Status.SKIP), result("a:good", Status.PASS)]
    assert compare(tests, (RACE, SLOW), RELEASE).exit_status == 0


def test_a_bug_whose_tests_are_all_skipped_does_not_vanish() -> None:
    tests = [*(result(id_, Status.SKIP) for id_ in RACE.ids), result("a:good", Status.PASS)]
    comparison = compare(tests, (RACE, SLOW), RELEASE)
    assert comparison.exit_status == 1
    assert "difference: all tests are skipped that detect this: A race." in words(comparison)
    assert compare(tests, (replace(RACE, skips=True),), RELEASE).exit_status == 0
    # Not all of them were asked for.
    assert compare(tests[1:], (RACE,), RELEASE).exit_status == 0


def test_what_is_read_knows_its_tests(tmp_path: Path) -> None:
    text = '[[known]]\nwrong = "x"\nkernels = ["6.12"]\ntests = ["a:b*"]\nskips = true'
    (tmp_path / "known.toml").write_text(text)
    (known,) = load_known(tmp_path / "known.toml", ["a:b", "a:bc", "a:c"])
    assert known.skips
    assert known.ids == ("a:b", "a:bc")


def test_every_unfixed_bug_of_the_notes_has_a_test() -> None:
    told = {word.strip() for one in of_checkout(ROOT) for word in one.of.split(",")}
    assert {f"2.4{letter}" for letter in "abcdefghi"} <= told


def marked(fixture: Fixture) -> Iterator[str]:
    """Yield the tests that mainline's driver runs, and that guard against what is unfixed there."""
    for test in fixture.tests:
        for variant in fixture.variants or (Variant(name="", values=()),):
            ours = fixture.ours or test.ours or variant.ours
            if not ours and "2.4" in test.guards + variant.guards:
                yield ".".join(filter(None, (fixture.name, variant.name, test.name)))


def test_what_guards_against_an_unfixed_bug_is_known_to_be_red() -> None:
    red = {id_ for one in of_checkout(ROOT) for id_ in one.ids}
    found = {
        f"{spec.name}:{id_}"
        for spec in load_specs(ROOT / "selftests/specs")
        for fixture in spec.fixtures
        for id_ in marked(fixture)
    }
    assert len(found) > 10
    assert found <= red


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[known]]\nwrong = "x"\ntests = ["a:b"]', "kernels: expected a list of strings, but"),
        ('[[known]]\nwrong = "x"\nkernels = ["6.12"]\ntests = ["a:c*"]', "globs that match a test"),
        ('[[known]]\nwrong = "x"\nkernels = ["6.12"]\ntests = ["a:b"]\nbugs = true', "no such key"),
        ("x = ", "not TOML"),
    ],
)
def test_a_file_that_is_wrong(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "known.toml").write_text(text)
    with pytest.raises(KnownError, match=complaint):
        load_known(tmp_path / "known.toml", ["a:b"])
