# SPDX-License-Identifier: GPL-2.0
"""judge.py: every expected test has a verdict, and nothing passes by accident."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import judge as judging
from harness.evidence import Evidence, settled
from harness.judge import Judgement, merge
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit
from harness.transcript import Section, Transcript, parse
from tests.judgelab import (
    CLEAN,
    DYING,
    EXPECTED,
    GOOD,
    MMAP,
    NONCE,
    SG,
    exit_status,
    judge,
    only,
    stream,
    verdicts,
)


def test_all_passed() -> None:
    judgement = judge(EXPECTED, parse(GOOD, NONCE), CLEAN, release="6.12.1")
    assert [test.id for test in judgement.tests] == list(EXPECTED)
    assert {test.status for test in judgement.tests} == {Status.PASS}
    assert judgement.problems == ()
    assert exit_status(GOOD) == 0


def test_a_failure_keeps_its_lines_place_and_time() -> None:
    output = (
        "TAP version 13\n1..2\nok 1 a.one\n#  RUN           a.two ...\n# m.c:7:two:Expected 1\n"
        "#          FAIL  a.two\n# DURATION a.two 1500000\nnot ok 2 a.two\n"
    )
    text = stream(("mmap", output, 1), ("sg", SG, 0))
    test = only(judge(EXPECTED, parse(text, NONCE), CLEAN), "mmap:a.two")
    assert test == TestResult(
        id="mmap:a.two",
        status=Status.FAIL,
        seconds=1.5,
        lines=("m.c:7:two:Expected 1",),
        line=11,
        vm=1,
    )
    assert text.split(b"\n")[11 - 1] == b"not ok 2 a.two"
    assert exit_status(text) == 1


def test_a_flood_of_lines_is_cut_in_the_middle() -> None:
    output = "1..1\n" + "".join(f"# {at} {'x' * 9999}\n" for at in range(1000)) + "not ok 1 b.one\n"
    test = only(judge(EXPECTED, parse(stream(("sg", output, 1)), NONCE), CLEAN), "sg:b.one")
    assert len(test.lines) == 61
    assert test.lines[40] == "... 940 lines left out ..."
    assert test.lines[-1].startswith("999 x")
    assert max(map(len, test.lines)) == 400


@pytest.mark.parametrize(
    "vm",
    [
        VmEnd(exit=VmExit.PANIC, detail="Fatal exception"),
        VmEnd(exit=VmExit.SILENT, detail="not a byte for 30 s"),
        VmEnd(exit=VmExit.DEADLINE),
        VmEnd(exit=VmExit.LOST, detail="QEMU was killed by SIGKILL"),
        CLEAN,
    ],
    ids=lambda vm: vm.exit,
)
def test_what_a_dead_vm_did_not_report_is_crashed(vm: VmEnd) -> None:
    text = stream(("mmap", DYING, None), end=None)
    judgement = judge(EXPECTED, parse(text, NONCE), vm)
    assert verdicts(text, vm) == {
        "mmap:a.one": Status.PASS,
        "mmap:a.two": Status.CRASHED,
        "sg:b.one": Status.CRASHED,
    }
    for id_ in ("mmap:a.two", "sg:b.one"):
        reason = only(judgement, id_).reason
        assert reason.startswith("the VM died in mmap:a.two ("), reason
        assert vm.detail in reason
    assert only(judgement, "mmap:a.two").lines == ("writing to NULL",)
    assert only(judgement, "sg:b.one").lines == ()
    assert exit_status(text, vm) == 2


def test_where_the_vm_died() -> None:
    lost = VmEnd(exit=VmExit.LOST)
    places = {
        b"": "before userspace",
        stream(end=None): "before the first test",
        stream(("mmap", MMAP, 0), end=None): "after suite mmap",
        stream(("mmap", MMAP, None), end=None): "in suite mmap, between tests",
    }
    for text, place in places.items():
        death = only(judge(EXPECTED, parse(text, NONCE), lost), "vm-1:end")
        assert death.reason == f"the VM died {place} (lost)"


def test_all_passed_but_no_end_marker_is_not_green() -> None:
    text = stream(("mmap", MMAP, 0), ("sg", SG, 0), end=None)
    assert verdicts(text)["vm-1:end"] is Status.CRASHED
    assert exit_status(text) == 2


def test_death_after_the_end_marker_is_not_green() -> None:
    vm = VmEnd(exit=VmExit.PANIC, detail="at power-off")
    assert verdicts(GOOD, vm)["vm-1:end"] is Status.CRASHED
    assert verdicts(GOOD, vm)["sg:b.one"] is Status.PASS
    assert exit_status(GOOD, vm) == 2


@given(st.integers(0, len(GOOD)))
def test_no_truncated_stream_is_green(cut: int) -> None:
    lost = VmEnd(exit=VmExit.LOST)
    for vm in (CLEAN, lost):
        assert (exit_status(GOOD[:cut], vm) == 0) == (cut == len(GOOD) and vm is CLEAN)


@given(st.binary())
def test_any_output_is_judged(noise: bytes) -> None:
    start = stream(("mmap", "", None), end=None)
    assert exit_status(start + noise) == 2


def test_missing_in_a_vm_that_lived() -> None:
    text = stream(("mmap", "TAP version 13\n1..2\nok 1 a.one\n#  RUN  a.two ...\n# hm\n", 139))
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN)
    two = only(judgement, "mmap:a.two")
    assert two.status is Status.MISSING
    assert two.reason == (
        "it began, but has no result; suite mmap ended with SIGSEGV (exit status 139)"
    )
    assert two.lines == ("hm",)
    assert only(judgement, "sg:b.one").reason == "suite sg never started"
    assert only(judgement, "mmap:suite").reason == (
        "it planned 2 tests and reported 1; its program ended with SIGSEGV (exit status 139)"
    )
    assert exit_status(text) == 2


def test_last_words_belong_to_the_test_that_was_running() -> None:
    text = stream(("mmap", DYING, None), end=None)
    expected = (*EXPECTED, "mmap:a.three")
    judgement = judge(expected, parse(text, NONCE), VmEnd(exit=VmExit.LOST))
    assert only(judgement, "mmap:a.two").lines == ("writing to NULL",)
    assert only(judgement, "mmap:a.three").lines == ()


def test_missing_in_a_suite_that_ended_before_the_vm_died() -> None:
    text = stream(("mmap", "TAP version 13\n1..1\nok 1 a.one\n", 0), end=None)
    found = verdicts(text, VmEnd(exit=VmExit.LOST))
    assert (found["mmap:a.two"], found["sg:b.one"]) == (Status.MISSING, Status.CRASHED)


def test_a_renamed_test_is_an_error() -> None:
    text = stream(("mmap", MMAP.replace("a.two", "a.three"), 0), ("sg", SG, 0))
    found = verdicts(text)
    assert found["mmap:a.two"] is Status.MISSING
    assert found["mmap:a.three"] is Status.ERROR


def test_a_result_without_a_name_is_an_error() -> None:
    text = stream(("mmap", MMAP.replace("ok 2 a.two", "ok 2"), 0), ("sg", SG, 0))
    assert verdicts(text)["mmap:#2"] is Status.ERROR


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [("ok", "ok", Status.ERROR), ("not ok", "ok", Status.FAIL), ("ok", "not ok", Status.FAIL)],
)
def test_a_test_reported_twice(first: str, second: str, status: Status) -> None:
    output = f"1..3\nok 1 a.one\n{first} 2 a.two\n{second} 3 a.two\n"
    text = stream(("mmap", output, 0 if first == second else 1), ("sg", SG, 0))
    assert verdicts(text) == {
        "mmap:a.one": Status.PASS,
        "mmap:a.two": status,
        "sg:b.one": Status.PASS,
    }


def test_a_suite_that_runs_twice_is_no_way_out() -> None:
    failed = MMAP.replace("ok 2", "not ok 2")
    text = stream(("mmap", failed, 1), ("mmap", MMAP, 0), ("sg", SG, 0))
    assert verdicts(text)["mmap:a.two"] is Status.FAIL
    assert verdicts(text)["mmap:a.one"] is Status.ERROR


SKIPPED = "TAP version 13\n1..0 # SKIP no /dev/udmabuf\n"

XPASS = MMAP.replace("a.two", "a.two # XPASS")


@pytest.mark.parametrize(
    ("output", "status", "reason"),
    [
        (MMAP, 1, "it reported no failure, but ended with exit status 1"),
        (MMAP, 4, "its program ended with exit status 4"),
        (MMAP, 137, "its program ended with SIGKILL (exit status 137)"),
        (MMAP, 255, "its program ended with exit status 255"),
        (MMAP.replace("ok 2", "not ok 2"), 0, "it reported failures, but ended with exit status 0"),
        (MMAP.replace("1..2\n", ""), 0, "it announced no plan"),
        (MMAP.replace("1..2", "1..3"), 0, "it planned 3 tests and reported 2"),
        (
            MMAP + "Bail out! gone\n",
            1,
            "bailed out: gone; it reported no failure, but ended with exit status 1",
        ),
        (MMAP.replace("ok 2", "not ok 2"), 1, None),
        (MMAP.replace("a.two", "a.two # SKIP no"), 0, None),
        (MMAP.replace("ok 2 a.two", "not ok 2 a.two # XFAIL known"), 0, None),
        (XPASS, 0, None),
        (SKIPPED, 4, None),
        (SKIPPED, 0, None),
    ],
)
def test_a_suite_that_contradicts_itself(output: str, status: int, reason: str | None) -> None:
    judgement = judge(
        EXPECTED, parse(stream(("mmap", output, status), ("sg", SG, 0)), NONCE), CLEAN
    )
    reasons = [test.reason for test in judgement.tests if test.id == "mmap:suite"]
    assert reasons == ([] if reason is None else [reason])


SUBTESTS = "    1..2\n    ok 1 x\n    not ok 2 y\n"


@pytest.mark.parametrize(
    ("output", "status", "reason"),
    [
        (XPASS, Status.FAIL, "passed, but was expected to fail"),
        (XPASS.replace("XPASS", "XPASS 4.2"), Status.FAIL, "passed, but was expected to fail 4.2"),
        (MMAP.replace("ok 2", f"{SUBTESTS}ok 2"), Status.FAIL, "subtests failed: y"),
        (
            MMAP.replace("ok 2 a.two\n", f"    # Subtest: a.two\n{SUBTESTS}"),
            Status.MISSING,
            "subtests without their parent's result",
        ),
    ],
)
def test_a_failure_without_words_of_its_own(output: str, status: Status, reason: str) -> None:
    text = stream(("mmap", output, 1), ("sg", SG, 0))
    test = only(judge(EXPECTED, parse(text, NONCE), CLEAN), "mmap:a.two")
    assert (test.status, test.reason) == (status, reason)


def test_a_skipped_suite_skips_its_tests() -> None:
    text = stream(("mmap", SKIPPED, 4), ("sg", SKIPPED, 4))
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN)
    assert {(t.status, t.reason) for t in judgement.tests} == {(Status.SKIP, "no /dev/udmabuf")}
    assert judgement.problems == ("every test was skipped: nothing was tested",)


def test_an_unexpected_suite_is_an_error() -> None:
    text = stream(("mmap", MMAP, 0), ("sg", SG, 0), ("new", "TAP version 13\n1..0\n", 0))
    assert verdicts(text)["new:suite"] is Status.ERROR


def test_the_wrong_kernel_is_an_error() -> None:
    judgement = judge(EXPECTED, parse(GOOD, NONCE), CLEAN, release="6.12.2")
    assert only(judgement, "vm-1:release").reason == "booted 6.12.1, but the tests are for 6.12.2"


def test_a_broken_set_up_is_an_error() -> None:
    nonce = NONCE.encode()
    text = GOOD.replace(
        b"@%s suite sg" % nonce, b"@%s fail insmod x.ko\n@%s suite sg" % (nonce, nonce)
    )
    assert only(judge(EXPECTED, parse(text, NONCE), CLEAN), "vm-1:setup").reason == "insmod x.ko"
    assert exit_status(text) == 2


def test_a_guest_that_started_twice_is_an_error() -> None:
    assert verdicts(stream(end=None) + GOOD)["vm-1:channel"] is Status.ERROR


def test_anomalies_are_told() -> None:
    section = Section(name="sg", text=SG.replace("ok 1", "ok 2").encode(), line=3, status=0)
    transcript = Transcript(
        release="r", sections=(section,), ended=True, taint_before=0, stray=b"hello\n"
    )
    assert judge(["sg:b.one"], transcript, CLEAN).problems == (
        "6 bytes of output outside of any suite",
        "vm-1/results.ktap:5: result number 2 where 1 was due",
    )
    noisy = replace(section, text=b"ok 9 x\n" * 100)
    problems = judge(["sg:b.one"], replace(transcript, sections=(noisy,)), CLEAN).problems
    assert len(problems) == 1 + 20 + 1
    assert problems[-1] == "suite sg: 81 more of these"


def test_no_expected_tests_is_not_green() -> None:
    judgement = judge([], parse(stream(), NONCE), CLEAN)
    assert judgement.tests == ()
    run = RunResult(kernel="", release=None, accelerator="", vms=(CLEAN,), tests=judgement.tests)
    assert run.exit_status == 2


def test_the_worst_of_two_vms_counts() -> None:
    good = one_of_two(1, EXPECTED[:2], stream(("mmap", MMAP, 0)), CLEAN)
    stray = one_of_two(2, EXPECTED[2:], stream(("mmap", MMAP, 0), ("sg", SG, 0)), CLEAN)
    for order in ([good, stray], [stray, good]):
        found = {test.id: test.status for test in merge(EXPECTED, order).tests}
        assert found["mmap:a.one"] is Status.ERROR
        assert found["sg:b.one"] is Status.PASS


@pytest.mark.parametrize(("said", "kept"), [(60, 60), (61, 61), (62, 61)])
def test_lines_are_left_out_of_what_is_too_long(said: int, kept: int) -> None:
    words = "".join(f"# m.c:{at}:two:{'x' * 400}\n" for at in range(said))
    output = f"TAP version 13\n1..2\nok 1 a.one\n#  RUN  a.two ...\n{words}not ok 2 a.two\n"
    text = stream(("mmap", output, 1), ("sg", SG, 0))
    lines = only(judge(EXPECTED, parse(text, NONCE), CLEAN), "mmap:a.two").lines
    assert len(lines) == kept
    assert [line for line in lines if "left out" in line] == (
        [] if said <= 60 else [f"... {said - 60} lines left out ..."]
    )
    assert {len(line) for line in lines if "left out" not in line} == {400}


@pytest.mark.parametrize(("wrong", "lines"), [(20, 20), (21, 21), (25, 21)])
def test_of_many_problems_the_first_are_told(wrong: int, lines: int) -> None:
    # Each is out of order; that there are more than the plan says is one problem beside.
    bad = "".join(f"ok {500 + 2 * at} a.one\n" for at in range(wrong - 1))
    text = stream(("mmap", MMAP + bad, 0), ("sg", SG, 0))
    said = judge(EXPECTED, parse(text, NONCE), CLEAN).problems
    assert len(said) == lines
    assert ("more of these" in said[-1]) == (wrong > 20)


def test_what_is_done_with_is_what_reported_or_was_running() -> None:
    assert settled(parse(GOOD, NONCE)) == frozenset(EXPECTED)
    dying = stream(("mmap", DYING, None), end=None)
    assert settled(parse(dying, NONCE)) == {"mmap:a.one", "mmap:a.two"}
    assert settled(parse(b"", NONCE)) == frozenset()


def one_of_two(number: int, expected: tuple[str, ...], text: bytes, vm: VmEnd) -> Judgement:
    evidence = Evidence(
        number=number,
        planned=expected,
        expected=expected,
        told=parse(text, NONCE),
        vm=vm,
    )
    return judging.judge(evidence)


def test_a_second_vm_goes_on_where_the_first_died() -> None:
    lost = VmEnd(exit=VmExit.LOST)
    first = one_of_two(1, EXPECTED[:2], stream(("mmap", DYING, None), end=None), lost)
    second = one_of_two(2, EXPECTED[2:], stream(("sg", SG, 0)), CLEAN)
    merged = merge(EXPECTED, [first, second])
    assert [(test.id, test.status, test.vm) for test in merged.tests] == [
        ("mmap:a.one", Status.PASS, 1),
        ("mmap:a.two", Status.CRASHED, 1),
        ("sg:b.one", Status.PASS, 2),
    ]


def test_a_test_of_no_vm_is_missing() -> None:
    merged = merge(EXPECTED, [one_of_two(1, EXPECTED[:2], stream(("mmap", MMAP, 0)), CLEAN)])
    assert merged.tests[2].status is Status.MISSING
    assert merged.tests[2].reason == "no VM was started for it"


def test_what_stands_beside_the_tests_may_come_from_two_vms() -> None:
    bad = stream(("mmap", MMAP, 255))
    halves = [one_of_two(number, EXPECTED[:2], bad, CLEAN) for number in (1, 2)]
    entry = only(merge(EXPECTED[:2], halves), "mmap:suite")
    assert entry.reason == "; ".join(["its program ended with exit status 255"] * 2)
