# SPDX-License-Identifier: GPL-2.0
"""Waiting for processes and files by events: who asks again and again takes the CPU they need."""

import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import watchfiles

# Seconds until a wait has failed.
_PATIENCE = 30
# Milliseconds: changes that come close together are told at once.
_TOGETHER = 10


def wait_gone(pid: int) -> bool:
    """Wait until a process has ended, to a zombie at least; return whether it has."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([process], [], [], _PATIENCE)
    finally:
        os.close(process)
    return bool(ready)


def wait_for_files(
    folder: Path,
    ready: Callable[[], bool],
    harness: "subprocess.Popen[str] | subprocess.Popen[bytes]",
) -> None:
    """Wait for something that the harness is about to write below a folder."""
    waited = 0
    for changes in watchfiles.watch(
        folder,
        watch_filter=None,
        debounce=_TOGETHER,
        step=_TOGETHER,
        # What was written before the watch began is seen then.
        rust_timeout=1000,
        yield_on_timeout=True,
    ):
        if ready():
            return
        assert harness.poll() is None
        waited += not changes
        assert waited < _PATIENCE
