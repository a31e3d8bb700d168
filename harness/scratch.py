# SPDX-License-Identifier: GPL-2.0
"""Temporary folders that do not outlive the harness for long, even if it is killed.

They are in TMPDIR, not in the cache: the path of a Unix socket has room for 107 bytes. Each holds a
file that says whose it is and that its process has locked with flock(2), which the kernel undoes
however the process ends; a folder whose lock is free is removed by the next harness.
"""

import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "harness-"
_LOCK = ".lock"
# In the lock's file: others may call their folders so, too, and lock something in them.
_OURS = b"a scratch folder of udmabuf_iov's harness; whose lock is free is of no use\n"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give an empty folder, but for a file with a dot; on leaving, it is gone.

    Raises:
        OSError: no space, no permission.
    """
    _sweep_once(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        # The name that others look for is given to it when it is locked.
        lock = os.open(folder / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.write(lock, _OURS)
            (folder / f"{_LOCK}.new").rename(folder / _LOCK)
            yield folder
        finally:
            shutil.rmtree(folder)
            os.close(lock)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sweep(parent: Path) -> None:
    """Remove the folders of processes that are no more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        # Gone meanwhile; somebody else's; or in use (BlockingIOError).
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                _remove_dead(folder)


def _remove_dead(folder: Path) -> None:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if os.read(lock, len(_OURS) + 1) == _OURS:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(lock)


@functools.cache
def _sweep_once(parent: str) -> None:
    sweep(Path(parent))
