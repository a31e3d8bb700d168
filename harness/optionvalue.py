# SPDX-License-Identifier: GPL-2.0
"""What the command line takes as the value of an option, beyond what argparse knows.

Each function is a `type=` of argparse: it returns the value, and what it raises is one line to the
user.
"""

import argparse
import re

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


def seed(text: str) -> int:
    """Return a number that random choices of tests can start from: 32 bits.

    Raises:
        ArgumentTypeError: it is none.
    """
    if re.fullmatch("[0-9]{1,10}", text, re.ASCII) and int(text) <= MAX_SEED:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_SEED}")


def shard(text: str) -> tuple[int, int]:
    """Return I and N of "I/N", the Ith of N parts.

    Raises:
        ArgumentTypeError: it is something else.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, such as 1/4, 2/4, 3/4, 4/4")
    return int(found[1]), int(found[2])
