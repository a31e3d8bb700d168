# SPDX-License-Identifier: GPL-2.0
"""virtme-ng's QEMU command line, taken from its dry run, made fit for snapshots. Pure.

virtme-ng mounts its guest tools over 9p, which blocks snapshots, and talks to its init through
virtio ports of its own. Those parts are left out, and an initramfs with our init takes their
place; machine, processor, memory, console, kernel parameters and our results port stay as they
are. Every part is known by name: one that is not raises, so that a new virtme-ng cannot change
what a snapshot is without somebody looking.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import HarnessError

# virtme-ng joins its words into a shell line and quotes only some of them (notes/style.md 2.7).
UNSAFE = re.compile(r"[^A-Za-z0-9_./+:@%=~,-]")

_FLAGS = ("-no-reboot", "-enable-kvm")
_KEPT = (
    *("-name", "-machine", "-accel", "-cpu", "-smp", "-parallel", "-net", "-vga", "-display"),
    *("-serial", "-kernel"),
)
# Devices and character devices, as anchored expressions: what stays, what is virtme-ng's own.
_KEPT_PARTS = (
    r"-device i6300esb,id=watchdog0",
    r"-chardev socket,id=harness,path=[^,]+",
    r"-device virtio-serial-pci,id=harness",
    r"-device virtserialport,bus=harness\.0,chardev=harness,name=harness\.results",
    r"-device intel-iommu,intremap=off",
    r"-device edu",
)
_DROPPED_PARTS = (
    r"-fsdev local,id=virtfs\d+,path=[^,]+,security_model=none,readonly=on,multidevs=remap",
    r"-device virtio-9p-pci,fsdev=virtfs\d+,mount_tag=(/dev/root|virtme\.guesttools)",
    r"-chardev stdio,id=stdin,signal=on,mux=off",
    r"-chardev file,id=(stdout|dev_stdout),path=/proc/self/fd/1",
    r"-chardev file,id=(stderr|dev_stderr),path=/proc/self/fd/2",
    r"-chardev file,id=ret,path=[^,]+",
    r"-device virtio-serial-pci",
    r"-device virtserialport,name=virtme\.\w+,chardev=\w+",
    r"-initrd /proc/self/fd/\d+",
)
_CONSOLE = "file,id=console,path=/proc/self/fd/2"
_MEMORY = re.compile(r"(\d+)M")
# A long line's init commands are in a script in the root.
_INIT = re.compile(r' init=/bin/sh (-- -c ".*virtme-ng-init"|/virtme-init-\w+)$')
_KEPT_PARAMETERS = ("nr_open", "console", "earlyprintk", "panic", "loglevel")
_DROPPED_PARAMETERS = re.compile(
    r"virtme_(hostname|root_mods|rw_overlay\d+|console|root_user)=\S*|virtme\.exec=`[^`]*`"
    # A kernel with 9p built in mounts its root without an initramfs.
    r"|rootfstype=9p|rootflags=version=9p2000\.L,\S*|raid=noautodetect|ro"
)


class DriftError(HarnessError):
    """virtme-ng's command line has a part that the transformation does not know."""

    def __init__(self, part: str) -> None:
        super().__init__(
            f"virtme-ng's command line has an unknown part: {part}",
            hint="teach harness/vngline.py what it is; --cold does without",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is left of virtme-ng's line.

    Attributes:
        argv: QEMU and its options; complete but for memory, root and control.
        append: the kernel's parameters.
        memory: MiB.
    """

    argv: tuple[str, ...]
    append: str
    memory: int


def transform(line: str, *, own: tuple[str, ...]) -> Machine:
    """Take apart what `vng --dry-run` prints.

    Args:
        line: its output.
        own: kernel parameters that we asked for; they are kept.

    Raises:
        DriftError: an option, device or kernel parameter that is not known.
    """
    argv: list[str] = []
    append: str | None = None
    memory: int | None = None
    qemu, *words = shlex.split(line)
    for option, value in _options(words):
        part = f"{option} {value}".rstrip()
        if option in _FLAGS:
            argv.append(option)
        elif option == "-append":
            append = _parameters(value, own)
        elif option == "-m" and (size := _MEMORY.fullmatch(value)):
            memory = int(size[1])
        elif option in _KEPT or _matches(_KEPT_PARTS, part):
            argv += (option, value)
        elif option == "-chardev" and value == _CONSOLE:
            # The log begins with the boot that the snapshot was made of: not to be truncated.
            argv += (option, f"{value},append=on")
        elif not _matches(_DROPPED_PARTS, part):
            raise DriftError(part)
    if append is None or memory is None:
        raise DriftError("no -append or no -m")
    return Machine(argv=(qemu, *argv), append=append, memory=memory)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Pair options with their values; a flag's value is ""."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            raise DriftError(word)
        yield word, "" if word in _FLAGS else next(rest, "")


def _matches(expressions: tuple[str, ...], part: str) -> bool:
    return any(re.fullmatch(expression, part) for expression in expressions)


def _parameters(text: str, own: tuple[str, ...]) -> str:
    kernels, count = _INIT.subn("", text)
    if count != 1:
        raise DriftError(f"-append {text}")
    kept = []
    for word in kernels.split(" "):
        if word in own or word.partition("=")[0] in _KEPT_PARAMETERS:
            kept.append(word)
        elif not _DROPPED_PARAMETERS.fullmatch(word):
            raise DriftError(f"kernel parameter {word}")
    # The tests may look at it; virtme-ng's init would have set it.
    hostname = re.search(r"virtme_hostname=(\S+)", kernels)
    name = hostname[1] if hostname else "virtme-ng"
    return " ".join((*kept, f"harness_hostname={name}", "rdinit=/init"))
