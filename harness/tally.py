# SPDX-License-Identifier: GPL-2.0
"""What is told of VMs: which test they are at, and how they ended."""

import re
from collections.abc import Sequence

from harness.capacity import MOST_JOBS
from harness.kselftest import Suite
from harness.manifest import Manifest
from harness.progress import Phase
from harness.results import VmExit

_RESULT = re.compile(rb"^(?:not )?ok \d+ (\S+)")


def vm_words(manifest: Manifest) -> str:
    """Return how the VMs of a run ended and how soon they were ready, in a few words."""
    ends = [vm.seen_end for vm in manifest.vms]
    boots = [f"{end.boot_seconds:.1f} s" for end in ends if end.boot_seconds is not None]
    dead = [end.describe() for end in ends if end.exit is not VmExit.CLEAN]
    words = [f"{len(ends)} by {manifest.accelerator}", *dict.fromkeys(dead)]
    if boots:
        words.append(f"ready in {', '.join(boots[:MOST_JOBS])}")
    return ", ".join(words)


class Counter:
    """Shows which test the guest is at."""

    def __init__(self, phase: Phase, suites: Sequence[Suite]) -> None:
        self._phase = phase
        self._total = sum(len(suite.ids) for suite in suites)
        self._done = 0
        phase.update("booting")

    def line(self, line: bytes) -> None:
        """Take one line of the results channel."""
        if match := _RESULT.match(line):
            self._done += 1
            name = match[1].decode(errors="replace")
            self._phase.update(f"{self._done}/{self._total} {name}")
