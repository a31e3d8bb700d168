# SPDX-License-Identifier: GPL-2.0
"""The table of wordings, harness/data/splats.toml: which message is a splat, and who is to blame.

Pure but for reading the file once.
"""

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
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
_REMEMBERED = 10_000

# The skip lists that hold for every class.
_ALWAYS = ("report", "sanitizer", "string", "alloc", "lock", "sched", "user", "entry", "object")
_REPORTING = ("report", "sanitizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One [[splat]] of the table, whose head describes the fields."""

    kind: str
    hint: tuple[str, ...]
    lead: tuple[str, ...] = ()
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
    hint: tuple[str, ...]
    match: re.Pattern[str]
    title: str
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All wordings.

    Attributes:
        hints: the shortest literals, each with the wordings it can be a hint of; a message without
            any of them is no splat.
    """

    wordings: tuple[Wording, ...]
    refinements: tuple[Refinement, ...]
    ignore: re.Pattern[str]
    benign: re.Pattern[str]
    injected: re.Pattern[str]
    traces: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]
    skip: Mapping[str, str]
    hints: Mapping[str, tuple[int, ...]]
    _skips: dict[tuple[str, ...], "_Names"] = field(default_factory=dict)

    def find(
        self, text: str, among: Iterable[int] | None = None
    ) -> tuple[Wording, re.Match[str]] | None:
        """Return the first wording a message has, and where; None when it is no splat.

        Args:
            text: the message without its prefixes.
            among: places of the wordings that its hints leave possible, ascending; None: all.
        """
        for place in range(len(self.wordings)) if among is None else among:
            wording = self.wordings[place]
            for hint in wording.hint:
                if hint in text:
                    if found := wording.match.search(text):
                        return None if self.ignore.search(text) else (wording, found)
                    break
        return None

    def harmless(self, text: str, *, injected: bool = False) -> bool:
        """Tell whether a message of level warning or worse says nothing bad ([benign]).

        Args:
            text: the message.
            injected: allocations failed on purpose when it came.
        """
        found = self.benign.match(text)
        if found is None and injected:
            found = self.injected.match(text)
        return found is not None and self.find(text[found.end() :]) is None

    def traced(self, text: str) -> re.Pattern[str] | None:
        """Return whose trace may follow a message that says nothing bad then; None: nobody's."""
        return next((comm for match, comm in self.traces if match.match(text)), None)

    def refine(self, texts: Sequence[str]) -> Refinement | None:
        """Return what the lines between "cut here" and the trace say about a WARNING or a BUG."""
        whole = "\n".join(texts)
        likely = [one for one in self.refinements if any(hint in whole for hint in one.hint)]
        for text in texts if likely else ():
            for one in likely:
                if one.match.search(text):
                    return one
        return None

    def blame(self, wording: Wording, frames: tuple[str, ...]) -> int:
        """Return the index of the frame to blame, innermost first; -1 when there is none.

        Allocators, sanitizers, locks and string functions are where bugs show, not where they are.
        When all frames are of that sort, the innermost is blamed that does not just report.
        """
        if wording.place == "entry":
            return self._entry(frames, self._names(*_ALWAYS, *wording.skip))
        for names in ((*_ALWAYS, *wording.skip), _REPORTING):
            skipped = self._names(*names)
            for n, function in enumerate(frames):
                if not skipped[function]:
                    return n
        return 0 if frames else -1

    def _entry(self, frames: tuple[str, ...], skipped: "_Names") -> int:
        """Return the index of the outermost frame below the first gate that is to blame."""
        best = -1
        telling, gates = self._names("@name"), self._names("@gate")
        for n, function in enumerate(frames):
            if telling[function]:
                return n
            if best >= 0 and gates[function]:
                return best
            # A wrapper of the kernel's own tells more than nothing, and less than its inside.
            if not skipped[function] and not gates[function]:
                best = n
        return best if best >= 0 or not frames else 0

    def callers(self, wording: Wording, frames: tuple[str, ...], at: int, number: int) -> list[str]:
        """Return the next functions outwards that are not skipped."""
        skipped = self._names(*_ALWAYS, *wording.skip)
        return [one for one in frames[at + 1 :] if not skipped[one]][:number]

    def _names(self, *lists: str) -> "_Names":
        if lists not in self._skips:
            self._skips[lists] = _Names("|".join(self.skip[name] for name in lists))
        return self._skips[lists]


class _Names(dict[str, bool]):
    """Whether a function is in some lists; the same ones are asked for again and again."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self._pattern = re.compile(pattern)

    def __missing__(self, function: str) -> bool:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[function] = self._pattern.fullmatch(function) is not None
        return self[function]


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


def _message(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?:<[0-9]>)?(?={_one_of(patterns)})")


def _wording(entry: dict[str, Any]) -> Wording:
    return Wording(
        **{
            **entry,
            "match": re.compile(entry["match"]),
            "hint": tuple(entry["hint"]),
            "lead": tuple(entry.get("lead", ())),
            "skip": tuple(entry.get("skip", ())),
        }
    )


@functools.cache
def table() -> Table:
    """Return the table. A mistake in it is ours: any exception is a bug."""
    data = tomllib.loads(_FILE.read_text())
    wordings = tuple(map(_wording, data["splat"]))
    return Table(
        wordings=wordings,
        refinements=tuple(
            Refinement(
                **{**entry, "match": re.compile(entry["match"]), "hint": tuple(entry["hint"])}
            )
            for entry in data["refine"]
        ),
        ignore=re.compile("|".join(data["ignore"]["match"])),
        benign=_message(data["benign"]["match"]),
        injected=_message(data["benign"]["injected"]),
        traces=tuple(
            (_message([one["match"]]), re.compile(one["comm"])) for one in data["benign"]["trace"]
        ),
        skip={
            **{name: _one_of(patterns) for name, patterns in data["skip"].items()},
            "@gate": _one_of(data["entry"]["gate"]),
            "@name": _one_of(data["entry"]["name"]) + ".*",
        },
        hints=_hints(wordings),
    )


def _hints(wordings: tuple[Wording, ...]) -> dict[str, tuple[int, ...]]:
    every = {hint for wording in wordings for hint in wording.lead or wording.hint}
    shortest = (one for one in every if not any(o in one for o in every if o != one))
    return {
        one: tuple(
            place
            for place, wording in enumerate(wordings)
            if any(one in hint for hint in wording.lead or wording.hint)
        )
        for one in sorted(shortest)
    }
