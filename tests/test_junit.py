# SPDX-License-Identifier: GPL-2.0
"""junit.py: XML that any parser reads, with what Jenkins and GitLab look for."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from harness.junit import error_suite, run_suite, to_xml
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = (
    "\x1b[31mred\x1b[0m \0 \x07 \x85 \x9b \ufffe \ufdd0 \ud800 \U0001ffff ]]> <&\"'> \r\n\tend"
)


def suite_of(*tests: TestResult, problems: tuple[str, ...] = (), **facts: str) -> ET.Element:
    run = RunResult(
        kernel="6.12",
        release=None,
        accelerator="tcg",
        vms=(VmEnd(exit=VmExit.LOST, detail="killed"), VmEnd(exit=VmExit.CLEAN)),
        tests=tests,
        problems=problems,
    )
    # Bytes: a parser that is given text would not see a wrong encoding.
    suite = run_suite(run, environment=facts, started="2026-08-01T12:00:00+00:00")
    xml = to_xml([suite]).encode()
    root = ET.fromstring(xml)
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.tag == "testsuite"
    return suite


def case_of(test: TestResult) -> ET.Element:
    (case,) = suite_of(test).findall("testcase")
    return case


def test_names() -> None:
    case = case_of(TestResult(id="mmap:two.content", status=Status.PASS, seconds=1.25))
    assert case.attrib == {"classname": "6.12.mmap", "name": "two.content", "time": "1.250000"}
    assert list(case) == []


def test_each_status() -> None:
    elements = {
        Status.PASS: [],
        Status.XFAIL: ["system-out"],
        Status.SKIP: ["skipped"],
        Status.DIRTY: ["failure"],
        Status.FAIL: ["failure"],
        Status.TIMEOUT: ["failure"],
        Status.MISSING: ["error"],
        Status.CRASHED: ["error"],
        Status.ERROR: ["error"],
    }
    assert set(elements) == set(Status)
    for status, tags in elements.items():
        for reason in ("", "because"):
            case = case_of(TestResult(id="a:b.c", status=status, reason=reason))
            assert [child.tag for child in case] == tags
            for child in case.findall("failure") + case.findall("error"):
                assert child.get("type") == status
                assert child.get("message") == (f"{status}: because" if reason else status)
            for child in case.findall("skipped"):
                assert child.get("message") == (reason or "skipped")


def test_what_is_known_of_mainline_is_no_failure() -> None:
    tests = tuple(TestResult(id=f"a:b.{one}", status=one, reason="because") for one in Status)
    run = RunResult(kernel="6.12", release=None, accelerator="tcg", vms=(), tests=tests)
    suite = run_suite(run, environment={}, started="2026-08-01T12:00:00+00:00", as_known=True)
    root = ET.fromstring(to_xml([suite]))
    totals = [next(iter(root)).get(name) for name in ("failures", "errors", "skipped")]
    assert totals == ["0", "3", "4"]
    told = {
        case.get("name"): skipped
        for case in root.iter("testcase")
        for skipped in case.findall("skipped")
    }
    assert told["b.fail"].get("message") == "known of mainline's driver"
    assert told["b.skip"].get("message") == "because"


def test_counts() -> None:
    suite = suite_of(*(TestResult(id=f"a:b.{one}", status=one, seconds=0.5) for one in Status))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "9",
        "failures": "3",
        "errors": "3",
        "skipped": "1",
        "time": "4.5",
    }
    assert suite.get("timestamp") == "2026-08-01T12:00:00+00:00"


def test_a_failure_tells_why() -> None:
    lines = ("m.c:7:two:Expected 1 < 2", "more")
    case = case_of(TestResult(id="a:b.c", status=Status.FAIL, lines=lines))
    (failure,) = case.findall("failure")
    assert failure.get("message") == "m.c:7:two:Expected 1 < 2"
    assert failure.text == "\n".join(lines)
    assert case.findtext("system-out") == "\n".join(lines)


def test_the_environment_and_the_vm() -> None:
    suite = suite_of(problems=("guest: no vgem",), qemu="7.2", host="h")
    found = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert found == {"qemu": "7.2", "host": "h"}
    assert suite.findtext("system-out") == "VM 1: lost: killed\nVM 2: clean\nguest: no vgem"


def test_hostile_text_is_shown_not_sent() -> None:
    case = case_of(TestResult(id=f"a:{HOSTILE}", status=Status.FAIL, lines=(HOSTILE,)))
    shown = "red \\x00 \\x07 \\x85 \\x9b \\ufffe \\ufdd0 \\ud800 \\U0001ffff ]]> <&\"'> \\x0d"
    assert case.findtext("failure") == f"{shown}\n\tend"
    assert case.get("name") == f"{shown}  end"


@given(ANY_TEXT, ANY_TEXT, st.lists(ANY_TEXT).map(tuple), ANY_TEXT, st.sampled_from(Status))
def test_any_text_is_valid_xml(
    id_: str, reason: str, lines: tuple[str, ...], fact: str, status: Status
) -> None:
    test = TestResult(id=id_, status=status, reason=reason, lines=lines)
    suite = suite_of(test, problems=lines, fact=fact)
    assert suite.get("tests") == "1"
    assert int(suite.get("failures", "")) + int(suite.get("errors", "")) == (not status.good)
    assert int(suite.get("skipped", "")) == (status is Status.SKIP)


def test_cells_stand_side_by_side_under_their_own_names() -> None:
    run = RunResult(
        kernel="6.12",
        release=None,
        accelerator="tcg",
        vms=(),
        tests=(TestResult(id="mmap:a.b", status=Status.PASS),),
    )
    suites = [
        run_suite(run, environment={}, started="2026-08-01T12:00:00+00:00", name="6.12-builtin"),
        error_suite("7.3", "no kernel\x00 7.3", started="2026-08-01T12:00:00+00:00"),
    ]
    root = ET.fromstring(to_xml(suites))
    assert (root.get("tests"), root.get("errors")) == ("2", "1")
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert names == [("6.12-builtin.mmap", "a.b"), ("7.3.matrix", "run")]
    (error,) = root.iter("error")
    assert error.get("message") == "no kernel\\x00 7.3"
