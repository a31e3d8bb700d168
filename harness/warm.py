# SPDX-License-Identifier: GPL-2.0
"""A VM that need not boot: restored from a snapshot that was taken before any test was loaded.

The first run on a kernel boots it, saves it, and proves the copy by canaries (proof.py); later runs
restore that. Each restored guest is sent fresh randomness, the time, and what it is to do: modules,
tests and the script that runs them come on a disk that was empty in the snapshot. Whatever is wrong
with a snapshot ends in a cold boot, never in a verdict: a guest that has not said hello has not
loaded the driver.

Identity: the kernel draws its boot id when it is first asked for it, which is after that. There is
no machine id and no network card, and the host name is the same in every boot, too. What the kernel
drew while it booted (seeds of hashes, the order of free lists) is the same in all copies of one
snapshot; only `--cold` draws anew.
"""

import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from harness.cache import check_folder, locked, making
from harness.errors import HarnessError
from harness.freeze import DISK, freeze, ingredients, root_of, scratch
from harness.guestroot import Plan, payload
from harness.initramfs import Entry, newc
from harness.listener import BootError, listening
from harness.proof import prove
from harness.qmp import QmpError, monitored
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.slots import discard, prune, slot_of, using
from harness.snapshot import Snapshot, SnapshotError, load_snapshot, save_manifest
from harness.vm import VmConfig, VmOutcome, run_vm
from harness.watch import Watch

# A restored guest says hello in a fraction of its boot's time; but the host may be busy now and
# have been idle then.
_BOOTS = 10
_SEED = 64
_SEAM = "[harness] restored: above is the boot that the snapshot was made of, below is this run\n"


def run_warm(
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    cache: Path,
    turn: AbstractContextManager[object] | None = None,
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
        turn: entered before the VM is told what to do, which a restored one waits for, and left
            when it has ended: whoever shares it may get ready, but not run at the same time.
        on_line: called with each line of the results channel as it arrives.

    Raises:
        BootError: vng or QEMU missing, unusable paths.
        CacheError: the cache cannot be used.
    """
    notes: list[str] = []
    turn = turn or nullcontext()
    slot = slot_of(config, check_folder(cache))
    for attempt in (1, 2):
        try:
            snapshot = _get(config, slot, folder, spawner, notes)
        except HarnessError as error:
            notes.append(f"no snapshot: {error}")
            break
        with using(slot):
            outcome = _restore(
                snapshot, config, plan, folder=folder, spawner=spawner, turn=turn, on_line=on_line
            )
        if outcome.end.boot_seconds is not None:
            return replace(outcome, notes=tuple(notes))
        if spawner.leash is not None and spawner.leash.pulled:
            # It is not the snapshot that is to blame.
            return replace(outcome, notes=tuple(notes))
        kept = f"console-restored-{attempt}.log"
        (folder / "console.log").replace(folder / kept)
        notes.append(f"snapshot thrown away: {outcome.end.describe()} ({kept})")
        discard(snapshot)
    notes.append("booted cold")
    with turn:
        outcome = run_vm(config, plan, folder=folder, spawner=spawner, cache=cache, on_line=on_line)
    return replace(outcome, notes=(*notes, *outcome.notes))


def _get(config: VmConfig, slot: Path, logs: Path, spawner: Spawner, notes: list[str]) -> Snapshot:
    """Return the snapshot in a slot, if it is made of the same as today; else make one."""
    qemu = spawner.which("qemu-system-x86_64")
    if qemu is None:
        raise BootError("qemu-system-x86_64 not found on PATH")
    root = root_of(config, folder=slot.parent, spawner=spawner)
    parts = ingredients(config, root=root, qemu=qemu)
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
            made = freeze(config, parts=parts, root=root, folder=temp, logs=logs, spawner=spawner)
            save_manifest(made)
            prove(
                lambda plan, place: (
                    _restore(
                        made, config, plan, folder=place, spawner=spawner, turn=nullcontext()
                    ).end
                ),
                release=config.kernel.release,
                logs=logs,
            )
    prune(slot.parent.parent)
    return replace(made, folder=slot)


def _restore(
    snapshot: Snapshot,
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    turn: AbstractContextManager[object],
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    with scratch() as place, ThreadPoolExecutor(1) as pool:
        # While QEMU starts: nothing is told to the guest before it is known to be whole.
        verified = pool.submit(snapshot.verify)
        files = payload(plan, tools=snapshot.folder.parent, spawner=spawner)
        _pack(plan, files, place / "disk")
        argv = snapshot.argv(
            results=place / "results", qmp=place / "qmp", disk=place / "disk", restore=True
        )
        console = folder / "console.log"
        _begin_console(snapshot, console)
        hermit = spawner.with_env(HOME=f"{place}/home", TMPDIR=f"{place}/tmp", TERM="dumb")
        with (
            listening(place / "results") as listener,
            listening(place / "qmp") as control,
            console.open("ab") as log,
            (folder / "results.ktap").open("wb") as ktap,
            hermit.spawn(argv, stdout=log, stderr=log) as process,
        ):
            watch = Watch(
                process,
                deadlines=config.deadlines,
                slowness=config.accelerator.slowness,
                boot=snapshot.boot_seconds * _BOOTS,
                console=console,
                nonce=plan.nonce,
                on_line=on_line,
            )
            with monitored(watch.connection(control), watch.clock) as monitor, ExitStack() as held:
                try:
                    if monitor is not None:
                        monitor.load(snapshot.file("state"))
                    verified.result()
                except (QmpError, SnapshotError) as error:
                    seconds = time.monotonic() - watch.start
                    end = VmEnd(exit=VmExit.NEVER_BOOTED, detail=str(error), seconds=seconds)
                    return VmOutcome(end=end, argv=argv)
                with watch.standing_by():
                    held.enter_context(turn)
                seed = secrets.token_hex(_SEED)
                greeting = f"go {time.time():.0f} {seed}\n".encode()
                end = watch.to_the_end(listener, ktap, monitor=monitor, greeting=greeting)
        return VmOutcome(end=end, argv=argv, hung=watch.hung)


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
    if len(archive) > DISK:
        raise BootError(f"the tests are larger than {DISK >> 20} MiB", hint="use --cold")
    os.truncate(disk, DISK)


def _entry(name: str, path: Path) -> Entry:
    return Entry(name=name, mode=stat.S_IFREG | 0o755, data=path.read_bytes())
