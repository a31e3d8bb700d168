# SPDX-License-Identifier: GPL-2.0
"""The one door for processes: argv lists, explicit environment, deadline, own process group, log.

Every command of the harness passes through a :class:`Spawner`. Whatever happens to the harness,
SIGKILL included, the command's whole process group is gone afterwards (see lifeline.py).
"""

import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from harness.errors import HarnessError

logger = logging.getLogger(__name__)

_LIFELINE = Path(__file__).with_name("lifeline.py")
# How long a group may take to obey SIGTERM before SIGKILL, in seconds.
_GRACE = 2.0

Stream = int | IO[bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that has ended.

    Attributes:
        argv: the command as it was run.
        status: exit status; -N when killed by signal N (as in subprocess).
        output: stdout and stderr, interleaved, decoded with replacement.
        seconds: wall time.
    """

    argv: tuple[str, ...]
    status: int
    output: str
    seconds: float

    def describe(self) -> str:
        """One line that tells how the command ended."""
        command = shlex.join(self.argv)
        if self.status < 0:
            return f"{command}: killed by {signal.Signals(-self.status).name}"
        if self.status == 127:
            return f"{command}: command not found"
        return f"{command}: exit status {self.status}"


class CommandError(HarnessError):
    """A command failed; ``completed`` has its output."""

    def __init__(self, completed: Completed, *, hint: str | None = None) -> None:
        lines = [line for line in completed.output.splitlines() if line.strip()]
        # A compiler's first error says more than its last words, which count them.
        errors = [line for line in lines if " error: " in line]
        cause = errors[:1] or lines[-1:]
        super().__init__(": ".join([completed.describe(), *cause]), hint=hint)
        self.completed = completed


class DeadlineError(HarnessError):
    """A command did not end within its deadline and was killed."""


class KilledError(HarnessError):
    """A command was ended by a signal."""


class LeashError(HarnessError):
    """The leash was pulled: no further command starts."""


class Leash:
    """Ends the commands of other threads, for the one that is interrupted while they run.

    Args:
        longer: a leash that holds what this one does, and more.
    """

    def __init__(self, longer: "Leash | None" = None) -> None:
        self._lock = threading.Lock()
        self._held: set[subprocess.Popen[bytes]] = set()
        self._pulled = False
        self._longer = longer

    @property
    def pulled(self) -> bool:
        """Whether this one or a longer one was pulled."""
        return self._pulled or (self._longer is not None and self._longer.pulled)

    @contextmanager
    def holding(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Hold a command until it is reaped.

        Raises:
            LeashError: the leash was pulled before; the command is to be ended.
        """
        with self._lock:
            if self.pulled:
                raise LeashError("interrupted")
            self._held.add(process)
        try:
            with self._longer.holding(process) if self._longer else nullcontext():
                yield
        finally:
            with self._lock:
                self._held.discard(process)

    def pull(self) -> None:
        """Kill every command that is held; none that is started from now on lives."""
        self._pulled = True
        self.kill()

    def kill(self) -> None:
        """Kill every command that is held."""
        with self._lock:
            for process in self._held:
                # Once it is reaped its number may be another's.
                if process.returncode is None:
                    _signal_group(process.pid, signal.SIGKILL)


class Running:
    """A command under way, started by :meth:`Spawner.start`."""

    def __init__(self, argv: tuple[str, ...], process: subprocess.Popen[bytes]) -> None:
        self._argv = argv
        self._process = process
        self._start = time.monotonic()

    def finish(self, *, deadline: float, check: bool = True, hint: str | None = None) -> Completed:
        """Wait for the end and collect the output; arguments and errors as :meth:`Spawner.run`."""
        try:
            output, _ = self._process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            words = f"{shlex.join(self._argv)}: not done after {deadline:.0f} s"
            raise DeadlineError(words, hint=hint) from None
        completed = Completed(
            argv=self._argv,
            status=self._process.returncode,
            output=output.decode(errors="replace"),
            seconds=time.monotonic() - self._start,
        )
        if check and completed.status != 0:
            raise CommandError(completed, hint=hint)
        return completed


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawner:
    """Starts processes with exactly this environment.

    Args:
        env: the whole environment of every command.
        log: file to which each command line and how it ended are appended; None for none.
        leash: lets another thread end the commands; None when only their own thread does.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    leash: Leash | None = None

    def with_env(self, **changes: str) -> "Spawner":
        """Return a spawner whose environment has these variables on top."""
        return replace(self, env={**self.env, **changes})

    def which(self, name: str) -> Path | None:
        """Return the path of a program on this environment's PATH, or None."""
        for folder in self.env.get("PATH", os.defpath).split(os.pathsep):
            candidate = Path(folder or ".", name)
            if os.access(candidate, os.X_OK) and candidate.is_file():
                return candidate
        return None

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        deadline: float,
        cwd: Path | None = None,
        check: bool = True,
        hint: str | None = None,
    ) -> Completed:
        """Run a command to its end.

        Args:
            argv: the command; never passed through a shell.
            deadline: seconds after which the group is killed.
            cwd: working directory; the harness's own when None.
            check: raise on a non-zero status.
            hint: advice to attach to a :class:`CommandError`.

        Raises:
            CommandError: non-zero status and ``check``.
            DeadlineError: not done within ``deadline``.
        """
        with self.start(argv, cwd=cwd) as running:
            return running.finish(deadline=deadline, check=check, hint=hint)

    def see_ended(self, status: int, what: str) -> None:
        """See that a command ended by itself: of one that was killed, a failure says nothing.

        Args:
            status: as in :class:`Completed`.
            what: the command, for the error.

        Raises:
            LeashError: it failed, and the leash was pulled.
            KilledError: a signal ended it.
        """
        if status != 0 and self.leash is not None and self.leash.pulled:
            raise LeashError(f"{what}: interrupted")
        if status < 0:
            raise KilledError(f"{what}: killed by {signal.Signals(-status).name}")

    @contextmanager
    def start(
        self, argv: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None
    ) -> Iterator["Running"]:
        """Start a command whose output is to be collected later; on leaving, it is gone."""
        with self.spawn(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            yield Running(tuple(os.fspath(word) for word in argv), process)

    @contextmanager
    def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cwd: Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.DEVNULL,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command in a process group of its own; on leaving, the group is gone.

        The yielded process is the lifeline that supervises the command: it ends when the command
        does, with the command's status.
        """
        command = tuple(os.fspath(word) for word in argv)
        self._note("run", shlex.join(command))
        read_end, write_end = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-IS", _LIFELINE, str(read_end), *command],
                cwd=cwd,
                env=dict(self.env),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(read_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        start = time.monotonic()
        held = nullcontext() if self.leash is None else self.leash.holding(process)
        try:
            with held:
                yield process
        finally:
            _end_group(process)
            os.close(write_end)
            seconds = time.monotonic() - start
            self._note("end", f"status {process.returncode}, {seconds:.2f} s: {command[0]}")

    def _note(self, what: str, text: str) -> None:
        logger.debug("%s: %s", what, text)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{what}: {text}\n")


def lines_of(fd: int, *, until: float, what: str, hint: str | None = None) -> Iterator[str]:
    """Yield a pipe's lines as they come, until its end.

    Args:
        fd: the pipe's file descriptor.
        until: on the monotonic clock, seconds.
        what: whose output it is, for the error.
        hint: advice to attach to it.

    Raises:
        DeadlineError: the time is up.
    """
    pending = b""
    while True:
        if not select.select([fd], [], [], max(0.0, until - time.monotonic()))[0]:
            raise DeadlineError(f"{what}: not done in time", hint=hint)
        chunk = os.read(fd, 65536)
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if not chunk:
            if pending:
                yield pending.decode(errors="replace")
            return


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Terminate what is left of a process group, and reap its leader last.

    While the leader is unreaped the kernel gives the group's number to nobody else; a leader that
    communicate() has reaped leaves a group that exists only if it still has members.
    """
    if process.returncode is None:
        pidfd = os.pidfd_open(process.pid)
        try:
            if not select.select([pidfd], [], [], 0)[0]:
                _signal_group(process.pid, signal.SIGTERM)
                select.select([pidfd], [], [], _GRACE)
        finally:
            os.close(pidfd)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal_group(group: int, number: signal.Signals) -> None:
    # ProcessLookupError: nobody is left.
    with suppress(ProcessLookupError):
        os.killpg(group, number)
