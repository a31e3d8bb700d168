# SPDX-License-Identifier: GPL-2.0
"""What the harness is doing right now, and how long each phase took.

On a terminal a spinner line that is replaced by one summary line a phase; elsewhere plain lines.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.status import Status

# Seconds between two lines of one phase in a log.
_LOG_INTERVAL = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """One finished phase: its title, what came of it, and its wall time in seconds."""

    title: str
    outcome: str
    seconds: float


class Phase:
    """A phase under way: say what it is at, and what came of it."""

    def __init__(self, title: str, status: Status | None, say: Callable[[str], None]) -> None:
        self.title = title
        self.outcome = ""
        self._status = status
        self._say = say
        self._said = time.monotonic()

    def update(self, text: str) -> None:
        """Show what the phase is at now; in a log, a line every now and then."""
        if self._status is not None:
            self._status.update(f"{escape(self.title)}: {escape(text)}")
        elif time.monotonic() - self._said >= _LOG_INTERVAL:
            self._said = time.monotonic()
            self._say(f"{self.title + ':':<10} {text} ...")

    def done(self, outcome: str) -> None:
        """Set the words that stand behind the title when the phase is over."""
        self.outcome = outcome


class Progress:
    """Prints phases as they go and remembers their times.

    Args:
        console: where to print (rich knows whether it is a terminal).
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.times: list[PhaseTime] = []

    def note(self, text: str) -> None:
        """Print a line that must not be missed, such as what is being waited for."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def phase(self, title: str) -> Iterator[Phase]:
        """Bracket one phase; its line is printed when it ends well, an error prints its own."""
        start = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(escape(title)) as status:
                phase = Phase(title, status, self.note)
                yield phase
        else:
            phase = Phase(title, None, self.note)
            yield phase
        seconds = time.monotonic() - start
        self.times.append(PhaseTime(title=title, outcome=phase.outcome, seconds=seconds))
        self.note(f"{title + ':':<10} {phase.outcome} ({seconds:.1f} s)")
