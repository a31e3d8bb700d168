# SPDX-License-Identifier: GPL-2.0
"""The guest's root folder: busybox, our one script, the modules and the test binaries.

Two megabytes and no udev: that is what makes the boot fast (notes/measured.md: 4.8 s instead of
19.1 s under TCG).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.guesttool import guest_tool
from harness.kernel import Kernel
from harness.run import Spawner

_SCRIPT = Path(__file__).parent / "guest" / "run-tests"
_LEAKS = _SCRIPT.with_name("leaks")
_COUNTERS = _SCRIPT.with_name("counters")
PORTS = _SCRIPT.with_name("ports")
# virtme-ng's init mounts or overlays these and gives up where one is missing.
_FOLDERS = (
    *("bin", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "root", "run", "srv", "sys"),
    *("tmp", "usr", "var", "harness/suites"),
)


class GuestRootError(HarnessError):
    """The guest's root could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A module for the guest to insmod.

    Attributes:
        ko: the file.
        parameters: such as "device_name=udmabuf".
        watched: whether no test may leave a user of it behind.
        objects: folder in which it was made, if it counts what is executed (kmod.py): its counters
            are sent at the end.
    """

    ko: Path
    parameters: tuple[str, ...] = ()
    watched: bool = True
    objects: Path | None = None

    @property
    def verb(self) -> str:
        """What the plan calls it."""
        return "module" if self.watched else "support"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """A suite for the guest to run: name, static program, and the ids to run (none: all)."""

    name: str
    binary: Path
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the guest is to do: load these modules, then run these suites, in order.

    Attributes:
        nonce: marks this run's frames on the results channel.
        loads: modules, in order.
        suites: suites, in order.
        seed: what random choices of the tests start from; None leaves it to them.
    """

    nonce: str
    loads: tuple[Load, ...] = ()
    suites: tuple[SuiteRun, ...] = ()
    seed: int | None = None

    def text(self) -> str:
        """The plan file that `guest/run-tests` reads."""
        lines = [f"nonce {self.nonce}"]
        if self.seed is not None:
            lines.append(f"seed {self.seed}")
        lines += [" ".join((load.verb, load.ko.name, *load.parameters)) for load in self.loads]
        counting = (f"gcov {load.ko.stem} {load.objects}" for load in self.loads if load.objects)
        lines += counting
        for suite in self.suites:
            words = (word for id_ in suite.ids for word in ("-r", id_))
            lines.append(" ".join(("suite", suite.name, *words)))
        return "\n".join(lines) + "\n"


def payload(plan: Plan, *, tools: Path, spawner: Spawner) -> tuple[tuple[str, Path], ...]:
    """Return what a guest needs in /harness beside the plan: name there, file here.

    Args:
        plan: what the guest will do.
        tools: folder that keeps compiled guest programs.
        spawner: runs their compiler.

    Raises:
        HarnessError: a guest program cannot be compiled.
    """
    return (
        ("run-tests", _SCRIPT),
        ("leaks", _LEAKS),
        ("counters", _COUNTERS),
        ("ports", PORTS),
        ("speed", guest_tool("speed", folder=tools, spawner=spawner)),
        *((load.ko.name, load.ko) for load in plan.loads),
        *((f"suites/{suite.name}", suite.binary) for suite in plan.suites),
    )


def make_guest_root(
    target: Path, *, kernel: Kernel, plan: Plan, spawner: Spawner, tools: Path
) -> None:
    """Fill an empty folder with the guest's root.

    Args:
        target: the folder; created.
        kernel: taken for virtio_console where it is a module.
        plan: what the guest will do; its files are copied in.
        spawner: finds and asks busybox, runs the compiler.
        tools: folder that keeps compiled guest programs.

    Raises:
        GuestRootError: no static busybox, or the folder could not be filled.
        HarnessError: a guest program cannot be compiled.
    """
    busybox = find_busybox(spawner)
    applets = spawner.run([busybox, "--list"], deadline=10).output.split()
    files = payload(plan, tools=tools, spawner=spawner)
    try:
        for folder in _FOLDERS:
            (target / folder).mkdir(parents=True, exist_ok=True)
        (target / "sbin").symlink_to("bin")
        shutil.copy(busybox, target / "bin/busybox")
        for applet in sorted({"sh", *applets} - {"busybox"}):
            (target / "bin" / applet).symlink_to("busybox")
        # virtme-ng's init binds /dev/null over it.
        (target / "etc/fstab").touch()
        (target / "harness/plan").write_text(plan.text())
        console = _virtio_console(kernel)
        if console is not None:
            shutil.copy(console, target / "harness/virtio_console.ko")
        for name, file in files:
            shutil.copy(file, target / "harness" / name)
    except OSError as error:
        raise GuestRootError(
            f"cannot make the guest's root: {error}", hint="free some space or set TMPDIR"
        ) from error


def find_busybox(spawner: Spawner) -> Path:
    """Return the static busybox on PATH.

    Raises:
        GuestRootError: none there, or one that needs shared libraries.
    """
    hint = "install it: ci/install-deps, or apt-get install busybox-static"
    busybox = spawner.which("busybox")
    if busybox is None:
        raise GuestRootError("busybox not found on PATH", hint=hint)
    with busybox.open("rb") as file:
        # The root has no shared libraries: a PT_INTERP would fail in the guest as "not found".
        if b"ld-linux" in file.read(4096):
            raise GuestRootError(f"{busybox} is not static", hint=hint)
    return busybox


def _virtio_console(kernel: Kernel) -> Path | None:
    if kernel.moddir is None:
        return None
    found = sorted(kernel.moddir.glob("kernel/drivers/char/virtio_console.ko*"))
    return found[0] if found else None
