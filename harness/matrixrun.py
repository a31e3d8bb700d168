# SPDX-License-Identifier: GPL-2.0
"""Run cells of the matrix side by side: a kernel, the driver built for it, the tests, a folder.

The tests are compiled once for all. While one cell's VMs run, the next one's kernel and modules are
got ready. A cell that cannot be run is an error of its own; the others go on.
"""

import fnmatch
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from harness import known, runner
from harness.accel import Accelerator
from harness.board import Board
from harness.capacity import MOST_JOBS, Capacity, Room, host_capacity
from harness.cell import CellResult, is_matrix, load_cells, save_cells
from harness.coverage import stale_reasons
from harness.errors import HarnessError
from harness.inputs import hash_inputs
from harness.kselftest import SelftestBuild
from harness.matrix import DEFAULT_GROUP, Cell, Matrix
from harness.matrixtable import cell_words
from harness.merged import save_merged
from harness.place import Place
from harness.results import RunResult
from harness.run import Leash, LeashError
from harness.selection import narrow
from harness.session import MORE
from harness.spec import load_specs
from harness.vm import VM_MEMORY

# In a matrix run's folder: the same cells at another revision.
BASE = "base"
# How many matrix runs are looked through for what is known.
_KNOWN = 8
# On a host that has KVM nobody has measured how slow VMs are without.
_TCG = Accelerator(kvm=False, why="the cell says so", slowness=30.0)


class NoCellError(HarnessError):
    """No cell is called that."""


class NoAcceleratorError(HarnessError):
    """A cell wants KVM on a host that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixOptions:
    """How cells are run.

    Attributes:
        patterns: globs over test ids; none means all.
        cold: boot every VM instead of restoring a snapshot.
        jobs: VMs at a time; None for what the host carries.
        more: VMs of a cell for what a crash, hang or dirt left over.
        seed: what random choices of the tests start from; None for another in each cell.
    """

    patterns: tuple[str, ...] = ()
    cold: bool = False
    jobs: int | None = None
    more: int = MORE
    seed: int | None = None


def choose(matrix: Matrix, names: Sequence[str], groups: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells that are asked for, in the order of the file.

    Args:
        matrix: has them.
        names: globs over their names; none means all of the groups.
        groups: globs over groups; none means the default one, or all where there are names.

    Raises:
        NoCellError: a glob matches nothing.
    """
    cells = list(matrix.cells)
    wanted = groups or (("*",) if names else (DEFAULT_GROUP,))
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(cell.group, pattern) for cell in cells):
            known = ", ".join(dict.fromkeys(cell.group for cell in cells))
            raise NoCellError(f"no group of cells is called {pattern!r}", hint=f"groups: {known}")
    cells = [cell for cell in cells if _match(cell.group, wanted)]
    for pattern in names:
        if not any(fnmatch.fnmatchcase(cell.name, pattern) for cell in cells):
            known = ", ".join(cell.name for cell in cells)
            raise NoCellError(f"no cell is called {pattern!r}", hint=f"cells: {known}")
    return tuple(cell for cell in cells if not names or _match(cell.name, names))


def run_matrix(
    place: Place,
    cells: Sequence[Cell],
    options: MatrixOptions,
    *,
    folder: Path,
    before: Iterable[CellResult] = (),
) -> tuple[CellResult, ...]:
    """Run cells, as many at a time as cores and memory allow, those first that took longest.

    Whatever happens, `folder` has what was done: each cell's run, matrix.json, results.json and
    junit.xml; a cell that was not finished is in them as an error.

    Args:
        place: where.
        cells: at least one.
        options: how.
        folder: takes the matrix run; made where it is missing.
        before: verdicts that stand for a cell whose inputs are still those: it is not run again.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is left running.
        NoTestError: a cell has no test to run.
        HarnessError: the tests do not compile, or the folder cannot be written.
    """
    specs = load_specs(place.source / "selftests/specs")
    patterns = {cell.name: narrow(specs, cell.tests, options.patterns) for cell in cells}
    tests = runner.build_tests(place)
    folder.mkdir(parents=True, exist_ok=True)
    crew = _Crew(
        place=place,
        folder=folder,
        cells=cells,
        options=options,
        tests=tests,
        patterns=patterns,
        known=_by_inputs(before),
        last=_last(place.runs, patterns),
    )
    return crew.run()


def known_cells(runs: Path) -> Iterator[CellResult]:
    """Yield the cells of earlier matrix runs, the newest first; what cannot be read is left out."""
    # A run's name begins with its time; `latest` is one of them again, and soon another.
    found = (folder for folder in runs.glob("*-matrix*/") if not folder.is_symlink())
    for folder in sorted(found, reverse=True)[:_KNOWN]:
        for matrix in (folder, folder / BASE):
            if is_matrix(matrix):
                with suppress(HarnessError):
                    yield from load_cells(matrix)


def _last(runs: Path, names: Iterable[str]) -> dict[str, CellResult]:
    """Return what became of cells when they were run last."""
    left = set(names)
    found: dict[str, CellResult] = {}
    for cell in known_cells(runs):
        if cell.name in left and cell.result is not None:
            found[cell.name] = cell
            left.remove(cell.name)
        if not left:
            break
    return found


def longest_first(cells: Iterable[Cell], last: Mapping[str, CellResult]) -> list[Cell]:
    """Sort cells by what they took; what was never run may take longest of all.

    Args:
        last: what became of each, by name.
    """
    took = {name: cell.seconds for name, cell in last.items()}
    return sorted(cells, key=lambda cell: -took.get(cell.name, float("inf")))


def _by_inputs(cells: Iterable[CellResult]) -> dict[str, CellResult]:
    """Return the newest verdict on each inputs; what was not judged, or not whole, is none."""
    found: dict[str, CellResult] = {}
    for cell in cells:
        if cell.inputs and cell.exit_status != 2:
            found.setdefault(cell.inputs, cell)
    return found


def _match(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


@dataclass(frozen=True, kw_only=True)
class _Crew:
    """Cells under way."""

    place: Place
    folder: Path
    cells: Sequence[Cell]
    options: MatrixOptions
    tests: SelftestBuild
    patterns: Mapping[str, tuple[str, ...]]
    known: Mapping[str, CellResult]
    last: Mapping[str, CellResult]
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def run(self) -> tuple[CellResult, ...]:
        """Run all cells; see :func:`run_matrix`."""
        done = {cell.name: self._failed(cell, "interrupted") for cell in self.cells}
        host = host_capacity()
        vms = self.options.jobs or host.cpus
        # A cell has several VMs at a time only where there are more than cells.
        lanes = max(1, min(MOST_JOBS, vms // len(self.cells)))
        room = Room(Capacity(cpus=vms, memory=host.memory))
        console = self.place.progress.console
        board = Board(console, [cell.name for cell in self.cells])
        leashes = {cell.name: Leash() for cell in self.cells}

        def work(cell: Cell) -> CellResult:
            return self._cell(cell, board, room, leashes[cell.name], lanes)

        order = longest_first(self.cells, self.last)
        # One more than run: its kernel and modules are got ready meanwhile.
        most = min(len(self.cells), vms // lanes + 1)
        with board.shown(), ThreadPoolExecutor(most) as pool:
            # Ctrl-C reaches this thread alone, and the pool waits for the others.
            try:
                for future in as_completed([pool.submit(work, cell) for cell in order]):
                    result = future.result()
                    done[result.name] = result
                    save_cells(self.folder, list(done.values()), started=self.started)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                room.close()
                for leash in leashes.values():
                    leash.pull()
                raise
            finally:
                self._save(tuple(done.values()))
        return tuple(done.values())

    def _save(self, cells: Sequence[CellResult]) -> None:
        save_cells(self.folder, cells, started=self.started)
        save_merged(self.folder, cells, started=self.started)

    def _cell(self, cell: Cell, board: Board, room: Room, leash: Leash, lanes: int) -> CellResult:
        """Run one cell; what goes wrong with it is its own."""
        spawner = replace(self.place.spawner, leash=leash)
        place = replace(self.place, spawner=spawner, progress=board.begin(cell.name))
        start = monotonic()
        try:
            result = self._verdicts(place, cell, room, lanes)
        except LeashError:
            result = self._failed(cell, "interrupted")
        except HarnessError as error:
            hint = f" ({error.hint})" if error.hint else ""
            result = self._failed(cell, f"{error}{hint}", monotonic() - start)
        except OSError as error:
            result = self._failed(cell, str(error), monotonic() - start)
        if leash.pulled:
            # VMs that we killed ourselves are no verdict.
            result = self._failed(cell, "interrupted")
        words, style = cell_words(result)
        board.end(cell.name, words, seconds=result.seconds, style=style)
        return result

    def _failed(self, cell: Cell, why: str, seconds: float = 0.0) -> CellResult:
        return CellResult(
            name=cell.name,
            folder=self._own(cell),
            result=None,
            error=" ".join(why.split()),
            seconds=seconds,
        )

    def _own(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.name

    def _verdicts(self, place: Place, cell: Cell, room: Room, lanes: int) -> CellResult:
        """Return what a cell says, from its VMs or from those of an earlier run."""
        start = monotonic()
        options = self._options(cell, lanes)
        ready = runner.prepare(place, cell.kernel, self.tests)
        ready = replace(ready, accelerator=_accelerator(cell, ready.accelerator))
        inputs = hash_inputs(place, ready, options)
        folder = self._own(cell)
        if (before := self.known.get(inputs)) is not None:
            shutil.copytree(before.folder, folder)
            # What is known is no input of the verdicts: they stand, what they come to may not.
            return with_known(place, replace(before, name=cell.name, folder=folder), cell.builtin)
        with ExitStack() as stack:
            waited = monotonic()
            with place.progress.phase("waiting for its turn"):
                # Whoever says how many VMs are to run means VMs.
                cpus = 1 if self.options.jobs else max(cell.cpus, ready.cpus)
                taken = room.taken(vms=lanes, cpus=cpus, memory=cell.memory or VM_MEMORY)
                stack.enter_context(taken)
            start += monotonic() - waited
            runner.trial(place, ready, options, folder=folder)
        with place.progress.phase("judging"):
            result = runner.verdicts(place, ready, folder)
        judged = CellResult(
            name=cell.name,
            folder=folder,
            result=result,
            error=None,
            seconds=monotonic() - start,
            inputs=inputs,
            stale=stale_reasons(folder),
        )
        return with_known(place, judged, cell.builtin)

    def _options(self, cell: Cell, lanes: int) -> runner.Options:
        before = self.last.get(cell.name)
        options = runner.Options(
            patterns=self.patterns[cell.name],
            cold=self.options.cold,
            jobs=lanes,
            more=max(self.options.more, cell.more_vms),
            builtin=cell.builtin,
            cmdline=cell.cmdline,
            memory=cell.memory,
            cpus=cell.cpus,
            seconds=before.test_seconds if before is not None else {},
        )
        return options if self.options.seed is None else replace(options, seed=self.options.seed)


def with_known(place: Place, cell: CellResult, builtin: bool) -> CellResult:
    """Hold a cell of mainline's driver against what is known of it; a difference is printed.

    Args:
        place: with the checkout that knows it.
        cell: as it was judged.
        builtin: whether it is one of mainline's driver; no other is changed.

    Raises:
        KnownError, SpecError: the checkout is not what it must be.
    """
    if not builtin or cell.result is None:
        return cell
    return replace(cell, as_known=_as_known(place, cell.result))


def _as_known(place: Place, result: RunResult) -> bool:
    if result.release is None:
        return False
    comparison = known.compare(result.tests, known.of_checkout(place.source), result.release)
    for line in known.differences(comparison):
        place.progress.note(line)
    return comparison.exit_status == 0


def _accelerator(cell: Cell, found: Accelerator) -> Accelerator:
    """Return what a cell runs with, where the host offers what was found."""
    if cell.accelerator == "kvm" and not found.kvm:
        raise NoAcceleratorError(f"it wants KVM, which this host has not: {found.why}")
    return _TCG if cell.accelerator == "tcg" and found.kvm else found
