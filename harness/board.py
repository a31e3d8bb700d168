# SPDX-License-Identifier: GPL-2.0
"""What goes on side by side: on a terminal a row for each, in a log a line now and then.

Rows are written by threads; one thread draws.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleRenderable
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.progress import PhaseTime, Progress, Show, seldom

# Seconds between two lines about one row in a log.
_LOG_INTERVAL = 20.0
# Of "1234.5 s".
_CLOCK = 8
# How often a terminal is drawn, a second.
_RATE = 5


@dataclass(slots=True)
class _Row:
    """What is shown of one of them."""

    name: str
    words: str = "waiting"
    style: str = "dim"
    began: float | None = None
    seconds: float | None = None

    @property
    def clock(self) -> str:
        """How long it took so far."""
        if self.seconds is not None:
            return f"{self.seconds:.1f} s"
        return "" if self.began is None else f"{time.monotonic() - self.began:.0f} s"


class Board:
    """Shows rows while it is entered.

    Args:
        console: where to.
        names: of the rows, from top to bottom.
    """

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._rows = {name: _Row(name) for name in names}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the rows, below what is printed meanwhile; at the end they are gone."""
        if not self._console.is_interactive:
            yield
            return
        with Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_RATE,
            transient=True,
            vertical_overflow="crop",
        ):
            yield

    def begin(self, name: str) -> Progress:
        """Start a row's clock, and return what the work reports to."""
        row = self._rows[name]
        row.began, row.style = time.monotonic(), ""
        return _RowProgress(self._console, row)

    def end(self, name: str, words: str, *, seconds: float, style: str) -> None:
        """Say what came of a row; in a log that is its line."""
        row = self._rows[name]
        row.words, row.style, row.seconds = words, style, seconds
        if not self._console.is_interactive:
            line = Text(f"{name + ':':<10} ").append(words, style=style).append(f" ({row.clock})")
            self._console.print(line, soft_wrap=True, highlight=False)

    def _draw(self) -> ConsoleRenderable:
        # Long words are cut, not names and clocks.
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, min_width=max(map(len, self._rows)))
        table.add_column(no_wrap=True, min_width=_CLOCK, justify="right")
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        for row in self._rows.values():
            table.add_row(row.name, row.clock, Text(row.words, style=row.style))
        return table


class _RowProgress(Progress):
    """What goes on in one row: the last phase, and what it is at."""

    def __init__(self, console: Console, row: _Row) -> None:
        super().__init__(console)
        self._row = row
        self._log = seldom(self.note, interval=_LOG_INTERVAL)

    def note(self, text: str) -> None:
        super().note(f"{self._row.name + ':':<10} {text}")

    @contextmanager
    def showing(self, title: str) -> Iterator[Show]:
        def show(text: str) -> None:
            self._row.words = f"{title}: {text}"
            if not self.console.is_interactive:
                self._log(f"{title}: {text} ...")

        self._row.words = title
        yield show

    def ended(self, phase: PhaseTime) -> None:
        """Nothing: the next phase takes the row over."""
