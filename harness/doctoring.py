# SPDX-License-Identifier: GPL-2.0
"""`harness doctor`: the tools, the accelerator, the cache, and what to do if one is bad."""

import os
import shutil

from harness.hostcpus import host_cpus
from harness.place import Place
from harness.preflight import TOOLS, qemu_version
from harness.probe import choose_accelerator
from harness.runner import kernel_store


def doctor(place: Place, kernel_name: str) -> int:
    """Print what this host offers; boots a guest with KVM to know about it.

    Returns:
        0, or 2 when a tool is missing without which nothing runs.
    """
    say = place.progress.console.print
    missing = 0
    for tool in TOOLS:
        path = place.spawner.which(tool.name)
        missing += path is None
        words = path or f"MISSING: {tool.why}; run ci/install-deps"
        say(f"{tool.name:<20} {words}", highlight=False)
    say(f"{'qemu version':<20} {qemu_version(place.spawner)}", highlight=False)
    say(f"{'cpus':<20} {host_cpus()} of {os.cpu_count()}", highlight=False)
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
