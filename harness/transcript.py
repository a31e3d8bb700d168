# SPDX-License-Identifier: GPL-2.0
"""What a guest said on its results channel: bytes + nonce -> frames and the text between. Pure.

The guest's init (harness/guest/run-tests) frames the stream with lines that carry the run's nonce,
32 hex digits that nobody could know before boot, so that no test can forge one by accident:

    @NONCE hello RELEASE UPTIME SPEED   userspace reached; first word of /proc/uptime, seconds; the
                                        factor by which this VM is slower than a real machine
    @NONCE taint VALUE                  /proc/sys/kernel/tainted before the first suite
    @NONCE fail TEXT                    a step of the set-up failed (insmod)
    @NONCE leaks wanted                 the kernel has kmemleak, which is to be asked at the end
    @NONCE leaks told                   and was: what it found is in the kernel's log
    @NONCE suite NAME                   what follows is the output of this suite
    @NONCE exit NAME STATUS             the suite's program has ended, with this `$?`
    @NONCE gcda NAME DATA               what the driver counted of itself: a file (coverage.py)
    @NONCE end TAINT                    no suite follows

A frame may stand behind text that had no newline. A frame that is itself cut off (no newline) is
not a frame: `exit mmap 1` may have been `exit mmap 139`.
"""

import re
from dataclasses import dataclass, field

_FRAME = r"@%s ([a-z]+)(?: ([^\r\n]*))?\r*\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The output of one suite.

    Attributes:
        name: the suite.
        text: its output.
        line: the number of its first line in the stream, from 1.
        status: the program's exit status as in `$?`; None when it never ended.
    """

    name: str
    text: bytes
    line: int
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The whole stream, taken apart.

    Attributes:
        release: the guest's `uname -r`; None when it never reached userspace.
        speed: by what factor the guest is slower than a real machine, from 1.0; None when not told.
        sections: the suites, in order.
        ended: whether the end marker came.
        taint_before: the kernel's taint mask before the first suite, None when not told.
        taint_after: the same at the end.
        failures: steps of the set-up that failed.
        leaks: whether kmemleak was asked in the end; None where the kernel has none.
        stray: bytes outside of any suite.
        counters: files by name, as they were sent: gzip, then base64.
        problems: violations of the framing; one line each.
    """

    release: str | None = None
    speed: float | None = None
    sections: tuple[Section, ...] = ()
    ended: bool = False
    taint_before: int | None = None
    taint_after: int | None = None
    failures: tuple[str, ...] = ()
    leaks: bool | None = None
    stray: bytes = b""
    counters: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Open:
    """A suite whose exit frame has not come yet."""

    name: str
    line: int
    text: list[bytes] = field(default_factory=list)


def parse(stream: bytes, nonce: str) -> Transcript:
    """Take a results stream apart.

    Args:
        stream: the channel's bytes, possibly cut off anywhere.
        nonce: the run's nonce; frames with another one are plain text.
    """
    reader = _Reader()
    frame = re.compile((_FRAME % re.escape(nonce)).encode())
    at, line = 0, 1
    for found in frame.finditer(stream):
        reader.text(stream[at : found.start()])
        line += stream.count(b"\n", at, found.end())
        at = found.end()
        words = (found[2] or b"").decode(errors="backslashreplace").strip()
        reader.frame(found[1].decode(), words, line)
    reader.text(stream[at:])
    return reader.transcript()


class _Reader:
    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._failures: list[str] = []
        self._leaks: bool | None = None
        self._sections: list[Section] = []
        self._open: _Open | None = None
        self._stray: list[bytes] = []
        self._counters: list[tuple[str, str]] = []
        self._problems: list[str] = []
        self._ended = False

    def text(self, chunk: bytes) -> None:
        """Take bytes between frames."""
        (self._stray if self._open is None else self._open.text).append(chunk)

    def frame(self, verb: str, words: str, next_line: int) -> None:
        """Take a frame; ``next_line`` is the number of the line after it."""
        if self._ended:
            self._problems.append(f"{verb} frame after the end marker")
        match verb, words.split(" "):
            case "hello", [release, uptime, speed] if _is_decimal(uptime) and _is_decimal(speed):
                self._once("release", release)
                self._once("speed", speed)
            case "taint", [value] if _is_number(value):
                self._once("taint before", value)
            case "fail", _:
                self._failures.append(words)
            case "leaks", ["wanted" | "told" as how]:
                self._leaks = how == "told"
            case "suite", [name] if name:
                self._cut_short()
                self._open = _Open(name=name, line=next_line)
            case "exit", [name, status] if _is_number(status):
                if self._open is None or self._open.name != name:
                    self._problems.append(f"exit of {name}, which was not running")
                else:
                    self._close(int(status))
            case "gcda", [name, data] if name:
                self._counters.append((name, data))
            case "end", [taint] if _is_number(taint):
                self._cut_short()
                self._ended = True
                self._once("taint after", taint)
            case _:
                self._problems.append(f"malformed frame: {verb} {words}"[:200])

    def _once(self, key: str, value: str) -> None:
        if key in self._told:
            self._problems.append(f"{key} told twice: did the guest start again?")
        self._told.setdefault(key, value)

    def _cut_short(self) -> None:
        if self._open is not None:
            self._problems.append(f"no exit frame for suite {self._open.name}")
            self._close(None)

    def _close(self, status: int | None) -> None:
        """End the open suite, if any; without a status when the stream ended first."""
        if self._open is None:
            return
        text = b"".join(self._open.text)
        name, line = self._open.name, self._open.line
        self._sections.append(Section(name=name, text=text, line=line, status=status))
        self._open = None

    def transcript(self) -> Transcript:
        """Close what is open and return it all."""
        self._close(None)
        if self._sections and "release" not in self._told:
            self._problems.append("suites, but no hello")
        return Transcript(
            release=self._told.get("release"),
            speed=float(self._told["speed"]) if "speed" in self._told else None,
            sections=tuple(self._sections),
            ended=self._ended,
            taint_before=self._number("taint before"),
            taint_after=self._number("taint after"),
            failures=tuple(self._failures),
            leaks=self._leaks,
            stray=b"".join(self._stray),
            counters=tuple(self._counters),
            problems=tuple(self._problems),
        )

    def _number(self, key: str) -> int | None:
        return int(self._told[key]) if key in self._told else None


def _is_number(word: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", word) is not None


def _is_decimal(word: str) -> bool:
    return re.fullmatch(r"[0-9]{1,12}\.[0-9]{1,12}", word) is not None
