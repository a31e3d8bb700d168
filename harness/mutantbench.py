# SPDX-License-Identifier: GPL-2.0
"""Judge mutants: build each, run the tests that are expected to catch it, then the others.

A mutant is caught when a test turns red that passes on the driver itself. A mutant that does not
apply, does not compile or changes no code proves nothing, and neither does a VM that died of
something else than its kernel's own complaint.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from queue import SimpleQueue

from harness import runner
from harness.cache import remove_tree
from harness.errors import HarnessError
from harness.kmod import ModuleBuild
from harness.kselftest import Suite
from harness.mutant import FOLDER, Mutant
from harness.mutantstate import Kept, State, make_key
from harness.mutation import Mutation, MutationError, build, hash_sources, write_sources
from harness.objcode import fingerprint
from harness.place import Place
from harness.results import RunResult, Status
from harness.run import Leash
from harness.rundir import rejudge
from harness.runner import Ingredients, Options
from harness.toolchain import kernel_id
from harness.verdict import Finding, Verdict

# Builds of mutants do not push those of the driver out of the cache.
_SHELF = "mutants/modules"
_RED = (Status.FAIL, Status.TIMEOUT, Status.DIRTY)
# One red test is enough: no need for VMs to run what a crash left over. But the first VM may have
# been lost by accident.
_MORE = 1


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What mutants are judged with.

    Attributes:
        place: where.
        ready: the kernel, the driver as it is, the tests.
        sources: of the driver.
        state: results that are kept.
        all_tests: run every test, also when the expected ones have caught the mutant.
    """

    place: Place
    ready: Ingredients
    sources: dict[str, bytes]
    state: State
    all_tests: bool = False
    _control: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def original(self) -> str:
        """Fingerprint of the driver's object code."""
        return fingerprint(self.ready.driver.ko)

    def control(self, suites: Sequence[Suite], place: Place | None = None) -> None:
        """See that the driver itself passes these tests, unless it is known.

        Args:
            suites: the tests.
            place: with the leash of this thread, if it has one.

        Raises:
            HarnessError: it does not, so that nothing can be said about mutants.
        """
        with self._control:
            key = self._key(hash_sources(self.sources))
            new = [one for one in suites if self.state.load(key, self._digests([one])) is None]
            if not new:
                return
            start = time.monotonic()
            result = self._trial(place or self.place, self.ready.driver, new, "control")
            for test in result.tests:
                if not test.status.good:
                    why = f": {test.reason}" if test.reason else ""
                    raise HarnessError(
                        f"the driver itself does not pass {test.id} ({test.status}{why}):"
                        " no mutant can be judged",
                        hint=f"the run is {self._folder(self.place, 'control') / 'latest'}",
                    )
            for suite in new:
                self._save(key, [suite], result, start=start)

    def judge(self, mutation: Mutation, folder: Path, leash: Leash) -> Finding:
        """Judge one mutant.

        Args:
            mutation: the driver with it.
            folder: that it is built from, this thread's own: what the last mutant there did not
                touch is not compiled again.
            leash: ends what this starts when it is pulled.
        """
        start = time.monotonic()
        place = replace(self.place, spawner=replace(self.place.spawner, leash=leash))
        mutant = mutation.mutant
        try:
            kept, expected = self._tests(mutation, folder, place)
        except MutationError as error:
            return Finding(mutant=mutant, verdict=Verdict.UNJUDGED, reason=str(error))
        except HarnessError as error:
            reason = f"{mutant.path}: {error}"
            return Finding(mutant=mutant, verdict=Verdict.UNJUDGED, reason=reason)
        return Finding(
            mutant=mutant,
            verdict=Verdict.CAUGHT if kept.red else Verdict.SURVIVED,
            by=kept.red,
            expected=expected,
            seconds=time.monotonic() - start,
        )

    def _tests(self, mutation: Mutation, folder: Path, place: Place) -> tuple[Kept, bool]:
        """Run the expected tests, and the others if these find nothing."""
        key = self._key(mutation.digest)
        name = mutation.mutant.name
        builder = _Once(partial(self._build, mutation, folder, place))
        mine, others = split(self.ready.selftests.suites, mutation.mutant)
        first = self._run(place, key, mine, builder, name)
        if first.red and not self.all_tests:
            return first, True
        self.control(others, place)
        rest = self._run(place, key, others, builder, name)
        if not first.red and not rest.red and not first.green:
            raise HarnessError("every test that is expected to catch it was skipped")
        both = replace(rest, red=(*first.red, *rest.red), green=first.green + rest.green)
        return both, bool(first.red)

    def _run(
        self, place: Place, key: str, suites: Sequence[Suite], builder: "_Once", name: str
    ) -> Kept:
        """Run tests on a mutant, unless it is known what they say."""
        kept = self.state.load(key, self._digests(suites))
        if kept is not None:
            return kept
        start = time.monotonic()
        result = self._trial(place, builder.get(), suites, name)
        if not any(test.status in _RED for test in result.tests):
            for test in result.tests:
                if not test.status.good:
                    where = self._folder(place, name) / "latest"
                    raise HarnessError(f"{test.id}: {test.status}: {test.reason}; see {where}")
        return self._save(key, suites, result, start=start)

    def _trial(
        self, place: Place, driver: ModuleBuild, suites: Sequence[Suite], name: str
    ) -> RunResult:
        """Run tests on a driver and judge them; the run is kept until the next of that name.

        Raises:
            HarnessError: the run could not be made.
        """
        folder = self._folder(place, name)
        remove_tree(folder)
        selftests = replace(self.ready.selftests, suites=tuple(suites))
        ready = replace(self.ready, driver=driver, selftests=selftests)
        options = Options(jobs=1, more=_MORE) if driver is not self.ready.driver else Options()
        return rejudge(runner.trial(replace(place, runs=folder), ready, options))

    def _folder(self, place: Place, name: str) -> Path:
        return place.runs / "mutants" / name

    def _build(self, mutation: Mutation, folder: Path, place: Place) -> ModuleBuild:
        source = folder / FOLDER
        write_sources(mutation.sources, source)
        builder = partial(runner.build, place, self.ready.kernel, source, shelf=_SHELF)
        return build(mutation, self.original, builder)

    def _key(self, digest: str) -> str:
        return make_key(digest, kernel_id(self.ready.kernel), self.ready.accelerator.name)

    def _digests(self, suites: Sequence[Suite]) -> dict[str, str]:
        return {suite.name: _digest(suite, self.ready) for suite in suites}

    def _save(self, key: str, suites: Sequence[Suite], result: RunResult, *, start: float) -> Kept:
        names = {suite.name for suite in suites}
        good = (Status.PASS, Status.XFAIL)
        kept = Kept(
            red=tuple(test.id for test in result.tests if test.status in _RED),
            green=sum(test.status in good and test.suite in names for test in result.tests),
            seconds=time.monotonic() - start,
            suites=tuple(self._digests(suites).items()),
        )
        self.state.save(key, kept)
        return kept


class _Once:
    """A module that is built when it is first needed."""

    def __init__(self, builder: partial[ModuleBuild]) -> None:
        self._builder = builder
        self._built: ModuleBuild | None = None

    def get(self) -> ModuleBuild:
        if self._built is None:
            self._built = self._builder()
        return self._built


def judge_all(bench: Bench, mutations: Sequence[Mutation], *, jobs: int) -> Generator[Finding]:
    """Judge mutants side by side, and give each one's finding as soon as it is there.

    Args:
        bench: what they are judged with.
        mutations: what to judge.
        jobs: how many at a time: one is built while the VM of another runs.
    """
    folders: SimpleQueue[Path] = SimpleQueue()
    for number in range(jobs):
        folders.put(bench.place.cache / "mutants" / f"source-{number}")

    def judge(mutation: Mutation, leash: Leash) -> Finding:
        folder = folders.get()
        try:
            return bench.judge(mutation, folder, leash)
        finally:
            folders.put(folder)

    leashes = [Leash() for _ in mutations]
    with ThreadPoolExecutor(jobs) as pool:
        # Ctrl-C reaches this thread alone, and the pool waits for the others.
        try:
            futures = [pool.submit(judge, *pair) for pair in zip(mutations, leashes, strict=True)]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            for leash in leashes:
                leash.pull()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def split(suites: Sequence[Suite], mutant: Mutant) -> tuple[tuple[Suite, ...], tuple[Suite, ...]]:
    """Return the tests that must catch a mutant, and all others, in their suites."""
    mine = expected_suites(suites, [mutant])
    hit = {id_ for suite in mine for id_ in suite.full_ids}
    return mine, _chosen(suites, lambda id_: id_ not in hit)


def expected_suites(suites: Sequence[Suite], mutants: Sequence[Mutant]) -> tuple[Suite, ...]:
    """Return the tests that must catch any of these mutants, in their suites."""
    return _chosen(suites, lambda id_: any(mutant.expects(id_) for mutant in mutants))


def _chosen(suites: Sequence[Suite], wanted: Callable[[str], bool]) -> tuple[Suite, ...]:
    found = (
        replace(suite, ids=tuple(id_ for id_ in suite.ids if wanted(f"{suite.name}:{id_}")))
        for suite in suites
    )
    return tuple(suite for suite in found if suite.ids)


def _digest(suite: Suite, ready: Ingredients) -> str:
    """Hash all that decides what a suite says of a driver."""
    digest = hashlib.sha256(" ".join((*suite.ids, *suite.modules, *suite.cmdline)).encode())
    digest.update(suite.binary.read_bytes())
    for helper in ready.helpers:
        if helper.ko.stem in suite.modules:
            digest.update(helper.ko.read_bytes())
    return digest.hexdigest()[:32]
