# SPDX-License-Identifier: GPL-2.0
"""The geometry of a report's drawings: numbers -> rectangles; charts.svg.j2 draws them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

# In the units of the drawings' viewBox. What stands right of a bar needs some room, too.
WIDTH, LEFT, _RIGHT = 760, 110, 210
_ROW, _COLUMN, _HEIGHT = 28, 9, 44
# A bar that is there is seen.
_LEAST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle; `kind` says how it looks, `words` what it stands for."""

    kind: str
    words: str
    x: float
    width: float
    y: float = 0
    height: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRow:
    """One row of bars, end to end; `words` stand behind `end`."""

    name: str
    words: str
    y: int
    end: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """Rows of bars on one scale."""

    rows: tuple[StackRow, ...]
    width: int = WIDTH
    left: int = LEFT

    @property
    def height(self) -> int:
        """Of the whole drawing."""
        return _ROW * len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns side by side, newest on the right."""

    name: str
    bars: tuple[Bar, ...]
    width: int = WIDTH
    left: int = LEFT
    height: int = _HEIGHT + 10
    base: int = _HEIGHT + 2


def stacks(rows: Sequence[tuple[str, str, Sequence[tuple[str, str, float]]]]) -> Stacks:
    """Lay out rows of bars.

    Args:
        rows: of each its name, the words behind it, and its parts: kind, words, and a value that
            is not negative.
    """
    most = max((sum(value for _, _, value in parts) for _, _, parts in rows), default=0.0)
    scale = (WIDTH - LEFT - _RIGHT) / most if most else 0.0
    laid = []
    for at, (name, words, parts) in enumerate(rows):
        x = float(LEFT)
        bars = []
        for kind, told, value in parts:
            width = round(value * scale, 1)
            bars.append(Bar(kind=kind, words=told, x=round(x, 1), width=width))
            x += width
        row = StackRow(name=name, words=words, y=at * _ROW + 4, end=round(x, 1), bars=tuple(bars))
        laid.append(row)
    return Stacks(rows=tuple(laid))


def columns(name: str, values: Sequence[tuple[str, str, float]], *, most: float) -> Columns:
    """Lay out columns.

    Args:
        name: stands left of them.
        values: kind, words and value of each, oldest first; only the last ones that there is room
            for are shown.
        most: the value of a column of full height.
    """
    shown = values[-((WIDTH - LEFT) // _COLUMN) :]
    scale = _HEIGHT / most if most else 0.0
    bars = []
    for at, (kind, words, value) in enumerate(shown):
        height = round(max(_LEAST, min(value * scale, _HEIGHT)), 1)
        bars.append(
            Bar(
                kind=kind,
                words=words,
                x=LEFT + at * _COLUMN,
                width=_COLUMN - 2,
                y=round(_HEIGHT + 2 - height, 1),
                height=height,
            )
        )
    return Columns(name=name, bars=tuple(bars))
