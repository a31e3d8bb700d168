# SPDX-License-Identifier: GPL-2.0
"""Save and load a VM's state over QMP.

The guest's memory lies in a file of its own; what passes here is the state of the devices. That is
QEMU's capability x-ignore-shared (docs/devel/migration, since QEMU 4.0), as Kata Containers uses
it: the memory is mapped shared while it is saved and private when it is loaded, so that loading
copies nothing and no number of VMs can change the file.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from qemu.qmp import EventListener, QMPClient
from qemu.qmp.error import QMPError

from harness.errors import HarnessError

# A few megabytes; seconds.
_DEADLINE = 60.0
_IGNORE_SHARED = {"capability": "x-ignore-shared", "state": True}
_EVENTS = {"capability": "events", "state": True}

# It logs as errors what it also raises.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class QmpError(HarnessError):
    """QEMU did not do what it was told, or is gone."""


def save(connection: socket.socket, state: Path) -> None:
    """Write the devices' state of a VM into a file; the VM stands still afterwards.

    Args:
        connection: QEMU's monitor, as QEMU connected it.
        state: of plain letters, digits and ./_-+~: a shell sees it.

    Raises:
        QmpError: it could not be saved.
    """
    _run(_save(connection, state))


def load(connection: socket.socket, state: Path) -> None:
    """Have a QEMU that was started with `-incoming defer` load a state and run.

    Returns when QEMU has begun: one that fails later exits.

    Args:
        connection: QEMU's monitor, as QEMU connected it.
        state: as for :func:`save`.

    Raises:
        QmpError: it would not begin.
    """
    _run(_load(connection, state))


def _run(job: Coroutine[None, None, None]) -> None:
    try:
        asyncio.run(asyncio.wait_for(job, _DEADLINE))
    except TimeoutError:
        raise QmpError(f"QEMU's monitor: no answer in {_DEADLINE:.0f} s") from None
    except (QMPError, OSError, EOFError) as error:
        raise QmpError(f"QEMU's monitor: {error or type(error).__name__}") from error


@asynccontextmanager
async def _client(connection: socket.socket) -> AsyncIterator[QMPClient]:
    # What asyncio's transports need.
    connection.setblocking(False)
    client = QMPClient("harness")
    await client.connect(connection)
    try:
        yield client
    finally:
        # QEMU may have gone first; that is for its watcher to say.
        with suppress(QMPError, OSError, EOFError):
            await client.disconnect()


async def _save(connection: socket.socket, state: Path) -> None:
    async with _client(connection) as client:
        # Migration stops the VM by itself. One that was stopped before would stay so when loaded.
        capabilities = [_IGNORE_SHARED, _EVENTS]
        await client.execute("migrate-set-capabilities", {"capabilities": capabilities})
        listener = EventListener("MIGRATION")
        with client.listen(listener):
            await client.execute("migrate", {"uri": f"exec:cat >{state}"})
            async for event in listener:
                data = event["data"]
                status = data["status"] if isinstance(data, dict) else None
                if status == "completed":
                    break
                if status in ("failed", "cancelled"):
                    why = await client.execute("query-migrate")
                    raise QmpError(f"QEMU cannot save the VM: {why}")


async def _load(connection: socket.socket, state: Path) -> None:
    async with _client(connection) as client:
        await client.execute("migrate-set-capabilities", {"capabilities": [_IGNORE_SHARED]})
        await client.execute("migrate-incoming", {"uri": f"exec:cat {state}"})
