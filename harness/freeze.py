# SPDX-License-Identifier: GPL-2.0
"""Make a snapshot: boot a guest that waits for work, and save it."""

import hashlib
import itertools
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from harness import qmp
from harness.emulator import ONE_THREAD
from harness.guesttool import guest_tool
from harness.initramfs import make_initramfs
from harness.listener import BootError, listening
from harness.run import Spawner
from harness.scratch import scratch_folder
from harness.snapshot import RESULTS, Snapshot, SnapshotError, extents
from harness.vm import VmConfig, vng_argv
from harness.vngline import transform
from harness.watch import Watch

# What the guest says when it waits.
_READY = b"ready\n"
_SECONDS = 60.0
# Sparse, and the same in every copy: the guest learned the size before the snapshot.
DISK = 1 << 30
# From the prefix that QEMU is installed in: its own, the BIOS's and the network cards'.
_FIRMWARE = ("share/qemu", "share/seabios", "lib/ipxe/qemu")


def root_of(config: VmConfig, *, folder: Path, spawner: Spawner) -> bytes:
    """Return the initramfs that the guest boots from.

    Args:
        config: the VM.
        folder: keeps the compiled helper programs.
        spawner: starts the compiler and busybox.

    Raises:
        SnapshotError: no C compiler.
        GuestRootError: no static busybox.
        CacheError: the folder cannot be written to.
    """
    reseed = guest_tool("reseed", folder=folder, spawner=spawner)
    return make_initramfs(config.kernel, reseed=reseed, spawner=spawner)


def ingredients(config: VmConfig, *, root: bytes, qemu: Path) -> tuple[tuple[str, str], ...]:
    """Return all that decides what a snapshot is, as names and values.

    What vng's dry run prints is not asked for every time, which would take a second: the same vng
    prints the same for the same question.

    Args:
        config: the VM.
        root: its initramfs.
        qemu: the program; known by its file's size and time, which a new version changes.
    """
    status = qemu.stat()
    question = vng_argv(config, root=Path("/root"), results=Path(RESULTS))
    return (
        ("kernel", f"{config.kernel.release} {config.kernel.sha256}"),
        ("root", hashlib.sha256(root).hexdigest()),
        ("qemu", f"{qemu} {status.st_size} {status.st_mtime_ns}"),
        ("firmware", firmware(qemu)),
        ("vng", metadata.version("virtme-ng")),
        ("command line", " ".join(question)),
        ("accelerator", config.accelerator.name),
        ("host cpu", host_cpu()),
        ("disk", str(DISK)),
    )


def firmware(qemu: Path) -> str:
    """Return what tells the firmware that QEMU finds from another: packages of their own.

    Files are known by size and time, as QEMU itself is, in the folders that `qemu -L help` names.
    """
    prefix = qemu.resolve().parent.parent
    found = sorted(file for folder in _FIRMWARE for file in (prefix / folder).glob("*.*"))
    files = (file for file in found if file.is_file())
    told = ((str(file), file.stat()) for file in files)
    listing = "\n".join(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in told)
    return hashlib.sha256(listing.encode()).hexdigest()


def host_cpu() -> str:
    """Return what a guest that was given the host's processor cannot be restored without."""
    first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    kept = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    return "; ".join(line for line in first.splitlines() if line.partition("\t")[0] in kept)


def freeze(
    config: VmConfig,
    *,
    parts: tuple[tuple[str, str], ...],
    root: bytes,
    folder: Path,
    logs: Path,
    spawner: Spawner,
) -> Snapshot:
    """Boot, wait until the guest is ready, and save it.

    Args:
        config: the VM.
        parts: its :func:`ingredients`.
        root: its initramfs.
        folder: takes the snapshot's files, all but the manifest.
        logs: takes `snapshot.log`, the guest's console, if this fails.
        spawner: starts vng, for its dry run, and QEMU.

    Raises:
        SnapshotError: the guest did not get ready.
        QmpError: QEMU could not save it.
        DriftError: virtme-ng's command line is not what it was.
        BootError: QEMU did not start.
    """
    with scratch() as place:
        hermit = spawner.with_env(HOME=f"{place}/home", TMPDIR=f"{place}/tmp", TERM="dumb")
        question = vng_argv(config, root=place / "root", results=Path(RESULTS))
        told = hermit.run((question[0], "--dry-run", *question[1:]), deadline=_SECONDS).output
        # Above it there may be warnings.
        line = told.strip().rpartition("\n")[2]
        snapshot = Snapshot(
            folder=folder,
            token=secrets.token_hex(8),
            machine=transform(line, own=_own_parameters(question)),
            ingredients=parts,
        )
        snapshot.file("initrd").write_bytes(root)
        snapshot.file("console").touch()
        try:
            seconds = _boot_and_save(snapshot, config, place, hermit)
        except BaseException:
            shutil.copyfile(snapshot.file("console"), logs / "snapshot.log")
            raise
    held = tuple(extents(snapshot.file("ram")))
    return replace(snapshot, extents=held, checksum=snapshot.measure(held), boot_seconds=seconds)


def _boot_and_save(snapshot: Snapshot, config: VmConfig, place: Path, spawner: Spawner) -> float:
    """Return how long the boot took, seconds."""
    disk, console = place / "disk", snapshot.file("console")
    disk.touch()
    os.truncate(disk, DISK)
    argv = snapshot.argv(results=place / "results", qmp=place / "qmp", disk=disk, restore=False)
    if not config.accelerator.kvm:
        # Its copies run with a thread a CPU.
        argv = (*argv, *ONE_THREAD)
    with (
        listening(place / "results") as results,
        listening(place / "qmp") as control,
        console.open("ab") as log,
        spawner.spawn(argv, stdout=log, stderr=log) as process,
    ):
        watch = Watch(
            process,
            deadlines=config.deadlines,
            slowness=config.accelerator.slowness,
            console=console,
            nonce=snapshot.token,
            on_line=lambda line: None,
        )
        connection, channel = watch.connection(control), watch.connection(results)
        if connection is None or channel is None:
            raise BootError(f"QEMU did not start: {watch.last_words()}")
        with qmp.monitoring(connection, watch.clock) as monitor, channel:
            seconds = _get_ready(watch, channel, monitor, config)
            monitor.save(snapshot.file("state"))
            monitor.quit()
    return seconds


def _get_ready(
    watch: Watch, channel: socket.socket, monitor: qmp.Monitor, config: VmConfig
) -> float:
    """Wait until the guest says so; return how long it took."""
    limit = config.deadlines.boot * config.accelerator.slowness
    said = None
    for seconds in watch.clock.slices(limit):
        channel.settimeout(seconds)
        with suppress(TimeoutError):
            try:
                said = channel.recv(len(_READY))
            except ConnectionResetError:
                said = b""
            break
    if said is None:
        why = f"not within {limit:.0f} s; {watch.last_words()}"
        raise SnapshotError(f"the guest did not get ready: {why}")
    if said != _READY:
        _, why = watch.gone(monitor)
        raise SnapshotError(f"the guest did not get ready: {why}")
    return time.monotonic() - watch.start


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for one VM, with the folders in it that virtme-ng needs."""
    with scratch_folder() as folder:
        for private in ("home", "tmp", "root"):
            (folder / private).mkdir()
        yield folder


def _own_parameters(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kernel parameters that a vng command line asks for."""
    return tuple(word for option, word in itertools.pairwise(argv) if option == "--append")
