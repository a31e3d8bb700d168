# SPDX-License-Identifier: GPL-2.0
"""Who may go on: so many at a time, and in their order, however fast each of them gets ready."""

import threading
from dataclasses import dataclass


class Turns:
    """Gives turns to numbers 0, 1, 2..., all of which come of their own accord.

    The longest lane has to begin first, or all wait for it in the end; and when a third VM gets
    ready while two are to run, whichever is ready first may be any of them.

    Args:
        jobs: how many have a turn at a time.
        count: how many numbers there are.
    """

    def __init__(self, jobs: int, count: int) -> None:
        self._free = jobs
        self._coming = set(range(count))
        self._changed = threading.Condition()

    def take(self, number: int) -> None:
        """Wait for a turn; a number may have several, one after the other."""
        with self._changed:
            self._changed.wait_for(lambda: self._free and not any(n < number for n in self._coming))
            self._free -= 1
            self._arrived(number)

    def give_back(self) -> None:
        """End a turn."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def leave(self, number: int) -> None:
        """Say that a number takes no turn any more, whether it had one or not."""
        with self._changed:
            self._arrived(number)

    def _arrived(self, number: int) -> None:
        self._coming.discard(number)
        self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Turn:
    """The turns of one number, as a context that may be entered again and again."""

    turns: Turns
    number: int

    def __enter__(self) -> None:
        self.turns.take(self.number)

    def __exit__(self, *error: object) -> None:
        self.turns.give_back()
