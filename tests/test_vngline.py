# SPDX-License-Identifier: GPL-2.0
"""virtme-ng's command line, made fit for snapshots; and whether it is still the one we know."""

import os
import shlex
from pathlib import Path

import pytest

from harness.accel import Accelerator
from harness.interrogate import PARAMETERS
from harness.run import Spawner
from harness.snapshot import RESULTS
from harness.vm import VmConfig, vng_argv
from harness.vngline import DriftError, transform
from tests.test_vm import GENEROUS, fake_kernel

LINE = (Path(__file__).parent / "data" / "vng-dry-run.txt").read_text()
OWN = (
    *("cryptomgr.notests", "loglevel=5", "printk.devkmsg=on", "oops=panic", *PARAMETERS),
    "mitigations=off",
)


def test_what_is_left() -> None:
    machine = transform(LINE, own=OWN)
    assert machine.memory == 1024
    assert shlex.join(machine.argv) == (
        "qemu-system-x86_64 -name virtme-ng -device i6300esb,id=watchdog0 -machine q35 -cpu max "
        "-parallel none -net none -smp 2 -vga none -display none -serial chardev:console "
        "-chardev file,id=console,path=/proc/self/fd/2,append=on -no-reboot -kernel /boot/vmlinux "
        "-cpu max,erms=off,fsrm=off,la57=off "
        "-chardev socket,id=harness,path=/harness/results -device virtio-serial-pci,id=harness "
        "-device virtserialport,bus=harness.0,chardev=harness,name=harness.results"
    )
    assert machine.append == (
        "nr_open=1048576 console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1 loglevel=7 "
        "cryptomgr.notests loglevel=5 printk.devkmsg=on oops=panic "
        "sysrq_always_enabled unknown_nmi_panic irqaffinity=0 mitigations=off "
        "harness_hostname=virtme-ng rdinit=/init"
    )


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ("-vga none", "-vga none -new-option x"),
        ("-vga none", "-vga none -device e1000"),
        ("mount_tag=/dev/root", "mount_tag=virtme.initmount0"),
        ("id=dev_stderr,path=/proc/self/fd/2", "id=dev_stderr,path=/proc/self/fd/5"),
        ("-m 1024M", "-m 1G"),
        ("virtme_root_user=1", "virtme_root_user=1 virtme_new=1"),
        ("panic=-1", "panic=-1 nokaslr"),
        ("/bin/virtme-ng-init", "/bin/another-init"),
        ("-no-reboot", "-no-reboot stray"),
        ("-append", "-nothing"),
    ],
)
def test_a_part_that_is_not_known(known: str, unknown: str) -> None:
    assert known in LINE
    with pytest.raises(DriftError):
        transform(LINE.replace(known, unknown, 1), own=OWN)


def test_a_long_lines_init_is_a_script() -> None:
    start = LINE.index(" init=/bin/sh")
    end = LINE.index("virtme-ng-init\"'") + len('virtme-ng-init"')
    line = LINE[:start] + " init=/bin/sh /virtme-init-b37yss2r" + LINE[end:]
    assert transform(line, own=OWN) == transform(LINE, own=OWN)


@pytest.mark.parametrize("kvm", [False, True])
def test_virtme_ng_has_not_drifted(kvm: bool, tmp_path: Path) -> None:
    """Ask the installed virtme-ng, which does not look at the kernel's content."""
    if kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("virtme-ng says nothing of KVM to who may not open /dev/kvm")
    config = VmConfig(
        kernel=fake_kernel(), accelerator=Accelerator(kvm=kvm, why="test"), deadlines=GENEROUS
    )
    argv = vng_argv(config, root=tmp_path, results=Path(RESULTS))
    image = tmp_path / "vmlinux"
    image.touch()
    argv = tuple(word.replace("/boot/vmlinux", str(image)) for word in argv)
    spawner = Spawner(
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    )
    said = spawner.run(("vng", "--dry-run", *argv[1:]), deadline=60).output
    machine = transform(said.strip().rpartition("\n")[2], own=OWN)
    words = list(machine.argv)
    assert words[words.index("-machine") + 1] == ("accel=kvm:tcg" if kvm else "q35")
    append = transform(LINE, own=OWN).append
    assert machine.append == (append.replace("mitigations=off ", "") if kvm else append)
    if not kvm:
        assert words[1:] == [
            word.replace("/boot/vmlinux", str(image)) for word in transform(LINE, own=OWN).argv[1:]
        ]


def test_an_iommu_stays() -> None:
    devices = "-machine sata=off -device intel-iommu,intremap=off -device edu"
    line = LINE.replace("-vga none", f"-vga none {devices}", 1)
    assert devices in shlex.join(transform(line, own=OWN).argv)
