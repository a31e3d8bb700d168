# SPDX-License-Identifier: GPL-2.0
"""What became of one mutant, and of all of them. No I/O."""

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
    """

    CAUGHT = "caught"
    SURVIVED = "survived"
    UNJUDGED = "not judged"
    ELSEWHERE = "elsewhere"


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


def score(findings: Sequence[Finding]) -> str:
    """Return the score in one line."""
    counts = {
        verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict
    }
    judged = counts[Verdict.CAUGHT] + counts[Verdict.SURVIVED]
    words = [f"{counts[Verdict.CAUGHT]} of {judged} mutants caught"]
    if judged:
        words[0] += f" ({100 * counts[Verdict.CAUGHT] / judged:.1f} %)"
    if counts[Verdict.UNJUDGED]:
        words.append(f"{counts[Verdict.UNJUDGED]} could not be judged")
    if counts[Verdict.ELSEWHERE]:
        words.append(f"{counts[Verdict.ELSEWHERE]} need another kernel")
    return ", ".join(words)


def exit_status(findings: Sequence[Finding]) -> int:
    """0 all caught, 1 one survived, 2 one could not be judged."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.UNJUDGED in verdicts:
        return 2
    return 1 if Verdict.SURVIVED in verdicts else 0
