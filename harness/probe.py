# SPDX-License-Identifier: GPL-2.0
"""Boot an empty guest once per boot of the host: does KVM work, and how slow is a VM here?

/dev/kvm proves nothing (notes/peers.md 0.1), and how long a VM may take to boot depends on how long
one takes on this host: both are measured by the same boots.
"""

import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.accel import (
    Accelerator,
    host_identity,
    load_verdict,
    save_verdict,
    without_probe,
)
from harness.cache import locked
from harness.guestroot import Plan
from harness.kernel import Kernel
from harness.progress import Progress
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.scratch import scratch_folder
from harness.vm import VmConfig, boot_once
from harness.watch import Deadlines

# KVM that works boots a Debian kernel in two seconds; one that hangs never does.
_DEADLINES = Deadlines(boot=20, silence=20, total=25)
# Seconds from vng's start to the hello of an empty guest, on a real machine under KVM.
_REAL_MACHINE = 1.0
# Before anything is measured: the slowest hosts that were seen, two shared cores without KVM, took
# up to 27 s (tests of six people at once).
_UNMEASURED = 30.0


def choose_accelerator(
    kernel: Kernel, *, cache: Path, spawner: Spawner, progress: Progress, again: bool = False
) -> Accelerator:
    """Return KVM where a guest has booted with it on this boot of the host, else TCG.

    Args:
        kernel: what to boot if the probe has to be made.
        cache: folder that keeps the verdict.
        spawner: starts vng.
        progress: shows the probe, which can take 20 s where KVM hangs.
        again: probe even if a verdict is cached.

    Raises:
        BootError: vng or QEMU is missing.
    """
    impossible = without_probe()
    file, identity = cache / "accelerator.json", host_identity(impossible)
    if not again and (known := load_verdict(file, identity)):
        return known
    with locked(file, waiting=partial(progress.note, "waiting for another run's probe")):
        if not again and (known := load_verdict(file, identity)):
            return known
        return _probe(kernel, impossible, cache=file, spawner=spawner, progress=progress)


def _probe(
    kernel: Kernel,
    impossible: Accelerator | None,
    *,
    cache: Path,
    spawner: Spawner,
    progress: Progress,
) -> Accelerator:
    """Try KVM, or measure TCG, and keep the verdict in a file."""
    with progress.phase("probe") as phase:
        accelerator = impossible or _try_kvm(kernel, spawner)
        if not accelerator.kvm:
            accelerator = _measure_tcg(accelerator, kernel, spawner)
        phase.done(
            f"{accelerator.name}: {accelerator.why}; a guest boots in "
            f"{accelerator.slowness * _REAL_MACHINE:.1f} s"
        )
    # A kernel of the user's own may fail to boot for reasons of its own.
    if accelerator.kvm or kernel.package is not None:
        save_verdict(cache, host_identity(impossible), accelerator)
    return accelerator


def _try_kvm(kernel: Kernel, spawner: Spawner) -> Accelerator:
    end = _boot(kernel, spawner, Accelerator(kvm=True, why="probe"), _DEADLINES)
    if end.exit is VmExit.CLEAN:
        why = f"a guest booted with it in {end.seconds:.1f} s"
        return Accelerator(kvm=True, why=why, slowness=_slowness(end))
    return Accelerator(kvm=False, why=f"/dev/kvm is there, but no guest boots: {end.detail}")


def _measure_tcg(accelerator: Accelerator, kernel: Kernel, spawner: Spawner) -> Accelerator:
    patient = replace(accelerator, slowness=_UNMEASURED)
    end = _boot(kernel, spawner, patient, _DEADLINES)
    # A guest that does not boot here either is for the run to tell.
    return patient if end.boot_seconds is None else replace(patient, slowness=_slowness(end))


def _slowness(end: VmEnd) -> float:
    return max(1.0, (end.boot_seconds or 0.0) / _REAL_MACHINE)


def _boot(
    kernel: Kernel, spawner: Spawner, accelerator: Accelerator, deadlines: Deadlines
) -> VmEnd:
    config = VmConfig(kernel=kernel, accelerator=accelerator, deadlines=deadlines)
    plan = Plan(nonce=secrets.token_hex(16))
    with scratch_folder() as folder:
        return boot_once(config, plan, folder=folder, spawner=spawner).end
