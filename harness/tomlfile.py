# SPDX-License-Identifier: GPL-2.0
"""TOML documents of ours: read strictly, key by key, with one line for everything that is wrong.

That line names file, line, key and what was expected there.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import HarnessError

# Of a guest: more than one for races, and with each further one TCG gets slower.
CPUS = range(1, 5)
# Of a run, after a crash, hang or dirt.
MORE_VMS = range(1001)
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class TomlError(HarnessError):
    """A document is not what it must be.

    Attributes:
        HINT: of all errors of a kind of document: where its format is described.
    """

    HINT: ClassVar[str | None] = None

    def __init__(self, path: Path, key: str, expected: str, *, line: int | None = None) -> None:
        where = f"{path}:{line}" if line else str(path)
        what = f"{key}: expected {expected}" if key else expected
        super().__init__(f"{where}: {what}", hint=self.HINT)


@dataclass(frozen=True)
class Document:
    """A TOML file that was read.

    Attributes:
        path: the file.
        text: its content.
        error: what is raised for what is wrong in it.
    """

    path: Path
    text: str
    error: type[TomlError]

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def line(self, keys: Iterable[str | int]) -> int | None:
        """Return the line on which a value begins, from 1; None for one that is not there.

        tomllib does not tell. But a value is there as soon as the document is parsed up to the line
        it begins on (and on, to where the statement on that line ends), and not before.
        """
        path = tuple(keys)
        count = bisect_left(range(len(self._lines)), True, key=lambda end: self._has(end, path))
        return count if count < len(self._lines) or self._has(count, path) else None

    def _has(self, end: int, path: tuple[str | int, ...]) -> bool:
        for last in range(end, len(self._lines) + 1):
            try:
                value: Any = tomllib.loads("\n".join(self._lines[:last]))
            except tomllib.TOMLDecodeError:
                # Cut within a statement that takes several lines.
                continue
            break
        try:
            for key in path:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
        return True


class Table:
    """A TOML table that is consumed key by key; what is left over is unknown.

    Args:
        document: where it is in.
        keys: that lead to it; none for the document's own.
        name: what to call it in errors.
        values: what it holds.
    """

    def __init__(
        self,
        document: Document,
        keys: tuple[str | int, ...],
        name: str,
        values: Mapping[str, Any],
    ) -> None:
        self.key = name
        self._document = document
        self._keys = keys
        self._left = dict(values)
        self._known: list[str] = []

    @classmethod
    def load(cls, path: Path, error: type[TomlError] = TomlError) -> "Table":
        """Read a file.

        Args:
            path: the file.
            error: what is raised here and by the table for what is wrong in it.

        Raises:
            TomlError: it cannot be read, or is not TOML.
        """
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except OSError as why:
            raise error(path, "", f"expected a file that can be read: {why.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
            raise error(path, "", f"not TOML: {why}") from None
        return cls(Document(path=path, text=text, error=error), (), "", values)

    @property
    def path(self) -> Path:
        """The file."""
        return self._document.path

    def at(self, key: str) -> str:
        """Return the full name of a key of this table."""
        return f"{self.key}.{key}" if self.key else key

    def fail(self, key: str, expected: str) -> TomlError:
        """Return the error that says what was expected at a key of this table.

        It names the line of the key, or of the table where the key is missing.
        """
        line = self._document.line((*self._keys, *([key] if key else ())))
        if line is None and self._keys:
            line = self._document.line(self._keys)
        name = self.at(key) if key else self.key
        return self._document.error(self.path, name, expected, line=line)

    def take(self, key: str, kind: type, expected: str, default: Any = None) -> Any:
        """Consume a value of exactly this type; missing is an error unless there is a default."""
        self._known.append(key)
        if key not in self._left:
            if default is None:
                raise self.fail(key, f"{expected}, but it is missing")
            return default
        value = self._left.pop(key)
        if type(value) is not kind:
            raise self.fail(key, f"{expected}, got {value!r}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Consume a string; one without a default must say something."""
        value: str = self.take(key, str, "a string", default)
        if not value.strip() and default is None:
            raise self.fail(key, "a string that is not empty")
        return value.strip()

    def choice(self, key: str, choices: Iterable[str], default: str | None = None) -> str:
        """Consume a string that is one of these, or missing if there is a default."""
        known = tuple(choices)
        value = self.text(key, default)
        if value not in known and value != default:
            raise self.fail(key, f"one of {', '.join(known)}, got {value!r}")
        return value

    def within(self, key: str, allowed: range, unit: str, default: int) -> int:
        """Consume a whole number of these, or the default if it is missing."""
        value: int = self.take(key, int, f"a number of {unit}", default)
        if value not in allowed and value != default:
            raise self.fail(key, f"{allowed[0]} to {allowed[-1]} {unit}, got {value}")
        return value

    def flag(self, key: str) -> bool:
        """Consume true or false, false when it is missing."""
        value: bool = self.take(key, bool, "true or false", False)
        return value

    def name(self, key: str = "name") -> str:
        """Consume a string that can be a name in C."""
        return self.identifier(key, self.text(key))

    def identifier(self, key: str, value: str) -> str:
        """Return `value`, which stands at `key`, if it can be a name in C."""
        if not IDENTIFIER.fullmatch(value):
            raise self.fail(key, f"a lower-case C identifier, got {value!r}")
        return value

    def texts(self, key: str, *, some: bool = False) -> tuple[str, ...]:
        """Consume a list of strings, none of them empty; it may be missing or empty itself.

        Args:
            key: of the list.
            some: it must be there, and have at least one.
        """
        values = self.take(key, list, "a list of strings", None if some else [])
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise self.fail(key, f"a list of strings that are not empty, got {values!r}")
        if some and not values:
            raise self.fail(key, "at least one string, got []")
        return tuple(values)

    def table(self, key: str, defaults: Mapping[str, Any] | None = None) -> "Table":
        """Consume a table, empty when it is missing; it has `defaults` where it says nothing."""
        values = self.take(key, dict, "a table", {})
        return Table(
            self._document, (*self._keys, key), self.at(key), {**(defaults or {}), **values}
        )

    def subtables(self, key: str) -> "dict[str, Table]":
        """Consume a table of tables, at least one; returns them by name."""
        rows = Table(
            self._document,
            (*self._keys, key),
            self.at(key),
            self.take(key, dict, "a table of tables"),
        )
        found = {name: rows.table(name) for name in rows.names()}
        if not found:
            raise self.fail(key, "a table with at least one entry")
        return found

    def tables(self, key: str) -> list["Table"]:
        """Consume an array of tables, empty when it is missing."""
        values = self.take(key, list, "an array of tables", [])
        if not all(isinstance(value, dict) for value in values):
            raise self.fail(key, f"an array of tables, got {values!r}")
        return [
            Table(
                self._document,
                (*self._keys, key, index),
                f"{self.at(key)}[{value.get('name', index)}]",
                value,
            )
            for index, value in enumerate(values)
        ]

    def names(self) -> list[str]:
        """Return the keys that are left."""
        return list(self._left)

    def finish(self) -> None:
        """Raise if any key is left: a misspelled key must not pass for an absent one."""
        for key in self._left:
            known = ", ".join(dict.fromkeys(self._known))
            raise self.fail(key, f"no such key; known here: {known}")
