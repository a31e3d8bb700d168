# SPDX-License-Identifier: GPL-2.0
"""Expected ids + what the guest said + how the VM ended -> verdicts. Pure.

Every expected test gets exactly one verdict, and nothing passes that did not say so in a complete
line of its own. What cannot be pinned on a test becomes an entry beside the tests (`mmap:suite`,
`vm:end`, ...), so that every report shows it and no exit status hides it.
"""

import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness import ktap
from harness.results import Status, TestResult, VmEnd, VmExit
from harness.transcript import Section, Transcript

# Exit statuses of a suite, as in kselftest.h (KSFT_PASS, KSFT_FAIL, KSFT_SKIP).
_PASS, _FAIL, _SKIP = 0, 1, 4

# Bits of /proc/sys/kernel/tainted that a test run may not set (Documentation/admin-guide/
# tainted-kernels.rst). The others come from loading an unsigned module that is out of tree.
_TAINTS = {5: "B (bad page)", 7: "D (oops)", 9: "W (warning)", 14: "L (soft lockup)"}

# Lines kept of a test's own output, from its start and from its end, and characters of each: the
# whole is in results.ktap.
_HEAD, _TAIL, _WIDTH = 40, 20, 400

# Anomalies listed of one suite; a suite that prints garbage has thousands.
_PROBLEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Verdicts, and what else the reader should know (one line each)."""

    tests: tuple[TestResult, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suite:
    """A suite's output, parsed."""

    section: Section
    document: ktap.Document


def judge(
    expected: Sequence[str], transcript: Transcript, vm: VmEnd, *, release: str | None = None
) -> Judgement:
    """Judge one VM's run.

    Args:
        expected: the ids of all tests, known before boot, in the order to report them in.
        transcript: what the guest said.
        vm: how the VM ended.
        release: the `uname -r` that was to be booted; None when any will do.
    """
    suites = [
        _Suite(section=section, document=ktap.parse(section.text, first_line=section.line))
        for section in transcript.sections
    ]
    found: dict[str, list[ktap.Test]] = defaultdict(list)
    for suite in suites:
        for test in suite.document.tests:
            found[_id(suite, test)].append(test)
    death = _death(transcript, vm, suites)
    tests = [
        _reported(id_, found[id_]) if id_ in found else _unreported(id_, suites, death)
        for id_ in dict.fromkeys(expected)
    ]
    known = set(expected)
    tests += [_unexpected(id_, results) for id_, results in found.items() if id_ not in known]
    wanted = {id_.partition(":")[0] for id_ in expected}
    tests += [entry for suite in suites for entry in _suite_entry(suite, wanted)]
    tests += _vm_entries(transcript, vm, death, release)
    return Judgement(tests=tuple(tests), problems=_problems(transcript, suites, tests))


def _id(suite: _Suite, test: ktap.Test) -> str:
    return f"{suite.section.name}:{test.name or f'#{test.number}'}"


def _result(id_: str, test: ktap.Test, status: Status, reason: str) -> TestResult:
    return TestResult(
        id=id_,
        status=status,
        seconds=test.seconds,
        reason=_clip(reason),
        lines=_excerpt(test.lines),
        line=test.line,
    )


def _reported(id_: str, tests: list[ktap.Test]) -> TestResult:
    """Judge a test by its own lines; of several the worst one counts."""
    order = list(Status)
    worst = max(tests, key=lambda test: order.index(test.status))
    if len(tests) > 1:
        status = worst.status if not worst.status.good else Status.ERROR
        return _result(id_, worst, status, f"reported {len(tests)} times; {worst.reason}")
    return _result(id_, worst, worst.status, _reason(worst))


def _reason(test: ktap.Test) -> str:
    if test.directive == "XPASS":
        return f"passed, but was expected to fail {test.reason}".rstrip()
    if test.ok is None:
        return "subtests without their parent's result"
    if bad := [sub.name for sub in test.subtests if not sub.status.good]:
        return f"subtests failed: {', '.join(bad)}"
    return test.reason


def _unexpected(id_: str, tests: list[ktap.Test]) -> TestResult:
    said = ", ".join(test.status for test in tests)
    reason = f"not in the list of expected tests (it said: {said}); was it renamed?"
    return _result(id_, tests[-1], Status.ERROR, reason)


def _death(transcript: Transcript, vm: VmEnd, suites: list[_Suite]) -> str | None:
    """Say in one phrase how the VM died, and in which test; None when it lived to the end."""
    if vm.exit is VmExit.CLEAN and transcript.ended:
        return None
    how = vm.describe() if vm.exit is not VmExit.CLEAN else "it stopped without the end marker"
    if transcript.release is None:
        return f"the VM died before userspace ({how})"
    where = "before the first test"
    if suites:
        last = suites[-1]
        name, running = last.section.name, last.document.running
        if last.section.status is not None:
            where = f"after suite {name}"
        elif running is not None:
            where = f"in {name}:{running}"
        else:
            where = f"in suite {name}, between tests"
    return f"the VM died {where} ({how})"


def _unreported(id_: str, suites: list[_Suite], death: str | None) -> TestResult:
    """Judge a test that has no result line."""
    name = id_.partition(":")[0]
    mine = next((suite for suite in suites if suite.section.name == name), None)
    if mine is None or mine.section.status is None:
        if death is None:
            reason = f"suite {name} " + ("never started" if mine is None else "never ended")
            return TestResult(id=id_, status=Status.MISSING, reason=reason)
        return TestResult(
            id=id_, status=Status.CRASHED, reason=_clip(death), lines=_last_words(id_, mine)
        )
    if mine.document.skipped is not None and not mine.document.tests:
        return TestResult(id=id_, status=Status.SKIP, reason=_clip(mine.document.skipped))
    ended = f"suite {name} ended with {_describe_status(mine.section.status)}"
    began = "it began, but has no result" if _was_running(id_, mine) else "no result"
    return TestResult(
        id=id_,
        status=Status.MISSING,
        reason=f"{began}; {ended}",
        lines=_last_words(id_, mine),
    )


def _was_running(id_: str, suite: _Suite | None) -> bool:
    return suite is not None and suite.document.running == id_.partition(":")[2]


def _last_words(id_: str, suite: _Suite | None) -> tuple[str, ...]:
    """What a test had printed when its suite's output ended."""
    if suite is None or not _was_running(id_, suite):
        return ()
    return _excerpt(suite.document.running_lines)


def _describe_status(status: int) -> str:
    if status > 128:
        try:
            return f"{signal.Signals(status - 128).name} (exit status {status})"
        except ValueError:
            pass
    return f"exit status {status}"


def _suite_entry(suite: _Suite, wanted: set[str]) -> list[TestResult]:
    """Return one ERROR for a suite that contradicts itself, none for a sound one."""
    section, document = suite.section, suite.document
    reasons = []
    if section.name not in wanted:
        reasons.append("no test of this suite was expected")
    if document.bail is not None:
        reasons.append(f"bailed out: {document.bail}")
    seen = sum(test.ok is not None for test in document.tests)
    if section.status is not None:
        if document.plan is None:
            reasons.append("it announced no plan")
        elif document.plan != seen:
            reasons.append(f"it planned {document.plan} tests and reported {seen}")
        reasons += _status_reasons(section.status, document)
    if not reasons:
        return []
    return [
        TestResult(
            id=f"{section.name}:suite",
            status=Status.ERROR,
            reason=_clip("; ".join(reasons)),
            line=section.line,
        )
    ]


def _status_reasons(status: int, document: ktap.Document) -> list[str]:
    """Compare a suite's exit status with its results."""
    failed = any(_says_failed(test) for test in document.tests)
    words = _describe_status(status)
    if status == _SKIP and document.skipped is not None:
        return []
    if status not in (_PASS, _FAIL):
        return [f"its program ended with {words}"]
    if status == _PASS and failed:
        return [f"it reported failures, but ended with {words}"]
    if status == _FAIL and not failed:
        return [f"it reported no failure, but ended with {words}"]
    return []


def _says_failed(test: ktap.Test) -> bool:
    """Whether the suite's own program counts this as a failure (for it an XPASS is none)."""
    return test.ok is False and test.directive not in ("SKIP", "XFAIL", "TODO")


def _vm_entries(
    transcript: Transcript, vm: VmEnd, death: str | None, release: str | None
) -> list[TestResult]:
    """Return what went wrong with the VM itself."""
    entries = []
    if death is not None:
        entries.append(TestResult(id="vm:end", status=Status.CRASHED, reason=_clip(death)))
    if transcript.failures:
        reason = _clip("; ".join(transcript.failures))
        entries.append(TestResult(id="vm:setup", status=Status.ERROR, reason=reason))
    if release is not None and transcript.release not in (None, release):
        reason = f"booted {transcript.release}, but the tests are for {release}"
        entries.append(TestResult(id="vm:release", status=Status.ERROR, reason=_clip(reason)))
    if transcript.problems:
        reason = _clip("; ".join(transcript.problems))
        entries.append(TestResult(id="vm:channel", status=Status.ERROR, reason=reason))
    if transcript.ended and transcript.taint_before is None:
        reason = "the guest did not tell its taint at boot"
        entries.append(TestResult(id="vm:taint", status=Status.ERROR, reason=reason))
    new = (transcript.taint_after or 0) & ~(transcript.taint_before or 0)
    if taints := [text for bit, text in _TAINTS.items() if new >> bit & 1]:
        reason = f"the run tainted the kernel: {', '.join(taints)}; see console.log"
        entries.append(TestResult(id="vm:taint", status=Status.FAIL, reason=reason))
    return entries


def _problems(
    transcript: Transcript, suites: list[_Suite], tests: list[TestResult]
) -> tuple[str, ...]:
    lines = [f"guest: {note}" for note in transcript.notes]
    before = transcript.taint_before or 0
    if taints := [text for bit, text in _TAINTS.items() if before >> bit & 1]:
        lines.append(f"tainted before the first test, so blind to more: {', '.join(taints)}")
    if transcript.stray.strip():
        lines.append(f"{len(transcript.stray)} bytes of output outside of any suite")
    for suite in suites:
        found = suite.document.problems
        lines += [f"results.ktap:{problem.line}: {problem.text}" for problem in found[:_PROBLEMS]]
        if len(found) > _PROBLEMS:
            lines.append(f"suite {suite.section.name}: {len(found) - _PROBLEMS} more of these")
    if tests and all(test.status is Status.SKIP for test in tests):
        lines.append("every test was skipped: nothing was tested")
    return tuple(_clip(line) for line in lines)


def _clip(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _excerpt(lines: tuple[str, ...]) -> tuple[str, ...]:
    clipped = tuple(_clip(line) for line in lines)
    if len(clipped) <= _HEAD + _TAIL:
        return clipped
    left_out = f"... {len(clipped) - _HEAD - _TAIL} lines left out ..."
    return (*clipped[:_HEAD], left_out, *clipped[-_TAIL:])
