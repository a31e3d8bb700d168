# SPDX-License-Identifier: GPL-2.0
"""Boot one VM through virtme-ng, watch it to its end, and leave nothing behind.

Two streams leave the guest and never share a parser: the console, which virtme-ng's `-v` puts on
stderr and which goes straight to a file from the first byte; and the results, on a virtio-serial
port of our own, connected to a socket that watch.py reads (the framing is in transcript.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.accel import Accelerator
from harness.guestroot import Plan, make_guest_root
from harness.interrogate import PARAMETERS
from harness.kernel import Kernel
from harness.listener import BootError, listening
from harness.qmp import monitored
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.scratch import scratch_folder
from harness.vngline import UNSAFE
from harness.watch import REAL_MACHINE, Deadlines, Watch

_CMDLINE = (
    # Debian's built-in ciphers test themselves and ask for modules that virtme-ng's initramfs does
    # not have: a good second under TCG.
    "cryptomgr.notests",
    # Each byte on the serial console costs TCG an exit: 0.8 s less until the guest's script says
    # `printk 7`. Warnings and worse are on the console from the first byte.
    "loglevel=5",
    "printk.devkmsg=on",
    # What comes after an oops in the same kernel is no verdict.
    "oops=panic",
    *PARAMETERS,
)
# With the first two features Linux clears and copies memory a byte at a time, and TCG emulates each
# one: without them it is a word at a time, 3 times faster for a huge page, and a third off a page
# fault. With the last one each miss of the TLB walks a fifth level of page tables.
_TCG_CPU = "-cpu max,erms=off,fsrm=off,la57=off"
# An emulated CPU speculates nothing. This and the level less take 4 % off the tests.
_TCG_CMDLINE = ("mitigations=off",)
# A kernel that is told to use an IOMMU gets one, and a device behind it that does nothing by itself
# (our importer's, selftests/modules): platform devices never are behind one. Interrupts stay as
# they are: remapping them would take another interrupt controller. The disk controller, which has
# no disk, would refuse to be restored: it looks for its buffers while nothing is mapped yet.
_IOMMU = "intel_iommu=on"
_IOMMU_MACHINE = ("-machine sata=off", "-device intel-iommu,intremap=off", "-device edu")


# Races need two.
VM_CPUS = 2
# MiB.
VM_MEMORY = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VmConfig:
    """One VM: what to boot and how.

    Attributes:
        kernel: what to boot.
        accelerator: KVM or TCG, with the reason.
        memory: MiB.
        cpus: virtual CPUs.
        cmdline: further kernel parameters.
        deadlines: limits of patience with a real machine.
    """

    kernel: Kernel
    accelerator: Accelerator
    deadlines: Deadlines = REAL_MACHINE
    memory: int = VM_MEMORY
    cpus: int = VM_CPUS
    cmdline: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VmOutcome:
    """How one VM went.

    Attributes:
        end: its end.
        argv: the command that made it.
        notes: what the reader should know: a snapshot that could not be used, a second boot.
        hung: whether it had to be killed.
    """

    end: VmEnd
    argv: tuple[str, ...]
    notes: tuple[str, ...] = ()
    hung: bool = False


def vng_argv(
    config: VmConfig, *, root: Path, results: Path, qmp: Path | None = None
) -> tuple[str, ...]:
    """The vng command line for a VM.

    Args:
        config: the VM.
        root: the guest's root folder.
        results: Unix socket that QEMU connects to for the results channel.
        qmp: the same for QEMU's monitor; None for no monitor.

    Raises:
        BootError: a word that virtme-ng's shell line would break.
    """
    qemu = (
        # Behind virtme-ng's own, of which it takes the place.
        *(() if config.accelerator.kvm else (_TCG_CPU,)),
        f"-chardev socket,id=harness,path={results}",
        "-device virtio-serial-pci,id=harness",
        "-device virtserialport,bus=harness.0,chardev=harness,name=harness.results",
        *(_IOMMU_MACHINE if _IOMMU in config.cmdline else ()),
        *(() if qmp is None else (f"-chardev socket,id=qmp,path={qmp}",)),
        *(() if qmp is None else ("-mon chardev=qmp,mode=control",)),
    )
    argv = (
        *machine_argv(config, root=root),
        "--verbose",
        f"--qemu-opts={' '.join(qemu)}",
        *("--", "/harness/run-tests"),
    )
    check_words(*(str(socket) for socket in (results, qmp) if socket is not None))
    return argv


def machine_argv(config: VmConfig, *, root: Path) -> tuple[str, ...]:
    """The words of vng's command line that make the machine, whatever is to run in it.

    Raises:
        BootError: a word that virtme-ng's shell line would break.
    """
    check_words(str(config.kernel.image), str(root), *config.cmdline)
    emulated = () if config.accelerator.kvm else _TCG_CMDLINE
    cmdline = (*_CMDLINE, *emulated, *config.cmdline)
    return (
        *("vng", "--run", str(config.kernel.image)),
        *("--root", str(root), "--user", "root"),
        # As root on Debian 12 virtme-ng takes QEMU's old C virtiofsd for the Rust one and
        # waits 3.1 s for it (notes/peers.md 0.2).
        "--force-9p",
        "--disable-microvm",
        *(() if config.accelerator.kvm else ("--disable-kvm",)),
        *("--memory", f"{config.memory}M", "--cpus", str(config.cpus)),
        *(word for item in cmdline for word in ("--append", item)),
    )


def check_words(*words: str) -> None:
    """Refuse words that virtme-ng's shell line would break; raises BootError."""
    for word in words:
        if unsafe := UNSAFE.search(word):
            raise BootError(
                f"virtme-ng cannot take {unsafe[0]!r} in {word!r}",
                hint="move it to a path of plain letters, digits and ./_-+",
            )


def run_vm(
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    cache: Path | None = None,
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    """Boot a VM, let it carry out a plan, and return how it ended.

    One that dies before userspace has judged nothing and loaded nothing: it is booted once more.
    (QEMU before 8.1 runs code that the kernel has patched meanwhile, about once in a hundred boots
    under TCG on a busy host: "Oops: int3", or a reset without a word. Fixed by its commit
    deba78709ae8, "accel/tcg: Always lock pages before translation".)

    Writes `console.log`, `results.ktap` and `vng.log` (virtme-ng's own words) into `folder`; what
    a first boot in vain said is in `console-1.log` and `vng-1.log`.

    Args:
        config: the VM.
        plan: what the guest does.
        folder: the run folder; exists.
        spawner: starts vng; gets a private HOME and TMPDIR, so that no setting of the user's
            virtme-ng leaks in and nothing of it stays in /tmp.
        cache: the user's cache folder of this project; None keeps nothing.
        on_line: called with each line of the results channel as it arrives.

    Raises:
        BootError: vng or QEMU missing, unusable paths.
    """
    first = boot_once(config, plan, folder=folder, spawner=spawner, cache=cache, on_line=on_line)
    # The next one would take as long to hang.
    if first.end.exit is not VmExit.NEVER_BOOTED or first.hung:
        return first
    for name in ("console", "vng"):
        (folder / f"{name}.log").rename(folder / f"{name}-1.log")
    second = boot_once(config, plan, folder=folder, spawner=spawner, cache=cache, on_line=on_line)
    note = f"booted once more: {first.end.describe()} (console-1.log)"
    return replace(second, notes=(note, *second.notes))


def boot_once(
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    cache: Path | None = None,
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    """Do as :func:`run_vm`, but without a second boot."""
    for tool in ("vng", "qemu-system-x86_64"):
        if spawner.which(tool) is None:
            raise BootError(
                f"{tool} not found on PATH", hint="run ci/install-deps, or `make check`"
            )
    with scratch_folder() as scratch:
        root, results, qmp = (Path(scratch, name) for name in ("root", "results", "qmp"))
        argv = vng_argv(config, root=root, results=results, qmp=qmp)
        for private in ("home", "tmp"):
            Path(scratch, private).mkdir()
        tools = (cache or Path(scratch)) / "guest-tools"
        make_guest_root(root, kernel=config.kernel, plan=plan, spawner=spawner, tools=tools)
        hermit = spawner.with_env(HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp", TERM="dumb")
        console = folder / "console.log"
        console.write_bytes(b"")
        with (
            listening(results) as listener,
            listening(qmp) as control,
            # To append: QEMU writes the guest's words at an offset of its own, and what it says
            # itself when it dies must not land on the first ones.
            console.open("ab") as errors,
            (folder / "vng.log").open("wb") as chatter,
            (folder / "results.ktap").open("wb") as ktap,
            hermit.spawn(argv, stdout=chatter, stderr=errors) as process,
        ):
            watch = Watch(
                process,
                deadlines=config.deadlines,
                slowness=config.accelerator.slowness,
                console=console,
                chatter=folder / "vng.log",
                nonce=plan.nonce,
                on_line=on_line,
            )
            with monitored(watch.connection(control), watch.clock) as monitor:
                end = watch.to_the_end(listener, ktap, monitor=monitor)
        return VmOutcome(end=end, argv=argv, hung=watch.hung)
