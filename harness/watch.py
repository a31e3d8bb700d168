# SPDX-License-Identifier: GPL-2.0
"""Watch one VM to its end and say how it ended, from its results channel, console and process."""

import mmap
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pexpect
from pexpect.fdpexpect import fdspawn
from pexpect.spawnbase import SpawnBase

from harness.errors import HarnessError
from harness.results import VmEnd, VmExit

# One line, or a slice of an endless one: nothing the guest prints can grow our memory.
_LINE = re.compile(rb"\A(?:[^\n]{4096}|[^\n]*\n)")
# The guest powers off within a second of its last word; seconds.
_POWER_OFF = 20.0
_PANIC = re.compile(rb"\] (Kernel panic - not syncing: [^\r\n]*)")


class BootError(HarnessError):
    """The VM could not even be started: nothing was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a VM may take, in seconds of wall time.

    Attributes:
        boot: from start to the guest's hello.
        silence: without a byte on console or results channel.
        total: from start to end.
    """

    boot: float
    silence: float
    total: float


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Bind a socket before QEMU starts, so that it cannot come too early.

    Raises:
        BootError: a path too long for a socket, or a folder that cannot be written to.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            raise BootError(
                f"{path}: {error.strerror}", hint="set TMPDIR to a short path"
            ) from error
        listener.listen(1)
        yield listener


class Watch:
    """Watches one VM to its end: hello, end marker, end of file, silence, deadlines.

    Args:
        process: the VM; counts as started now.
        deadlines: limits of patience.
        console: the file that the guest's console goes to.
        nonce: of the frames on the results channel.
        on_line: called with each line of the results channel as it arrives.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        deadlines: Deadlines,
        console: Path,
        nonce: str,
        on_line: Callable[[bytes], None],
    ) -> None:
        self.start = time.monotonic()
        self.boot_seconds: float | None = None
        self._process = process
        self._deadlines = deadlines
        self._console = console
        self._hello = f"@{nonce} hello ".encode()
        self._end = f"@{nonce} end ".encode()
        self._on_line = on_line
        self._heard = self.start
        self._console_size = 0
        self._ended = False

    def to_the_end(
        self, listener: socket.socket, ktap: IO[bytes], *, greeting: bytes = b""
    ) -> VmEnd:
        """Return how the VM ended.

        Args:
            listener: where QEMU connects the results channel to.
            ktap: takes what arrives on it.
            greeting: sent to the guest first.
        """
        exit_, detail = self._to_the_end(listener, ktap, greeting)
        return VmEnd(
            exit=exit_,
            detail=detail,
            seconds=time.monotonic() - self.start,
            boot_seconds=self.boot_seconds,
        )

    def connection(self, listener: socket.socket) -> socket.socket | None:
        """Return QEMU's connection, which is at its end if QEMU is; None when time was up."""
        while not self._connected(listener):
            if self._patience() == 0 and self._out_of_patience():
                return None
        return listener.accept()[0]

    def _to_the_end(
        self, listener: socket.socket, ktap: IO[bytes], greeting: bytes
    ) -> tuple[VmExit, str]:
        while (connection := self.connection(listener)) is None:
            if over := self._out_of_patience():
                return over
        with connection:
            # No answer from a peer that has gone: the channel's end is what is reported.
            with suppress(OSError):
                connection.sendall(greeting)
            channel: SpawnBase[bytes] = fdspawn(connection, logfile=ktap, maxread=8192)
            while True:
                try:
                    channel.expect([_LINE, pexpect.EOF, pexpect.TIMEOUT], timeout=self._patience())
                except ConnectionResetError:
                    # QEMU was killed with bytes of ours unread.
                    return self._gone()
                if channel.match is pexpect.EOF:
                    return self._gone()
                if isinstance(channel.match, re.Match):
                    self._line(channel.match[0])
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
        now = time.monotonic()
        self._heard = now
        if self.boot_seconds is None and self._hello in line:
            self.boot_seconds = now - self.start
        self._ended = self._ended or self._end in line
        self._on_line(line)

    def _patience(self) -> float:
        """Seconds until the next limit could be reached."""
        limits = [self.start + self._deadlines.total, self._heard + self._deadlines.silence]
        if self.boot_seconds is None:
            limits.append(self.start + self._deadlines.boot)
        return max(0.0, min(limits) - time.monotonic())

    def _out_of_patience(self) -> tuple[VmExit, str] | None:
        """Which limit has been reached, if any; what the console has said meanwhile counts."""
        size = self._console.stat().st_size
        if size != self._console_size:
            self._console_size, self._heard = size, time.monotonic()
        now = time.monotonic()
        if now >= self.start + self._deadlines.total:
            exit_, words = VmExit.DEADLINE, f"not done after {self._deadlines.total:.0f} s"
        elif now >= self._heard + self._deadlines.silence:
            exit_, words = VmExit.SILENT, f"not a byte for {self._deadlines.silence:.0f} s"
        elif self.boot_seconds is None and now >= self.start + self._deadlines.boot:
            exit_, words = VmExit.NEVER_BOOTED, f"not within {self._deadlines.boot:.0f} s"
        else:
            return None
        if self.boot_seconds is None:
            last = self.last_words()
            return VmExit.NEVER_BOOTED, f"no userspace: {words}; last on the console: {last}"
        return exit_, words

    def _gone(self) -> tuple[VmExit, str]:
        """Classify a VM whose results channel has closed."""
        try:
            status = self._process.wait(timeout=_POWER_OFF)
        except subprocess.TimeoutExpired:
            return VmExit.SILENT, "results channel closed, but the VM did not power off"
        panic = self._panic()
        if self.boot_seconds is None:
            words = panic or f"vng ended with status {status}: {self.last_words()}"
            return VmExit.NEVER_BOOTED, f"never reached userspace: {words}"
        if panic is not None:
            return VmExit.PANIC, panic
        if not self._ended:
            return VmExit.LOST, f"QEMU died or the VM rebooted (vng status {status})"
        return VmExit.CLEAN, ""

    def _panic(self) -> str | None:
        with self._console.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                found = _PANIC.search(text)
                return found[1].decode(errors="replace").strip() if found else None

    def last_words(self) -> str:
        """Return the last line on the console."""
        with self._console.open("rb") as file:
            file.seek(max(0, self._console.stat().st_size - 4096))
            lines = [line.strip() for line in file.read().splitlines() if line.strip()]
        return lines[-1].decode(errors="replace") if lines else "nothing"
