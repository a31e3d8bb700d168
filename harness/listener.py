# SPDX-License-Identifier: GPL-2.0
"""Sockets that are there before QEMU is, so that it cannot come too early."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError


class BootError(HarnessError):
    """The VM could not even be started: nothing was judged."""


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Bind a Unix socket for one connection.

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
