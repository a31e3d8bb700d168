# SPDX-License-Identifier: GPL-2.0
"""judge.py: splats, taints, leaks and dirt are charged to the test that they belong to."""

from dataclasses import replace

import pytest

from harness.evidence import Blame, settled
from harness.results import RunResult, Status, VmEnd, VmExit
from harness.transcript import Transcript, parse
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


def leaks(text: bytes, *frames: str) -> bytes:
    """Put in what a guest says whose kernel has kmemleak."""
    taint = f"@{NONCE} taint 4096\n".encode()
    told = "".join(f"@{NONCE} leaks {frame}\n" for frame in frames[1:]).encode()
    end = text.find(f"@{NONCE} end".encode())
    at = len(text) if end < 0 else end
    text = text[:at] + told + text[at:]
    return text.replace(taint, f"@{NONCE} leaks {frames[0]}\n".encode() + taint)


def test_tests_whose_leaks_nobody_asked_for_say_so_and_stay_what_they_are() -> None:
    lost = VmEnd(exit=VmExit.LOST)
    output = "TAP version 13\n1..2\nok 1 a.one\n#  RUN           a.two ...\n"
    text = stream(("mmap", output, None), end=None)
    before = judge(EXPECTED, parse(text, NONCE), lost)
    after = judge(EXPECTED, parse(leaks(text, "wanted"), NONCE), lost)
    assert [(one.id, one.status) for one in after.tests] == [
        (one.id, one.status) for one in before.tests
    ]
    said = [any("UNWATCHED: memory leaks" in line for line in one.lines) for one in after.tests]
    assert said == [True, True, False], "what never ran has nothing to be checked"
    assert after.problems[len(before.problems) :] == (
        "vm-1 ended before kmemleak was asked: 2 tests are not checked for memory leaks: "
        "mmap:a.one, mmap:a.two",
    )


@pytest.mark.parametrize("text", [GOOD, leaks(GOOD, "wanted", "told")])
def test_where_kmemleak_was_asked_or_is_not_there_nothing_is_said(text: bytes) -> None:
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN)
    assert judgement.problems == ()
    assert not any(one.lines for one in judgement.tests)


def test_a_checker_that_gave_up_has_checked_nothing() -> None:
    text = leaks(GOOD, "wanted").replace(b" end ", f" fail leaks: off\n@{NONCE} end ".encode())
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN)
    assert only(judgement, "vm-1:setup").status is Status.ERROR
    assert "3 tests are not checked for memory leaks" in judgement.problems[0]


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [(4096, 4096, 0), (4096, 12288, 0), (4096, 4096 + 512, 1), (512, 512, 0), (0, 128 + 512, 1)],
)
def test_a_new_taint_is_a_failure(before: int, after: int, status: int) -> None:
    text = stream(("mmap", MMAP, 0), ("sg", SG, 0), end=after)
    assert exit_status(text.replace(b"taint 4096", b"taint %d" % before)) == status


def test_a_guest_that_never_told_its_taint_is_not_trusted() -> None:
    transcript = Transcript(release="r", ended=True, taint_after=0)
    entries = judge([], transcript, VmEnd(exit=VmExit.CLEAN)).tests
    assert [(entry.id, entry.status) for entry in entries] == [("vm-1:taint", Status.ERROR)]


def test_a_taint_from_before_is_told() -> None:
    transcript = Transcript(release="r", ended=True, taint_before=512, taint_after=512)
    problems = judge([], transcript, VmEnd(exit=VmExit.CLEAN)).problems
    assert problems == ("tainted before the first test, so blind to more: W (warning)",)


WARNED = (Blame(test="mmap:a.two", title="WARNING in f", lines=("vm-1/console.log:7: ...",)),)


def test_a_splat_is_charged_to_its_test_though_it_passed() -> None:
    judgement = judge(EXPECTED, parse(GOOD, NONCE), CLEAN, blames=WARNED)
    found = {test.id: test.status for test in judgement.tests}
    assert found == {
        "mmap:a.one": Status.PASS,
        "mmap:a.two": Status.FAIL,
        "sg:b.one": Status.MISSING,
    }
    two = only(judgement, "mmap:a.two")
    assert two.reason == "it passed, but: WARNING in f"
    assert two.lines == ("vm-1/console.log:7: ...",)


@pytest.mark.parametrize("test", [None, "mmap:a.unknown"])
def test_a_splat_of_no_test_is_a_failure_of_its_own(test: str | None) -> None:
    blame = replace(WARNED[0], test=test)
    judgement = judge(EXPECTED, parse(GOOD, NONCE), CLEAN, blames=(blame,))
    entry = only(judgement, "vm-1:kernel")
    assert entry.status is Status.FAIL
    assert entry.reason == "WARNING in f; outside of any test"


def test_a_kernel_that_says_why_it_died_judges_the_test_that_was_running() -> None:
    vm = VmEnd(exit=VmExit.PANIC, detail="Fatal exception")
    text = stream(("mmap", DYING, None), end=None)
    judgement = judge(EXPECTED[:2], parse(text, NONCE), vm, blames=WARNED)
    assert [test.status for test in judgement.tests] == [Status.PASS, Status.FAIL]
    assert only(judgement, "mmap:a.two").reason.startswith(
        "WARNING in f; the VM died in mmap:a.two"
    )
    run = RunResult(kernel="", release=None, accelerator="", vms=(vm,), tests=judgement.tests)
    assert run.exit_status == 1


def test_a_warning_does_not_explain_why_a_vm_was_lost() -> None:
    text = stream(("mmap", DYING, None), end=None)
    lost = VmEnd(exit=VmExit.LOST, detail="QEMU was killed")
    two = only(judge(EXPECTED[:2], parse(text, NONCE), lost, blames=WARNED), "mmap:a.two")
    assert two.status is Status.CRASHED
    assert two.reason.startswith("WARNING in f; the VM died in mmap:a.two")


def test_what_passed_after_anothers_splat_is_no_verdict() -> None:
    blame = replace(WARNED[0], test="mmap:a.one")
    judgement = judge(EXPECTED, parse(GOOD, NONCE), CLEAN, blames=(blame,))
    assert [test.status for test in judgement.tests] == [
        Status.FAIL,
        Status.MISSING,
        Status.MISSING,
    ]
    assert settled(parse(GOOD, NONCE), (blame,)) == {"mmap:a.one"}
    assert settled(parse(GOOD, NONCE), (replace(blame, late=True),)) == frozenset(EXPECTED)
    nobodys = replace(blame, test=None)
    assert settled(parse(GOOD, NONCE), (nobodys,)) == frozenset(EXPECTED)
    early = replace(nobodys, before="mmap:a.two")
    assert settled(parse(GOOD, NONCE), (early,)) == {"mmap:a.one"}


def test_a_suite_that_could_not_watch_its_driver_is_an_error() -> None:
    told = "# UNWATCHED: dma-bufs: not in /sys\n#  RUN           a.one ...\n"
    output = MMAP.replace("1..2\n", f"1..2\n{told}")
    text = stream(("mmap", output, 0), ("sg", SG, 0))
    entry = only(judge(EXPECTED, parse(text, NONCE), CLEAN), "mmap:suite")
    assert entry.status is Status.ERROR
    assert entry.reason == "blind to dirt: dma-bufs: not in /sys"
    unwatched = judge(EXPECTED, parse(text, NONCE), CLEAN, watched=False)
    assert not [test for test in unwatched.tests if test.id == "mmap:suite"]


@pytest.mark.parametrize(
    ("answered", "status"),
    [(True, Status.TIMEOUT), (False, Status.CRASHED), (None, Status.CRASHED)],
)
def test_a_hang_is_judged_where_the_kernel_answers(answered: bool | None, status: Status) -> None:
    vm = VmEnd(exit=VmExit.SILENT, detail="not a byte for 30 s", answered=answered)
    text = stream(("mmap", DYING, None), end=None)
    judgement = judge(EXPECTED[:2], parse(text, NONCE), vm)
    assert only(judgement, "mmap:a.two").status is status


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("<4>udmabuf_iov: this should not happen", Status.DIRTY),
        ("<4>clocksource: Marking clocksource 'tsc' as unstable", Status.PASS),
    ],
)
def test_a_kernel_message_is_dirt_unless_it_is_benign(message: str, status: Status) -> None:
    output = MMAP.replace("ok 2", f"# KERNEL: {message}\nok 2")
    judgement = judge(EXPECTED, parse(stream(("mmap", output, 0), ("sg", SG, 0)), NONCE), CLEAN)
    two = only(judgement, "mmap:a.two")
    assert two.status is status
    assert (message in two.reason) == (status is Status.DIRTY)


@pytest.mark.parametrize(
    "words",
    [
        "DMA-API: cacheline tracking ENOMEM, dma-debug disabled",
        "Huh VM_FAULT_OOM leaked out to the #PF handler. Retrying PF",
    ],
)
@pytest.mark.parametrize(
    ("said", "status"),
    [("# fault.c:62:a.one:FAULTS: on purpose\n", Status.PASS), ("", Status.DIRTY)],
)
def test_what_a_lack_of_memory_makes_the_kernel_say_is_excused_where_faults_are_injected(
    words: str, said: str, status: Status
) -> None:
    output = f"TAP version 13\n1..1\n{said}# KERNEL: <4>{words}\nok 1 a.one\n"
    assert verdicts(stream(("mmap", output, 0)))["mmap:a.one"] is status


def test_a_taint_is_not_charged_twice() -> None:
    text = stream(("mmap", MMAP, 0), ("sg", SG, 0), end=4096 + 512)
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN, blames=WARNED)
    assert "vm-1:taint" not in {test.id for test in judgement.tests}


def test_an_excuse_for_one_splat_is_none_for_another() -> None:
    int3 = replace(WARNED[0], title="int3 in f", excuse="a bug of QEMU 7.2: run it again")
    both = (WARNED[0], int3)
    two = only(judge(EXPECTED, parse(GOOD, NONCE), CLEAN, blames=both), "mmap:a.two")
    assert two.status is Status.FAIL
    alone = only(judge(EXPECTED, parse(GOOD, NONCE), CLEAN, blames=(int3,)), "mmap:a.two")
    assert (alone.status, alone.reason) == (Status.CRASHED, f"int3 in f: {int3.excuse}")


def test_a_suite_that_stopped_after_dirt() -> None:
    output = "TAP version 13\n1..3\nnot ok 1 a.one\n"
    text = stream(("mmap", output, 5), ("sg", SG, 0))
    judgement = judge(EXPECTED, parse(text, NONCE), CLEAN)
    assert "mmap:suite" not in {test.id for test in judgement.tests}
    assert only(judgement, "mmap:a.two").status is Status.MISSING
    assert judgement.problems == ()
    silent = stream(("mmap", MMAP, 5), ("sg", SG, 0))
    reason = only(judge(EXPECTED, parse(silent, NONCE), CLEAN), "mmap:suite").reason
    assert reason == "it stopped without saying why"
