# SPDX-License-Identifier: GPL-2.0
"""turns.py: nobody overtakes, and nobody waits for one who does not come."""

import threading
from collections.abc import Callable

from harness.turns import Turn, Turns

# Seconds; a turn that is to be had is had at once.
_PATIENCE = 60


class Told(threading.Thread):
    """Takes a turn and keeps it until it is told."""

    def __init__(self, turns: Turns, number: int, order: list[int]) -> None:
        super().__init__(daemon=True)
        self.turn, self.order = Turn(turns, number), order
        self.begun, self.told = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.turn:
            self.order.append(self.turn.number)
            self.begun.set()
            self.told.wait(_PATIENCE)

    def finish(self) -> None:
        self.told.set()
        self.join(_PATIENCE)


def began(turns: Turns, *numbers: int, then: Callable[[], None] = lambda: None) -> list[int]:
    """Let numbers come in this order, say one word more, and return how they began."""
    order: list[int] = []
    threads = [Told(turns, number, order) for number in numbers]
    then()
    for thread in threads:
        thread.told.set()
    for thread in threads:
        thread.join(_PATIENCE)
    return order


def test_whoever_is_ready_first_waits_for_those_before() -> None:
    assert began(Turns(1, 3), 2, 1, 0) == [0, 1, 2]
    assert began(Turns(2, 3), 2, 1, 0)[0] == 0


def test_one_who_does_not_come_is_not_waited_for() -> None:
    turns = Turns(1, 3)
    assert began(turns, 2, 1, then=lambda: turns.leave(0)) == [1, 2]


def test_no_more_than_so_many_at_a_time() -> None:
    order: list[int] = []
    turns = Turns(2, 3)
    first, second = Told(turns, 0, order), Told(turns, 1, order)
    assert first.begun.wait(_PATIENCE)
    assert second.begun.wait(_PATIENCE)
    third = Told(turns, 2, order)
    assert not third.begun.is_set()
    first.finish()
    assert third.begun.wait(_PATIENCE)
    second.finish()
    third.finish()


def test_a_number_may_come_again() -> None:
    turn = Turn(Turns(1, 2), 0)
    for _ in range(2):
        with turn:
            pass
