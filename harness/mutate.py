# SPDX-License-Identifier: GPL-2.0
"""Which mutants of the driver the tests catch: choose, judge, print, score."""

import fnmatch
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness import runner
from harness.capacity import default_jobs
from harness.errors import HarnessError
from harness.kmod import read_sources
from harness.mutant import FOLDER, Mutant, load_mutants
from harness.mutantbench import Bench, expected_suites, judge_all
from harness.mutantstate import State
from harness.mutation import Mutation, MutationError, apply, changed_since
from harness.place import Place
from harness.progress import Progress
from harness.spec import load_specs
from harness.verdict import Finding, Verdict, exit_status, score

MUTANTS = "selftests/mutants"
_STYLES = {
    Verdict.CAUGHT: "green",
    Verdict.SURVIVED: "bold red",
    Verdict.UNJUDGED: "bold magenta",
    Verdict.ELSEWHERE: "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which mutants.

    Attributes:
        names: globs over names; none means all.
        only: globs over bugs ("B*") and files of the driver ("pin.c"); none means all.
        since: those that change a line which is not in this revision.
        quick: those of the subset for every change.
    """

    names: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    since: str | None = None
    quick: bool = False


def mutate(
    place: Place, kernel_name: str, choice: Choice, *, all_tests: bool = False, fresh: bool = False
) -> int:
    """Judge mutants and print a row for each as it comes; what is known already is not run again.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        choice: which mutants.
        all_tests: run every test on each, to see all that turn red.
        fresh: forget what is known.

    Returns:
        0 all caught, 1 one survived, 2 one could not be judged.

    Raises:
        HarnessError: a mutant is malformed, or the driver itself does not pass.
    """
    mutants = _named(_load(place), choice)
    sources = read_sources(place.source / FOLDER)
    ready = runner.prepare(place, kernel_name)
    console = place.progress.console
    table = _Table(console, mutants)
    findings: list[Finding] = []
    mutations: list[Mutation] = []
    for mutant in mutants:
        lack = mutant.missing(ready.kernel.release, ready.kernel.option)
        if lack is not None:
            reason = f"needs {lack}"
            findings.append(Finding(mutant=mutant, verdict=Verdict.ELSEWHERE, reason=reason))
            continue
        try:
            mutations.append(_apply(place, mutant, sources))
        except MutationError as error:
            reason = str(error)
            findings.append(Finding(mutant=mutant, verdict=Verdict.UNJUDGED, reason=reason))
    if choice.since is not None:
        lines = changed_since(choice.since, source=place.source, spawner=place.spawner)
        mutations = [one for one in mutations if one.lines & lines]
        findings = [one for one in findings if one.verdict is Verdict.UNJUDGED]
    bench = Bench(
        # The phases of each of its runs are not worth a line.
        place=replace(place, progress=Progress(Console(quiet=True))),
        ready=ready,
        sources=sources,
        state=State(folder=place.cache / "mutants/results", fresh=fresh),
        all_tests=all_tests,
    )
    if mutations:
        with place.progress.phase("control") as phase:
            chosen = [one.mutant for one in mutations]
            bench.control(expected_suites(ready.selftests.suites, chosen))
            phase.done("the driver itself passes")
    table.head()
    for finding in findings:
        table.row(finding)
    with closing(judge_all(bench, mutations, jobs=default_jobs())) as coming:
        for finding in coming:
            findings.append(finding)
            table.row(finding)
    bench.state.prune()
    table.end(findings)
    return exit_status(findings)


def list_mutants(place: Place, choice: Choice) -> None:
    """Print the mutants that are chosen: name, bugs, what is wrong."""
    mutants = _named(_load(place), choice)
    if choice.since is not None:
        sources = read_sources(place.source / FOLDER)
        lines = changed_since(choice.since, source=place.source, spawner=place.spawner)
        mutants = tuple(one for one in mutants if _apply(place, one, sources).lines & lines)
    width = max((len(mutant.name) for mutant in mutants), default=0)
    for mutant in mutants:
        bugs = " ".join(mutant.bugs)
        _say(place.progress.console, Text(f"{mutant.name:<{width}}  {bugs:<14}  {mutant.wrong}"))
    _say(place.progress.console, Text(f"{len(mutants)} mutants"))


def _load(place: Place) -> tuple[Mutant, ...]:
    specs = load_specs(place.source / "selftests/specs")
    ids = [f"{spec.name}:{id_}" for spec in specs for id_ in spec.ids]
    return load_mutants(place.source / MUTANTS, ids)


def _apply(place: Place, mutant: Mutant, sources: dict[str, bytes]) -> Mutation:
    scratch = place.cache / "mutants" / f"apply-{os.getpid()}"
    return apply(mutant, sources, scratch=scratch, spawner=place.spawner)


def _named(mutants: Sequence[Mutant], choice: Choice) -> tuple[Mutant, ...]:
    """Return the mutants that a choice names.

    Raises:
        HarnessError: a glob matches none of them.
    """
    for pattern in choice.names:
        if not any(_match(mutant.name, [pattern]) for mutant in mutants):
            raise HarnessError(
                f"no mutant is called {pattern!r}", hint="`harness mutate --list` shows all"
            )
    found = tuple(
        mutant
        for mutant in mutants
        if (not choice.names or _match(mutant.name, choice.names))
        and (not choice.only or any(_match(at, choice.only) for at in _labels(mutant)))
        and (mutant.quick or not choice.quick)
    )
    if not found:
        raise HarnessError(
            "no mutant is all of that: " + " ".join((*choice.names, *choice.only)),
            hint="`harness mutate --list` shows all, with their bugs",
        )
    return found


def _labels(mutant: Mutant) -> tuple[str, ...]:
    return (*mutant.bugs, *(Path(name).name for name in mutant.files))


def _match(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def _say(console: Console, text: Text) -> None:
    # soft_wrap: the terminal may wrap a line, rich must not: in a log it would break it.
    console.print(text, soft_wrap=True, highlight=False)


class _Table:
    """A row for each mutant as it is judged, and at the end what is wrong with those that live."""

    def __init__(self, console: Console, mutants: Sequence[Mutant]) -> None:
        self._console = console
        self._name = max([len("mutant"), *(len(one.name) for one in mutants)])
        self._bugs = max([len("bug"), *(len(" ".join(one.bugs)) for one in mutants)])

    def head(self) -> None:
        """Print the titles."""
        words = f"{'mutant':<{self._name}}  {'bug':<{self._bugs}}  {'verdict':<10}  {'time':>7}"
        _say(self._console, Text(f"{words}  caught by", style="bold"))

    def row(self, finding: Finding) -> None:
        """Print one finding."""
        mutant = finding.mutant
        line = Text(f"{mutant.name:<{self._name}}  {' '.join(mutant.bugs):<{self._bugs}}  ")
        line.append(f"{finding.verdict.upper():<10}", style=_STYLES[finding.verdict])
        line.append(f"  {finding.seconds:>5.1f} s  {_words(finding)}")
        line.rstrip()
        _say(self._console, line)

    def end(self, findings: Sequence[Finding]) -> None:
        """Print what each survivor gets away with, and the score."""
        for finding in findings:
            if finding.verdict is Verdict.SURVIVED:
                mutant = finding.mutant
                _say(self._console, Text(f"{mutant.path}: no test sees this: {mutant.wrong}"))
            elif finding.verdict is Verdict.CAUGHT and not finding.expected:
                path = finding.mutant.path
                _say(self._console, Text(f"{path}: Expect: missed by all of them", style="yellow"))
        _say(self._console, Text(score(findings)))


def _words(finding: Finding) -> str:
    if not finding.by:
        return finding.reason
    more = f" and {len(finding.by) - 1} more" if len(finding.by) > 1 else ""
    return finding.by[0] + more
