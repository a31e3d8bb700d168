# SPDX-License-Identifier: GPL-2.0
"""Expected ids + what the guest said + how each VM ended -> verdicts. Pure.

Every expected test gets exactly one verdict, and nothing passes that did not say so in a complete
line of its own. What cannot be pinned on a test becomes an entry beside the tests (`mmap:suite`,
`vm-1:end`, ...), so that every report shows it and no exit status hides it.
"""

import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import ktap
from harness.complaint import complaints
from harness.evidence import Blame, Death, Evidence, Suite, death_of, reported_after, suites_of
from harness.ktapline import HARMLESS
from harness.results import Status, TestResult, VmEnd, VmExit

# Exit statuses of a suite, as in kselftest.h (KSFT_PASS, KSFT_FAIL, KSFT_SKIP), and our own for
# one that stopped because the kernel is no longer as it was.
_PASS, _FAIL, _SKIP, _STOPPED = 0, 1, 4, 5

# Bits of /proc/sys/kernel/tainted that a test run may not set (Documentation/admin-guide/
# tainted-kernels.rst). The others come from loading an unsigned module that is out of tree.
_TAINTS = {5: "B (bad page)", 7: "D (oops)", 9: "W (warning)", 14: "L (soft lockup)"}

# From best to worst.
_ORDER = list(Status)

# How a test's diagnostics report a kernel message of level warning or worse: `<LEVEL>TEXT`.
_KERNEL = "KERNEL: "
# And what the guest could not watch, so that nothing is known of it.
_UNWATCHED = "UNWATCHED: "
# How a test says that it has allocations fail.
_FAULTS = ":FAULTS: "
_NO_LEAKS = f"{_UNWATCHED}memory leaks: kmemleak was not asked before the VM ended"

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


def judge(evidence: Evidence, *, release: str | None = None, watched: bool = True) -> Judgement:
    """Judge one VM's part of a run.

    Args:
        evidence: the VM.
        release: the `uname -r` that was to be booted; None when any will do.
        watched: whether the guest must have been able to watch all that a test could leave behind.
    """
    told = evidence.told
    suites = suites_of(told)
    found: dict[str, list[ktap.Test]] = defaultdict(list)
    for suite in suites:
        for test in suite.document.tests:
            found[suite.full_id(test)].append(test)
    death = death_of(evidence, suites)
    blames: dict[str | None, list[Blame]] = defaultdict(list)
    for blame in evidence.blames:
        blames[blame.test if blame.test in evidence.expected else None].append(blame)
    tests = [
        _blamed(
            _reported(id_, found[id_]) if id_ in found else _unreported(id_, suites, death),
            blames[id_],
            evidence.vm,
        )
        for id_ in dict.fromkeys(evidence.expected)
    ]
    planned = set(evidence.planned)
    tests = _spoiled(tests, reported_after(suites, evidence.blames))
    unchecked = _unchecked(evidence, suites)
    tests = [_noted(test, _NO_LEAKS) if test.id in unchecked else test for test in tests]
    tests += [_unexpected(id_, results) for id_, results in found.items() if id_ not in planned]
    wanted = {id_.partition(":")[0] for id_ in planned}
    tests += [entry for suite in suites for entry in _suite_entry(suite, wanted, watched=watched)]
    tests += _vm_entries(evidence, death, release, blames[None])
    if not any(_explains_taint(test) for test in tests):
        tests += _taint_entries(evidence)
    return Judgement(
        tests=tuple(replace(test, vm=evidence.number) for test in tests),
        problems=(*_problems(evidence, suites), *_unchecked_words(evidence.number, unchecked)),
    )


def merge(expected: Sequence[str], judgements: Sequence[Judgement]) -> Judgement:
    """Put together what several VMs of one run came to.

    Args:
        expected: the ids of all tests, in the order to report them in.
        judgements: one a VM.
    """
    found: dict[str, TestResult] = {}
    for test in (test for judgement in judgements for test in judgement.tests):
        # `mmap:suite` of two VMs, or a test that reported where it was not asked to.
        first = found.setdefault(test.id, test)
        if first is not test:
            worst = max(first, test, key=lambda one: _ORDER.index(one.status))
            found[test.id] = replace(worst, reason=_clip(f"{first.reason}; {test.reason}"))
    merged = {id_: found.pop(id_, _no_vm(id_)) for id_ in expected}
    problems = [line for judgement in judgements for line in judgement.problems]
    tests = (*merged.values(), *found.values())
    if tests and all(test.status is Status.SKIP for test in tests):
        problems.append("every test was skipped: nothing was tested")
    return Judgement(tests=tests, problems=tuple(dict.fromkeys(problems)))


def _no_vm(id_: str) -> TestResult:
    return TestResult(id=id_, status=Status.MISSING, reason="no VM was started for it")


def _result(id_: str, test: ktap.Test, status: Status, reason: str) -> TestResult:
    return TestResult(
        id=id_,
        status=status,
        seconds=test.seconds,
        reason=_clip(reason),
        lines=_excerpt(test.lines),
        line=test.line,
    )


def _blamed(result: TestResult, blames: list[Blame], vm: VmEnd) -> TestResult:
    """Charge splats to a test: one that passed did not pass, one that was lost is explained."""
    if not blames:
        return result
    titles = "; ".join(dict.fromkeys(blame.title for blame in blames))
    said = {Status.PASS: "it passed, but: ", Status.DIRTY: ""}.get(result.status, "")
    reason = f"{said}{titles}"
    if not result.status.good and result.status is not Status.DIRTY and result.reason:
        reason = f"{titles}; {result.reason}"
    # A kernel that panicked said itself why the VM died: that is a judgement.
    dead = result.status is Status.CRASHED and vm.exit is VmExit.PANIC
    judged = result.status.judged and result.status is not Status.TIMEOUT
    status = Status.FAIL if dead or judged else result.status
    if all(blame.excuse for blame in blames):
        status, reason = Status.CRASHED, f"{titles}: {blames[0].excuse}"
    # The console has the whole of what the guest reports line by line.
    own = (line for line in result.lines if not line.startswith(_KERNEL))
    lines = (*(line for blame in blames for line in blame.lines), *own)
    return replace(result, status=status, reason=_clip(reason), lines=_excerpt(lines))


def _spoiled(tests: list[TestResult], late: frozenset[str]) -> list[TestResult]:
    """Take back what passed in a kernel that had complained before."""
    reason = "ran after a splat in the same kernel, which is no verdict"
    return [
        replace(test, status=Status.MISSING, reason=reason)
        if test.id in late and test.status.good
        else test
        for test in tests
    ]


def _explains_taint(test: TestResult) -> bool:
    return test.status in (Status.DIRTY, Status.FAIL, Status.TIMEOUT, Status.CRASHED)


def _reported(id_: str, tests: list[ktap.Test]) -> TestResult:
    """Judge a test by its own lines; of several the worst one counts."""
    worst = max(tests, key=lambda test: _ORDER.index(test.status))
    if len(tests) > 1:
        status = worst.status if not worst.status.good else Status.ERROR
        return _result(id_, worst, status, f"reported {len(tests)} times; {worst.reason}")
    if worst.status.good and (said := _complaints(worst)):
        return _result(id_, worst, Status.DIRTY, f"the kernel said: {'; '.join(said)}")
    return _result(id_, worst, worst.status, _reason(worst))


def _complaints(test: ktap.Test) -> list[str]:
    """Return what the guest found in the kernel's log: warnings and worse that mean something."""
    said = [line.removeprefix(_KERNEL) for line in test.lines if line.startswith(_KERNEL)]
    return complaints(said, injected=any(_FAULTS in line for line in test.lines))


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


def _unreported(id_: str, suites: list[Suite], death: Death | None) -> TestResult:
    """Judge a test that has no result line."""
    name = id_.partition(":")[0]
    mine = next((suite for suite in suites if suite.section.name == name), None)
    if mine is None or mine.section.status is None:
        if death is None:
            reason = f"suite {name} " + ("never started" if mine is None else "never ended")
            return TestResult(id=id_, status=Status.MISSING, reason=reason)
        if id_ != death.test:
            return TestResult(
                id=id_,
                status=Status.CRASHED,
                reason=_clip(death.words),
                lines=_last_words(id_, mine),
            )
        return TestResult(
            id=id_,
            status=death.status,
            reason=_clip(death.reason),
            lines=_excerpt((*death.lines, *_last_words(id_, mine))),
        )
    if mine.document.skipped is not None and not mine.document.tests:
        return TestResult(id=id_, status=Status.SKIP, reason=_clip(mine.document.skipped))
    ended = f"suite {name} ended with {_describe_status(mine.section.status)}"
    began = "it began, but has no result" if mine.running == id_ else "no result"
    return TestResult(
        id=id_,
        status=Status.MISSING,
        reason=f"{began}; {ended}",
        lines=_last_words(id_, mine),
    )


def _last_words(id_: str, suite: Suite | None) -> tuple[str, ...]:
    """What a test had printed when its suite's output ended."""
    if suite is None or suite.running != id_:
        return ()
    return _excerpt(suite.document.running_lines)


def _describe_status(status: int) -> str:
    if status > 128:
        try:
            return f"{signal.Signals(status - 128).name} (exit status {status})"
        except ValueError:
            pass
    return f"exit status {status}"


def _suite_entry(suite: Suite, wanted: set[str], *, watched: bool) -> list[TestResult]:
    """Return one ERROR for a suite that contradicts itself, none for a sound one."""
    section, document = suite.section, suite.document
    lines = {line for test in document.tests for line in test.lines} | set(document.between)
    blind = sorted(line for line in lines if watched and line.startswith(_UNWATCHED))
    reasons = [f"blind to dirt: {line.removeprefix(_UNWATCHED)}" for line in blind]
    if section.name not in wanted:
        reasons.append("no test of this suite was expected")
    if document.bail is not None:
        reasons.append(f"bailed out: {document.bail}")
    seen = sum(test.ok is not None for test in document.tests)
    if section.status is not None:
        if document.plan is None:
            reasons.append("it announced no plan")
        elif document.plan != seen and section.status != _STOPPED:
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
    if status == _STOPPED:
        return [] if failed else ["it stopped without saying why"]
    if status not in (_PASS, _FAIL):
        return [f"its program ended with {words}"]
    if status == _PASS and failed:
        return [f"it reported failures, but ended with {words}"]
    if status == _FAIL and not failed:
        return [f"it reported no failure, but ended with {words}"]
    return []


def _says_failed(test: ktap.Test) -> bool:
    """Whether the suite's own program counts this as a failure (for it an XPASS is none)."""
    return test.ok is False and test.directive not in HARMLESS


def _vm_entries(
    evidence: Evidence, death: Death | None, release: str | None, blames: list[Blame]
) -> list[TestResult]:
    """Return what went wrong with the VM itself."""
    told, vm = evidence.told, f"vm-{evidence.number}"
    entries = []
    if death is not None and death.test not in evidence.expected:
        reason, lines = _clip(death.reason), _excerpt(death.lines)
        entries.append(
            TestResult(id=f"{vm}:end", status=Status.CRASHED, reason=reason, lines=lines)
        )
    if told.failures:
        reason = _clip("; ".join(told.failures))
        entries.append(TestResult(id=f"{vm}:setup", status=Status.ERROR, reason=reason))
    if blames:
        tests = [id_ for id_ in evidence.planned if id_ in {blame.test for blame in blames}]
        where = f"in {', '.join(tests)}, which ran again" if tests else "outside of any test"
        entry = TestResult(id=f"{vm}:kernel", status=Status.FAIL, reason=where)
        entries.append(_blamed(entry, blames, evidence.vm))
    if release is not None and told.release not in (None, release):
        reason = f"booted {told.release}, but the tests are for {release}"
        entries.append(TestResult(id=f"{vm}:release", status=Status.ERROR, reason=_clip(reason)))
    if told.problems:
        reason = _clip("; ".join(told.problems))
        entries.append(TestResult(id=f"{vm}:channel", status=Status.ERROR, reason=reason))
    if told.ended and told.taint_before is None:
        reason = "the guest did not tell its taint at boot"
        entries.append(TestResult(id=f"{vm}:taint", status=Status.ERROR, reason=reason))
    return entries


def _taint_entries(evidence: Evidence) -> list[TestResult]:
    """Return a FAIL for a taint that came with the run, and that nothing else explains."""
    told = evidence.told
    new = (told.taint_after or 0) & ~(told.taint_before or 0)
    if taints := [text for bit, text in _TAINTS.items() if new >> bit & 1]:
        reason = f"the run tainted the kernel: {', '.join(taints)}; see console.log"
        return [TestResult(id=f"vm-{evidence.number}:taint", status=Status.FAIL, reason=reason)]
    return []


def _problems(evidence: Evidence, suites: list[Suite]) -> tuple[str, ...]:
    transcript = evidence.told
    lines = []
    before = transcript.taint_before or 0
    if taints := [text for bit, text in _TAINTS.items() if before >> bit & 1]:
        lines.append(f"tainted before the first test, so blind to more: {', '.join(taints)}")
    if transcript.stray.strip():
        lines.append(f"{len(transcript.stray)} bytes of output outside of any suite")
    for suite in suites:
        found = suite.document.problems
        if suite.section.status == _STOPPED:
            # What it did not come to is run in another VM.
            found = tuple(one for one in found if not one.text.startswith("planned "))
        file = f"vm-{evidence.number}/results.ktap"
        lines += [f"{file}:{problem.line}: {problem.text}" for problem in found[:_PROBLEMS]]
        if len(found) > _PROBLEMS:
            lines.append(f"suite {suite.section.name}: {len(found) - _PROBLEMS} more of these")
    return tuple(_clip(line) for line in lines)


def _unchecked(evidence: Evidence, suites: list[Suite]) -> tuple[str, ...]:
    """Return the tests that ran here and of whose leaks nothing is known.

    kmemleak is asked when all tests are over, as it takes its time to be sure: a VM that died never
    came to that.
    """
    if evidence.told.leaks is not False:
        return ()
    ran = {suite.full_id(test) for suite in suites for test in suite.document.tests}
    ran |= {suite.running for suite in suites if suite.running is not None}
    return tuple(id_ for id_ in dict.fromkeys(evidence.expected) if id_ in ran)


def _unchecked_words(number: int, tests: tuple[str, ...]) -> list[str]:
    """Return a note that names them, as far as a line goes; each of them says so itself."""
    if not tests:
        return []
    count = "1 test is" if len(tests) == 1 else f"{len(tests)} tests are"
    why = f"vm-{number} ended before kmemleak was asked"
    return [_clip(f"{why}: {count} not checked for memory leaks: {', '.join(tests)}")]


def _noted(test: TestResult, line: str) -> TestResult:
    return replace(test, lines=(*test.lines, line))


def _clip(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _excerpt(lines: tuple[str, ...]) -> tuple[str, ...]:
    clipped = tuple(_clip(line) for line in lines)
    if len(clipped) <= _HEAD + _TAIL:
        return clipped
    left_out = f"... {len(clipped) - _HEAD - _TAIL} lines left out ..."
    return (*clipped[:_HEAD], left_out, *clipped[-_TAIL:])
