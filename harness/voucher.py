# SPDX-License-Identifier: GPL-2.0
"""Files that were read and found whole once need not be read again while nothing touched them.

Reading a snapshot is half a second of every run. A voucher names, for each file, what stat(2) says:
whoever writes to a file changes its ctime, which no program can set back. What the disk makes of a
file while the machine is off is not seen there, so a voucher ends with the boot.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import jsonfile
from harness.errors import HarnessError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A second write within one tick of the kernel's clock leaves the same ctime, as git's index knows
# ("racy git"). Seconds; ticks are at most 10 ms, network file systems have whole seconds.
_SETTLED = 2.0


def boot_id() -> str:
    """Return what tells this boot of the host from any other: proc(5)."""
    return _BOOT_ID.read_text().strip()


def describe(files: Sequence[Path], *, extra: str) -> str:
    """Return what a voucher for these files says now; raises OSError.

    Args:
        files: in the order in which they were read.
        extra: what else was relied on, as their checksum.
    """
    lines = [boot_id(), extra]
    for file in files:
        status = file.stat()
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        lines.append(f"{file.name} {status.st_dev} {status.st_ino} {status.st_size} {times}")
    return "".join(f"{line}\n" for line in lines)


def holds(voucher: Path, described: str) -> bool:
    """Whether a voucher is there and says the same as :func:`describe` does now."""
    try:
        return voucher.read_text() == described
    except (OSError, UnicodeDecodeError):
        return False


def vouch(voucher: Path, files: Sequence[Path], described: str) -> None:
    """Write a voucher for files that were found whole, unless they may have changed meanwhile.

    Where none can be written, they are read again the next time.

    Args:
        voucher: its path.
        files: the same as for :func:`describe`.
        described: what that returned before they were read.
    """
    with suppress(OSError, HarnessError):
        newest = max(file.stat().st_ctime for file in files)
        if newest < time.time() - _SETTLED:
            jsonfile.write_text(voucher, described)
