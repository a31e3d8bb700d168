# SPDX-License-Identifier: GPL-2.0
"""What a kernel is called: 6.12, sid, 6.12+debug, ~/linux+kcsan, /boot/vmlinuz-6.12.117, host."""

import os
from pathlib import Path

HOST = "host"


def is_local(name: str) -> bool:
    """Tell whether a kernel's name is "host" or a path (it has a slash), not a series."""
    return name == HOST or os.sep in name


def split_profile(name: str) -> tuple[str, str] | None:
    """Take a kernel's name apart: ("6.12", "debug") of "6.12+debug"; None if it has no profile.

    A file such as /boot/vmlinuz-6.12.117+deb12-amd64 has none.
    """
    base, plus, profile = name.rpartition("+")
    if not plus:
        return None
    if is_local(name) and not Path(base).expanduser().is_dir():
        return None
    return base, profile
