# SPDX-License-Identifier: GPL-2.0
"""JSON documents of ours: read strictly, key by key; written whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from harness.errors import HarnessError

T = TypeVar("T")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DocumentError(HarnessError):
    """A document is not what it should be; the message names file and key."""


class Fields:
    """The keys of one JSON object, each taken exactly once and with its type.

    Args:
        source: what to call the document in errors: its path.
        value: the decoded JSON.
        where: the path of keys that leads to this object, "" for the outermost.
    """

    def __init__(self, source: str, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise DocumentError(f"{source}: {where or 'the document'}: expected an object")
        self._source = source
        self._left: dict[str, object] = dict(value)
        self._where = where

    @classmethod
    def parse(cls, text: str, *, source: str, schema: int) -> "Fields":
        """Decode a document and check its schema version.

        Raises:
            DocumentError: not JSON (a truncated file, too), no object, or another schema.
        """
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"{source}: not a JSON document: {error}") from None
        fields = cls(source, value)
        found = fields.take("schema", int, "a number")
        if found != schema:
            raise DocumentError(
                f"{source}: schema: expected {schema}, found {found}",
                hint="the file was written by another version of the harness",
            )
        return fields

    def take(self, key: str, kind: type[T], expected: str) -> T:
        """Take a key of this exact type (a bool is no number)."""
        value = self._pop(key)
        if type(value) is not kind:
            raise self.error(key, f"expected {expected}")
        return value

    def text(self, key: str) -> str:
        """Take a string."""
        return self.take(key, str, "a string")

    def text_or_none(self, key: str) -> str | None:
        """Take a string or null."""
        return None if self._null(key) else self.text(key)

    def seconds(self, key: str) -> float:
        """Take a number that is not negative."""
        value = self._pop(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise self.error(key, "expected a number of seconds")
        return float(value)

    def seconds_or_none(self, key: str) -> float | None:
        """Take a number that is not negative, or null."""
        return None if self._null(key) else self.seconds(key)

    def count_or_none(self, key: str) -> int | None:
        """Take an integer that is not negative, or null."""
        return None if self._null(key) else self.count(key)

    def count(self, key: str) -> int:
        """Take an integer that is not negative."""
        value = self.take(key, int, "a whole number")
        if value < 0:
            raise self.error(key, "expected a whole number")
        return value

    def flag_or_none(self, key: str) -> bool | None:
        """Take true, false or null."""
        return None if self._null(key) else self.take(key, bool, "true or false")

    def choice(self, key: str, parse: Callable[[str], T]) -> T:
        """Take a string that ``parse`` (an enum) accepts."""
        value = self.text(key)
        try:
            return parse(value)
        except ValueError:
            raise self.error(key, f'unknown value "{value}"') from None

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of strings."""
        values = self.take(key, list, "a list of strings")
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "expected a list of strings")
        return tuple(values)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Take an object whose values are strings."""
        values = self.take(key, dict, "an object of strings")
        if not all(isinstance(value, str) for value in values.values()):
            raise self.error(key, "expected an object of strings")
        return tuple(values.items())

    def nested(self, key: str) -> "Fields":
        """Take an object."""
        return Fields(self._source, self._pop(key), self._path(key))

    def nested_or_none(self, key: str) -> "Fields | None":
        """Take an object or null."""
        return None if self._null(key) else self.nested(key)

    def objects(self, key: str) -> tuple["Fields", ...]:
        """Take a list of objects."""
        values = self.take(key, list, "a list of objects")
        return tuple(
            Fields(self._source, value, f"{self._path(key)}[{at}]")
            for at, value in enumerate(values)
        )

    def end(self) -> None:
        """Check that every key has been taken."""
        for key in self._left:
            raise self.error(key, "unknown key")

    def error(self, key: str, what: str) -> DocumentError:
        """Return the error that names file, key and what is wrong."""
        return DocumentError(f"{self._source}: {self._path(key)}: {what}")

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _null(self, key: str) -> bool:
        if self._left.get(key, "") is not None:
            return False
        del self._left[key]
        return True

    def _pop(self, key: str) -> object:
        try:
            return self._left.pop(key)
        except KeyError:
            raise self.error(key, "missing") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def dump(document: dict[str, object]) -> str:
    """Encode a document: readable, ASCII, the same text for the same content."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def line(document: dict[str, object]) -> str:
    """Encode a document as one line, without a line feed."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def read_text(path: Path) -> str:
    """Read a document of ours.

    Raises:
        DocumentError: it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DocumentError(f"{path}: no such file") from None
    except OSError as error:
        raise DocumentError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DocumentError(f"{path}: not a JSON document: not UTF-8") from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or leave what was there.

    Raises:
        HarnessError: the file cannot be written (disk full, no such folder).
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        # Unlike a temporary file's, a result's mode is the user's own.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        hint = "free some space and try again" if error.errno in _NO_ROOM else None
        raise HarnessError(f"{path}: cannot write: {error.strerror}", hint=hint) from None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
