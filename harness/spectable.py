# SPDX-License-Identifier: GPL-2.0
"""A TOML table that is taken apart key by key, with one line for everything that is wrong in it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class SpecError(HarnessError):
    """A specification is not what it must be: names the file, the key and what was expected."""

    def __init__(self, path: Path, key: str, expected: str) -> None:
        super().__init__(
            f"{path}: {key}: expected {expected}" if key else f"{path}: {expected}",
            hint="selftests/specs/README.md describes the format",
        )


class Table:
    """A TOML table that is consumed key by key; what is left over is unknown."""

    def __init__(self, path: Path, key: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.key = key
        self._left = dict(values)

    def at(self, key: str) -> str:
        """Return the full name of a key of this table."""
        return f"{self.key}.{key}" if self.key else key

    def fail(self, key: str, expected: str) -> SpecError:
        """Return the error that says what was expected at a key."""
        return SpecError(self.path, self.at(key), expected)

    def take(self, key: str, kind: type, expected: str, default: Any = None) -> Any:
        """Consume a value of exactly this type; missing is an error unless there is a default."""
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

    def texts(self, key: str) -> tuple[str, ...]:
        """Consume a list of strings, empty when it is missing."""
        values = self.take(key, list, "a list of strings", [])
        if not all(isinstance(value, str) for value in values):
            raise self.fail(key, f"a list of strings, got {values!r}")
        return tuple(values)

    def table(self, key: str, defaults: Mapping[str, Any] | None = None) -> "Table":
        """Consume a table, empty when it is missing; it has `defaults` where it says nothing."""
        values = self.take(key, dict, "a table", {})
        return Table(self.path, self.at(key), {**(defaults or {}), **values})

    def tables(self, key: str) -> list["Table"]:
        """Consume an array of tables, empty when it is missing."""
        values = self.take(key, list, "an array of tables", [])
        if not all(isinstance(value, dict) for value in values):
            raise self.fail(key, f"an array of tables, got {values!r}")
        return [
            Table(self.path, f"{self.at(key)}[{value.get('name', index)}]", value)
            for index, value in enumerate(values)
        ]

    def names(self) -> list[str]:
        """Return the keys that are left."""
        return list(self._left)

    def finish(self) -> None:
        """Raise if any key is left."""
        for key in self._left:
            raise self.fail(key, "no such key")
