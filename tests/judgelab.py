# SPDX-License-Identifier: GPL-2.0
"""What judge.py judges in tests: a stream of three results, and a run of one VM."""

from collections.abc import Sequence

from harness import judge as judging
from harness.evidence import Blame, Evidence
from harness.judge import Judgement, merge
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit
from harness.transcript import Transcript, parse

NONCE = "0123456789abcdef0123456789abcdef"

CLEAN = VmEnd(exit=VmExit.CLEAN)

EXPECTED = ("mmap:a.one", "mmap:a.two", "sg:b.one")


def stream(*suites: tuple[str, str, int | None], end: int | None = 4096) -> bytes:
    """A results stream: (suite, its output, exit status), and the taint of the end marker."""
    text = f"@{NONCE} hello 6.12.1 3.00 1.0\n@{NONCE} taint 4096\n"
    for name, output, status in suites:
        text += f"@{NONCE} suite {name}\n{output}"
        if status is not None:
            text += f"@{NONCE} exit {name} {status}\n"
    if end is not None:
        text += f"@{NONCE} end {end}\n"
    return text.encode()


MMAP = "TAP version 13\n1..2\nok 1 a.one\nok 2 a.two\n"

SG = "TAP version 13\n1..1\nok 1 b.one\n"
# Its second test never ends.
DYING = "TAP version 13\n1..2\nok 1 a.one\n#  RUN           a.two ...\n# writing to NULL\n"

GOOD = stream(("mmap", MMAP, 0), ("sg", SG, 0))


def judge(
    expected: Sequence[str],
    told: Transcript,
    vm: VmEnd,
    *,
    release: str | None = None,
    blames: tuple[Blame, ...] = (),
    watched: bool = True,
) -> Judgement:
    """Judge a run of one VM."""
    evidence = Evidence(
        number=1,
        planned=tuple(expected),
        expected=tuple(expected),
        told=told,
        vm=vm,
        blames=blames,
    )
    return merge(expected, [judging.judge(evidence, release=release, watched=watched)])


def verdicts(text: bytes, vm: VmEnd = CLEAN) -> dict[str, Status]:
    tests = judge(EXPECTED, parse(text, NONCE), vm).tests
    assert len({test.id for test in tests}) == len(tests)
    return {test.id: test.status for test in tests}


def only(judgement: Judgement, id_: str) -> TestResult:
    (test,) = [test for test in judgement.tests if test.id == id_]
    return test


def exit_status(text: bytes, vm: VmEnd = CLEAN) -> int:
    judgement = judge(EXPECTED, parse(text, NONCE), vm)
    return RunResult(
        kernel="6.12", release=None, accelerator="tcg", vms=(vm,), tests=judgement.tests
    ).exit_status
