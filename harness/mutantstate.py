# SPDX-License-Identifier: GPL-2.0
"""What became of mutants, kept so that nothing is judged twice: one file each, in the cache.

A result holds as long as the mutated driver, the compiler, the kernel, the suites that were run and
who judges them (jury.py) are the same.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text

_SCHEMA = 1
# Some drivers' worth of mutants, for some kernels.
_KEPT = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What some tests said of a driver.

    Attributes:
        red: the ids of the tests that found something wrong; empty when none did.
        green: how many tests passed.
        seconds: how long it took.
        suites: the suites that say so, with a hash of each and of which of its tests: those of the
            red tests, or all that were run.
    """

    red: tuple[str, ...]
    green: int
    seconds: float
    suites: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The kept results.

    Args:
        folder: where they are.
        fresh: find nothing; what is new is kept all the same.
    """

    folder: Path
    fresh: bool = False

    def load(self, key: str, suites: Mapping[str, str]) -> Kept | None:
        """Return what is kept for a key, if it was found out with these suites.

        Args:
            key: from :func:`make_key`.
            suites: hashes of the suites to run, by name.
        """
        if self.fresh:
            return None
        path = self._path(key, suites)
        try:
            fields = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
            kept = Kept(
                red=fields.texts("red"),
                green=fields.count("green"),
                seconds=fields.seconds("seconds"),
                suites=fields.pairs("suites"),
            )
            fields.end()
        except DocumentError:
            return None
        told = dict(kept.suites)
        holds = told.items() <= suites.items() if kept.red else told == suites
        return kept if holds else None

    def save(self, key: str, kept: Kept, suites: Mapping[str, str]) -> None:
        """Keep a result of running these suites; raises HarnessError when it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document: dict[str, object] = {
            "schema": _SCHEMA,
            "red": kept.red,
            "green": kept.green,
            "seconds": kept.seconds,
            "suites": dict(kept.suites),
        }
        write_text(self._path(key, suites), dump(document))

    def load_void(self, key: str) -> str | None:
        """Return why what is kept for a key is no mutant; None if it is one, or not known."""
        if self.fresh:
            return None
        try:
            fields = Fields.parse(read_text(self._void(key)), source=key, schema=_SCHEMA)
            return fields.text("void")
        except DocumentError:
            return None

    def save_void(self, key: str, why: str) -> None:
        """Keep that something is no mutant; raises HarnessError when it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._void(key), dump({"schema": _SCHEMA, "void": why}))

    def prune(self) -> None:
        """Forget the oldest results when there are too many."""
        found = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in found[:-_KEPT]:
            old.unlink(missing_ok=True)

    def _void(self, key: str) -> Path:
        return self.folder / f"{key}-void.json"

    def _path(self, key: str, suites: Mapping[str, str]) -> Path:
        # A mutant may have two results: of the tests expected to catch it, and of all.
        names = hashlib.sha256(" ".join(sorted(suites)).encode()).hexdigest()[:8]
        return self.folder / f"{key}-{names}.json"


def make_key(*parts: str) -> str:
    """Return a name for what these strings identify."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
