# SPDX-License-Identifier: GPL-2.0
"""What is known to be wrong with mainline's driver, held against a run of the tests on it.

A suite that stays green on a driver with a known bug does not look where it says it does; one that
turns red without a reason is wrong itself. Both are differences.
"""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.results import Status, TestResult
from harness.spec import load_specs
from harness.tomlfile import Table, TomlError
from harness.version import KernelVersion

FILE = "selftests/known.toml"


class KnownError(TomlError):
    """The file of what is known is not what it must be."""

    HINT = f"the head of {FILE} describes the format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One thing that mainline's driver does otherwise than the tests want it.

    Attributes:
        of: where it is told: 2.4a..i, B.., M.. of notes/udmabuf.md, a CVE; "" where nowhere.
        wrong: one sentence.
        bug: whether it is wrong; else it is other than ours and within its rights.
        kernels: the series that have it; SERIES+PROFILE if only that kernel of ours shows it.
        tests: globs over full test ids; all of them must turn red.
        may: more globs, of tests that show it or not, as memory happens to be.
        skips: whether all of its tests may be skipped; else it would vanish unseen.
        ids: of all tests that must turn red, whether they are asked for or not.
    """

    of: str
    wrong: str
    bug: bool
    kernels: tuple[str, ...]
    tests: tuple[str, ...]
    may: tuple[str, ...] = ()
    skips: bool = False
    ids: tuple[str, ...] = ()

    def covers(self, id_: str) -> bool:
        """Whether a test must turn red by it."""
        return any(fnmatch.fnmatchcase(id_, glob) for glob in self.tests)

    def explains(self, id_: str) -> bool:
        """Whether a test can turn red by it."""
        return any(fnmatch.fnmatchcase(id_, glob) for glob in (*self.tests, *self.may))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is known, and what became of its tests.

    Attributes:
        red: those that show it.
        green: those that do not, but must.
        skipped: whether all were asked for and skipped, though that may not be.
    """

    known: Known
    red: tuple[str, ...]
    green: tuple[str, ...]
    skipped: bool = False

    @property
    def as_known(self) -> bool:
        """Whether it showed, in every test that was judged."""
        return bool(self.red) and not self.green


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run of the driver, held against what is known of it.

    Attributes:
        shown: what should have shown.
        strange: tests that are red for no reason that is known.
    """

    shown: tuple[Shown, ...]
    strange: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        """0 all as known, 1 a difference."""
        return 1 if self.strange or not all(one.as_known for one in self.shown) else 0


def load_known(path: Path, ids: Sequence[str]) -> tuple[Known, ...]:
    """Read what is known.

    Args:
        path: the file.
        ids: all tests; each glob must match one.

    Raises:
        KnownError: not TOML, or not what it must be.
    """
    table = Table.load(path, KnownError)
    known = tuple(_known(row, ids) for row in table.tables("known"))
    table.finish()
    return known


def of_checkout(source: Path) -> tuple[Known, ...]:
    """Return what a checkout knows.

    Raises:
        KnownError, SpecError: it is not what it must be.
    """
    specs = load_specs(source / "selftests/specs")
    return load_known(source / FILE, [id_ for spec in specs for id_ in spec.full_ids])


def _known(row: Table, ids: Sequence[str]) -> Known:
    known = Known(
        of=row.text("of", ""),
        wrong=row.text("wrong"),
        bug=row.flag("bug"),
        kernels=row.texts("kernels", some=True),
        tests=row.texts("tests", some=True),
        may=row.texts("may"),
        skips=row.flag("skips"),
    )
    row.finish()
    for glob in (*known.tests, *known.may):
        if not fnmatch.filter(ids, glob):
            raise row.fail("tests", f"globs that match a test, got {glob!r}")
    return replace(known, ids=tuple(id_ for id_ in ids if known.covers(id_)))


def compare(tests: Iterable[TestResult], known: Sequence[Known], release: str) -> Comparison:
    """Hold the verdicts on mainline's driver against what is known of it.

    Args:
        tests: the verdicts; what a machine lacks and therefore skips tells nothing, unless it is
            all that could tell.
        known: what is known.
        release: of the kernel, as `uname -r` says it.
    """
    here = [one for one in known if any(_is(kernel, release) for kernel in one.kernels)]
    tests = tuple(tests)
    skipped = {test.id for test in tests if test.status is Status.SKIP}
    judged = [test for test in tests if test.status is not Status.SKIP]
    red = [test.id for test in judged if not test.status.good]
    green = [test.id for test in judged if test.status.good]
    shown = (
        Shown(
            known=one,
            red=tuple(id_ for id_ in red if one.covers(id_)),
            green=tuple(id_ for id_ in green if one.covers(id_)),
            skipped=bool(one.ids) and not one.skips and skipped.issuperset(one.ids),
        )
        for one in here
    )
    return Comparison(
        shown=tuple(one for one in shown if one.red or one.green or one.skipped),
        strange=tuple(id_ for id_ in red if not any(one.explains(id_) for one in here)),
    )


def _is(kernel: str, release: str) -> bool:
    """Whether a release is of a series, and of its profile where one is named."""
    series, _, profile = kernel.partition("+")
    # CONFIG_LOCALVERSION says what a kernel of ours was built with (kernelbuild.py).
    return KernelVersion.parse(release).series == series and (
        not profile or release.endswith(f"-{profile}")
    )


def words(comparison: Comparison) -> tuple[str, ...]:
    """Return the comparison as lines for a reader."""
    bugs = sum(one.known.bug for one in comparison.shown)
    ways = len(comparison.shown) - bugs
    total = f"known of mainline's driver here: bugs {bugs}, ways of its own {ways}; "
    ends = ("all shown, and nothing else", "not as known")
    return (
        *(_line(one) for one in comparison.shown),
        *differences(comparison),
        total + ends[comparison.exit_status],
    )


def differences(comparison: Comparison) -> tuple[str, ...]:
    """Return a line for each test that did not end as known, or whose like were all skipped."""
    missed = [id_ for one in comparison.shown for id_ in one.green]
    unseen = [one.known.wrong for one in comparison.shown if one.skipped]
    return (
        *(f"difference: all tests are skipped that detect this: {wrong}" for wrong in unseen),
        *(f"difference: {id_} passes, but detects what is there" for id_ in missed),
        *(f"difference: {id_} is red, which nothing known explains" for id_ in comparison.strange),
    )


def _line(shown: Shown) -> str:
    count = len(shown.red) + len(shown.green)
    kind = "bug" if shown.known.bug else "way"
    return f"{kind}  {len(shown.red):>3} of {count:<3} red  {shown.known.wrong}"
