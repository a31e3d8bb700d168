# SPDX-License-Identifier: GPL-2.0
"""A console -> what it says around some of its tests, by the marks that the guest sets. Pure.

A slice begins some lines above the test's mark, for what led to it, and ends with the next mark:
the messages between are the test's own (attribute.py).
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from harness.attribute import named
from harness.splatline import MARKED, RESTORED, Mark, mark, messages

# Lines kept above the mark, from the start of what follows it, and from the end of that.
_ABOVE, _HEAD, _TAIL = 4, 60, 30
# Characters of a line.
_WIDTH = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Lines of a console.

    Attributes:
        line: the number of the first one in the log, from 1.
        lines: decoded, without their ends.
    """

    line: int
    lines: tuple[str, ...]


class _Cut:
    """A slice that is being read."""

    def __init__(self, number: int, above: Iterable[str]) -> None:
        self._head = list(above)
        self._first = number - len(self._head)
        self._room = len(self._head) + _HEAD
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._left_out = 0

    def add(self, line: str) -> None:
        if len(self._head) < self._room:
            self._head.append(line)
            return
        self._left_out += len(self._tail) == _TAIL
        self._tail.append(line)

    def slice(self) -> Slice:
        gap = [f"... {self._left_out} lines left out ..."] if self._left_out else []
        return Slice(line=self._first, lines=(*self._head, *gap, *self._tail))


def cut(
    console: Iterable[bytes], wanted: Collection[str], *, tests: Collection[str]
) -> dict[str, Slice]:
    """Cut out the parts of a console in which tests ran.

    Args:
        console: the log from its first byte, in chunks.
        wanted: ids of the tests that are asked for; those without a mark get no slice.
        tests: ids of all tests that may run there, by which a damaged mark is read.

    Returns:
        Slices by id; of a test that was run twice, the last time.
    """
    known = frozenset(tests)
    done: dict[str, _Cut] = {}
    above: deque[str] = deque(maxlen=_ABOVE)
    open_: _Cut | None = None
    restored = False
    for number, raw in enumerate(_lines(console), start=1):
        line = raw.decode(errors="backslashreplace").rstrip("\r\n")[:_WIDTH]
        one = _mark(raw)
        if open_:
            open_.add(line)
        if one is None:
            pass
        elif one.what == RESTORED:
            # What stands above is the boot that the snapshot was made of.
            if not restored:
                done.clear()
                above.clear()
                open_, restored = None, True
        else:
            open_ = None
            id_ = named(one.name, known)
            if one.what == "test" and id_ is not None and id_ in wanted:
                open_ = done[id_] = _Cut(number, above)
                open_.add(line)
        above.append(line)
    return {id_: cut.slice() for id_, cut in done.items()}


def _mark(raw: bytes) -> Mark | None:
    if MARKED.encode() not in raw:
        return None
    found = (mark(message) for message in messages(raw.decode("latin-1"), 0))
    return next((one for one in found if one is not None), None)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
