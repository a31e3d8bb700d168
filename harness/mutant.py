# SPDX-License-Identifier: GPL-2.0
"""One patch that breaks the driver; its header names the bug and the tests to catch it. Pure.

A file of selftests/mutants/ is a unified diff against the root of the checkout, below a header of
`Key: value` lines, which git apply skips. selftests/mutants/README.md describes the keys.
"""

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import need
from harness.errors import HarnessError
from harness.need import Need

FOLDER = "module"

_REQUIRED = ("SPDX-License-Identifier", "Bug", "Wrong", "Expect")
_OPTIONAL = ("Needs", "Quick")
_BUG = re.compile(r"B\d{2}|M\d{1,2}|2\.4[a-i]|CVE-\d{4}-\d{4,}|own")
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class MutantError(HarnessError):
    """A mutant is not what it must be: names the file, the key and what was expected."""

    def __init__(self, path: Path, key: str, expected: str) -> None:
        super().__init__(
            f"{path}: {key}: expected {expected}",
            hint="selftests/mutants/README.md describes the format",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A way to break the driver.

    Attributes:
        name: the stem of its file.
        path: the file.
        text: all of it; git apply takes it as it is.
        bugs: what history it repeats: B.., M.., 2.4. (notes/udmabuf.md), a CVE, or "own".
        wrong: one sentence: what is wrong with it.
        expect: globs over full test ids; one of these tests must turn red.
        needs: what the kernel must be and have for it to mean anything.
        quick: belongs to the subset for every change.
        files: of the driver, that the patch changes.
        automatic: an operator made it (automutant.py), nobody wrote it.
    """

    name: str
    path: Path
    text: str
    bugs: tuple[str, ...]
    wrong: str
    expect: tuple[str, ...]
    needs: tuple[Need, ...] = ()
    quick: bool = False
    files: tuple[str, ...] = ()
    automatic: bool = False

    def expects(self, test: str) -> bool:
        """Whether this test, by its full id, is one of those that must catch it."""
        return any(fnmatch.fnmatchcase(test, pattern) for pattern in self.expect)


def load_mutants(folder: Path, tests: Iterable[str]) -> tuple[Mutant, ...]:
    """Read all mutants of a folder, by name.

    Args:
        folder: where the patches are.
        tests: the full ids of all tests there are; what a mutant expects must be among them.

    Raises:
        MutantError: one is malformed, or there is none.
    """
    known = tuple(tests)
    mutants = tuple(parse(path, _read(path)) for path in sorted(folder.glob("*.patch")))
    if not mutants:
        raise MutantError(folder, "*.patch", "at least one mutant here")
    for mutant in mutants:
        for pattern in mutant.expect:
            if not fnmatch.filter(known, pattern):
                raise MutantError(
                    mutant.path, "Expect", f"tests that exist, and none matches {pattern}"
                )
    return mutants


def parse(path: Path, text: str) -> Mutant:
    """Read one mutant.

    Args:
        path: the file; its stem is the name.
        text: its content.

    Raises:
        MutantError: not a header, or not a patch of the driver below it.
    """
    head, blank, patch = text.partition("\n\n")
    keys = _header(path, head)
    if not _NAME.fullmatch(path.stem):
        raise MutantError(path, "file name", "lower-case words with hyphens between them")
    if not blank:
        raise MutantError(path, "patch", "an empty line and a patch below the header")
    files = _files(path, patch)
    bugs = tuple(keys["Bug"].split())
    for bug in bugs:
        if not _BUG.fullmatch(bug):
            raise MutantError(path, "Bug", f"B07, M12, 2.4d, CVE-2023-2008 or own, got {bug!r}")
    if keys.get("Quick", "no") not in ("yes", "no"):
        raise MutantError(path, "Quick", f"yes or no, got {keys['Quick']!r}")
    return Mutant(
        name=path.stem,
        path=path,
        text=text,
        bugs=bugs,
        wrong=keys["Wrong"],
        expect=tuple(keys["Expect"].split()),
        needs=_needs(path, keys.get("Needs", "")),
        quick=keys.get("Quick") == "yes",
        files=files,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise MutantError(path, "file", f"one that can be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MutantError(path, "file", "text in UTF-8") from None


def _header(path: Path, head: str) -> dict[str, str]:
    """Take the header apart; a line that begins with a space continues the one above it."""
    keys: dict[str, str] = {}
    last = ""
    for line in head.splitlines():
        key, colon, value = line.partition(":")
        if line.startswith(" ") and last:
            keys[last] += f" {line.strip()}"
            continue
        if not colon or key not in (*_REQUIRED, *_OPTIONAL):
            raise MutantError(path, "header", f"a key that is known, got {line!r}")
        if key in keys:
            raise MutantError(path, key, "one of it, got two")
        last = key
        keys[key] = value.strip()
    for key in (*_REQUIRED, *keys):
        if not keys.get(key):
            raise MutantError(path, key, "something there")
    return keys


def _files(path: Path, patch: str) -> tuple[str, ...]:
    """Return what a patch changes: files of the driver, none of which it adds or removes."""
    olds = re.findall(r"^--- (\S+)", patch, re.MULTILINE)
    news = re.findall(r"^\+\+\+ (\S+)", patch, re.MULTILINE)
    if not olds or not re.search(r"^@@ ", patch, re.MULTILINE):
        raise MutantError(path, "patch", "a unified diff")
    inside = all(old.startswith(f"a/{FOLDER}/") and ".." not in old.split("/") for old in olds)
    if not inside or [f"b/{old[2:]}" for old in olds] != news:
        raise MutantError(path, "patch", f"changes of a/{FOLDER}/FILE to b/{FOLDER}/FILE only")
    return tuple(old.removeprefix(f"a/{FOLDER}/") for old in olds)


def _needs(path: Path, text: str) -> tuple[Need, ...]:
    try:
        return need.parse(text)
    except ValueError as error:
        raise MutantError(path, "Needs", f"{need.FORMAT}, got {error}") from None
