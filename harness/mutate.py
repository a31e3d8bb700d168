# SPDX-License-Identifier: GPL-2.0
"""Which mutants of the driver the tests catch: choose, judge, print, score."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Semaphore

from rich.console import Console

from harness import runner
from harness.automutant import automatic
from harness.cache import locked
from harness.capacity import default_jobs
from harness.errors import HarnessError
from harness.kernel import Kernel
from harness.kmod import read_sources
from harness.mutant import FOLDER, Mutant, load_mutants
from harness.mutantbench import Bench, expected_suites, judge_all
from harness.mutantstate import State
from harness.mutanttable import MutantTable, print_list
from harness.mutation import Mutation, MutationError, apply, changed_since
from harness.need import missing
from harness.place import Place
from harness.progress import Progress
from harness.spec import load_specs
from harness.survivors import Excuse, load_survivors
from harness.verdict import Finding, Verdict, exit_status, proven

MUTANTS = "selftests/mutants"
SURVIVORS = f"{MUTANTS}/survivors.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which mutants.

    Attributes:
        names: globs over names; none means all.
        only: globs over bugs ("B*") and files of the driver ("pin.c"); none means all.
        since: those that change a line which is not in this revision.
        quick: those of the subset for every change.
        auto: not those that were written, but all that the operators make (automutant.py).
        needs: a glob over what a mutant needs of a kernel, <6.11 or CONFIG_NAME=VALUE; of those
            that need nothing it matches ""; None means all.
        sample: that many of all these, always the same; None means all.
        shard: (I, N): of all these the Ith of N parts, which together are all; None means all.
    """

    names: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    since: str | None = None
    quick: bool = False
    auto: bool = False
    needs: str | None = None
    sample: int | None = None
    shard: tuple[int, int] | None = None

    def part(self, mutations: Sequence[Mutation]) -> tuple[Mutation, ...]:
        """Return the sample, and its shard, of mutants that are all that was asked for."""
        number, of = self.shard or (1, 1)
        return tuple(mutations[: self.sample][number - 1 :: of])


def mutate(
    place: Place, kernel_name: str, choice: Choice, *, all_tests: bool = False, fresh: bool = False
) -> int:
    """Judge mutants and print a row for each as it comes; what is known already is not run again.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        choice: which mutants.
        all_tests: run every test on each, to see all that turn red, and print which tests never do.
        fresh: forget what is known.

    Returns:
        0 all caught, 1 one survived, 2 one could not be judged.

    Raises:
        HarnessError: a mutant is malformed, the driver itself does not pass, or not one mutant
            could prove anything; none in the lines that changed is no error, nor is a shard of
            which all need another kernel.
    """
    sources = read_sources(place.source / FOLDER)
    chosen = _choose(place, choice, sources)
    ready = runner.prepare(place, kernel_name)
    mutations, findings = _possible(chosen, ready.kernel)
    table = MutantTable(place.progress.console, [one.mutant for one in chosen.mutations])
    bench = Bench(
        # The phases of each of its runs are not worth a line.
        place=replace(place, progress=Progress(Console(quiet=True))),
        ready=ready,
        sources=sources,
        state=State(folder=place.cache / "mutants/results", fresh=fresh),
        all_tests=all_tests,
        vms=Semaphore(default_jobs()),
    )
    shelf = place.runs / "mutants"
    wait = partial(place.progress.note, f"waiting for another run of mutants in {shelf}")
    # The runs of each mutant, and of the driver itself, are kept in a folder of its name.
    with locked(shelf, waiting=wait):
        if mutations:
            _control(place, bench, mutations, everything=choice.auto or all_tests)
        table.head()
        for finding in findings:
            table.row(finding)
        with closing(judge_all(bench, mutations, jobs=default_jobs() + 1)) as coming:
            for judged in coming:
                finding = _excused(judged, chosen.excuses)
                findings.append(finding)
                table.row(finding)
    bench.state.prune()
    table.end(findings)
    if bench.passing and all_tests:
        table.never_red(bench.passing, findings)
    if not proven(findings) and not _idle(choice, findings):
        raise HarnessError(
            "no mutant was judged: the tests have not been tried",
            hint="choose others, or another kernel: `harness mutate --list` shows all",
        )
    return exit_status(findings)


def _control(
    place: Place, bench: Bench, mutations: Sequence[Mutation], *, everything: bool
) -> None:
    """See that the driver itself passes the tests: all, or those that mutants are expected to fail.

    The others are seen to only if one of these mutants is missed.
    """
    suites = bench.ready.selftests.suites
    if not everything:
        suites = expected_suites(suites, [one.mutant for one in mutations])
    with place.progress.phase("control") as phase:
        bench.control(suites)
        phase.done("the driver itself passes")


def _idle(choice: Choice, findings: Sequence[Finding]) -> bool:
    """Whether nothing was to be judged, as it may be.

    The other shards may prove something; that nothing compiles is a fault in any.
    """
    if choice.shard is not None:
        return all(one.verdict is Verdict.ELSEWHERE for one in findings)
    return choice.since is not None and not findings


def list_mutants(place: Place, choice: Choice) -> None:
    """Print the mutants that are chosen: name, bugs, what is wrong."""
    chosen = _choose(place, choice, read_sources(place.source / FOLDER))
    mutants = [finding.mutant for finding in chosen.broken]
    mutants += [one.mutant for one in chosen.mutations]
    print_list(place.progress.console, mutants)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Mutants to judge, and those that do not even apply."""

    mutations: tuple[Mutation, ...]
    broken: tuple[Finding, ...] = ()
    excuses: Mapping[str, Excuse] = field(default_factory=dict)


def _choose(place: Place, choice: Choice, sources: Mapping[str, bytes]) -> _Chosen:
    """Return the driver with each mutant that is asked for."""
    listed = _load(place)
    if choice.auto:
        chosen = _automatic(place, choice, sources, listed)
    else:
        chosen = _applied(place, _named(listed, choice), sources)
    found = chosen.mutations
    if choice.needs is not None:
        glob = [choice.needs]
        found = tuple(
            one for one in found if any(_match(need, glob) for need in _needs(one, chosen))
        )
        if not found:
            raise HarnessError(
                f"of these mutants none needs {choice.needs!r}",
                hint=f"{MUTANTS}/ has what each needs, {SURVIVORS} what the automatic ones do",
            )
    if choice.since is not None:
        lines = changed_since(choice.since, source=place.source, spawner=place.spawner)
        found = tuple(one for one in found if one.lines & lines)
    return replace(chosen, mutations=choice.part(found))


def _needs(mutation: Mutation, chosen: _Chosen) -> tuple[str, ...]:
    """Return what a mutant needs of a kernel; ("",) for nothing."""
    if mutation.mutant.name in chosen.excuses:
        needs = chosen.excuses[mutation.mutant.name].needs
    else:
        needs = mutation.mutant.needs
    return tuple(need.text for need in needs) or ("",)


def _load(place: Place) -> tuple[Mutant, ...]:
    return load_mutants(place.source / MUTANTS, _tests(place))


def _tests(place: Place) -> tuple[str, ...]:
    specs = load_specs(place.source / "selftests/specs")
    return tuple(id_ for spec in specs for id_ in spec.full_ids)


def _applied(place: Place, mutants: Sequence[Mutant], sources: Mapping[str, bytes]) -> _Chosen:
    scratch = place.cache / "mutants" / f"apply-{os.getpid()}"
    mutations: list[Mutation] = []
    broken: list[Finding] = []
    for mutant in mutants:
        try:
            mutations.append(apply(mutant, sources, scratch=scratch, spawner=place.spawner))
        except MutationError as error:
            reason = str(error)
            broken.append(Finding(mutant=mutant, verdict=Verdict.UNJUDGED, reason=reason))
    return _Chosen(mutations=tuple(mutations), broken=tuple(broken))


def _automatic(
    place: Place, choice: Choice, sources: Mapping[str, bytes], listed: Sequence[Mutant]
) -> _Chosen:
    mutations = automatic(sources, _applied(place, listed, sources).mutations)
    names = [one.mutant.name for one in mutations]
    excuses = load_survivors(place.source / SURVIVORS, names, tests=_tests(place))
    chosen = {one.name for one in _named([one.mutant for one in mutations], choice)}
    found = tuple(one for one in mutations if one.mutant.name in chosen)
    return _Chosen(mutations=found, excuses=excuses)


def _possible(chosen: _Chosen, kernel: Kernel) -> tuple[list[Mutation], list[Finding]]:
    """Divide mutants into those to judge on a kernel, and what is known of the others."""
    mutations: list[Mutation] = []
    findings = list(chosen.broken)
    for mutation in chosen.mutations:
        excuse = chosen.excuses.get(mutation.mutant.name)
        lack = missing(mutation.mutant.needs, kernel.release, kernel.option)
        if lack is not None:
            reason = f"needs {lack}"
        elif excuse is not None and missing(excuse.needs, kernel.release, kernel.option):
            reason = excuse.why
        else:
            mutations.append(_pointed(mutation, excuse))
            continue
        found = Finding(mutant=mutation.mutant, verdict=Verdict.ELSEWHERE, reason=reason)
        findings.append(found)
    return mutations, findings


def _pointed(mutation: Mutation, excuse: Excuse | None) -> Mutation:
    """Return the mutant; what is known to catch it, where it can be caught, runs first."""
    if excuse is None or not excuse.expect:
        return mutation
    return replace(mutation, mutant=replace(mutation.mutant, expect=excuse.expect))


def _excused(finding: Finding, excuses: Mapping[str, Excuse]) -> Finding:
    """Return the finding on an automatic mutant in the light of the list of survivors.

    Who was judged although he has needs has them met.
    """
    excuse = excuses.get(finding.mutant.name)
    if excuse is None or excuse.needs:
        return finding
    if finding.verdict is Verdict.CAUGHT:
        return replace(finding, verdict=Verdict.STALE)
    if finding.verdict is not Verdict.SURVIVED:
        return finding
    verdict = Verdict.EQUIVALENT if excuse.equivalent else Verdict.EXCUSED
    return replace(finding, verdict=verdict, reason=excuse.why)


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
