# SPDX-License-Identifier: GPL-2.0
"""The root of a guest that is snapshotted: an initramfs, because nothing of it has to be mounted.

A mounted 9p export blocks QEMU's snapshots (notes/measured.md). The archive is made here, byte for
byte the same from the same parts, so that its hash can be part of a snapshot's key. Format "newc":
Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import lzma
import stat
from dataclasses import dataclass
from pathlib import Path

from harness.guestmodules import module_files, unpacked
from harness.guestroot import PORTS, GuestRootError, find_busybox
from harness.kernel import Kernel
from harness.run import Spawner

_INIT = Path(__file__).parent / "guest" / "warm-init"
_FOLDERS = (
    *("bin", "dev", "etc", "harness", "home", "lib", "mnt", "opt", "proc", "root", "run"),
    *("snapshot", "srv", "sys", "tmp", "usr", "var"),
)
# Where they are built in, modules.dep does not name them.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")

# What cpio(5) calls the new ASCII format: thirteen numbers.
_HEADER = b"070701" + 13 * b"%08X"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: path without leading slash.
        mode: type and permissions, as in stat(2).
        data: content, or a link's target.
        device: major and minor of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def make_initramfs(kernel: Kernel, *, reseed: Path, spawner: Spawner) -> bytes:
    """Make the archive that a snapshot's guest boots from.

    Args:
        kernel: the modules of virtio are taken from it where they are not built in.
        reseed: the program of guest/reseed.c.
        spawner: finds and asks busybox.

    Raises:
        GuestRootError: no static busybox, a file cannot be read.
    """
    busybox = find_busybox(spawner)
    applets = spawner.run([busybox, "--list"], deadline=10).output.split()
    try:
        modules = [(path.name.removesuffix(".xz"), path) for path in module_files(kernel, _MODULES)]
        entries = [
            *(Entry(name=name, mode=stat.S_IFDIR | 0o755) for name in sorted(_FOLDERS)),
            Entry(name="sbin", mode=stat.S_IFLNK | 0o777, data=b"bin"),
            Entry(name="bin/busybox", mode=stat.S_IFREG | 0o755, data=busybox.read_bytes()),
            *(
                Entry(name=f"bin/{applet}", mode=stat.S_IFLNK | 0o777, data=b"busybox")
                for applet in sorted({"sh", *applets} - {"busybox"})
            ),
            Entry(name="dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1)),
            Entry(name="init", mode=stat.S_IFREG | 0o755, data=_INIT.read_bytes()),
            Entry(name="snapshot/reseed", mode=stat.S_IFREG | 0o755, data=reseed.read_bytes()),
            Entry(name="snapshot/ports", mode=stat.S_IFREG | 0o644, data=PORTS.read_bytes()),
            Entry(
                name="snapshot/modules",
                mode=stat.S_IFREG | 0o644,
                data="".join(f"{name}\n" for name, _ in modules).encode(),
            ),
            *(
                Entry(name=f"snapshot/{name}", mode=stat.S_IFREG | 0o644, data=unpacked(path))
                for name, path in modules
            ),
        ]
    except (OSError, lzma.LZMAError) as error:
        raise GuestRootError(f"cannot make the guest's initramfs: {error}") from error
    return newc(entries)


def newc(entries: list[Entry]) -> bytes:
    """Return a cpio archive, format newc, of these files in this order, all by root at time 0."""
    archive = bytearray()
    trailer = Entry(name="TRAILER!!!", mode=0)
    for number, entry in enumerate((*entries, trailer), 1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (
            *(number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0),
            *(*entry.device, len(name), 0),
        )
        archive += _HEADER % fields + name
        archive += bytes(-len(archive) % 4) + entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
