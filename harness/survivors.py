# SPDX-License-Identifier: GPL-2.0
"""selftests/mutants/survivors.toml: the automatic mutants that no test catches, and why."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness import need
from harness.need import Need
from harness.tomlfile import Table, TomlError


class SurvivorsError(TomlError):
    """The list says something that cannot be meant, or that is no longer so."""

    HINT: ClassVar[str | None] = "selftests/mutants/README.md describes the list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """Why mutants survive.

    Attributes:
        mutants: their names.
        equivalent: nothing outside the driver can tell that they are there; they do not count.
        why: one sentence or more.
        needs: what a kernel is and has on which they are caught; () if there is none.
        expect: globs over full test ids; those that catch them there. () for those that catch what
            was written by hand in the same place.
    """

    mutants: tuple[str, ...]
    equivalent: bool
    why: str
    needs: tuple[Need, ...]
    expect: tuple[str, ...] = ()


def load_survivors(path: Path, names: Iterable[str], *, tests: Iterable[str]) -> dict[str, Excuse]:
    """Read the list.

    Args:
        path: the file.
        names: of all automatic mutants there are.
        tests: the full ids of all tests there are.

    Returns:
        The excuses, by the name of a mutant.

    Raises:
        SurvivorsError: malformed, or there is no such mutant or test (any more).
    """
    known, ids = frozenset(names), tuple(tests)
    document = Table.load(path, SurvivorsError)
    found: dict[str, Excuse] = {}
    for entry in document.tables("survivors"):
        excuse = Excuse(
            mutants=entry.texts("mutants", some=True),
            equivalent=entry.flag("equivalent"),
            why=entry.text("why"),
            needs=_needs(entry),
            expect=entry.texts("expect"),
        )
        if excuse.needs and excuse.equivalent:
            raise entry.fail("needs", "what is not equivalent everywhere")
        if excuse.expect and not excuse.needs:
            raise entry.fail("expect", "what catches them on a kernel that `needs` names")
        for pattern in excuse.expect:
            if not fnmatch.filter(ids, pattern):
                raise entry.fail("expect", f"tests that exist, and none matches {pattern}")
        for name in excuse.mutants:
            if name not in known:
                raise entry.fail("mutants", f"automatic mutants, and {name} is none (any more)")
            if name in found:
                raise entry.fail("mutants", f"each mutant once, got {name} again")
            found[name] = excuse
        entry.finish()
    document.finish()
    return found


def _needs(entry: Table) -> tuple[Need, ...]:
    try:
        return need.parse(entry.text("needs", ""))
    except ValueError as error:
        raise entry.fail("needs", f"{need.FORMAT}, got {error}") from None
