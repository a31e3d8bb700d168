# SPDX-License-Identifier: GPL-2.0
"""Small C programs of ours that run in the guest, harness/guest/NAME.c: compiled here, once."""

import hashlib
from pathlib import Path

from harness.cache import locked, making
from harness.errors import HarnessError
from harness.run import Spawner

_SOURCES = Path(__file__).parent / "guest"
# The guest has no shared libraries.
_COMPILER = ("cc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror")
_SECONDS = 60.0


class GuestToolError(HarnessError):
    """A guest program could not be compiled."""


def guest_tool(name: str, *, folder: Path, spawner: Spawner) -> Path:
    """Return the compiled program of `harness/guest/NAME.c`.

    Args:
        name: the stem of the source.
        folder: keeps programs, by what they were made of; any number of processes may share it.
        spawner: runs the compiler.

    Raises:
        GuestToolError: no C compiler.
        HarnessError: it does not compile, or there is no room for it.
    """
    compiler = spawner.which(_COMPILER[0])
    if compiler is None:
        raise GuestToolError("no C compiler", hint="ci/install-deps installs what is missing")
    source = _SOURCES / f"{name}.c"
    status = compiler.stat()
    state = f"{_COMPILER} {status.st_size} {status.st_mtime_ns}".encode() + source.read_bytes()
    target = folder / f"{name}-{hashlib.sha256(state).hexdigest()[:12]}"
    if not target.exists():
        with locked(target), making(target) as temp:
            spawner.run((*_COMPILER, source, "-o", temp / name), deadline=_SECONDS)
    return target / name
