# SPDX-License-Identifier: GPL-2.0
"""A booted VM on disk: what it is made of, whether it is whole, and how QEMU is told to use it.

    snapshots/SLOT/manifest.json    what went into it, QEMU's options, checksums
    snapshots/SLOT/ram-TOKEN        the guest's memory, sparse
    snapshots/SLOT/state-TOKEN      the devices' state
    snapshots/SLOT/initrd-TOKEN     the root that it was booted from
    snapshots/SLOT/console-TOKEN    what it said while it booted
    snapshots/SLOT/voucher-TOKEN    that they were read and found whole, harness/voucher.py

A slot belongs to one kernel on one kind of VM. What is in it counts only if every ingredient is
still the same. TOKEN is random: whoever read a manifest finds the files that belong to it or none.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import jsonfile, voucher
from harness.errors import HarnessError
from harness.vngline import Machine

_SCHEMA = 3
MANIFEST = "manifest.json"
_CHUNK = 1 << 20
# What stands in a machine's options for the path of the results socket.
RESULTS = "/harness/results"


class SnapshotError(HarnessError):
    """A snapshot cannot be made, or is not what was saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One VM, saved.

    Attributes:
        folder: where its files are.
        token: what their names end in.
        machine: QEMU's options.
        ingredients: name and value of all that went into it.
        boot_seconds: how long the boot took, wall time.
        extents: offset and length of what the memory's file holds, bytes.
        checksum: CRC-32 of memory, state and initrd.
    """

    folder: Path
    token: str
    machine: Machine
    ingredients: tuple[tuple[str, str], ...]
    boot_seconds: float = 0.0
    extents: tuple[tuple[int, int], ...] = ()
    checksum: int = 0

    def file(self, what: str) -> Path:
        """Return the path of "ram", "state", "initrd", "console" or "voucher"."""
        return self.folder / f"{what}-{self.token}"

    def argv(self, *, results: Path, qmp: Path, disk: Path, restore: bool) -> tuple[str, ...]:
        """Return QEMU's command line: the same machine for saving and for restoring.

        Args:
            results: socket of the results channel.
            qmp: socket that QEMU's monitor connects to.
            disk: the guest's disk, raw; the same size every time.
            restore: wait for a state to load, and keep the memory's file as it is.
        """
        machine = self.machine
        share = "off" if restore else "on"
        return (
            *(word.replace(f"path={RESULTS}", f"path={results}") for word in machine.argv),
            *("-m", f"{machine.memory}M", "-machine", "memory-backend=ram"),
            "-object",
            f"memory-backend-file,id=ram,size={machine.memory}M,mem-path={self.file('ram')},"
            f"share={share}",
            *("-initrd", str(self.file("initrd")), "-append", machine.append),
            *("-drive", f"if=none,id=tests,format=raw,readonly=on,file={disk}"),
            *("-device", "virtio-blk-pci,drive=tests"),
            *("-chardev", f"socket,id=qmp,path={qmp}", "-mon", "chardev=qmp,mode=control"),
            *(("-incoming", "defer") if restore else ()),
        )

    def measure(self, parts: tuple[tuple[int, int], ...]) -> int:
        """Return the CRC-32 of what QEMU is given, of the memory these parts; raises OSError."""
        return measure(self.file("ram"), parts, self.file("state"), self.file("initrd"))

    def verify(self) -> None:
        """Compare the files with their checksum, unless that was done since they last changed.

        Raises:
            SnapshotError: they have changed, or are not there.
        """
        files = [self.file(what) for what in ("ram", "state", "initrd")]
        relied_on = f"{self.checksum} {self.extents}"
        try:
            described = voucher.describe(files, extra=relied_on)
            if voucher.holds(self.file("voucher"), described):
                return
            checksum = self.measure(self.extents)
        except OSError as error:
            raise SnapshotError(f"{self.folder}: {error.strerror}") from error
        if checksum != self.checksum:
            raise SnapshotError(f"{self.folder}: its files are not what was saved")
        voucher.vouch(self.file("voucher"), files, described)


def save_manifest(snapshot: Snapshot) -> None:
    """Write a snapshot's manifest beside its files; raises OSError."""
    document = {
        "schema": _SCHEMA,
        "token": snapshot.token,
        "argv": list(snapshot.machine.argv),
        "append": snapshot.machine.append,
        "memory": snapshot.machine.memory,
        "ingredients": dict(snapshot.ingredients),
        "boot_seconds": snapshot.boot_seconds,
        "extents": [f"{offset}+{length}" for offset, length in snapshot.extents],
        "checksum": snapshot.checksum,
    }
    jsonfile.write_text(snapshot.folder / MANIFEST, jsonfile.dump(document))


def load_snapshot(folder: Path) -> Snapshot | None:
    """Return what a slot holds; None when there is nothing, or nothing that can be read."""
    manifest = folder / MANIFEST
    try:
        fields = jsonfile.Fields.parse(
            jsonfile.read_text(manifest), source=str(manifest), schema=_SCHEMA
        )
        machine = Machine(
            argv=fields.texts("argv"),
            append=fields.text("append"),
            memory=fields.take("memory", int, "MiB"),
        )
        return Snapshot(
            folder=folder,
            token=fields.text("token"),
            machine=machine,
            ingredients=fields.pairs("ingredients"),
            boot_seconds=fields.seconds("boot_seconds"),
            extents=tuple(_extent(text) for text in fields.texts("extents")),
            checksum=fields.take("checksum", int, "a CRC"),
        )
    except (jsonfile.DocumentError, ValueError):
        return None


def extents(file: Path) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what a sparse file holds, as its file system sees it."""
    with file.open("rb") as opened:
        end = os.fstat(opened.fileno()).st_size
        at = 0
        while at < end:
            try:
                start = os.lseek(opened.fileno(), at, os.SEEK_DATA)
            except OSError:
                # ENXIO: a hole up to the end.
                return
            at = os.lseek(opened.fileno(), start, os.SEEK_HOLE)
            yield start, at - start


def measure(ram: Path, parts: tuple[tuple[int, int], ...], *others: Path) -> int:
    """Return the CRC-32 of the other files and of these parts of the memory; raises OSError.

    A CRC, because it is for disks and killed processes, not for attackers: 100 MB take a tenth of a
    second.
    """
    checksum = 0
    for file in others:
        checksum = zlib.crc32(file.read_bytes(), checksum)
    with ram.open("rb", buffering=0) as opened:
        for start, length in parts:
            opened.seek(start)
            end = start + length
            while (at := opened.tell()) < end:
                data = opened.read(min(end - at, _CHUNK))
                if not data:
                    # Cut off: no checksum of a whole file.
                    return -1
                checksum = zlib.crc32(data, checksum)
    return checksum


def _extent(text: str) -> tuple[int, int]:
    offset, _, length = text.partition("+")
    return int(offset), int(length)
