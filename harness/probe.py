# SPDX-License-Identifier: GPL-2.0
"""Prove KVM by booting a guest with it, once per boot of the host (notes/peers.md 0.1)."""

import secrets
import tempfile
from pathlib import Path

from harness.accel import (
    Accelerator,
    host_identity,
    load_verdict,
    save_verdict,
    without_probe,
)
from harness.guestroot import Plan
from harness.kernel import Kernel
from harness.progress import Progress
from harness.results import VmExit
from harness.run import Spawner
from harness.vm import VmConfig, run_vm
from harness.watch import Deadlines

# KVM that works boots a Debian kernel in two seconds; one that hangs never does.
_DEADLINES = Deadlines(boot=20, silence=20, total=25)


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
    if impossible := without_probe():
        return impossible
    file, identity = cache / "accelerator.json", host_identity()
    if not again and (known := load_verdict(file, identity)):
        return known
    with progress.phase("probe") as phase:
        accelerator = _boot_with_kvm(kernel, spawner)
        phase.done(f"{accelerator.name}: {accelerator.why}")
    # A kernel of the user's own may fail to boot for reasons of its own.
    if accelerator.kvm or kernel.package is not None:
        save_verdict(file, identity, accelerator)
    return accelerator


def _boot_with_kvm(kernel: Kernel, spawner: Spawner) -> Accelerator:
    config = VmConfig(
        kernel=kernel, accelerator=Accelerator(kvm=True, why="probe"), deadlines=_DEADLINES
    )
    with tempfile.TemporaryDirectory(prefix="harness-probe-") as folder:
        end = run_vm(
            config, Plan(nonce=secrets.token_hex(16)), folder=Path(folder), spawner=spawner
        ).end
    if end.exit is VmExit.CLEAN:
        return Accelerator(kvm=True, why=f"a guest booted with it in {end.seconds:.1f} s")
    return Accelerator(kvm=False, why=f"/dev/kvm is there, but no guest boots: {end.detail}")
