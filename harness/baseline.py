# SPDX-License-Identifier: GPL-2.0
"""Another revision of driver and tests, to compare with: what is new is what a change brought."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.cache import locked, making, remove_tree
from harness.cell import CellResult
from harness.difference import gone, new_troubles
from harness.errors import HarnessError
from harness.place import Place
from harness.results import RunResult, TestResult

_DEADLINE = 60.0
# What is tested, and by what. The kernels are today's in both.
_FOLDERS = ("module", "selftests")
_KERNELS = "kconfigs"


class RevisionError(HarnessError):
    """Git has no such revision."""


@contextmanager
def checked_out(place: Place, revision: str) -> Iterator[Place]:
    """Give a place with the driver and the tests of a revision; at the end it is gone.

    The checkout is only read: there is no worktree that a killed run would leave in it. The folder
    is named by the commit, so that what was built from it is found in the cache next time.

    Args:
        place: with the checkout.
        revision: as git takes it: HEAD, main, v6~2.

    Raises:
        RevisionError: there is none.
        HarnessError: it has no driver or no tests, or the cache cannot be used.
    """
    git = partial(place.spawner.run, cwd=place.source, deadline=_DEADLINE)
    found = git(("git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"), check=False)
    if found.status != 0:
        raise RevisionError(
            f"{place.source}: git has no commit {revision!r}", hint=found.output.strip() or None
        )
    commit = found.output.strip()
    folder = place.cache / "baseline" / commit
    waiting = partial(place.progress.note, f"waiting for another run that compares with {commit}")
    with locked(folder, waiting=waiting):
        try:
            with making(folder) as temp:
                tree = temp / "tree.tar"
                git(("git", "archive", f"--output={tree}", commit, *_FOLDERS))
                place.spawner.run(("tar", "-xf", tree, "-C", temp), deadline=_DEADLINE)
                tree.unlink()
                shutil.copytree(place.source / _KERNELS, temp / _KERNELS)
            yield replace(place, source=folder)
        finally:
            remove_tree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a cell says that it did not say at the base.

    Attributes:
        new: what is wrong now and was not, or not so.
        known: how much was wrong before already.
        gone: how many tests there are no more.
        judged: whether all of it could be judged, now and at the base.
        error: why nothing can be said, one line; None where it can.
    """

    new: tuple[TestResult, ...] = ()
    known: int = 0
    gone: int = 0
    judged: bool = True
    error: str | None = None

    @property
    def exit_status(self) -> int:
        """0 nothing new, 1 new failures, 2 something could not be judged."""
        if self.error is not None or not self.judged:
            return 2
        return 1 if self.new else 0

    @property
    def words(self) -> tuple[str, str]:
        """What came of it in a few words, and their style."""
        if self.error is not None:
            return f"ERROR: {self.error}", "bold magenta"
        words = [f"{len(self.new)} new" if self.new else "nothing new"]
        words += [f"{self.known} known"] if self.known else []
        words += [f"{self.gone} tests gone"] if self.gone else []
        return ", ".join(words), ("green", "bold red", "bold magenta")[self.exit_status]


def without_tests(name: str, folder: Path) -> CellResult:
    """Return what a cell says at a base that has none of its tests: nothing.

    Args:
        name: of the cell.
        folder: where its run would be.
    """
    result = RunResult(kernel=name, release=None, accelerator="", vms=(), tests=())
    return CellResult(name=name, folder=folder, result=result, error=None, seconds=0.0)


def news_of(cell: CellResult, base: CellResult) -> News:
    """Compare a cell with itself at the base."""
    for one, where in ((cell, ""), (base, "at the base: ")):
        if one.result is None:
            return News(error=f"{where}{one.error}")
    assert cell.result is not None
    assert base.result is not None
    new = new_troubles(base.result, cell.result)
    wrong = sum(not test.status.good for test in cell.result.tests)
    left = len(gone(base.result, cell.result))
    # A stale reason says nothing of the driver; and of a base without such tests nothing was asked.
    asked = (cell, base) if base.result.tests else (cell,)
    lost = [one for one in asked if one.result and one.result.exit_status == 2]
    if lost and not new:
        where = "" if lost[0] is cell else " at the base"
        return News(error=f"not everything could be judged{where}")
    return News(new=new, known=wrong - len(new), gone=left, judged=not lost)


def exit_status(cells: Sequence[CellResult], base: Sequence[CellResult]) -> int:
    """0 nothing new in any cell, 1 new failures, 2 something could not be judged."""
    return max(news_of(*pair).exit_status for pair in zip(cells, base, strict=True))
