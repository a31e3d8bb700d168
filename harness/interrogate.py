# SPDX-License-Identifier: GPL-2.0
"""Ask the kernel of a VM that hangs where it hangs, before the VM is killed.

The console is taken over: a break and a key on it is a SysRq, which the kernel answers in its
interrupt handler, so that userspace need not live. All device interrupts go to the first CPU
(`irqaffinity=0`); if another one hangs, the first one asks it by NMI. If the first one hangs with
interrupts off, nothing is answered, and it gets an NMI from outside: the kernel panics
(`unknown_nmi_panic`) and says where it was. Documentation/admin-guide/sysrq.rst.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import pexpect
from pexpect.fdpexpect import fdspawn

from harness.answers import ASKED
from harness.guestclock import GuestClock
from harness.listener import listening
from harness.qmp import Monitor, QmpError
from harness.scratch import scratch_folder

# What the kernel needs for it; sysrq_always_enabled because Debian leaves the dumps of tasks out.
PARAMETERS = ("sysrq_always_enabled", "unknown_nmi_panic", "irqaffinity=0")
# A key, and the first words of its answer (drivers/tty/sysrq.c): everything on the console; blocked
# tasks; what each CPU does; help, whose words come when those of the others are out.
_KEYS = (
    ("9", rb"sysrq: Changing Loglevel"),
    ("w", rb"sysrq: Show Blocked State"),
    ("l", rb"sysrq: Show backtrace of all active CPUs"),
    ("h", rb"sysrq: HELP[^\n]*\n"),
)
# What follows the panic's own stack trace.
_PANICKED = rb"(Shutting down cpus|end Kernel panic)[^\n]*\n"
# Seconds of a real machine, which answers in milliseconds. Once it has answered at all it is left
# to finish: backtraces wait that long for their CPUs (lib/nmi_backtrace.c).
_BEGIN, _FINISH = 1.0, 10.0


def interrogate(
    monitor: Monitor, console: Path, *, slowness: float, clock: GuestClock
) -> bool | None:
    """Ask what is blocked and what each CPU does; the answers go to the console's file.

    Args:
        monitor: of the VM.
        console: the file that the guest's console has gone to so far.
        slowness: by how much this VM is slower than a real machine.
        clock: the VM's time, in which it is waited for its answers.

    Returns:
        Whether the kernel answered a key. None if it could not be asked.
    """
    try:
        with (
            scratch_folder() as folder,
            listening(folder / "console") as listener,
            console.open("ab", buffering=0) as log,
        ):
            monitor.redirect_console(folder / "console")
            # QEMU has connected by now: it would have refused otherwise.
            connection, _ = listener.accept()
            with connection:
                channel: fdspawn[bytes] = fdspawn(connection, maxread=8192)
                channel.logfile_read = log
                return _ask(monitor, channel, log, partial(_said, clock, slowness, channel))
    except (QmpError, OSError):
        # QEMU has gone, or does not answer itself.
        return None


def _ask(
    monitor: Monitor,
    channel: "fdspawn[bytes]",
    log: IO[bytes],
    said: Callable[[bytes, float], bool],
) -> bool:
    _mark(log, f"sysrq {', '.join(key for key, _ in _KEYS)}")
    answered = 0
    try:
        for key, answer in _KEYS:
            monitor.send_break()
            channel.send(key.encode())
            if not said(answer, _FINISH if answered else _BEGIN):
                break
            answered += 1
        if answered < len(_KEYS):
            _mark(log, "NMI")
            monitor.nmi()
            said(_PANICKED, _BEGIN)
    except (QmpError, OSError):
        # QEMU went meanwhile; what the kernel had answered by then stands.
        if not answered:
            raise
    return answered > 0


def _mark(log: IO[bytes], question: str) -> None:
    log.write(f"\n{ASKED} {question}\n".encode())


def _said(
    clock: GuestClock, slowness: float, channel: "fdspawn[bytes]", words: bytes, patience: float
) -> bool:
    """Wait for these words on the console, so many seconds on a real machine."""
    try:
        for seconds in clock.slices(patience * slowness):
            found = channel.expect([words, pexpect.EOF, pexpect.TIMEOUT], timeout=seconds)
            if channel.match is not pexpect.TIMEOUT:
                return found == 0
    except ConnectionResetError:
        # QEMU was killed with bytes of ours unread.
        pass
    return False
