# SPDX-License-Identifier: GPL-2.0
"""What is kept between runs: made in a folder beside its place, then renamed there, under a lock.

Two runs may share the cache at any time, and either may be killed at any point: a reader sees a
whole entry or none.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError
from harness.run import CommandError

# Longer than the longest thing done under a lock: a kernel over a slow line.
_LOCK_DEADLINE = 3600.0
_TEMP = ".making-"
_SAFE = "/._+-~"

# What every command prints in the locale C.UTF-8 when the disk is full.
NO_SPACE = os.strerror(errno.ENOSPC)


class CacheError(HarnessError):
    """The cache cannot be used: no space, no permission, or a lock that is never released."""


@contextmanager
def locked(entry: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a cache entry, which need not exist yet.

    The lock is flock(2) on `ENTRY.lock`: the kernel releases it however this process ends.

    Args:
        entry: the path that is locked.
        waiting: called once if another run holds the lock.

    Raises:
        CacheError: the folder cannot be written to, or the lock was not to be had in an hour.
    """
    with cache_errors(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(entry.with_name(entry.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            try:
                lock.acquire(timeout=_LOCK_DEADLINE)
            except Timeout:
                raise CacheError(
                    f"{lock.lock_file}: held by another run for an hour", hint="end that run"
                ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; on leaving it well, rename it to `target`.

    The caller holds the target's :func:`locked`. What an earlier run that was killed left half-made
    is removed first, and this folder too if anything goes wrong, Ctrl-C included.

    Raises:
        CacheError: no space left, no permission.
    """
    # No entry has an "@" in its name: what is being made of a longer name does not match.
    prefix = f"{_TEMP}{target.name}@"
    with cache_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f"{prefix}*"):
            remove_tree(stale)
        temp = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            # mkdtemp's 0700 would end up on the entry.
            temp.chmod(0o755)
            yield temp
            if target.is_dir():
                remove_tree(target)
            temp.rename(target)
        except BaseException:
            remove_tree(temp)
            raise


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Say in one line what a full or forbidden cache means, for our own writes and for commands'.

    Raises:
        CacheError: instead of OSError and CommandError that come of no space or no permission.
    """
    try:
        yield
    except CommandError as error:
        if NO_SPACE in error.completed.output:
            raise no_space(folder) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(folder) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise CacheError(
                f"{error.filename or folder}: {error.strerror}",
                hint="the cache must be a folder that you can write to",
            ) from error
        raise


def remove_tree(path: Path) -> None:
    """Remove a folder of the cache, read-only subfolders included; none there is fine."""

    def retry(function: Callable[..., object], name: str, _: object) -> None:
        # A package may ship a folder that its owner cannot write to.
        if not Path(name).exists():
            return
        Path(name).parent.chmod(0o755)
        function(name)

    if path.exists():
        shutil.rmtree(path, onerror=retry)


def tree_size(path: Path) -> int:
    """Return what a folder's files take, in bytes; hard links and symlinks count as they are."""
    return sum(entry.lstat().st_blocks * 512 for entry in path.rglob("*"))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_space(folder: Path) -> CacheError:
    """Return the error that says that the cache is full."""
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    return CacheError(
        f"{folder}: no space left in the cache ({free >> 20} MiB free)",
        hint="free some (a kernel takes about 600 MiB while it is unpacked), or choose another "
        "folder with --cache",
    )


def check_folder(folder: Path) -> Path:
    """Return the cache folder as an absolute path that make, vng and apt's settings can carry.

    Raises:
        CacheError: its name has a character that one of them takes for something else.
    """
    absolute = folder.absolute()
    bad = sorted({char for char in str(absolute) if not (char.isalnum() or char in _SAFE)})
    if bad:
        raise CacheError(
            f"{absolute}: kernel builds do not work in a folder whose path has {bad[0]!r}",
            hint="choose another cache with --cache",
        )
    return absolute
