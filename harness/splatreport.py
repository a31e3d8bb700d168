# SPDX-License-Identifier: GPL-2.0
"""The lines of one splat -> what it says. Pure; see splat.py."""

import hashlib
import re
from dataclasses import dataclass, field

from harness.splatline import (
    END,
    OTHER,
    RULE,
    TRACE,
    Message,
    first_trace,
    plain_name,
    taint_in,
    taken_at,
    task_in,
)
from harness.splattable import Wording, named, plain, table

# Bytes: the text kept of one splat, and how much is read of one.
TEXT = 64 << 10
REACH = 256 << 10
# Lines of a splat; foreign lines that end it, and that end one whose stack has not begun.
_LONGEST = 2000
_GAP = 24
_SHORT_GAP = 3
_HEAD_LINES = 16

_RULED = frozenset({"kasan", "kmsan", "kcsan", "kfence", "ubsan"})
_REFINED = frozenset({"warning", "bug", "cut-here", "list-corruption", "usercopy"})
_WORK = re.compile(r"(?:last function: |workfn=)([A-Za-z_][\w.]*)")
_ACCESS = re.compile(r"\A(Read|Write) (?:of size|at addr)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Splat:
    """One thing the kernel complained about.

    Attributes:
        kind: class, such as "kasan" or "rcu-stall": the kinds of data/splats.toml.
        title: one line as syzbot would write it, "KASAN: slab-use-after-free Read in foo".
        fingerprint: 16 hex digits, equal for equal splats: independent of addresses, times, CPUs,
            tasks, prefixes and compiler suffixes.
        start, end: bytes of the console from its first line to behind its last; others' lines may
            stand between.
        line: number of its first line on the console, from 1.
        text: its lines with their prefixes, the first 64 KiB of them; "" once 16 MiB are kept.
        frames: functions of the first stack trace, innermost first, without compiler suffixes.
        taint: taint letters as in "Tainted: G W", without blanks; None when it does not say.
        task: the task it happened in, comm:pid; None when it does not say.
    """

    kind: str
    title: str
    fingerprint: str
    start: int
    end: int
    line: int
    text: str
    frames: tuple[str, ...]
    taint: str | None = None
    task: str | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """A splat that is being read, or was read last.

    Attributes:
        said: the message that tells its class.
        lines, size: its messages, and their bytes.
        solid, end: how many of them certainly belong to it, and where the last of those ends.
        traced: whether a stack trace was among them.
        passed: a mark came behind it: it may go on, but the next that looks like it is another.
        place: its index among the finished splats, once it was finished.
    """

    wording: Wording
    found: re.Match[str]
    said: str
    start: int
    line: int
    lines: list[Message] = field(default_factory=list)
    size: int = 0
    solid: int = 0
    end: int = 0
    traced: bool = False
    passed: bool = False
    place: int | None = None

    def add(self, message: Message, solid: bool) -> bool:
        """Take a line.

        Args:
            message: the line.
            solid: it certainly belongs here, and so do those before it.

        Returns:
            Whether it was the last that this report can have.
        """
        start, end, _, _, _, sort, function = message
        lines = self.lines
        lines.append(message)
        self.size += end - start
        number = len(lines)
        if solid:
            self.solid = number
            self.end = end
            if not self.traced:
                self.traced = sort == TRACE or function != ""
        elif number - self.solid >= (
            _GAP if self.traced or not self.wording.traced else _SHORT_GAP
        ):
            return True
        return (
            sort == END
            or number >= _LONGEST
            or self.size >= REACH
            or self.wording.lines == number
            or (sort == RULE and number > 3 and self.wording.kind in _RULED)
        )

    def continues(self, wording: Wording) -> bool:
        """Tell whether a wording goes on with this: its tail, or its head in other words."""
        if self.passed:
            return wording.sequel
        return wording.tail or (wording.kind == self.wording.kind and not self.traced)

    def splat(self, room: int) -> Splat:
        """Say what was read.

        Args:
            room: characters of its text that may be kept.
        """
        wording, lines = self.wording, self.lines
        kind, title, suffix = wording.kind, wording.title, ""
        if kind in _REFINED and (better := table().refine(self._head())):
            kind, title, suffix = better.kind, better.title, better.suffix
        trace = first_trace(lines, interrupted=wording.place == "entry")
        frames = self._frames(trace)
        at = table().blame(wording, frames)
        groups = {name: plain(value or "") for name, value in self.found.groupdict().items()}
        title = title.format_map(
            {**groups, "access": self._access() if "{access}" in title else ""}
        ).strip()
        if at >= 0:
            name = named(frames[at])
            title = f"{title} in {name}{suffix if suffix != f'/{name}' else ''}"
        identity = "|".join([kind, title, *map(named, table().callers(wording, frames, at, 2))])
        raw = "\n".join([line.raw for line in lines])
        task = self.found.groupdict().get("task") or task_in(raw)
        kept = raw[: min(TEXT, room)] if room > 0 else ""
        return Splat(
            kind=kind,
            title=_decoded(title),
            fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
            start=self.start,
            end=self.end,
            line=self.line,
            text=_decoded(kept),
            frames=trace,
            taint=taint_in(raw),
            task=_decoded(task) if task else None,
        )

    def _frames(self, trace: tuple[str, ...]) -> tuple[str, ...]:
        """The functions of which one is to blame, the likeliest first."""
        place = self.wording.place
        if place == "none":
            return ()
        if place == "head" and (blamed := self.found.groupdict().get("func")):
            return (plain_name(blamed), *trace)
        if place == "lock" and (taker := taken_at(self.lines)):
            return (taker, *trace)
        if place == "work":
            named = (_WORK.search(line.text) for line in self.lines[:_HEAD_LINES])
            return (*(plain_name(found[1]) for found in named if found), *trace)
        return trace

    def _head(self) -> list[str]:
        """The lines before the stack trace."""
        head = []
        for line in self.lines[:_HEAD_LINES]:
            if line.sort == TRACE:
                break
            head.append(line.text)
        return head

    def _access(self) -> str:
        """Return " Read" or " Write" as KASAN says behind its head, or ""."""
        for line in self.lines[:6]:
            if found := _ACCESS.match(line.text):
                return f" {found[1]}"
        return ""


def follows(message: Message) -> bool:
    """Tell whether the kernel prints such a line in reports: a frame, registers, a heading."""
    return message.sort != OTHER


def _decoded(text: str) -> str:
    """Return what the console's bytes mean, of which text has one in each character."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")
