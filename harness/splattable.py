# SPDX-License-Identifier: GPL-2.0
"""The table of wordings, harness/data/splats.toml: which message is a splat, and who is to blame.

Pure but for reading the file once.
"""

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("data") / "splats.toml"

_SYSCALL = re.compile(
    r"(?:__(?:x64|x32|ia32|arm|arm64|riscv|s390x?|powerpc|se|do)_(?:compat_)?sys_"
    r"|(?:compat_)?SyS_|SYSC_)"
)
# Functions of one purpose that inlining and kernel versions swap: the title has the short name.
_FAMILY = re.compile(r"(smp_call_function|synchronize_rcu)_\w+")
_ADDRESS = re.compile(r"\b(?:0x[0-9a-fA-F]+|(?=[0-9a-f]*[0-9])[0-9a-f]{8,16})\b")
_NUMBER = re.compile(r"(?<![A-Za-z_])[0-9]+(?![A-Za-z_])")
_TITLE = 120

# The skip lists that hold for every class.
_ALWAYS = ("report", "sanitizer", "string", "alloc", "lock", "sched", "user", "entry", "object")
_REPORTING = ("report", "sanitizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One [[splat]] of the table, whose head describes the fields."""

    kind: str
    hint: tuple[str, ...]
    match: re.Pattern[str]
    title: str
    place: str = "trace"
    tail: bool = False
    sequel: bool = False
    opener: bool = False
    traced: bool = False
    lines: int = 0
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """One [[refine]]: what a line of a WARNING's or a BUG's head makes of it."""

    kind: str
    match: re.Pattern[str]
    title: str
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All wordings.

    Attributes:
        hints: shortest literals; a message without any of them is no splat.
    """

    wordings: tuple[Wording, ...]
    refinements: tuple[Refinement, ...]
    ignore: re.Pattern[str]
    benign: re.Pattern[str]
    skip: Mapping[str, str]
    gate: re.Pattern[str]
    name: re.Pattern[str]
    hints: tuple[bytes, ...]
    _skips: dict[tuple[str, ...], re.Pattern[str]] = field(default_factory=dict)

    def find(self, text: str) -> tuple[Wording, re.Match[str]] | None:
        """Return the first wording a message has, and where; None when it is no splat."""
        for wording in self.wordings:
            if any(hint in text for hint in wording.hint) and (found := wording.match.search(text)):
                return None if self.ignore.search(text) else (wording, found)
        return None

    def harmless(self, text: str) -> bool:
        """Tell whether a message of level warning or worse says nothing bad ([benign])."""
        found = self.benign.match(text)
        return found is not None and self.find(text[found.end() :]) is None

    def hinted(self, data: bytes) -> bool:
        """Tell whether these bytes may hold a splat: much faster than find()."""
        for hint in self.hints:  # noqa: SIM110 - any() takes twice as long
            if hint in data:
                return True
        return False

    def refine(self, texts: Iterable[str]) -> Refinement | None:
        """Return what the lines between "cut here" and the trace say about a WARNING or a BUG."""
        for text in texts:
            for one in self.refinements:
                if one.match.search(text):
                    return one
        return None

    def blame(self, wording: Wording, frames: tuple[str, ...]) -> int:
        """Return the index of the frame to blame, innermost first; -1 when there is none.

        Allocators, sanitizers, locks and string functions are where bugs show, not where they are.
        When all frames are of that sort, the innermost is blamed that does not just report.
        """
        if wording.place == "entry":
            return self._entry(frames, self._skipped((*_ALWAYS, *wording.skip)))
        for names in ((*_ALWAYS, *wording.skip), _REPORTING):
            skipped = self._skipped(names)
            for n, function in enumerate(frames):
                if not skipped.fullmatch(function):
                    return n
        return 0 if frames else -1

    def _entry(self, frames: tuple[str, ...], skipped: re.Pattern[str]) -> int:
        """Return the index of the outermost frame below the first gate that is to blame."""
        best = -1
        for n, function in enumerate(frames):
            if self.name.match(function):
                return n
            if best >= 0 and self.gate.fullmatch(function):
                return best
            # A wrapper of the kernel's own tells more than nothing, and less than its inside.
            if not skipped.fullmatch(function) and not self.gate.fullmatch(function):
                best = n
        return best if best >= 0 or not frames else 0

    def callers(self, wording: Wording, frames: tuple[str, ...], at: int, number: int) -> list[str]:
        """Return the next functions outwards that are not skipped."""
        skipped = self._skipped((*_ALWAYS, *wording.skip))
        return [one for one in frames[at + 1 :] if not skipped.fullmatch(one)][:number]

    def _skipped(self, names: tuple[str, ...]) -> re.Pattern[str]:
        if names not in self._skips:
            self._skips[names] = re.compile("|".join(self.skip[name] for name in names))
        return self._skips[names]


def named(function: str) -> str:
    """Return a function's name for titles: system calls without their wrapper's prefix."""
    if found := _FAMILY.fullmatch(function):
        return found[1]
    found = _SYSCALL.match(function)
    return "sys_" + function[found.end() :] if found else function


def plain(text: str) -> str:
    """Return text without what changes from run to run: addresses are ADDR, numbers NUM."""
    return _NUMBER.sub("NUM", _ADDRESS.sub("ADDR", text))[:_TITLE].strip()


def _one_of(patterns: Iterable[str]) -> str:
    return "(?:" + "|".join(patterns) + ")"


def _wording(entry: dict[str, Any]) -> Wording:
    return Wording(
        **{
            **entry,
            "match": re.compile(entry["match"]),
            "hint": tuple(entry["hint"]),
            "skip": tuple(entry.get("skip", ())),
        }
    )


@functools.cache
def table() -> Table:
    """Return the table. A mistake in it is ours: any exception is a bug."""
    data = tomllib.loads(_FILE.read_text())
    wordings = tuple(map(_wording, data["splat"]))
    hints = {hint for wording in wordings for hint in wording.hint}
    shortest = (one for one in hints if not any(o in one for o in hints if o != one))
    return Table(
        wordings=wordings,
        refinements=tuple(
            Refinement(**{**entry, "match": re.compile(entry["match"])}) for entry in data["refine"]
        ),
        ignore=re.compile("|".join(data["ignore"]["match"])),
        benign=re.compile(r"(?:<[0-9]>)?(?=" + _one_of(data["benign"]["match"]) + ")"),
        skip={name: _one_of(patterns) for name, patterns in data["skip"].items()},
        gate=re.compile(_one_of(data["entry"]["gate"])),
        name=re.compile(_one_of(data["entry"]["name"])),
        hints=tuple(sorted(one.encode() for one in shortest)),
    )
