# SPDX-License-Identifier: GPL-2.0
"""Is it the emulator's fault: what an old QEMU does to a sound kernel. Pure.

QEMU before 8.1 may run a translation of code that the guest has patched meanwhile: the guest meets
the breakpoint that stands there while it patches, without the entry that explains it, and oopses
("int3: 0000"). It takes two threads under TCG, and a kernel that patches itself, as for a static
key. Fixed by QEMU's commit deba78709ae8, "accel/tcg: Always lock pages before translation". One
thread is the way around it where nothing races: it is as fast for a boot, which patches most, and
the guest sees as many CPUs. The tests for races need two.
"""

import re

# For QEMU under TCG.
ONE_THREAD = ("-accel", "tcg,thread=single")
_FIXED = (8, 1)
_VERSION = re.compile(r"\bversion (\d+)\.(\d+)")
_INT3 = re.compile(r"int3\b")


def excuse(title: str, *, accelerator: str, qemu: str) -> str:
    """Return why a splat says nothing about the kernel; "" when it does.

    Args:
        title: of the splat.
        accelerator: "kvm" or "tcg".
        qemu: the first line of what `qemu --version` said.
    """
    found = _VERSION.search(qemu)
    version = (int(found[1]), int(found[2])) if found else _FIXED
    if accelerator != "tcg" or version >= _FIXED or not _INT3.match(title):
        return ""
    return (
        f"a bug of QEMU {version[0]}.{version[1]}, which runs patched code"
        " (fixed in 8.1 by deba78709ae8): run it again"
    )
