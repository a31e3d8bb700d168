# SPDX-License-Identifier: GPL-2.0
"""The cells of a matrix, or one run, with their files -> what a report shows of them."""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from harness import flake
from harness.cause import Cause, Failure, find_causes
from harness.cell import CellResult
from harness.coverage import load_coverage
from harness.errors import HarnessError
from harness.flake import find_flakes
from harness.history import History, record_of
from harness.manifest import BUILTIN, Manifest, load_manifest, vm_folder
from harness.reportmodel import Cell, Detail, Fact, Family, Group, Link, Mark, ReportData, Row
from harness.results import Status, TestResult
from harness.rundir import CONSOLE, RESULTS, chunks
from harness.slices import Slice, cut
from harness.spot import Spot, without_variant

# Characters of consoles and test output that a report takes in: a browser has to open it. What is
# left out is in the files beside it.
_ROOM = 4 << 20

# Files of a run that a reader may want, if they are there.
_FILES = ("junit.xml", "results.json", "manifest.json", "commands.log")
_COVERAGE = "coverage"
# Links to what is in there, where it has no front page.
_MOST_LINKS = 30


def gather(
    folder: Path,
    cells: Sequence[CellResult],
    *,
    history: History,
    specs: Mapping[str, Spot],
) -> ReportData:
    """Collect what a report shows.

    Args:
        folder: that the report is written to; links are relative to it.
        cells: in the order to report them in.
        history: earlier runs; this one may be among them.
        specs: where each test is specified, by its id without variant.

    Raises:
        HarnessError: a file is there, but cannot be read.
    """
    all_cells = tuple(_cell(folder, cell) for cell in cells)
    judged = [(cell.name, cell.result) for cell in all_cells if cell.result and not cell.as_known]
    groups = tuple(_Details(folder, cells, all_cells, history, specs).groups(find_causes(judged)))
    anchors = {(one.cell, one.test.id): one.anchor for group in groups for one in group.details}
    rows = list(_rows(all_cells, anchors))
    telling = sorted((row for row in rows if row.telling), key=lambda row: not row.bad)
    names = {cell.name for cell in all_cells}
    return ReportData(
        title=folder.resolve().name,
        started=min((cell.manifest.started for cell in all_cells if cell.manifest), default=""),
        cells=all_cells,
        groups=groups,
        rows=tuple(telling),
        families=tuple(_families([row for row in rows if not row.telling])),
        suites=tuple(_suites(all_cells)),
        slowest=_slowest(all_cells),
        flakes=tuple(one for one in find_flakes(history) if one.cell in names),
        history=history,
        facts=tuple(_facts(all_cells)),
        notes=(
            *((c.name, note) for c in all_cells if c.result for note in c.result.problems),
            *(("history", note) for note in history.notes),
        ),
    )


def again(manifest: Manifest | None, cell: str = "", tests: Iterable[str] = ()) -> str:
    """Return the command that runs tests again, their random choices being the same.

    Args:
        manifest: of the run; None if there is none.
        cell: which of a matrix's; empty for a run of its own.
        tests: ids; what is none of a single test's runs its suite, or all.
    """
    words = ["harness", "matrix", "--cell", cell]
    if manifest is not None and not cell:
        words = ["harness", "check", "--kernel", manifest.kernel]
        words += ["--driver", "builtin"] if manifest.driver == BUILTIN else []
    seed = dict(manifest.extra).get("seed") if manifest is not None else None
    words += ["--seed", seed] if seed is not None else []
    patterns = []
    for id_ in tests:
        suite, _, name = id_.partition(":")
        if "." in name:
            patterns.append(re.sub(r"([*?[])", r"[\1]", id_))
        elif name == "suite":
            patterns.append(f"{suite}:*")
    return shlex.join([*words, *patterns])


def _cell(folder: Path, cell: CellResult) -> Cell:
    manifest: Manifest | None = None
    # A cell that could not be run has none, and says why itself.
    with suppress(HarnessError):
        manifest = load_manifest(cell.folder)
    record = None
    if manifest is not None and cell.result is not None:
        record = record_of(cell.name, manifest, cell.result)
        record = replace(record, exit_status=cell.exit_status)
    files = [cell.folder / name for name in _FILES]
    for number in range(1, 1 + (len(cell.result.vms) if cell.result else 0)):
        files += [vm_folder(cell.folder, number) / name for name in (CONSOLE, RESULTS, "vng.log")]
    return Cell(
        name=cell.name,
        seconds=cell.seconds,
        exit_status=cell.exit_status,
        as_known=bool(cell.as_known),
        result=cell.result,
        error=cell.error or "",
        manifest=manifest,
        record=record,
        again=again(manifest, _in_matrix(folder, cell)),
        links=tuple(_link(folder, path, cell.folder) for path in files if path.is_file()),
        coverage=tuple(_link(folder, path, cell.folder) for path in _coverage(cell.folder)),
        covered=load_coverage(cell.folder),
    )


def _coverage(run: Path) -> list[Path]:
    """Return the front page of a run's coverage report, or what there is of it without one."""
    folder = run / _COVERAGE
    if (folder / "index.html").is_file():
        return [folder / "index.html"]
    return sorted(path for path in folder.glob("*") if path.is_file())[:_MOST_LINKS]


def _in_matrix(folder: Path, cell: CellResult) -> str:
    """Return the name of a matrix's cell, nothing for a run of its own."""
    return cell.name if cell.folder != folder else ""


def _link(folder: Path, path: Path, base: Path) -> Link:
    return Link(name=str(path.relative_to(base)), href=quote(str(path.relative_to(folder))))


class _Details:
    """Makes the details of failures, as far as there is room."""

    def __init__(
        self,
        folder: Path,
        results: Sequence[CellResult],
        cells: Sequence[Cell],
        history: History,
        specs: Mapping[str, Spot],
    ) -> None:
        self._folder = folder
        self._folders = {one.name: one.folder for one in results}
        self._cells = {one.name: one for one in cells}
        self._in_matrix = {one.name: _in_matrix(folder, one) for one in results}
        self._history = history
        self._specs = specs
        self._room = _ROOM
        self._slices: dict[tuple[str, int], dict[str, Slice]] = {}

    def groups(self, causes: Sequence[Cause]) -> Iterator[Group]:
        """Yield the causes; the first failure of each has a claim to be shown before others'."""
        firsts = [self._detail(f"f{at}-0", cause.failures[0]) for at, cause in enumerate(causes)]
        for at, (cause, first) in enumerate(zip(causes, firsts, strict=True)):
            others = enumerate(cause.failures[1:], start=1)
            details = (self._detail(f"f{at}-{number}", failure) for number, failure in others)
            yield Group(cause=cause, details=(first, *details))

    def _detail(self, anchor: str, failure: Failure) -> Detail:
        cell, test = self._cells[failure.cell], failure.test
        console = self._console(failure)
        lines = (*test.lines, *(console.lines if console else ()))
        size = sum(map(len, lines)) + 200
        shown = size <= self._room
        self._room -= size if shown else 0
        return Detail(
            anchor=anchor,
            cell=failure.cell,
            test=test,
            told=flake.tell(self._history, cell.record, test.id) if cell.record else "",
            spec=self._specs.get(without_variant(test.id)),
            console=console if shown else None,
            log=self._log(failure),
            again=again(cell.manifest, self._in_matrix[cell.name], [test.id]),
            shown=shown,
        )

    def _console(self, failure: Failure) -> Slice | None:
        """Return the part of the console, each console being read once."""
        cell, vm = self._cells[failure.cell], failure.test.vm
        if vm == 0 or cell.result is None or self._room <= 0:
            return None
        key = (cell.name, vm)
        if key not in self._slices:
            wanted = {one.id for one in cell.result.tests if one.vm == vm and not one.status.good}
            planned = {one.id for one in cell.result.tests}
            if cell.manifest and vm <= len(cell.manifest.vms):
                planned = set(cell.manifest.vms[vm - 1].planned)
            console = chunks(vm_folder(self._folders[cell.name], vm) / CONSOLE)
            self._slices[key] = cut(console, wanted, tests=planned)
        return self._slices[key].get(failure.test.id)

    def _log(self, failure: Failure) -> Link | None:
        if failure.test.vm == 0:
            return None
        folder = self._folders[failure.cell]
        path = vm_folder(folder, failure.test.vm) / CONSOLE
        return _link(self._folder, path, folder) if path.is_file() else None


def _rows(cells: Sequence[Cell], anchors: Mapping[tuple[str, str], str]) -> Iterator[Row]:
    found = [{test.id: test for test in c.result.tests} if c.result else {} for c in cells]
    judged = [at for at, cell in enumerate(cells) if cell.result is not None]
    for id_ in dict.fromkeys(id_ for tests in found for id_ in tests):
        tests = [(cells[at], found[at].get(id_)) for at in judged]
        marks = tuple(_mark(cell, test, anchors.get((cell.name, id_), "")) for cell, test in tests)
        notes = dict.fromkeys(test.reason for _, test in tests if test and test.reason)
        yield Row(id=id_, marks=marks, notes=tuple(notes))


def _mark(cell: Cell, test: TestResult | None, anchor: str) -> Mark | None:
    if test is None:
        return None
    return Mark(status=test.status, seconds=test.seconds, anchor=anchor, news=not cell.as_known)


def _families(rows: Sequence[Row]) -> Iterator[Family]:
    groups: dict[tuple[str, Status], list[Row]] = defaultdict(list)
    for row in rows:
        status = next(mark.status for mark in row.marks if mark)
        found = re.match(r"[^:]*:[^.]*", row.id)
        groups[found[0] if found else row.id, status].append(row)
    for (name, status), some in groups.items():
        yield Family(name=name, status=status, rows=tuple(some))


def _suites(cells: Sequence[Cell]) -> Iterator[tuple[str, tuple[float, ...]]]:
    sums: dict[str, list[float]] = {}
    judged = [cell.result for cell in cells if cell.result]
    for at, result in enumerate(judged):
        for test in result.tests:
            if test.seconds is not None:
                sums.setdefault(test.suite, [0.0] * len(judged))[at] += test.seconds
    for suite, seconds in sorted(sums.items(), key=lambda item: -max(item[1])):
        yield suite, tuple(seconds)


def _slowest(cells: Sequence[Cell]) -> tuple[Failure, ...]:
    tests = [
        Failure(cell=cell.name, test=test)
        for cell in cells
        if cell.result
        for test in cell.result.tests
    ]
    return tuple(sorted(tests, key=lambda one: -(one.test.seconds or 0.0))[:10])


def _facts(cells: Sequence[Cell]) -> Iterator[Fact]:
    """Yield what manifests say, by name: one value where all agree."""
    manifests = [cell.manifest for cell in cells]
    names: dict[str, list[str]] = {}
    for at, manifest in enumerate(manifests):
        for name, value in _told(manifest) if manifest else ():
            names.setdefault(name, [""] * len(manifests))[at] = value
    for name, values in names.items():
        known = {value for value, manifest in zip(values, manifests, strict=True) if manifest}
        yield Fact(name=name, values=tuple(known) if len(known) == 1 else tuple(values))


def _told(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "driver", manifest.driver
    yield "kernel", manifest.release
    yield "package", manifest.package or "none: not Debian's"
    yield "kernel sha256", manifest.kernel_sha256
    yield "compiler", manifest.compiler
    yield "accelerator", f"{manifest.accelerator}: {manifest.accelerator_why}"
    yield "QEMU", manifest.qemu
    yield "virtme-ng", manifest.vng
    yield "host", manifest.host
    for name, value in manifest.extra:
        yield name.replace("_", " "), value
