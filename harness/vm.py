# SPDX-License-Identifier: GPL-2.0
"""Boot one VM through virtme-ng, watch it to its end, and leave nothing behind.

Two streams leave the guest and never share a parser: the console, which virtme-ng's `-v` puts on
stderr and which goes straight to a file from the first byte; and the results, on a virtio-serial
port of our own, connected to a socket that this module reads (the framing is in transcript.py).
"""

import mmap
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pexpect
from pexpect.fdpexpect import fdspawn
from pexpect.spawnbase import SpawnBase

from harness.accel import Accelerator
from harness.errors import HarnessError
from harness.guestroot import Plan, make_guest_root
from harness.kernel import Kernel
from harness.results import VmEnd, VmExit
from harness.run import Spawner

# One line, or a slice of an endless one: nothing the guest prints can grow our memory.
_LINE = re.compile(rb"\A(?:[^\n]{4096}|[^\n]*\n)")
# virtme-ng joins its words into a shell line and quotes only some of them (notes/style.md 2.7).
_UNSAFE = re.compile(r"[^A-Za-z0-9_./+:@%=~,-]")
_CMDLINE = (
    # Debian's built-in ciphers test themselves and ask for modules that virtme-ng's initramfs does
    # not have: a good second under TCG.
    "cryptomgr.notests",
    # Each byte on the serial console costs TCG an exit: 0.8 s less until the guest's script says
    # `printk 7`. Warnings and worse are on the console from the first byte.
    "loglevel=5",
    "printk.devkmsg=on",
    # What comes after an oops in the same kernel is no verdict.
    "oops=panic",
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VmConfig:
    """One VM: what to boot and how.

    Attributes:
        kernel: what to boot.
        accelerator: KVM or TCG, with the reason.
        memory: MiB.
        cpus: virtual CPUs.
        cmdline: further kernel parameters.
        deadlines: limits of patience.
    """

    kernel: Kernel
    accelerator: Accelerator
    deadlines: Deadlines
    memory: int = 1024
    cpus: int = 2
    cmdline: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VmOutcome:
    """How one VM went, and the vng command that made it."""

    end: VmEnd
    argv: tuple[str, ...]


def vng_argv(config: VmConfig, *, root: Path, results: Path) -> tuple[str, ...]:
    """The vng command line for a VM.

    Args:
        config: the VM.
        root: the guest's root folder.
        results: Unix socket that QEMU connects to for the results channel.

    Raises:
        BootError: a word that virtme-ng's shell line would break.
    """
    qemu = (
        f"-chardev socket,id=harness,path={results}",
        "-device virtio-serial-pci,id=harness",
        "-device virtserialport,bus=harness.0,chardev=harness,name=harness.results",
    )
    argv = (
        *("vng", "--run", str(config.kernel.image)),
        *("--root", str(root), "--user", "root"),
        # As root on Debian 12 virtme-ng takes QEMU's old C virtiofsd for the Rust one and
        # waits 3.1 s for it (notes/peers.md 0.2).
        "--force-9p",
        *("--disable-microvm", "--verbose"),
        *(() if config.accelerator.kvm else ("--disable-kvm",)),
        *("--memory", f"{config.memory}M", "--cpus", str(config.cpus)),
        *(word for item in (*_CMDLINE, *config.cmdline) for word in ("--append", item)),
        f"--qemu-opts={' '.join(qemu)}",
        *("--", "/harness/run-tests"),
    )
    for word in (str(config.kernel.image), str(root), str(results), *config.cmdline):
        if unsafe := _UNSAFE.search(word):
            raise BootError(
                f"virtme-ng cannot take {unsafe[0]!r} in {word!r}",
                hint="move it to a path of plain letters, digits and ./_-+",
            )
    return argv


def run_vm(
    config: VmConfig,
    plan: Plan,
    *,
    folder: Path,
    spawner: Spawner,
    on_line: Callable[[bytes], None] = lambda line: None,
) -> VmOutcome:
    """Boot a VM, let it carry out a plan, and return how it ended.

    Writes `console.log`, `results.ktap` and `vng.log` (virtme-ng's own words) into `folder`.

    Args:
        config: the VM.
        plan: what the guest does.
        folder: the run folder; exists.
        spawner: starts vng; gets a private HOME and TMPDIR, so that no setting of the user's
            virtme-ng leaks in and nothing of it stays in /tmp.
        on_line: called with each line of the results channel as it arrives.

    Raises:
        BootError: vng or QEMU missing, unusable paths.
    """
    for tool in ("vng", "qemu-system-x86_64"):
        if spawner.which(tool) is None:
            raise BootError(
                f"{tool} not found on PATH", hint="run ci/install-deps, or `make check`"
            )
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        root, results = Path(scratch, "root"), Path(scratch, "results")
        argv = vng_argv(config, root=root, results=results)
        for private in ("home", "tmp"):
            Path(scratch, private).mkdir()
        make_guest_root(root, kernel=config.kernel, plan=plan, spawner=spawner)
        hermit = spawner.with_env(HOME=f"{scratch}/home", TMPDIR=f"{scratch}/tmp", TERM="dumb")
        with (
            _listener(results) as listener,
            (folder / "console.log").open("wb") as console,
            (folder / "vng.log").open("wb") as chatter,
            (folder / "results.ktap").open("wb") as ktap,
            hermit.spawn(argv, stdout=chatter, stderr=console) as process,
        ):
            watch = _Watch(
                process,
                deadlines=config.deadlines,
                console=folder / "console.log",
                nonce=plan.nonce,
                on_line=on_line,
            )
            exit_, detail = watch.to_the_end(listener, ktap)
        end = VmEnd(
            exit=exit_,
            detail=detail,
            seconds=time.monotonic() - watch.start,
            boot_seconds=watch.boot_seconds,
        )
        return VmOutcome(end=end, argv=argv)


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    """Bind the socket before QEMU starts, so that it cannot come too early."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            raise BootError(
                f"{path}: {error.strerror}", hint="set TMPDIR to a short path"
            ) from error
        listener.listen(1)
        yield listener


class _Watch:
    """Watches one VM to its end: hello, end marker, end of file, silence, deadlines."""

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

    def to_the_end(self, listener: socket.socket, ktap: IO[bytes]) -> tuple[VmExit, str]:
        """Return the class of the VM's end and one line on it; the results go to ``ktap``."""
        while not self._connected(listener):
            if over := self._out_of_patience():
                return over
        connection, _ = listener.accept()
        with connection:
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
            last = self._last_words()
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
            words = panic or f"vng ended with status {status}: {self._last_words()}"
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

    def _last_words(self) -> str:
        with self._console.open("rb") as file:
            file.seek(max(0, self._console.stat().st_size - 4096))
            lines = [line.strip() for line in file.read().splitlines() if line.strip()]
        return lines[-1].decode(errors="replace") if lines else "nothing"
