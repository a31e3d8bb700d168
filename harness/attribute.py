# SPDX-License-Identifier: GPL-2.0
"""Whose splat is it: a console -> splats, each with the test it is charged to.

The guest brackets its tests in the kernel log (`harness: test ID`, `harness: suite NAME ended`;
splatline.mark() reads them). A kernel message belongs to the last test named above it, a late one
too. On the console of a restored VM the boot that its snapshot was made of comes first: that is
another run's, and what it complained of was told then.

Pure.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from harness.splat import Scanner, Splat
from harness.splatline import RESTORED, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A splat, and who is answerable for it.

    Attributes:
        test: id of the test that was running; None: no test was, or a damaged mark hides which.
        splat: what the kernel complained of.
        line: where in the console log, from 1.
        before: id of the test that began next; None when none did.
    """

    test: str | None
    splat: Splat
    line: int
    before: str | None = None


def attribute(chunks: Iterable[bytes], *, tests: Collection[str] = ()) -> tuple[Charge, ...]:
    """Find the splats of one VM's console and charge each to a test.

    Args:
        chunks: the console log from its first byte, cut anywhere.
        tests: ids of all tests that may run there; with them a mark that other output was printed
            into is still read, where that can mean one test only. Empty: any id is believed.

    Returns:
        The charges in the order of the console. Splats above the seam of a restored VM are left
        out.
    """
    scanner = Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    splats = scanner.finish()
    marks = list(_own(scanner.marks))
    known = frozenset(tests)
    name = cache(lambda said: named(said, known))
    charges = []
    running: str | None = None
    behind = 0
    for splat in splats:
        while behind < len(marks) and marks[behind].start < splat.start:
            running = name(marks[behind].name) if marks[behind].what == "test" else None
            behind += 1
        if splat.start >= _seam(marks):
            begun = (mark.name for mark in marks[behind:] if mark.what == "test")
            after = next(begun, None)
            before = None if after is None else name(after)
            charges.append(Charge(test=running, splat=splat, line=splat.line, before=before))
    return tuple(charges)


def _own(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Leave out what only looks like the seam: the real one is the first, and before all tests."""
    seen = False
    for mark in marks:
        if mark.what != RESTORED or not seen:
            yield mark
        seen = True


def _seam(marks: list[Mark]) -> int:
    return marks[0].start if marks and marks[0].what == RESTORED else 0


def named(said: str, known: frozenset[str]) -> str | None:
    """Return the test that a mark names, though other output may stand in or behind its id.

    Args:
        said: what stands where the id should.
        known: the ids that it can be; empty: any.
    """
    if said in known or not known:
        return said
    possible = [test for test in known if len(said) > len(test) and _inside(test, said)]
    return possible[0] if len(possible) == 1 else None


def _inside(test: str, said: str) -> bool:
    """Tell whether text is a test's id with other text put in at one place behind its start."""
    front = _alike(test, said)
    return front > 0 and front + _alike(test[::-1], said[::-1]) >= len(test)


def _alike(one: str, other: str) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
