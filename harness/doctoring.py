# SPDX-License-Identifier: GPL-2.0
"""`harness doctor`: the tools, the accelerator, the cache, and what to do if one is bad."""

import os
import shutil

from harness.place import Place
from harness.probe import choose_accelerator
from harness.runner import kernel_store

# Tool, and why the harness wants it.
_TOOLS = (
    ("vng", "boots the VMs"),
    ("qemu-system-x86_64", "is the VM"),
    ("busybox", "is the guest's userspace"),
    ("gcc", "builds tests and modules"),
    ("make", "builds modules"),
    ("depmod", "indexes the kernel's modules"),
    ("apt-get", "fetches kernels from Debian"),
    ("dpkg-deb", "unpacks them"),
    ("mmdebstrap", "makes build roots for kernels whose compiler this host lacks"),
)


def doctor(place: Place, kernel_name: str) -> int:
    """Print what this host offers; boots a guest with KVM to know about it.

    Returns:
        0, or 2 when a tool is missing without which nothing runs.
    """
    say = place.progress.console.print
    missing = 0
    for tool, why in _TOOLS:
        path = place.spawner.which(tool)
        missing += path is None
        say(f"{tool:<20} {path or f'MISSING: {why}; run ci/install-deps'}", highlight=False)
    qemu = place.spawner.which("qemu-system-x86_64")
    if qemu is not None:
        version = place.spawner.run([qemu, "--version"], deadline=10).output.splitlines()[0]
        say(f"{'qemu version':<20} {version}", highlight=False)
    say(f"{'cpus':<20} {os.cpu_count()}", highlight=False)
    place.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.cache).free >> 20
    say(f"{'cache':<20} {place.cache}, {free} MiB free", highlight=False)
    if missing:
        return 2
    kernel = kernel_store(place).get(kernel_name)
    accelerator = choose_accelerator(
        kernel, cache=place.cache, spawner=place.spawner, progress=place.progress, again=True
    )
    say(f"{'accelerator':<20} {accelerator.name}: {accelerator.why}", highlight=False)
    return 0
