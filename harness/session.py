# SPDX-License-Identifier: GPL-2.0
"""The VMs of one run: lanes side by side, and a new VM for what a crash, hang or dirt left over.

No test is lost and none is run twice: what a dead VM has not reported goes on in the next one, but
the test that was running there is done with. A lane ends when all its tests have been run, or when
a VM got none of them any further; one that was lost before it could has a second chance.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from harness import transcript
from harness.errors import HarnessError
from harness.evidence import settled
from harness.guestroot import Load, Plan, SuiteRun
from harness.kselftest import Suite
from harness.lanes import Lane
from harness.manifest import Manifest, VmRun, save_manifest, vm_folder
from harness.results import VmEnd, VmExit
from harness.run import Leash, LeashError
from harness.rundir import CONSOLE, RESULTS, blames_of, was_asked
from harness.turns import Turn, Turns
from harness.vm import VmConfig, VmOutcome

# VMs that a run may take beyond one a lane. A driver that breaks in every test would take hundreds,
# and after so many the reader knows.
MORE = 24


class Boot(Protocol):
    """Runs one VM to its end: :func:`harness.vm.run_vm` or :func:`harness.warm.run_warm`."""

    def __call__(
        self,
        config: VmConfig,
        plan: Plan,
        folder: Path,
        turn: AbstractContextManager[object],
        on_line: Callable[[bytes], None],
        /,
    ) -> VmOutcome: ...


class Session:
    """Runs lanes and writes down what became of their VMs.

    Args:
        folder: the run's folder.
        manifest: of the run, without VMs; kept up to date in the folder, so that a run whose
            harness is killed can still be judged.
        config: the VMs, but for a lane's own kernel parameters and CPUs.
        loads: modules for each guest.
        boot: runs one VM.
        leash: holds what ``boot`` starts; pulled when this thread is interrupted.
        kernel_loads: finds what suites want of the guest's own kernel.
        on_line: called with each line of every results channel.
        on_end: called with each VM's end, once it is written down.
        most: VMs that the run may take beyond one a lane.
        seed: what random choices of the tests start from; None leaves it to them.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        config: VmConfig,
        loads: tuple[Load, ...],
        boot: Boot,
        leash: Leash,
        kernel_loads: Callable[[Sequence[str]], tuple[Load, ...]] = lambda wanted: (),
        on_line: Callable[[bytes], None] = lambda line: None,
        on_end: Callable[[VmEnd], None] = lambda end: None,
        most: int = MORE,
        seed: int | None = None,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._config = config
        self._loads = loads
        self._kernel_loads = kernel_loads
        self._boot = boot
        self._leash = leash
        self._on_line = on_line
        self._on_end = on_end
        self._left = most
        self._seed = seed
        self._lock = threading.Lock()

    def run(self, lanes: Sequence[Lane], *, jobs: int) -> Manifest:
        """Run all lanes, at most ``jobs`` at a time and in this order, and return the manifest.

        The VM of one more gets ready meanwhile.

        Raises:
            HarnessError: the harness could not go on with a lane (disk full, no QEMU).
        """
        turns = Turns(jobs, len(lanes))
        with ThreadPoolExecutor(jobs + 1) as pool:
            futures = [pool.submit(self._lane, *each, turns) for each in enumerate(lanes)]
            # Ctrl-C reaches this thread alone, and the pool waits for the others.
            with self._all_or_none():
                wait(futures, return_when=FIRST_EXCEPTION)
        errors = [error for future in futures if (error := future.exception()) is not None]
        # What pulled the leash is worth more than that it was pulled.
        for error in sorted(errors, key=lambda error: isinstance(error, LeashError)):
            raise error
        return self._manifest

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """End every VM when one thread cannot go on."""
        try:
            yield
        except BaseException:
            self._leash.pull()
            raise

    def _lane(self, number: int, lane: Lane, turns: Turns) -> None:
        with self._all_or_none():
            try:
                self._vms(lane, Turn(turns, number))
            finally:
                turns.leave(number)

    def _vms(self, lane: Lane, turn: Turn) -> None:
        """Run one VM after the other, until all tests of a lane are done with."""
        left = [id_ for suite in lane.suites for id_ in suite.full_ids]
        idle = 0
        while left and not self._leash.pulled:
            number, end, done = self._vm(lane, left, turn)
            rest = [id_ for id_ in left if id_ not in done]
            idle = idle + 1 if len(rest) == len(left) else 0
            # One that did not boot was tried twice (vm.py); the same suites would do the same.
            hopeless = end.exit in (VmExit.CLEAN, VmExit.NEVER_BOOTED) or idle > 1
            if (idle and hopeless) or (rest and not self._one_more(number)):
                return
            left = rest

    def _one_more(self, last: int) -> bool:
        """Whether a lane may go on in a further VM; if not, its last one says so."""
        with self._lock:
            self._left -= 1
            if self._left >= 0:
                return True
            run = self._manifest.vms[last - 1]
            words = f"gave up after {len(self._manifest.vms)} VMs: --more-vms goes on"
            self._manifest = self._manifest.with_vm(last, replace(run, notes=(*run.notes, words)))
            save_manifest(self._folder, self._manifest)
            return False

    def _vm(self, lane: Lane, ids: Sequence[str], turn: Turn) -> tuple[int, VmEnd, frozenset[str]]:
        """Run one VM for these tests; return its number, its end, and the tests it is done with."""
        cmdline = (*self._config.cmdline, *lane.cmdline)
        config = replace(self._config, cmdline=cmdline, cpus=lane.cpus)
        run = VmRun(
            nonce=secrets.token_hex(16), planned=tuple(ids), cmdline=cmdline, cpus=lane.cpus
        )
        suites = tuple(_suite_runs(lane.suites, frozenset(ids)))
        names = {suite.name for suite in suites}
        wanted = (
            word for suite in lane.suites if suite.name in names for word in suite.kernel_modules
        )
        loads = (*self._kernel_loads(tuple(dict.fromkeys(wanted))), *self._loads)
        plan = Plan(nonce=run.nonce, loads=loads, suites=suites, seed=self._seed)
        number = self._record(None, run)
        folder = vm_folder(self._folder, number)
        folder.mkdir()
        outcome = self._boot(config, plan, folder, turn, self._on_line)
        self._record(number, replace(run, argv=outcome.argv, end=outcome.end, notes=outcome.notes))
        self._on_end(outcome.end)
        try:
            told = transcript.parse((folder / RESULTS).read_bytes(), run.nonce)
        except OSError as error:
            raise HarnessError(f"{folder / RESULTS}: cannot read: {error.strerror}") from None
        asked = was_asked(outcome.end)
        blames = tuple(blames_of(folder / CONSOLE, run.planned, asked=asked))
        return number, outcome.end, settled(told, blames)

    def _record(self, number: int | None, run: VmRun) -> int:
        """Write a VM down; without a number it is a new one. Returns the number."""
        with self._lock:
            at = number or len(self._manifest.vms) + 1
            self._manifest = self._manifest.with_vm(at, run)
            save_manifest(self._folder, self._manifest)
        return at


def _suite_runs(suites: Sequence[Suite], ids: frozenset[str]) -> list[SuiteRun]:
    """Return what the guest is to run of these suites."""
    runs = []
    for suite in suites:
        chosen = tuple(id_ for id_ in suite.ids if f"{suite.name}:{id_}" in ids)
        if chosen:
            runs.append(SuiteRun(name=suite.name, binary=suite.binary, ids=chosen))
    return runs
