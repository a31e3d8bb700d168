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

# Seconds between two lines of one phase in a log.
_LOG_INTERVAL = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """One finished phase: its title, what came of it, and its wall time in seconds."""

    title: str
    outcome: str
    seconds: float


Show = Callable[[str], None]


class Phase:
    """A phase under way: say what it is at, and what came of it.

    Args:
        title: of the phase.
        show: shows what it is at.
    """

    def __init__(self, title: str, show: Show) -> None:
        self.title = title
        self.outcome = ""
        self._show = show

    def update(self, text: str) -> None:
        """Show what the phase is at now."""
        self._show(text)

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
        with self.showing(title) as show:
            phase = Phase(title, show)
            yield phase
        seconds = time.monotonic() - start
        self.times.append(PhaseTime(title=title, outcome=phase.outcome, seconds=seconds))
        self.ended(self.times[-1])

    @contextmanager
    def showing(self, title: str) -> Iterator[Show]:
        """Give what shows a phase at work: a line that is replaced, or one every now and then."""
        if self.console.is_interactive:
            with self.console.status(escape(title)) as status:
                yield lambda text: status.update(f"{escape(title)}: {escape(text)}")
        else:
            yield seldom(lambda text: self.note(f"{title + ':':<10} {text} ..."))

    def ended(self, phase: PhaseTime) -> None:
        """Say what came of a phase."""
        self.note(f"{phase.title + ':':<10} {phase.outcome} ({phase.seconds:.1f} s)")


def seldom(show: Show, *, interval: float = _LOG_INTERVAL) -> Show:
    """Return what shows no more than once in so many seconds, and nothing in the first."""
    said = time.monotonic()

    def sometimes(text: str) -> None:
        nonlocal said
        if time.monotonic() - said >= interval:
            said = time.monotonic()
            show(text)

    return sometimes
