# SPDX-License-Identifier: GPL-2.0
"""What is promised of this harness's speed, and whether measured times keep it. Pure.

The promises are those of the project's issues 2 ("Speed") and 4 (item 7): for two cores and TCG.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# The paths that are measured, by name.
STOCK = "vng -v -r KERNEL -- uname -r"
COLD = "cold boot, the same work"
WARM = "restored VM, the same work"
FIRST_TEST = "restore to first test"
UNCHANGED = "check, nothing changed"
EDITED = "check after an edit"
LESS_TESTS = "check after an edit, less the tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One promise.

    Attributes:
        words: what it is about.
        path: the path that it binds; None for what cannot be measured here, and ``why`` says why.
        over: the path that this one is compared with: how many times faster has it to be? None for
            a limit in seconds.
        limit: seconds at most, or times at least.
        why: why it is not measured.
    """

    words: str
    path: str | None
    limit: float
    over: str | None = None
    why: str = ""


TARGETS = (
    Target(
        words="first run on a bare root",
        path=None,
        limit=180,
        why="not measured here: takes a machine with nothing on it",
    ),
    Target(words=UNCHANGED, path=UNCHANGED, limit=8),
    Target(words=EDITED, path=EDITED, limit=10),
    Target(words=LESS_TESTS, path=LESS_TESTS, limit=4),
    Target(words=FIRST_TEST, path=FIRST_TEST, limit=0.7),
    Target(words="cold boot, next to stock vng", path=COLD, over=STOCK, limit=3),
    Target(words="restored VM, next to a cold boot", path=WARM, over=COLD, limit=5),
    Target(words="restored VM, next to stock vng", path=WARM, over=STOCK, limit=15),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One promise, held against what was measured.

    Attributes:
        words: what it is about.
        limit: in words.
        measured: in words, empty where nothing was.
        verdict: "met", "missed", or why there is none.
    """

    words: str
    limit: str
    measured: str
    verdict: str


def hold(targets: tuple[Target, ...], medians: Mapping[str, float]) -> tuple[Result, ...]:
    """Hold promises against measured times.

    Args:
        targets: the promises.
        medians: seconds of each path, by name.
    """
    return tuple(_hold(target, medians) for target in targets)


def _hold(target: Target, medians: Mapping[str, float]) -> Result:
    if target.over is None:
        limit, form = f"under {target.limit:g} s", "{:.2f} s"
    else:
        limit, form = f"{target.limit:g} times faster", "{:.1f} times"
    if target.path is None:
        return Result(words=target.words, limit=limit, measured="", verdict=target.why)
    seconds = medians[target.path]
    figure = seconds if target.over is None else medians[target.over] / seconds
    met = figure < target.limit if target.over is None else figure >= target.limit
    return Result(
        words=target.words,
        limit=limit,
        measured=form.format(figure),
        verdict="met" if met else "missed",
    )
