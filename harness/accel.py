# SPDX-License-Identifier: GPL-2.0
"""Which accelerator a VM gets, and why: KVM only where a guest has been booted with it.

/dev/kvm can open, create VMs and virtual CPUs, and still hang every stock guest (nested PVM
hosts; notes/peers.md 0.1): no ioctl tells, only a boot does.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.voucher import boot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """An accelerator.

    Attributes:
        kvm: KVM, else TCG.
        why: the reason for the choice, one line.
        slowness: by how much a VM here boots slower than on a real machine under KVM; at least 1.
    """

    kvm: bool
    why: str
    slowness: float = 1.0

    @property
    def name(self) -> str:
        """QEMU's name for it."""
        return "kvm" if self.kvm else "tcg"


def without_probe(device: Path = Path("/dev/kvm")) -> Accelerator | None:
    """Return TCG where KVM is out of the question without a probe, else None."""
    if not device.exists():
        return Accelerator(kvm=False, why=f"no {device}")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Accelerator(kvm=False, why=f"{device}: {error.strerror}")
    return None


def host_identity(impossible: Accelerator | None) -> str:
    """What a probe's verdict holds for: this boot of this host, and why KVM is out, if it is."""
    boot = boot_id()
    return boot if impossible is None else f"{boot} {impossible.why}"


def load_verdict(file: Path, identity: str) -> Accelerator | None:
    """Read a cached verdict; None when there is none for this identity."""
    try:
        verdict = json.loads(file.read_text())
        if verdict["identity"] == identity:
            return Accelerator(
                kvm=bool(verdict["kvm"]),
                why=str(verdict["why"]),
                slowness=max(1.0, float(verdict["slowness"])),
            )
    except (OSError, ValueError, KeyError, TypeError):
        # Absent, half a file or another schema: the probe is repeated.
        return None
    return None


def save_verdict(file: Path, identity: str, accelerator: Accelerator) -> None:
    """Keep a verdict, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"identity": identity, **asdict(accelerator)}))
    temporary.replace(file)
