# SPDX-License-Identifier: GPL-2.0
"""Kernel splats on a console: bytes in any chunks -> what went wrong, where, and once only.

A splat begins with a message that has a wording of the table (splattable.py), and goes on as long
as lines follow that belong to such reports (splatline.py), in the same context: with
CONFIG_PRINTK_CALLER the lines of tasks and CPUs that print at the same time are told apart. The
panic, the "Oops:" line and the second half of an OOM kill belong to the splat they come from.

Pure; the time is linear in the console, the memory bounded however long it is.
"""

import re
from bisect import bisect_left

from harness.splatline import (
    BLANK,
    MARKED,
    OTHER,
    RESTORED,
    Mark,
    Message,
    mark,
    messages,
    plain_messages,
)
from harness.splatreport import REACH, TEXT, Report, Splat
from harness.splattable import Wording, table

__all__ = ["Scanner", "Splat", "scan"]

# Bytes: one slice of the console, one line (the rest of a longer one is another line), where a
# wording can be (printk has 1 KiB for a message), and the text kept of all splats.
_SLICE = 1 << 20
_HEAD = 1 << 10
_LINE = 4 << 10
_TEXTS = 16 << 20
# Splats at one time; splats that are kept.
_OPEN = 64
_KEPT = 10_000

_RUNNING = re.compile(r"\[ *[1-9][0-9]*\.[0-9]{3,9}\]")


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
        # Of the block that is read now: its text, where it begins, the line at `_counted`.
        self._text = ""
        self._offset = 0
        self._number = 1
        self._counted = 0
        self._open: dict[str, Report] = {}
        self._last: Report | None = None
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
                self._block(self._rest[:ready].decode("latin-1"))
                del self._rest[:ready]

    def finish(self) -> tuple[Splat, ...]:
        """Return all splats in the order of their first lines; nothing can be fed afterwards."""
        if self._rest:
            self._block(self._rest.decode("latin-1"))
            self._rest.clear()
        for context in list(self._open):
            self._close(context)
        return tuple(sorted(self._splats, key=lambda splat: (splat.start, splat.end)))

    def _block(self, text: str) -> None:
        """Read whole lines. Those that nobody waits for and that hold no hint are passed over."""
        self._text = text
        hinted = self._hinted(text)
        starts = sorted(hinted)
        at = ahead = 0
        while at < len(text):
            if not self._open:
                ahead = bisect_left(starts, at, ahead)
                if ahead == len(starts):
                    break
                at = starts[ahead]
            at = self._line(at, hinted.get(at))
            if self._open:
                later = bisect_left(starts, at, ahead)
                at = self._follow(at, starts[later] if later < len(starts) else len(text))
        self._count(len(text))
        self._offset += len(text)
        self._counted = 0

    def _count(self, at: int) -> None:
        """Keep what is known of the lines before an index of this block."""
        self._number += self._text.count("\n", self._counted, at)
        if not self._running:
            self._running = _RUNNING.search(self._text, self._counted, at) is not None
        self._counted = at

    def _hinted(self, text: str) -> dict[int, tuple[int, ...]]:
        """Return the starts of the lines that may hold a splat, with its possible wordings."""
        hinted: dict[int, tuple[int, ...]] = {}
        for hint, places in (*self._table.hints.items(), (MARKED, ())):
            at = text.find(hint)
            while at >= 0:
                start = text.rfind("\n", 0, at) + 1
                start += (at - start) // _LINE * _LINE
                if at + len(hint) <= start + _LINE:
                    hinted[start] = hinted.get(start, ()) + places
                at = text.find(hint, at + 1)
        return hinted

    def _follow(self, at: int, stop: int) -> int:
        """Give lines to the reports they belong to, from an index on, while that is all they are.

        Returns:
            Index of the first line that may be more, or that nobody waits for.
        """
        reports = self._open
        expiry = self._expiry
        for message in plain_messages(self._text, at, stop, self._offset):
            start, end, context, _, _, sort, _ = message
            if end - start > _LINE or start > expiry:
                break
            if sort != BLANK:
                report = reports.get(context)
                if report is None:
                    self._answer(message)
                elif report.add(message, sort != OTHER):
                    self._close(context)
            at = end - self._offset
            if not reports:
                break
        return at

    def _line(self, at: int, places: tuple[int, ...] | None) -> int:
        """Read the line at an index of this block; return where the next one is."""
        end = self._text.find("\n", at, at + _LINE) + 1 or min(at + _LINE, len(self._text))
        for message in plain_messages(self._text, at, end, self._offset):
            if message.sort != BLANK:
                self._message(message, places)
            return end
        for message in messages(self._text[at:end], self._offset + at):
            self._message(message, places)
        return end

    def _message(self, message: Message, places: tuple[int, ...] | None) -> None:
        """Read a message; places: of the wordings that its line can have, None for none."""
        if message.start > self._expiry:
            self._expire(message.start)
        if places is not None:
            if one := mark(message):
                self._mark(one)
                return
            if found := self._table.find(message.text[:_HEAD], sorted(set(places))):
                self._head(message, *found)
                return
        if report := self._open.get(message.context):
            self._add(message.context, report, message, solid=message.sort != OTHER)
        else:
            self._answer(message)

    def _answer(self, message: Message) -> None:
        """Take a CPU's own stack, with which it answers the one that found the stall."""
        if message.context.startswith("C"):
            for context, report in list(self._open.items()):
                if report.wording.place == "entry" and context.startswith("C"):
                    self._add(context, report, message, solid=message.sort != OTHER)

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
        if wording.kind == "reboot" and not self._rebooted(message.start):
            return
        context = message.context
        report = self._open.get(context)
        if report and wording.traced:
            self._add(context, report, message, solid=False)
            return
        if report and wording.opener and report.wording.kind == "warning" and not report.traced:
            # Before Linux 4.9 the reason stands behind the head.
            self._add(context, report, message, solid=True)
            return
        if report and report.wording.opener and not report.traced and not report.passed:
            report.wording, report.found, report.said = wording, found, message.text
        elif report is None or not report.continues(wording):
            if report:
                self._close(context)
            report = self._parent(message, wording) if wording.tail else None
            if report is None:
                self._count(message.start - self._offset)
                report = Report(
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

    def _rebooted(self, start: int) -> bool:
        """Tell whether a boot banner is not this console's first; what was open before is over."""
        self._count(start - self._offset)
        again = self._banner or self._running
        self._banner, self._running = True, False
        for context in list(self._open):
            self._close(context)
        return again

    def _parent(self, message: Message, wording: Wording) -> Report | None:
        """Return the splat before this one that a panic, or the like, is a part of."""
        candidates = [*self._open.values(), *([self._last] if self._last else [])]
        report = max(candidates, key=lambda report: report.end, default=None)
        if report and (not report.passed or wording.sequel) and message.start - report.end < TEXT:
            return report if wording.kind in ("panic", report.wording.kind) else None
        return None

    def _add(self, context: str, report: Report, message: Message, *, solid: bool) -> None:
        if report.add(message, solid):
            self._close(context)

    def _expire(self, at: int) -> None:
        """Close what nothing was added to for long; the rest is looked at again later."""
        for context, report in list(self._open.items()):
            if at - report.end > REACH:
                self._close(context)
        self._expiry = at + REACH // 4

    def _close(self, context: str) -> None:
        report = self._open.pop(context)
        if report.wording.traced and not report.traced:
            return
        del report.lines[report.solid :]
        if report.place is None and len(self._splats) >= _KEPT:
            self.left_off += 1
            return
        splat = report.splat(self._text_left)
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
