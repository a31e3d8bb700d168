# SPDX-License-Identifier: GPL-2.0
"""One run as one table on the terminal: test, status, time, and what explains a failure.

What passed is folded to one line a fixture, and so is what shares status and reason (all skipped
for one cause, all lost with the VM); every other failure has its own line, with the lines that
explain it and the place in the log.

Rows are printed one by one: an explanation runs across the columns, and neither it nor an id may be
cut off in a log, both of which a rich Table cannot do.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.manifest import MANIFEST, vm_folder
from harness.results import RunResult, Status, TestResult, VmExit

STYLES = {
    Status.PASS: "green",
    Status.XFAIL: "green",
    Status.SKIP: "yellow",
    Status.DIRTY: "bold red",
    Status.FAIL: "bold red",
    Status.TIMEOUT: "bold red",
    Status.MISSING: "bold magenta",
    Status.CRASHED: "bold magenta",
    Status.ERROR: "bold magenta",
}
# Lines of explanation shown of one test; the log has all.
_LINES = 8
# An id that is longer than this does not push all other rows aside.
_WIDTH = 72
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of the table and what stands below it."""

    name: str
    status: Status
    seconds: float | None
    below: tuple[str, ...]


def print_run(
    result: RunResult,
    folder: Path,
    console: Console,
    *,
    verbose: bool = False,
    only: Container[str] | None = None,
) -> None:
    """Print a run.

    Args:
        result: the run.
        folder: its folder, for the paths of the logs.
        console: where to; colours only where rich finds a terminal.
        verbose: one line for every test, and all lines that it printed.
        only: the ids of the tests to have rows; None for all.
    """
    tests = tuple(test for test in result.tests if only is None or test.id in only)
    rows = list(_rows(tests, folder, verbose=verbose))
    width = max([len("test"), *(len(row.name) for row in rows if len(row.name) <= _WIDTH)])
    _print(console, Text(f"{'test':<{width}}  {'status':<7}  {'time':>8}", style="bold"))
    for row in rows:
        time = "" if row.seconds is None else f"{row.seconds:.2f} s"
        line = Text(f"{row.name:<{width}}  ")
        line.append(f"{row.status.upper():<7}", style=STYLES[row.status])
        line.append(f"  {time:>8}")
        line.rstrip()
        _print(console, line)
        for text in row.below:
            _print(console, Text(f"    {text}"))
    for note in _notes(result.problems, folder, verbose=verbose):
        _print(console, Text(f"note: {note}", style="yellow"))
    _print(console, _summary(result))
    _print(console, Text(f"run: {folder}"))


def _print(console: Console, text: Text) -> None:
    # soft_wrap: the terminal may wrap a line, rich must not: in a log it would break it.
    console.print(text, soft_wrap=True, highlight=False)


def _rows(tests: tuple[TestResult, ...], folder: Path, *, verbose: bool) -> Iterator[_Row]:
    groups: dict[tuple[str, ...], list[TestResult]] = {}
    for test in tests:
        key = (test.id,) if verbose else _kin(test)
        groups.setdefault(key, []).append(test)
    told: dict[str, str] = {}
    for group in groups.values():
        first = group[0]
        if len(group) == 1:
            explained = bool(first.reason and first.lines)
            like = told.setdefault(first.reason, first.id) if explained else first.id
            if first.status.good or verbose or like == first.id:
                yield _single(first, folder, verbose=verbose)
            else:
                yield _alike(first, like, folder)
            continue
        times = [test.seconds for test in group if test.seconds is not None]
        reason = (plain(first.reason),) if first.reason else ()
        yield _Row(
            name=f"{plain(_family(first))}* ({len(group)} tests)",
            status=first.status,
            seconds=sum(times) if times else None,
            below=reason if first.status.good else (*reason, f"log: {log_of(first, folder)}"),
        )


def _kin(test: TestResult) -> tuple[str, ...]:
    """Return what tests have in common that make one row; what has its own to say is alone."""
    if not test.status.good and (test.status.judged or test.lines or test.line is not None):
        return (test.id,)
    return (_family(test), test.status, test.reason)


def _family(test: TestResult) -> str:
    """Return the part of the id to fold by: for what was lost with its VM the suite will do."""
    parts = re.match(r"[^:]*:(?:[^.]*\.)?", test.id) if test.status.good else None
    return parts[0] if parts else f"{test.suite}:"


def _single(test: TestResult, folder: Path, *, verbose: bool) -> _Row:
    below = [plain(test.reason)] if test.reason else []
    if verbose or not test.status.good:
        lines = [plain(line) for line in test.lines]
        kept = len(lines) if verbose else _LINES
        below += lines[:kept]
        if len(lines) > kept:
            below.append(f"... {len(lines) - kept} more lines")
    if not test.status.good:
        below.append(f"log: {log_of(test, folder)}")
    return _Row(name=plain(test.id), status=test.status, seconds=test.seconds, below=tuple(below))


def _alike(test: TestResult, like: str, folder: Path) -> _Row:
    """What failed for the reason of another test: the same splat in each, most often."""
    below = (f"as {plain(like)}: {plain(test.reason)}", f"log: {log_of(test, folder)}")
    return _Row(name=plain(test.id), status=test.status, seconds=test.seconds, below=below)


def log_of(test: TestResult, folder: Path) -> str:
    """Return where to read on: the result's line, or the console when no line decided."""
    if test.vm == 0:
        return str(folder / MANIFEST)
    if test.line is not None:
        return f"{vm_folder(folder, test.vm) / 'results.ktap'}:{test.line}"
    return str(vm_folder(folder, test.vm) / "console.log")


def _notes(problems: tuple[str, ...], folder: Path, *, verbose: bool) -> list[str]:
    kept = len(problems) if verbose else _LINES
    notes = [plain(problem) for problem in problems[:kept]]
    if len(problems) > kept:
        notes.append(f"{len(problems) - kept} more in {folder / 'results.json'}")
    return notes


def count_words(result: RunResult) -> Text:
    """Return how many tests ended how: what is wrong comes first."""
    words = Text()
    for status, count in sorted(result.counts.items(), key=lambda item: item[0].good):
        words.append(", " if words else "")
        words.append(f"{count} {status.words}", style=STYLES[status])
    if not words:
        words.append("no tests", style="bold magenta")
    return words


def _summary(result: RunResult) -> Text:
    words = count_words(result)
    kernel = result.kernel
    if result.release is not None and result.release != kernel:
        kernel += f" ({plain(result.release)})"
    seconds = sum(vm.seconds for vm in result.vms)
    vms = "1 VM" if len(result.vms) == 1 else f"{len(result.vms)} VMs"
    words.append(f"; kernel {kernel}, {result.accelerator}, {seconds:.1f} s in {vms}")
    if dead := sum(vm.exit is not VmExit.CLEAN for vm in result.vms):
        words.append(f", {dead} of them died", style="bold magenta")
    return words


def plain(text: str) -> str:
    """Return text of the guest's, harmless to a terminal."""
    return _CONTROL.sub("", text).replace("\t", "    ")
