# SPDX-License-Identifier: GPL-2.0
"""What became of one mutant, and of all of them. No I/O."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.mutant import Mutant


class Verdict(StrEnum):
    """What became of a mutant.

    Attributes:
        CAUGHT: a test turned red.
        SURVIVED: no test did: one is missing.
        UNJUDGED: it does not apply or compile, changes nothing, or the VM was lost.
        ELSEWHERE: it means something on other kernels only.
        VOID: nobody wrote it, and it does not compile or is the same code: none.
        EQUIVALENT: no test did, and the list of survivors says that none can.
        EXCUSED: no test did, and the list says why there is none.
        STALE: a test did, and the list says that none does.
    """

    CAUGHT = "caught"
    SURVIVED = "survived"
    UNJUDGED = "not judged"
    ELSEWHERE = "elsewhere"
    VOID = "void"
    EQUIVALENT = "equivalent"
    EXCUSED = "excused"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mutant and its verdict.

    Attributes:
        by: the tests that turned red.
        expected: they are among those that the mutant names.
        reason: why it was not judged, or what it needs.
        seconds: what it took now; next to nothing if it was known before.
    """

    mutant: Mutant
    verdict: Verdict
    by: tuple[str, ...] = ()
    expected: bool = True
    reason: str = ""
    seconds: float = 0.0


# What is said of those that do not count, in this order.
_UNCOUNTED = {
    Verdict.UNJUDGED: "could not be judged",
    Verdict.ELSEWHERE: "need another kernel",
    Verdict.VOID: "do not compile or are the same code",
    Verdict.EQUIVALENT: "equivalent",
}
_COUNTED = (Verdict.CAUGHT, Verdict.STALE, Verdict.SURVIVED, Verdict.EXCUSED)


def score(findings: Sequence[Finding]) -> str:
    """Return the score in one line: those that were caught, of those that could be."""
    counts = Counter(finding.verdict for finding in findings)
    judged = sum(counts[verdict] for verdict in _COUNTED)
    caught = counts[Verdict.CAUGHT] + counts[Verdict.STALE]
    words = [f"{caught} of {judged} mutants caught"]
    if judged:
        # Rounded down: 100.0 is all of them.
        words[0] += f" ({1000 * caught // judged / 10:.1f} %)"
    words += [f"{counts[one]} {what}" for one, what in _UNCOUNTED.items() if counts[one]]
    return ", ".join(words)


def proven(findings: Sequence[Finding]) -> bool:
    """Whether any mutant says something of the tests, or of itself that is to be mended."""
    return any(one.verdict not in (Verdict.ELSEWHERE, Verdict.VOID) for one in findings)


def exit_status(findings: Sequence[Finding]) -> int:
    """0 all caught or excused, 1 one survived or is excused in vain, 2 one could not be judged."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.UNJUDGED in verdicts:
        return 2
    return 1 if verdicts & {Verdict.SURVIVED, Verdict.STALE} else 0
