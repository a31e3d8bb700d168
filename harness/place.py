# SPDX-License-Identifier: GPL-2.0
"""Where a command works: the checkout, the cache, and the doors to processes and the terminal."""

from dataclasses import dataclass
from pathlib import Path

from harness.progress import Progress
from harness.run import Spawner


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Made once by the cli and handed down.

    Attributes:
        source: the root of the checkout.
        cache: the user's cache folder of this project; need not exist.
        runs: where the run folders go.
        spawner: the one door for processes.
        progress: says what is going on.
    """

    source: Path
    cache: Path
    runs: Path
    spawner: Spawner
    progress: Progress
