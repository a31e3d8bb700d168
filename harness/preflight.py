# SPDX-License-Identifier: GPL-2.0
"""See that the tools for a VM are there, before minutes are spent on building for it."""

from harness.errors import HarnessError
from harness.guestroot import find_busybox
from harness.run import Spawner

# Tool, and what it is for.
_TOOLS = (
    ("vng", "boots the VMs"),
    ("qemu-system-x86_64", "is the VM"),
    ("busybox", "is the guest's userspace"),
    ("cc", "compiles the tests"),
    ("make", "builds the modules"),
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
    missing = [f"{tool} ({what})" for tool, what in _TOOLS if spawner.which(tool) is None]
    if missing:
        raise MissingToolError(
            f"not found on PATH: {', '.join(missing)}", hint="run ci/install-deps, or `make check`"
        )
    find_busybox(spawner)
