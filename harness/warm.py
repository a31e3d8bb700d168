# SPDX-License-Identifier: GPL-2.0
"""A VM that need not boot: restored from a snapshot that was taken before any test was loaded.

The first run on a kernel boots it, saves it, and proves the copy by a run of nothing; later runs
restore that. Each restored guest is sent fresh randomness, the time, and what it is to do: modules,
tests and the script that runs them come on a disk that was empty in the snapshot. Whatever is wrong
with a snapshot ends in a cold boot, never in a verdict: a guest that has not said hello has not
loaded the driver.
"""

import hashlib
import itertools
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from harness import qmp
from harness.cache import check_folder, locked, making, remove_tree
from harness.errors import HarnessError
from harness.guestroot import Plan, payload
from harness.guesttool import guest_tool
from harness.initramfs import Entry, make_initramfs, newc
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.snapshot import (
    RESULTS,
    Snapshot,
    SnapshotError,
    extents,
    load_snapshot,
    measure,
    save_manifest,
)
from harness.vm import VmConfig, VmOutcome, run_vm, vng_argv
from harness.vngline import transform
from harness.watch import BootError, Watch, listening

_SECONDS = 60.0
# Restoring does none of a boot's work: so much less patience.
_FASTER = 6
# Sparse, and the same in every copy: the guest learned the size before the snapshot.
_DISK = 1 << 30
_SEED = 64
_READY = b"ready\n"
_SEAM = "[harness] restored: above is the boot that the snapshot was made of, below is this run\n"


def run_warm(
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    cache: Path,
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    """Restore a VM, let it carry out a plan, and return how it ended.

    As :func:`harness.vm.run_vm`, which it falls back to, with a note, where nothing can be
    restored. In `console.log` the boot of the snapshot comes first.

    Args:
        config: the VM.
        plan: what the guest does.
        folder: the run folder; exists.
        spawner: starts vng and QEMU.
        cache: the user's cache folder of this project.
        on_line: called with each line of the results channel as it arrives.

    Raises:
        BootError: vng or QEMU missing, unusable paths.
        CacheError: the cache cannot be used.
    """
    notes: list[str] = []
    slot = _slot(config, check_folder(cache))
    for _ in range(2):
        try:
            snapshot = _get(config, slot, spawner, notes)
        except HarnessError as error:
            notes.append(f"no snapshot: {error}")
            break
        outcome = _restore(snapshot, config, plan, folder=folder, spawner=spawner, on_line=on_line)
        if outcome.end.boot_seconds is not None:
            return replace(outcome, notes=tuple(notes))
        notes.append(f"snapshot thrown away: {outcome.end.describe()}")
        _discard(snapshot)
    notes.append("booted cold")
    outcome = run_vm(config, plan, folder=folder, spawner=spawner, cache=cache, on_line=on_line)
    return replace(outcome, notes=tuple(notes))


def _slot(config: VmConfig, cache: Path) -> Path:
    """Return where the snapshot of this kind of VM is kept."""
    kind = repr(
        (config.kernel.image, config.accelerator.name, config.memory, config.cpus, config.cmdline)
    )
    name = f"{config.kernel.release}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
    return cache / "snapshots" / name


def ingredients(
    config: VmConfig, *, initramfs: bytes, qemu: Path, cpu: str
) -> tuple[tuple[str, str], ...]:
    """Return all that decides what a snapshot is, as names and values.

    What vng's dry run prints is not asked for every time, which would take a second: the same vng
    prints the same for the same question.

    Args:
        config: the VM.
        initramfs: its root.
        qemu: the program; known by its file's size and time, which a new version changes.
        cpu: the host's processor.
    """
    status = qemu.stat()
    question = vng_argv(config, root=Path("/root"), results=Path(RESULTS))
    return (
        ("kernel", f"{config.kernel.release} {config.kernel.sha256}"),
        ("root", hashlib.sha256(initramfs).hexdigest()),
        ("qemu", f"{qemu} {status.st_size} {status.st_mtime_ns}"),
        ("vng", metadata.version("virtme-ng")),
        ("command line", " ".join(question)),
        ("accelerator", config.accelerator.name),
        ("host cpu", cpu),
        ("disk", str(_DISK)),
    )


def _get(config: VmConfig, slot: Path, spawner: Spawner, notes: list[str]) -> Snapshot:
    """Return the snapshot in a slot, if it is made of the same as today; else make one."""
    qemu = spawner.which("qemu-system-x86_64")
    if qemu is None:
        raise BootError("qemu-system-x86_64 not found on PATH")
    reseed = guest_tool("reseed", folder=slot.parent, spawner=spawner)
    initramfs = make_initramfs(config.kernel, reseed=reseed, spawner=spawner)
    parts = ingredients(config, initramfs=initramfs, qemu=qemu, cpu=_host_cpu())
    snapshot = load_snapshot(slot)
    if snapshot is not None and snapshot.ingredients == parts:
        return snapshot
    with locked(slot):
        snapshot = load_snapshot(slot)
        if snapshot is not None and snapshot.ingredients == parts:
            return snapshot
        if snapshot is not None:
            old = dict(snapshot.ingredients)
            changed = [name for name, value in parts if old.get(name) != value]
            notes.append(f"new snapshot: {', '.join(changed) or 'what it is made of'} changed")
        with making(slot) as temp:
            made = _make(config, temp, initramfs, parts, spawner)
            save_manifest(made)
            _prove(made, config, spawner)
    return replace(made, folder=slot)


def _make(
    config: VmConfig,
    folder: Path,
    initramfs: bytes,
    parts: tuple[tuple[str, str], ...],
    spawner: Spawner,
) -> Snapshot:
    """Boot, wait until the guest is ready, and save it."""
    with _scratch() as scratch:
        disk = scratch / "disk"
        _blank(disk)
        hermit = spawner.with_env(HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp", TERM="dumb")
        question = vng_argv(config, root=scratch / "root", results=Path(RESULTS))
        told = hermit.run((question[0], "--dry-run", *question[1:]), deadline=_SECONDS).output
        # Above it there may be warnings.
        line = told.strip().rpartition("\n")[2]
        snapshot = Snapshot(
            folder=folder,
            token=secrets.token_hex(8),
            machine=transform(line, own=_own_parameters(question)),
            ingredients=parts,
        )
        snapshot.file("initrd").write_bytes(initramfs)
        console = snapshot.file("console")
        argv = snapshot.argv(
            results=scratch / "results", qmp=scratch / "qmp", disk=disk, restore=False
        )
        with (
            listening(scratch / "results") as results,
            listening(scratch / "qmp") as monitor,
            console.open("ab") as log,
            hermit.spawn(argv, stdout=log, stderr=log) as process,
        ):
            watch = Watch(
                process,
                deadlines=config.deadlines,
                console=console,
                nonce=snapshot.token,
                on_line=lambda line: None,
            )
            control, channel = watch.connection(monitor), watch.connection(results)
            if control is None or channel is None:
                raise SnapshotError("QEMU did not start")
            with control, channel:
                channel.settimeout(config.deadlines.boot)
                try:
                    said = channel.recv(len(_READY))
                except OSError as error:
                    raise SnapshotError(f"the guest did not get ready: {error}") from error
                if said != _READY:
                    raise SnapshotError(f"the guest did not get ready: {watch.last_words()}")
                qmp.save(control, snapshot.file("state"))
    held = tuple(extents(snapshot.file("ram")))
    checksum = measure(snapshot.file("ram"), snapshot.file("state"), held)
    return replace(snapshot, extents=held, checksum=checksum)


def _prove(snapshot: Snapshot, config: VmConfig, spawner: Spawner) -> None:
    """Restore once and do nothing: the frames must come, with this run's nonce.

    Raises:
        SnapshotError: they do not.
    """
    plan = Plan(nonce=secrets.token_hex(16))
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        end = _restore(snapshot, config, plan, folder=Path(folder), spawner=spawner).end
    if end.exit is not VmExit.CLEAN:
        raise SnapshotError(f"a fresh snapshot does not work: {end.describe()}")


def _restore(
    snapshot: Snapshot,
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    deadlines = replace(config.deadlines, boot=config.deadlines.boot / _FASTER)
    with _scratch() as scratch, ThreadPoolExecutor(1) as pool:
        # While QEMU starts: nothing is told to the guest before it is known to be whole.
        verified = pool.submit(snapshot.verify)
        files = payload(plan, tools=snapshot.folder.parent, spawner=spawner)
        _pack(plan, files, scratch / "disk")
        argv = snapshot.argv(
            results=scratch / "results", qmp=scratch / "qmp", disk=scratch / "disk", restore=True
        )
        console = folder / "console.log"
        _begin_console(snapshot, console)
        hermit = spawner.with_env(HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp", TERM="dumb")
        with (
            listening(scratch / "results") as listener,
            listening(scratch / "qmp") as monitor,
            console.open("ab") as log,
            (folder / "results.ktap").open("wb") as ktap,
            hermit.spawn(argv, stdout=log, stderr=log) as process,
        ):
            watch = Watch(
                process,
                deadlines=deadlines,
                console=console,
                nonce=plan.nonce,
                on_line=on_line,
            )
            try:
                if control := watch.connection(monitor):
                    with control:
                        qmp.load(control, snapshot.file("state"))
                verified.result()
            except (qmp.QmpError, SnapshotError) as error:
                seconds = time.monotonic() - watch.start
                end = VmEnd(exit=VmExit.NEVER_BOOTED, detail=str(error), seconds=seconds)
                return VmOutcome(end=end, argv=argv)
            seed = secrets.token_hex(_SEED)
            greeting = f"go {time.time():.0f} {seed}\n".encode()
            end = watch.to_the_end(listener, ktap, greeting=greeting)
        return VmOutcome(end=end, argv=argv)


def _discard(snapshot: Snapshot) -> None:
    """Remove a snapshot, unless another run has made a new one meanwhile."""
    with locked(snapshot.folder):
        found = load_snapshot(snapshot.folder)
        if found is None or found.token == snapshot.token:
            remove_tree(snapshot.folder)


def _begin_console(snapshot: Snapshot, console: Path) -> None:
    try:
        shutil.copyfile(snapshot.file("console"), console)
    except OSError:
        # Another run has thrown the snapshot away; QEMU will say the same.
        console.write_bytes(b"")
    with console.open("ab") as file:
        file.write(_SEAM.encode())


def _pack(plan: Plan, files: tuple[tuple[str, Path], ...], disk: Path) -> None:
    """Write what the guest unpacks in /harness."""
    own = [
        Entry(name="suites", mode=stat.S_IFDIR | 0o755),
        Entry(name="plan", mode=stat.S_IFREG | 0o644, data=plan.text().encode()),
    ]
    try:
        archive = newc([*own, *(_entry(name, path) for name, path in files)])
        disk.write_bytes(archive)
    except OSError as error:
        raise BootError(
            f"cannot pack the tests: {error}", hint="free some space or set TMPDIR"
        ) from error
    if len(archive) > _DISK:
        raise BootError(f"the tests are larger than {_DISK >> 20} MiB", hint="use --cold")
    os.truncate(disk, _DISK)


def _entry(name: str, path: Path) -> Entry:
    return Entry(name=name, mode=stat.S_IFREG | 0o755, data=path.read_bytes())


def _blank(disk: Path) -> None:
    disk.touch()
    os.truncate(disk, _DISK)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        for private in ("home", "tmp", "root"):
            Path(name, private).mkdir()
        yield Path(name)


def _own_parameters(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kernel parameters that a vng command line asks for."""
    return tuple(word for option, word in itertools.pairwise(argv) if option == "--append")


def _host_cpu() -> str:
    """What a guest that was given the host's processor cannot be restored without."""
    first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    kept = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    return "; ".join(line for line in first.splitlines() if line.partition("\t")[0] in kept)
