# SPDX-License-Identifier: GPL-2.0
"""selftests/mutants/survivors.toml: the automatic mutants that no test catches, and why."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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
        needs: an option, CONFIG_NAME=VALUE, of kernels on which they are caught; "" if there is
            none.
    """

    mutants: tuple[str, ...]
    equivalent: bool
    why: str
    needs: str

    def holds(self, option: Callable[[str], str | None]) -> bool:
        """Whether mutants may survive on a kernel.

        Args:
            option: returns the value of a configuration option.
        """
        name, _, value = self.needs.partition("=")
        return not name or option(name) != value


def load_survivors(path: Path, names: Iterable[str]) -> dict[str, Excuse]:
    """Read the list.

    Args:
        path: the file.
        names: of all automatic mutants there are.

    Returns:
        The excuses, by the name of a mutant.

    Raises:
        SurvivorsError: malformed, or there is no such mutant (any more).
    """
    known = frozenset(names)
    document = Table.load(path, SurvivorsError)
    found: dict[str, Excuse] = {}
    for entry in document.tables("survivors"):
        excuse = Excuse(
            mutants=entry.texts("mutants", some=True),
            equivalent=entry.flag("equivalent"),
            why=entry.text("why"),
            needs=entry.text("needs", ""),
        )
        if excuse.needs and (excuse.equivalent or not _is_option(excuse.needs)):
            raise entry.fail("needs", "CONFIG_NAME=VALUE, of what is not equivalent")
        for name in excuse.mutants:
            if name not in known:
                raise entry.fail("mutants", f"automatic mutants, and {name} is none (any more)")
            if name in found:
                raise entry.fail("mutants", f"each mutant once, got {name} again")
            found[name] = excuse
        entry.finish()
    document.finish()
    return found


def _is_option(text: str) -> bool:
    name, _, value = text.partition("=")
    return name.startswith("CONFIG_") and bool(value)
