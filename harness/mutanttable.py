# SPDX-License-Identifier: GPL-2.0
"""How mutants are printed: a row for each as it is judged, what no test sees, a score."""

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.text import Text

from harness.mutant import Mutant
from harness.verdict import Finding, Verdict, score

_STYLES = {
    Verdict.CAUGHT: "green",
    Verdict.SURVIVED: "bold red",
    Verdict.UNJUDGED: "bold magenta",
    Verdict.ELSEWHERE: "yellow",
    Verdict.VOID: "dim",
    Verdict.EQUIVALENT: "dim",
    Verdict.EXCUSED: "yellow",
    Verdict.STALE: "bold red",
}


class MutantTable:
    """A row for each mutant as it is judged, and at the end what is wrong with those that live.

    Args:
        console: where to.
        mutants: those that will be printed.
    """

    def __init__(self, console: Console, mutants: Sequence[Mutant]) -> None:
        self._console = console
        self._name = max([len("mutant"), *(len(one.name) for one in mutants)])
        self._bugs = max([len("bug"), *(len(" ".join(one.bugs)) for one in mutants)])

    def head(self) -> None:
        """Print the titles."""
        words = f"{'mutant':<{self._name}}  {'bug':<{self._bugs}}  {'verdict':<10}  {'time':>7}"
        say(self._console, Text(f"{words}  caught by", style="bold"))

    def row(self, finding: Finding) -> None:
        """Print one finding."""
        mutant = finding.mutant
        line = Text(f"{mutant.name:<{self._name}}  {' '.join(mutant.bugs):<{self._bugs}}  ")
        line.append(f"{finding.verdict.upper():<10}", style=_STYLES[finding.verdict])
        line.append(f"  {finding.seconds:>5.1f} s  {_words(finding)}")
        line.rstrip()
        say(self._console, line)

    def end(self, findings: Sequence[Finding]) -> None:
        """Print what each survivor gets away with, and the score."""
        for finding in findings:
            mutant = finding.mutant
            if finding.verdict is Verdict.SURVIVED:
                say(self._console, Text(f"{mutant.path}: no test sees this: {mutant.wrong}"))
                if mutant.automatic:
                    say(self._console, Text(f"    {mutant.name}", style="dim"))
            elif finding.verdict is Verdict.STALE:
                words = f"{mutant.path}: {mutant.name} is listed as a survivor, and was caught"
                say(self._console, Text(words))
            elif finding.verdict is Verdict.CAUGHT and not finding.expected:
                words = f"{mutant.path}: Expect: missed by all of them"
                say(self._console, Text(words, style="yellow"))
        say(self._console, Text(score(findings)))

    def never_red(self, passing: Collection[str], findings: Sequence[Finding]) -> None:
        """Print the tests that no mutant failed: of these nobody knows whether they can fail.

        Args:
            passing: the tests that pass on the driver itself.
            findings: from runs of all tests.
        """
        red = {id_ for finding in findings for id_ in finding.by}
        left = sorted(set(passing) - red)
        for id_ in left:
            say(self._console, Text(f"{id_}: red on none of these mutants", style="yellow"))
        seen = len(passing) - len(left)
        say(self._console, Text(f"{seen} of {len(passing)} tests were red on a mutant"))


def print_list(console: Console, mutants: Sequence[Mutant]) -> None:
    """Print mutants that are not judged: name, bugs, what is wrong."""
    width = max((len(mutant.name) for mutant in mutants), default=0)
    for mutant in mutants:
        bugs = " ".join(mutant.bugs)
        words = f"{mutant.path}: {mutant.wrong}" if mutant.automatic else mutant.wrong
        say(console, Text(f"{mutant.name:<{width}}  {bugs:<14}  {words}"))
    say(console, Text(f"{len(mutants)} mutants"))


def say(console: Console, text: Text) -> None:
    """Print one line as it is: the terminal may wrap it, rich must not: in a log it would break."""
    console.print(text, soft_wrap=True, highlight=False)


def _words(finding: Finding) -> str:
    if not finding.by:
        return finding.reason
    more = f" and {len(finding.by) - 1} more" if len(finding.by) > 1 else ""
    return finding.by[0] + more
