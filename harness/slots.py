# SPDX-License-Identifier: GPL-2.0
"""Where snapshots are kept, which of them are in use, and which are thrown away.

A slot belongs to one kernel on one kind of VM. A run that uses one holds a shared flock(2) on its
manifest; whoever prunes must get it alone.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.cache import locked, remove_tree, tree_size
from harness.snapshot import MANIFEST, Snapshot, load_snapshot
from harness.vm import VmConfig

# Bytes. A snapshot takes 100 to 190 MiB; nine cells of the matrix, four kinds of VM for each, one
# kernel's canaries.
_LIMIT = 8 << 30


def slots_folder(cache: Path) -> Path:
    """Return the folder of all slots."""
    return cache / "snapshots"


def slot_of(config: VmConfig, cache: Path) -> Path:
    """Return where the snapshot of this kind of VM is kept."""
    kind = repr(
        (config.kernel.image, config.accelerator.name, config.memory, config.cpus, config.cmdline)
    )
    name = f"{config.kernel.release}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
    return slots_folder(cache) / name


@contextmanager
def using(slot: Path) -> Iterator[None]:
    """Keep a snapshot from being pruned, and remember that it was used.

    One that is not there any more is for its user to find out.
    """
    try:
        held = os.open(slot / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        with suppress(OSError):
            os.utime(held)
        yield
    finally:
        os.close(held)


def discard(snapshot: Snapshot) -> None:
    """Remove a snapshot that does not work, unless another run has made a new one meanwhile."""
    with locked(snapshot.folder):
        found = load_snapshot(snapshot.folder)
        if found is None or found.token == snapshot.token:
            remove_tree(snapshot.folder)


def prune(cache: Path, *, limit: int = _LIMIT) -> None:
    """Remove the snapshots that were not used for longest, until the rest fits.

    Those in use stay, and the one that was used last.

    Args:
        cache: the user's cache folder of this project.
        limit: bytes.
    """
    found = []
    for manifest in slots_folder(cache).glob(f"*/{MANIFEST}"):
        # Another run may be faster.
        with suppress(OSError):
            found.append((manifest.stat().st_mtime, tree_size(manifest.parent), manifest.parent))
    found.sort(reverse=True)
    total = 0
    for _, size, slot in found:
        total += size
        if total > limit and slot != found[0][2]:
            # No other run makes a new one meanwhile, which would be removed in its stead.
            with locked(slot):
                _remove_unused(slot)


def _remove_unused(slot: Path) -> None:
    try:
        held = os.open(slot / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        remove_tree(slot)
    finally:
        os.close(held)
