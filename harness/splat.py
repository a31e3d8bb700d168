# SPDX-License-Identifier: GPL-2.0
"""Kernel splats on a console: bytes in any chunks -> what went wrong, where, and once only.

A splat begins with a message that has a wording of the table (splattable.py), and goes on as long
as lines follow that belong to such reports (splatline.py), in the same context: with
CONFIG_PRINTK_CALLER the lines of tasks and CPUs that print at the same time are told apart. The
panic, the "Oops:" line and the second half of an OOM kill belong to the splat they come from.

Pure; the time is linear in the console, the memory bounded however long it is.
"""

import hashlib
import re
from dataclasses import dataclass, field

from harness.splatline import (
    MARKED,
    RESTORED,
    Mark,
    Message,
    first_trace,
    frame,
    mark,
    messages,
    plain_name,
    starts_trace,
    structural,
    taint_in,
    taken_at,
    task_in,
)
from harness.splattable import Wording, named, plain, table

# Bytes: one slice of the console, one line (the rest of a longer one is another line), where a
# wording can be (printk has 1 KiB for a message), the text kept of one splat and of all of them,
# and how far a splat's next line may be.
_SLICE = 1 << 20
_HEAD = 1 << 10
_LINE = 4 << 10
_TEXT = 64 << 10
_TEXTS = 16 << 20
_REACH = 256 << 10
# Lines of a splat; foreign lines that end it; splats at one time; splats that are kept.
_LONGEST = 2000
_GAP = 24
_OPEN = 64
_KEPT = 10_000

_RULE = re.compile(r"={20,}")
_RULED = frozenset({"kasan", "kmsan", "kcsan", "kfence", "ubsan"})
_REFINED = frozenset({"warning", "bug", "cut-here", "list-corruption", "usercopy"})
_ACCESS = re.compile(r"\A(Read|Write) (?:of size|at addr)")
_RUNNING = re.compile(rb"\[ *[1-9][0-9]*\.[0-9]{3,9}\]")


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
class _Report:
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

    def add(self, message: Message, *, solid: bool) -> None:
        """Take a line; solid: it certainly belongs here, and so do those before it."""
        self.lines.append(message)
        self.size += len(message.raw)
        if solid:
            self.solid = len(self.lines)
            self.end = message.end
            if not self.traced:
                self.traced = starts_trace(message.text) or frame(message.text) is not None

    @property
    def over(self) -> bool:
        """Whether its last line was the last it can have."""
        last = self.lines[-1].text
        return (
            len(self.lines) - self.solid >= (_GAP if self.traced or not self.wording.traced else 3)
            or len(self.lines) >= _LONGEST
            or self.size >= _REACH
            or self.wording.lines == len(self.lines)
            or last.startswith(("---[ end trace", "---[ end Kernel panic"))
            or (
                self.wording.kind in _RULED
                and len(self.lines) > 3
                and _RULE.fullmatch(last) is not None
            )
        )


class Scanner:
    """Finds splats in a console that arrives in chunks; how it is cut makes no difference.

    Attributes:
        left_off: splats beyond the 10,000 that are kept.
        marks: the harness's own lines among the kernel's; what follows one is no part of a splat
            that was over before it.
    """

    def __init__(self) -> None:
        self.left_off = 0
        self.marks: list[Mark] = []
        self._table = table()
        self._rest = bytearray()
        self._offset = 0
        self._number = 1
        self._open: dict[str, _Report] = {}
        self._last: _Report | None = None
        self._splats: list[Splat] = []
        self._text_left = _TEXTS
        self._expiry = 0
        self._running = False
        self._banner = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the console."""
        view = memoryview(chunk)
        for start in range(0, len(view), _SLICE):
            searched = len(self._rest)
            self._rest += view[start : start + _SLICE]
            ready = self._rest.rfind(b"\n", searched) + 1
            tail = len(self._rest) - ready
            ready += tail - tail % _LINE if tail >= _LINE else 0
            if ready:
                self._block(bytes(self._rest[:ready]))
                del self._rest[:ready]

    def finish(self) -> tuple[Splat, ...]:
        """Return all splats in the order of their first lines; nothing can be fed afterwards."""
        if self._rest:
            self._block(bytes(self._rest))
            self._rest.clear()
        for context in list(self._open):
            self._close(context)
        return tuple(sorted(self._splats, key=lambda splat: (splat.start, splat.end)))

    def _block(self, block: bytes) -> None:
        """Read whole lines. Those that nobody waits for and that hold no hint are passed over."""
        if not self._open and not self._table.hinted(block) and MARKED not in block:
            self._running = self._running or _RUNNING.search(block) is not None
            self._offset += len(block)
            self._number += block.count(b"\n")
            return
        for whole in block.splitlines(keepends=True) if b"\r" not in block else _lines(block):
            for start in range(0, len(whole), _LINE):
                self._line(whole[start : start + _LINE])

    def _line(self, line: bytes) -> None:
        hinted = self._table.hinted(line)
        if hinted or self._open or MARKED in line:
            for message in messages(line, self._offset):
                self._message(message, hinted=hinted)
        self._running = self._running or _RUNNING.search(line) is not None
        self._offset += len(line)
        self._number += line.endswith(b"\n")

    def _message(self, message: Message, *, hinted: bool) -> None:
        if self._open and message.start > self._expiry:
            self._expire(message.start)
        if one := mark(message):
            self._mark(one)
            return
        found = self._table.find(message.text[:_HEAD]) if hinted else None
        if found:
            self._head(message, *found)
            return
        if report := self._open.get(message.context):
            self._add(message.context, report, message, solid=structural(message.text))
            return
        if message.context.startswith("C"):
            # Other CPUs answer with their own stacks to the one that found the stall.
            for context, report in list(self._open.items()):
                if report.wording.place == "entry" and context.startswith("C"):
                    self._add(context, report, message, solid=structural(message.text))

    def _mark(self, one: Mark) -> None:
        self.marks.append(one)
        if self._last:
            self._last.passed = True
        for context, report in list(self._open.items()):
            report.passed = True
            if one.what == RESTORED:
                self._close(context)
                self._last = None

    def _head(self, message: Message, wording: Wording, found: re.Match[str]) -> None:
        """Take a message that has a wording of the table."""
        if wording.kind == "reboot" and not self._rebooted():
            return
        context = message.context
        report = self._open.get(context)
        if report and wording.traced:
            self._add(context, report, message, solid=False)
            return
        if report and report.wording.opener and not report.traced and not report.passed:
            report.wording, report.found, report.said = wording, found, message.text
        elif report is None or not _continues(report, wording):
            if report:
                self._close(context)
            report = self._parent(message, wording) if wording.tail else None
            if report is None:
                report = _Report(
                    wording=wording,
                    found=found,
                    said=message.text,
                    start=message.start,
                    line=self._number,
                )
            if len(self._open) >= _OPEN:
                self._close(next(iter(self._open)))
            self._open[context] = report
        self._add(context, report, message, solid=True)

    def _rebooted(self) -> bool:
        """Tell whether a boot banner is not this console's first; what was open before is over."""
        again = self._banner or self._running
        self._banner, self._running = True, False
        for context in list(self._open):
            self._close(context)
        return again

    def _parent(self, message: Message, wording: Wording) -> _Report | None:
        """Return the splat before this one that a panic, or the like, is a part of."""
        candidates = [*self._open.values(), *([self._last] if self._last else [])]
        report = max(candidates, key=lambda report: report.end, default=None)
        if report and (not report.passed or wording.sequel) and message.start - report.end < _TEXT:
            return report if wording.kind in ("panic", report.wording.kind) else None
        return None

    def _add(self, context: str, report: _Report, message: Message, *, solid: bool) -> None:
        report.add(message, solid=solid)
        if report.over:
            self._close(context)

    def _expire(self, at: int) -> None:
        """Close what nothing was added to for long; the rest is looked at again later."""
        for context, report in list(self._open.items()):
            if at - report.end > _REACH:
                self._close(context)
        self._expiry = at + _REACH // 4

    def _close(self, context: str) -> None:
        report = self._open.pop(context)
        if report.wording.traced and not report.traced:
            return
        del report.lines[report.solid :]
        if report.place is None and len(self._splats) >= _KEPT:
            self.left_off += 1
            return
        splat = _splat(report, max(self._text_left, 0))
        self._text_left -= len(splat.text)
        if report.place is None:
            report.place = len(self._splats)
            self._splats.append(splat)
        else:
            self._splats[report.place] = splat
        self._last = report


def scan(data: bytes | str) -> tuple[Splat, ...]:
    """Return the splats of a whole console, in the order of their first lines."""
    scanner = Scanner()
    scanner.feed(data.encode() if isinstance(data, str) else data)
    return scanner.finish()


def _lines(block: bytes) -> list[bytes]:
    """Cut at newlines only: bytes.splitlines() would cut at carriage returns too."""
    return [line + b"\n" for line in block.split(b"\n")[:-1]] + (
        [rest] if (rest := block.rsplit(b"\n", 1)[-1]) else []
    )


def _continues(report: _Report, wording: Wording) -> bool:
    """Tell whether a wording goes on with an open splat: its tail, or its head in other words."""
    if report.passed:
        return wording.sequel
    return wording.tail or (wording.kind == report.wording.kind and not report.traced)


def _splat(report: _Report, room: int) -> Splat:
    """Say what was read."""
    texts = [line.text for line in report.lines]
    wording = report.wording
    kind, title, suffix = wording.kind, wording.title, ""
    if kind in _REFINED and (better := table().refine(_head_of(texts))):
        kind, title, suffix = better.kind, better.title, better.suffix
    trace = first_trace(texts, interrupted=wording.place == "entry")
    frames = trace
    if wording.place == "head" and (blamed := report.found.groupdict().get("func")):
        frames = (plain_name(blamed), *trace)
    elif wording.place == "lock" and (taker := taken_at(texts)):
        frames = (taker, *trace)
    if wording.place == "none":
        frames = ()
    at = table().blame(wording, frames)
    groups = {name: plain(value or "") for name, value in report.found.groupdict().items()}
    title = title.format_map({**groups, "access": _access(texts)}).strip()
    callers = table().callers(wording, frames, at, 2)
    if at >= 0:
        name = named(frames[at])
        title = f"{title} in {name}{suffix if suffix != f'/{name}' else ''}"
    identity = "|".join([kind, title, *map(named, callers)])
    return Splat(
        kind=kind,
        title=title,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        start=report.start,
        end=report.end,
        line=report.line,
        text="\n".join(line.raw for line in report.lines)[: min(_TEXT, room)],
        frames=trace,
        taint=taint_in(texts),
        task=report.found.groupdict().get("task") or task_in(texts),
    )


def _head_of(texts: list[str]) -> list[str]:
    """The lines before the stack trace."""
    number = next((n for n, text in enumerate(texts) if starts_trace(text)), len(texts))
    return texts[: min(number, 16)]


def _access(texts: list[str]) -> str:
    """Return " Read" or " Write" as KASAN says behind its head, or ""."""
    found = next(filter(None, map(_ACCESS.match, texts[:6])), None)
    return f" {found[1]}" if found else ""
