# SPDX-License-Identifier: GPL-2.0
"""Watch one VM to its end and say how it ended, from its results channel, console and process."""

import mmap
import os
import re
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pexpect
from pexpect.fdpexpect import fdspawn
from pexpect.spawnbase import SpawnBase

from harness.guestclock import GuestClock, Moment
from harness.interrogate import interrogate
from harness.qmp import Monitor
from harness.results import VmEnd, VmExit

# One line, or a slice of an endless one: nothing the guest prints can grow our memory.
_LINE = re.compile(rb"\A(?:[^\n]{4096}|[^\n]*\n)")
_PANIC = re.compile(rb"\] (Kernel panic - not syncing: [^\r\n]*)")
_SPEED = re.compile(rb" hello \S+ [0-9.]+ ([0-9]+(?:\.[0-9]+)?)\s*$")
# Of a test that may take longer than most, in seconds on a real machine.
_RUN = b"#  RUN "
_LONGER = re.compile(rb"#  PATIENCE +\S+ ([0-9]{1,4})\s*\Z")
# What QEMU says of its own accord: its stderr is the console's file.
_QEMU_SAYS = re.compile(r"(?:\S*/)?qemu(?:-system-\w+)?: .*")
# Why QEMU ended (ShutdownCause, qapi/run-state.json), as far as a guest or the host causes it.
_CAUSES = {
    "guest-reset": "the VM rebooted",
    "guest-shutdown": "the guest powered off before it was done",
    "guest-panic": "the guest's kernel panicked",
    "host-signal": "QEMU was ended by a signal",
    None: "QEMU died",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a VM may take, in seconds, on a real machine under KVM.

    A watch multiplies them by how much slower its VM is, and does not count what the VM waits for a
    CPU of this host, up to ten times as long (guestclock.py).

    Attributes:
        boot: from start to the guest's hello.
        silence: after hello, without a line on the results channel, plus what a test announces that
            may take longer than most. The console does not count: a kernel that hangs may complain
            there for ever.
        total: from hello to end.
        power_off: from the results channel's end to QEMU's.
    """

    boot: float
    silence: float
    total: float
    power_off: float = 5.0


# The figures for a real machine. boot: it takes 1 s, a kernel with every debug option ten times
# as long, and a busy host is as bad again. silence: a test's own timeout is 5 s, and to kill it and
# say so takes 1 s (kselftest_harness.h), three times over; longer ones are announced. total: all
# tests take ten seconds, and some may run into their timeouts.
REAL_MACHINE = Deadlines(boot=30, silence=18, total=300)
# Bytes on the results channel. All tests together say less than one MiB; a test that talks without
# end must fill neither the disk nor the reader's day.
_MOST_RESULTS = 16 << 20


class Watch:
    """Watches one VM to its end: hello, end marker, end of file, silence, deadlines.

    Args:
        process: the VM; counts as started now.
        deadlines: limits of patience with a real machine.
        slowness: by how much this host's VMs are slower, as measured before. After hello, what the
            guest has measured itself counts.
        boot: seconds of wall time until hello, where more is known than `deadlines`.
        console: the file that the guest's console goes to.
        chatter: what vng says beside it; None where QEMU was started without vng.
        nonce: of the frames on the results channel.
        on_line: called with each line of the results channel as it arrives.

    Attributes:
        start: when the watch began, as of time.monotonic().
        boot_seconds: wall time from then to the guest's hello; None before it.
        hung: whether the VM was still there when it was given up.
        clock: the VM's time.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        deadlines: Deadlines,
        slowness: float,
        boot: float | None = None,
        console: Path,
        chatter: Path | None = None,
        nonce: str,
        on_line: Callable[[bytes], None],
    ) -> None:
        self.start = time.monotonic()
        self.boot_seconds: float | None = None
        self.hung = False
        self._process = process
        self._deadlines = deadlines
        self._slowness = slowness
        self._boot = deadlines.boot * slowness if boot is None else boot
        self.clock = GuestClock()
        self._begun = self.clock.moment()
        self._console = console
        self._chatter = chatter
        self._hello = f"@{nonce} hello ".encode()
        self._end = f"@{nonce} end ".encode()
        self._on_line = on_line
        self._heard = self._begun
        self._hailed = self._begun
        self._longer = 0
        self._said = 0
        self._ended = False

    def to_the_end(
        self,
        listener: socket.socket,
        ktap: IO[bytes],
        *,
        monitor: Monitor | None,
        greeting: bytes = b"",
    ) -> VmEnd:
        """Return how the VM ended. One that hangs is asked where; its answers are on the console.

        Args:
            listener: where QEMU connects the results channel to.
            ktap: takes what arrives on it.
            monitor: QEMU's; None if it never connected.
            greeting: sent to the guest first.
        """
        exit_, detail = self._to_the_end(listener, ktap, monitor, greeting)
        seconds = time.monotonic() - self.start
        end = VmEnd(exit=exit_, detail=detail, seconds=seconds, boot_seconds=self.boot_seconds)
        self.hung = self._process.poll() is None
        if monitor is None or not self.hung:
            return end
        answered = interrogate(monitor, self._console, slowness=self._slowness, clock=self.clock)
        return replace(end, answered=answered)

    @contextmanager
    def standing_by(self) -> Iterator[None]:
        """Not count the time spent in here: the VM is ready, and somebody else's turn it is."""
        before = self.clock.moment()
        try:
            yield
        finally:
            now = self.clock.moment()
            wall = now.wall - before.wall
            self.start += wall
            self._begun = Moment(
                guest=self._begun.guest + now.guest - before.guest, wall=self._begun.wall + wall
            )

    def connection(self, listener: socket.socket) -> socket.socket | None:
        """Return QEMU's connection, which is at its end if QEMU is; None when time was up."""
        while not self._connected(listener):
            if self._patience() == 0 and self._out_of_patience():
                return None
        connection, _ = listener.accept()
        if pid := _peer(connection):
            self.clock.follow(pid)
        return connection

    def _to_the_end(
        self,
        listener: socket.socket,
        ktap: IO[bytes],
        monitor: Monitor | None,
        greeting: bytes,
    ) -> tuple[VmExit, str]:
        while (connection := self.connection(listener)) is None:
            if over := self._out_of_patience():
                return over
        with connection:
            # No answer from a peer that has gone: the channel's end is what is reported.
            with suppress(OSError):
                connection.sendall(greeting)
            channel: SpawnBase[bytes] = fdspawn(connection, logfile=ktap, maxread=8192)
            # No nap after each read: this is no terminal.
            channel.delayafterread = None
            while True:
                try:
                    channel.expect([_LINE, pexpect.EOF, pexpect.TIMEOUT], timeout=self._patience())
                except ConnectionResetError:
                    # QEMU was killed with bytes of ours unread.
                    return self.gone(monitor)
                if channel.match is pexpect.EOF:
                    return self.gone(monitor)
                if isinstance(channel.match, re.Match):
                    self._line(channel.match[0])
                    if self._said > _MOST_RESULTS:
                        mib = _MOST_RESULTS >> 20
                        return (
                            VmExit.DEADLINE,
                            f"more than {mib} MiB of results; {self.last_words()}",
                        )
                # Also after a line: a flood of them must not put off the deadline for ever.
                if self._patience() == 0 and (over := self._out_of_patience()):
                    return over

    def _connected(self, listener: socket.socket) -> bool:
        """Wait for QEMU; True also when vng has ended, which accept() then would not tell."""
        pidfd = os.pidfd_open(self._process.pid)
        try:
            ready, _, _ = select.select([listener.fileno(), pidfd], [], [], self._patience())
        finally:
            os.close(pidfd)
        if ready == [pidfd]:
            # A connection that reads as ended, so that one path classifies every end.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
                nobody.connect(listener.getsockname())
        return bool(ready)

    def _line(self, line: bytes) -> None:
        self._heard = self.clock.moment()
        self._said += len(line)
        if self.boot_seconds is None and self._hello in line:
            self.boot_seconds = time.monotonic() - self.start
            self._hailed = self._heard
            if told := _SPEED.search(line):
                self._slowness = max(1.0, float(told[1]))
        if line.startswith(_RUN):
            self._longer = 0
        elif longer := _LONGER.match(line):
            self._longer = int(longer[1])
        self._ended = self._ended or self._end in line
        self._on_line(line)

    def _limits(self) -> list[tuple[Moment, float, VmExit, str]]:
        """What patience there is: since when, how many seconds, class, and words for its end."""
        if self.boot_seconds is None:
            words = f"no userspace within {self._boot:.0f} s"
            return [(self._begun, self._boot, VmExit.NEVER_BOOTED, words)]
        silence = (self._deadlines.silence + self._longer) * self._slowness
        total = self._deadlines.total * self._slowness
        return [
            (self._hailed, total, VmExit.DEADLINE, f"not done {total:.0f} s after it was booted"),
            (self._heard, silence, VmExit.SILENT, f"no result for {silence:.0f} s"),
        ]

    def _patience(self) -> float:
        """Seconds until the next limit could be reached."""
        return min(self.clock.left(since, seconds) for since, seconds, _, _ in self._limits())

    def _out_of_patience(self) -> tuple[VmExit, str] | None:
        """Which limit has been reached, if any."""
        for since, seconds, exit_, words in self._limits():
            if self.clock.left(since, seconds) == 0:
                return exit_, f"{words}; {self.last_words()}"
        return None

    def gone(self, monitor: Monitor | None) -> tuple[VmExit, str]:
        """Classify a VM whose results channel has closed: class, and detail."""
        status = self._powered_off()
        if status is None:
            words = "the results channel closed, but the VM did not power off"
            return VmExit.SILENT, f"{words}; {self.last_words()}"
        panic = self._panic()
        if self.boot_seconds is not None and panic is None and self._ended:
            return VmExit.CLEAN, ""
        cause = None if monitor is None else monitor.farewell()
        words = _CAUSES.get(cause, f"QEMU ended: {cause}")
        words = f"{words} (vng status {status}); {self.last_words()}"
        if self.boot_seconds is None:
            return VmExit.NEVER_BOOTED, f"never reached userspace: {panic or words}"
        return (VmExit.LOST, words) if panic is None else (VmExit.PANIC, panic)

    def _powered_off(self) -> int | None:
        """Wait for the process, and return its status; None when it does not end."""
        for seconds in self.clock.slices(self._deadlines.power_off * self._slowness):
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout=seconds)
        return self._process.poll()

    def _panic(self) -> str | None:
        with self._console.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                found = _PANIC.search(text)
                return found[1].decode(errors="replace").strip() if found else None

    def last_words(self) -> str:
        """Return the last line on the console, and what QEMU and vng have said beside it."""
        lines = _tail(self._console)
        qemu = [line for line in lines if _QEMU_SAYS.fullmatch(line)]
        guest = [line for line in lines if line not in qemu]
        chatter = _tail(self._chatter) if self._chatter else []
        said = [f"last on the console: {guest[-1] if guest else 'nothing'}"]
        said += [f"QEMU said: {line}" for line in qemu[-1:]]
        said += [f"vng said: {line}" for line in chatter[-1:]]
        return "; ".join(said)


def _peer(connection: socket.socket) -> int:
    """Return the process that has connected a Unix socket, 0 if it is this one: unix(7)."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    pid: int = struct.unpack("3i", credentials)[0]
    return 0 if pid == os.getpid() else pid


def _tail(file: Path) -> list[str]:
    """Return the lines that a file ends in."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 4096))
        lines = opened.read().decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]
