# SPDX-License-Identifier: GPL-2.0
"""A VM's monitor: save and load its state, ask its kernel, hear why it ended.

The guest's memory lies in a file of its own; what is saved here is the state of the devices. That
is QEMU's capability x-ignore-shared (docs/devel/migration, since QEMU 4.0), as Kata Containers uses
it: the memory is mapped shared while it is saved and private when it is loaded, so that loading
copies nothing and no number of VMs can change the file.
"""

import asyncio
import concurrent.futures
import logging
import socket
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, Runstate
from qemu.qmp.error import QMPError

from harness.errors import HarnessError
from harness.guestclock import GuestClock

# Seconds of the VM's time; not scaled by how slow the guest is, as QEMU itself is to do something.
# For a few megabytes; and for what is left to read once QEMU has ended.
_DEADLINE = 60.0
_FAREWELL = 5.0
_IGNORE_SHARED = {"capability": "x-ignore-shared", "state": True}
_EVENTS = {"capability": "events", "state": True}

# It logs as errors what it also raises.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class QmpError(HarnessError):
    """QEMU did not do what it was told, or is gone."""


class Monitor:
    """One QEMU's monitor, from :func:`monitoring`.

    All methods raise :class:`QmpError` when QEMU is gone, refuses or does not answer.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, clock: GuestClock
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._client = QMPClient("harness")
        self._ends = EventListener("SHUTDOWN")
        self._client.register_listener(self._ends)
        # What asyncio's transports need.
        connection.setblocking(False)
        # Nobody waits for it before the first command.
        self._connected = asyncio.run_coroutine_threadsafe(self._begin(connection), loop).result()

    def save(self, state: Path) -> None:
        """Write the devices' state of the VM into a file; the VM stands still afterwards.

        Args:
            state: of plain letters, digits and ./_-+~: a shell sees it.
        """
        self._do(self._save(state))

    def load(self, state: Path) -> None:
        """Have a QEMU that was started with `-incoming defer` load a state and run.

        Returns when QEMU has begun: one that fails later exits.

        Args:
            state: as for :meth:`save`.
        """
        self._do(self._load(state))

    def redirect_console(self, socket: Path) -> None:
        """Let the guest's console go to a Unix socket, and come from it, instead of its file."""
        address = {"type": "unix", "data": {"path": str(socket)}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        self._execute("chardev-change", {"id": "console", "backend": backend})

    def send_break(self) -> None:
        """Send a break on the guest's serial console."""
        self._execute("chardev-send-break", {"id": "console"})

    def nmi(self) -> None:
        """Interrupt the guest's first CPU, whether or not it has interrupts enabled."""
        self._execute("inject-nmi", {})

    def quit(self) -> None:
        """End QEMU, without the words that a signal would cost."""
        self._execute("quit", {})
        self.farewell()

    def farewell(self) -> str | None:
        """Return why QEMU ended, as it said itself: "guest-reset", "guest-shutdown", ...

        The words are QEMU's ShutdownCause (qapi/run-state.json). None if it said nothing, as when
        it was killed. To be called once it has ended.
        """
        with suppress(QmpError):
            self._do(self._end(), deadline=_FAREWELL)
        for event in self._ends.history:
            data = event["data"]
            if isinstance(data, dict):
                return str(data.get("reason"))
        return None

    def close(self) -> None:
        """Let go of the connection."""
        # QEMU may have gone first; that is for its watcher to say.
        with suppress(QmpError):
            # Ours to do, not the VM's: on the wall.
            self._run(self._let_go(), (_FAREWELL,))

    def _execute(self, command: str, arguments: dict[str, object]) -> None:
        self._do(self._client.execute(command, arguments))

    def _do(self, job: Coroutine[Any, Any, object], *, deadline: float = _DEADLINE) -> None:
        """Run a job once connected."""

        async def connected() -> None:
            try:
                await asyncio.shield(self._connected)
                await job
            finally:
                job.close()

        self._run(connected(), self._clock.slices(deadline))

    def _run(self, job: Coroutine[Any, Any, None], patience: Iterable[float]) -> None:
        """Run a job on the monitor's thread; wait for it so many seconds, and so many more."""
        future = asyncio.run_coroutine_threadsafe(job, self._loop)
        try:
            for seconds in patience:
                # Of an answer, None too is one.
                if concurrent.futures.wait([future], seconds).done:
                    return future.result()
            future.cancel()
            raise QmpError("QEMU's monitor: no answer in time")
        except (QMPError, OSError, EOFError, AssertionError) as error:
            # qemu.qmp asserts that a QEMU that it has just greeted is still there.
            raise QmpError(f"QEMU's monitor: {error or type(error).__name__}") from error

    async def _begin(self, connection: socket.socket) -> asyncio.Task[None]:
        return asyncio.create_task(self._client.connect(connection))

    async def _let_go(self) -> None:
        self._connected.cancel()
        await asyncio.gather(self._connected, return_exceptions=True)
        await self._client.disconnect()

    async def _save(self, state: Path) -> None:
        # Migration stops the VM by itself. One that was stopped before would stay so when loaded.
        capabilities = [_IGNORE_SHARED, _EVENTS]
        await self._client.execute("migrate-set-capabilities", {"capabilities": capabilities})
        listener = EventListener("MIGRATION")
        with self._client.listen(listener):
            await self._client.execute("migrate", {"uri": f"exec:cat >{state}"})
            async for event in listener:
                data = event["data"]
                status = data["status"] if isinstance(data, dict) else None
                if status == "completed":
                    break
                if status in ("failed", "cancelled"):
                    why = await self._client.execute("query-migrate")
                    raise QmpError(f"QEMU cannot save the VM: {why}")

    async def _load(self, state: Path) -> None:
        await self._client.execute("migrate-set-capabilities", {"capabilities": [_IGNORE_SHARED]})
        await self._client.execute("migrate-incoming", {"uri": f"exec:cat {state}"})

    async def _end(self) -> None:
        """Read to the end of the connection."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()


@contextmanager
def monitoring(connection: socket.socket, clock: GuestClock) -> Iterator[Monitor]:
    """Give a VM's monitor; its events are read by a thread of its own.

    Args:
        connection: QEMU's monitor, as QEMU connected it; closed afterwards.
        clock: the VM's time.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="qmp")
    thread.start()
    try:
        monitor = Monitor(loop, connection, clock)
        try:
            yield monitor
        finally:
            monitor.close()
    finally:
        # What was not answered in time is not waited for any more.
        asyncio.run_coroutine_threadsafe(_give_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        connection.close()


async def _give_up() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_FAREWELL)


@contextmanager
def monitored(connection: socket.socket | None, clock: GuestClock) -> Iterator[Monitor | None]:
    """Do as :func:`monitoring` where there is a connection."""
    if connection is None:
        yield None
        return
    with monitoring(connection, clock) as monitor:
        yield monitor
