# SPDX-License-Identifier: GPL-2.0
"""What the command line takes as the value of an option, beyond what argparse knows.

Each is a `type=` of argparse: it returns the value, and what it raises is one line to the
user.
"""

import argparse
import re
from collections.abc import Callable

# Of rand_r(), which the tests draw from.
MAX_SEED = 2**32 - 1


def at_least_one(text: str) -> int:
    """Return a number from 1 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")


def within(numbers: range) -> Callable[[str], int]:
    """Return a `type=` that takes one of these numbers, from the first to the last.

    The function raises ArgumentTypeError for everything else. (`choices=` would list them all.)
    """

    def number(text: str) -> int:
        # Digits of other scripts are none here, and so many are not worth converting.
        if re.fullmatch("[0-9]{1,10}", text, re.ASCII) and int(text) in numbers:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from {numbers[0]} to {numbers[-1]}"
        )

    return number


# A number that random choices of tests can start from: 32 bits.
seed = within(range(MAX_SEED + 1))


def shard(text: str) -> tuple[int, int]:
    """Return I and N of "I/N", the Ith of N parts.

    Raises:
        ArgumentTypeError: it is something else.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, such as 1/4, 2/4, 3/4, 4/4")
    return int(found[1]), int(found[2])
