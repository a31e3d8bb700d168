# SPDX-License-Identifier: GPL-2.0
"""Check again whenever a source is saved, and show only what changed."""

from collections.abc import Iterator
from pathlib import Path

import watchfiles

from harness import runner
from harness.difference import changed
from harness.errors import HarnessError
from harness.place import Place
from harness.results import RunResult
from harness.table import print_run

# What a check is made of, in the checkout.
_FOLDERS = ("module", "selftests", "kconfigs")
# Milliseconds: how often the watch looks up, which is also how soon it is under way.
_TICK = 100


def check_on_save(place: Place, kernel_name: str, options: runner.Options) -> None:
    """Check, and check again after each change of the sources, until interrupted.

    What goes wrong, a source that does not compile above all, is shown and waited out.

    Raises:
        KeyboardInterrupt: Ctrl-C; the only way out.
    """
    saves = _saves([place.source / name for name in _FOLDERS])
    # Watching begins before the first check: what is saved meanwhile is not missed.
    next(saves)
    before = _check(place, kernel_name, options, None)
    for paths in saves:
        if not paths:
            continue
        names = sorted({str(path.relative_to(place.source)) for path in paths})
        place.progress.note(f"\nsaved: {', '.join(names)}")
        before = _check(place, kernel_name, options, before) or before


def _check(
    place: Place, kernel_name: str, options: runner.Options, before: RunResult | None
) -> RunResult | None:
    """Check once and show what is new; None when there was no run."""
    try:
        result, folder = runner.check(place, kernel_name, options)
    except OSError as error:
        place.progress.note(f"harness: {error}")
        return None
    except HarnessError as error:
        for line in (*error.lines, f"harness: {error}", f"harness: {error.hint or 'save again'}"):
            place.progress.note(line)
        return None
    only = None if before is None else frozenset(changed(before, result))
    if only is not None and not only:
        place.progress.note("nothing changed")
    print_run(result, folder, place.progress.console, only=only)
    return result


def _saves(folders: list[Path]) -> Iterator[set[Path]]:
    """Yield the files of each save, or none: editors write several times, which counts as one."""
    for changes in watchfiles.watch(*folders, rust_timeout=_TICK, yield_on_timeout=True):
        yield {Path(path) for _, path in changes}
