# SPDX-License-Identifier: GPL-2.0
"""Judge mutants: build each, run the tests that are expected to catch it, then the others.

A mutant is caught when a test turns red that passes on the driver itself: the first one ends the
VM. A mutant that does not apply, does not compile or changes no code proves nothing, and neither
does a VM that died, twice, of something else than its kernel's own complaint.
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
from harness.jury import judge_digest
from harness.kmod import ModuleBuild, ModuleBuildError
from harness.kselftest import Suite
from harness.ktapline import HARMLESS, classify
from harness.mutant import FOLDER, Mutant
from harness.mutantstate import Kept, State, make_key
from harness.mutation import Mutation, MutationError, build, hash_sources, write_sources
from harness.objcode import fingerprint
from harness.place import Place
from harness.results import RunResult, Status, VmEnd, VmExit
from harness.run import Leash, LeashError
from harness.rundir import rejudge
from harness.runner import Ingredients, Options
from harness.toolchain import kernel_id
from harness.verdict import Finding, Verdict

# Builds of mutants do not push those of the driver out of the cache.
_SHELF = "mutants/modules"
_RED = (Status.FAIL, Status.TIMEOUT, Status.DIRTY)
_GOOD = (Status.PASS, Status.XFAIL)
# A VM may be lost by accident.
_TRIES = 2


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What mutants are judged with.

    Attributes:
        place: where.
        ready: the kernel, the driver as it is, the tests.
        sources: of the driver.
        state: results that are kept.
        all_tests: run every test, also when the expected ones have caught the mutant.
        passing: the tests that were seen to pass on the driver itself, and not skipped; with
            `all_tests` each that does.
        vms: how many VMs there may be at a time.
    """

    place: Place
    ready: Ingredients
    sources: dict[str, bytes]
    state: State
    all_tests: bool = False
    vms: threading.Semaphore = field(default_factory=partial(threading.Semaphore, 1))
    passing: set[str] = field(default_factory=set)
    _control: threading.Lock = field(default_factory=threading.Lock)
    _passed: set[str] = field(default_factory=set)

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
            new = [suite for suite in suites if not self._known(key, suite)]
            if not new:
                return
            start = time.monotonic()
            result = self._judged(place or self.place, self.ready.driver, new, "control")
            self._passes(result)
            for suite in new:
                self._save(key, [suite], result, start=start)
                self._passed.update(suite.full_ids)
            self.passing.update(test.id for test in result.tests if test.status in _GOOD)

    def _passes(self, result: RunResult) -> None:
        """Raise HarnessError if the driver itself did not pass."""
        bad = [test for test in result.tests if not test.status.good]
        if not bad:
            return
        # The first red test stopped the others, which have no verdict then.
        test = next((test for test in bad if test.status.judged), bad[0])
        said = test.reason or next(iter(test.lines), "")
        why = f": {said}" if said else ""
        raise HarnessError(
            f"the driver itself does not pass {test.id} ({test.status}{why}):"
            " no mutant can be judged",
            hint=f"the run is {self._folder(self.place, 'control') / 'latest'}",
        )

    def _known(self, key: str, suite: Suite) -> bool:
        """Whether the driver itself is known to pass these tests of a suite."""
        if self._passed.issuperset(suite.full_ids):
            return True
        if self.all_tests:
            return False
        (whole,) = (one for one in self.ready.selftests.suites if one.name == suite.name)
        return any(self.state.load(key, self._digests([one])) for one in (suite, whole))

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
        found = partial(Finding, mutant=mutant)
        try:
            kept, expected = self._tests(mutation, folder, place)
        except _VoidError as error:
            return found(verdict=Verdict.VOID, reason=str(error))
        except MutationError as error:
            return found(verdict=Verdict.UNJUDGED, reason=str(error))
        except HarnessError as error:
            return found(verdict=Verdict.UNJUDGED, reason=f"{mutant.path}: {error}")
        return found(
            verdict=Verdict.CAUGHT if kept.red else Verdict.SURVIVED,
            by=kept.red,
            expected=expected,
            seconds=time.monotonic() - start,
        )

    def _tests(self, mutation: Mutation, folder: Path, place: Place) -> tuple[Kept, bool]:
        """Run the expected tests, and the others if these find nothing."""
        key = self._key(mutation.digest)
        mutant = mutation.mutant
        if mutant.automatic and (why := self.state.load_void(key)) is not None:
            raise _VoidError(why)
        builder = _Once(partial(self._build, mutation, folder, place))
        mine, others = split(self.ready.selftests.suites, mutant)
        lost = None
        try:
            first = self._run(place, key, mine, builder, mutant.name)
        except _LostError as error:
            # What takes a suite's sight away, such as a debugfs file that is gone, is for others
            # to see.
            if not others:
                raise
            lost, first = error, Kept(red=(), green=0, seconds=0.0, suites=())
        if first.red and not self.all_tests:
            return first, True
        self.control(others, place)
        rest = self._run(place, key, others, builder, mutant.name)
        if lost is not None and not rest.red:
            raise lost
        if not first.red and not rest.red and not first.green and not mutant.automatic:
            raise HarnessError("every test that is expected to catch it was skipped")
        both = replace(rest, red=(*first.red, *rest.red), green=first.green + rest.green)
        return both, bool(first.red) or mutant.automatic

    def _run(
        self, place: Place, key: str, suites: Sequence[Suite], builder: "_Once", name: str
    ) -> Kept:
        """Run tests on a mutant, unless it is known what they say."""
        kept = self.state.load(key, self._digests(suites))
        if kept is not None:
            return kept
        driver = builder.get()
        start = time.monotonic()
        result = self._judged(place, driver, suites, name)
        return self._save(key, suites, result, start=start)

    def _judged(
        self, place: Place, driver: ModuleBuild, suites: Sequence[Suite], name: str
    ) -> RunResult:
        """Run tests on a driver until each has a verdict, or one is red: at most twice.

        Raises:
            _LostError: both runs were; it says what became of each.
        """
        remove_tree(self._folder(place, name))
        lost: list[str] = []
        while len(lost) < _TRIES:
            try:
                result = self._trial(place, driver, suites, name)
            except LeashError:
                raise
            except HarnessError as error:
                lost.append(str(error))
                continue
            bad = [test for test in result.tests if not test.status.good]
            if not bad or any(test.status in _RED for test in bad):
                return result
            lost.append(f"{bad[0].id}: {bad[0].status}: {bad[0].reason}")
        raise _LostError(f"{'; and again, '.join(lost)}; see {self._folder(place, name)}")

    def _trial(
        self, place: Place, driver: ModuleBuild, suites: Sequence[Suite], name: str
    ) -> RunResult:
        """Run tests on a driver until one is red, and judge them.

        Raises:
            HarnessError: the run could not be made.
        """
        selftests = replace(self.ready.selftests, suites=tuple(suites))
        ready = replace(self.ready, driver=driver, selftests=selftests)
        leash = Leash(place.spawner.leash)
        spawner = replace(place.spawner, leash=leash)
        place = replace(place, runs=self._folder(place, name), spawner=spawner)
        # When one red test is enough, no VM has to run what a crash left over.
        options = Options(jobs=1) if self.all_tests else Options(jobs=1, more=0)
        red = threading.Event()

        def stop() -> None:
            if not self.all_tests:
                red.set()
                leash.pull()

        def hear(line: bytes) -> None:
            if _is_red(line):
                stop()

        def ended(end: VmEnd) -> None:
            # A loop in the kernel would keep the other VMs as long as this one, each in its turn.
            if end.exit is VmExit.PANIC or (end.exit is VmExit.SILENT and end.answered):
                stop()

        with self.vms:
            try:
                folder = runner.trial(place, ready, options, on_line=hear, on_end=ended)
            except LeashError:
                if not red.is_set():
                    raise
                # It was getting another VM ready.
                folder = place.runs / "latest"
        return rejudge(folder)

    def _folder(self, place: Place, name: str) -> Path:
        return place.runs / "mutants" / name

    def _build(self, mutation: Mutation, folder: Path, place: Place) -> ModuleBuild:
        source = folder / FOLDER
        write_sources(mutation.sources, source)
        builder = partial(runner.build, place, self.ready.kernel, source, shelf=_SHELF)
        try:
            return build(mutation, self.original, builder)
        except MutationError:
            if not mutation.mutant.automatic:
                raise
            why = "the same code"
        except ModuleBuildError as error:
            # A build that failed of something else may succeed the next time.
            if not mutation.mutant.automatic or not error.diagnosed:
                raise
            why = "does not compile"
        self.state.save_void(self._key(mutation.digest), why)
        raise _VoidError(why)

    def _key(self, digest: str) -> str:
        # The driver's own object code tells by which compiler, and from what, theirs is made.
        kernel, accelerator = kernel_id(self.ready.kernel), self.ready.accelerator.name
        words = (digest, kernel, accelerator, self.original, judge_digest())
        # What was stopped by its first red test does not say which others would be.
        return make_key(*words, "all") if self.all_tests else make_key(*words)

    def _digests(self, suites: Sequence[Suite]) -> dict[str, str]:
        return {suite.name: _digest(suite, self.ready) for suite in suites}

    def _save(self, key: str, suites: Sequence[Suite], result: RunResult, *, start: float) -> Kept:
        digests = self._digests(suites)
        red = [test for test in result.tests if test.status in _RED]
        # What is red stays so, whatever becomes of the others.
        told = {name: digests[name] for test in red if (name := test.suite) in digests}
        kept = Kept(
            red=tuple(test.id for test in red),
            green=sum(test.status in _GOOD and test.suite in digests for test in result.tests),
            seconds=time.monotonic() - start,
            suites=tuple((told or digests).items()),
        )
        self.state.save(key, kept, digests)
        return kept


class _LostError(HarnessError):
    """Of the tests that were to be run some have no verdict, and no other is red."""


class _VoidError(HarnessError):
    """What an operator made is no mutant."""


def _is_red(line: bytes) -> bool:
    """Whether a line of the results says that a test did not pass."""
    if not line.startswith(b"not ok "):
        return False
    return classify(line.decode(errors="replace")).directive not in HARMLESS


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
        jobs: how many at a time; with more than the bench has VMs, one is built while the VM of
            another runs.
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
    words = (*suite.ids, *suite.modules, *suite.cmdline, str(suite.cpus))
    digest = hashlib.sha256(" ".join(words).encode())
    digest.update(suite.binary.read_bytes())
    for helper in ready.helpers:
        if helper.ko.stem in suite.modules:
            digest.update(helper.ko.read_bytes())
    return digest.hexdigest()[:32]
