# SPDX-License-Identifier: GPL-2.0
"""The host's tools: what each is for, and whether they are there before minutes are spent."""

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.guestroot import find_busybox
from harness.run import Spawner

_QEMU = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that the harness runs.

    Attributes:
        name: on PATH.
        why: what it does for us.
        always: whether every check needs it, however much is cached.
    """

    name: str
    why: str
    always: bool = True


TOOLS = (
    Tool(name="vng", why="boots the VMs"),
    Tool(name=_QEMU, why="is the VM"),
    Tool(name="busybox", why="is the guest's userspace"),
    Tool(name="cc", why="compiles the tests"),
    Tool(name="make", why="builds the modules"),
    Tool(name="depmod", why="indexes the kernel's modules", always=False),
    Tool(name="apt-get", why="fetches kernels from Debian", always=False),
    Tool(name="dpkg-deb", why="unpacks them", always=False),
    Tool(
        name="mmdebstrap",
        why="makes build roots for kernels whose compiler this host lacks",
        always=False,
    ),
)


class MissingToolError(HarnessError):
    """A tool without which no VM runs is not on PATH."""


def preflight(spawner: Spawner) -> None:
    """Return if every tool is there that a VM and what runs in it needs.

    Args:
        spawner: has the PATH.

    Raises:
        MissingToolError: names all that are missing, in one line.
        GuestRootError: busybox needs shared libraries, which the guest does not have.
    """
    missing = [
        f"{tool.name} ({tool.why})"
        for tool in TOOLS
        if tool.always and spawner.which(tool.name) is None
    ]
    if missing:
        raise MissingToolError(
            f"not found on PATH: {', '.join(missing)}", hint="run ci/install-deps, or `make check`"
        )
    find_busybox(spawner)


def qemu_version(spawner: Spawner) -> str:
    """Return QEMU's own words; "" without QEMU."""
    qemu = spawner.which(_QEMU)
    if qemu is None:
        return ""
    lines = spawner.run([qemu, "--version"], deadline=30).output.splitlines()
    return lines[0] if lines else ""
