# SPDX-License-Identifier: GPL-2.0
"""Missing tools are told before anything is built."""

from pathlib import Path

import pytest

from harness.guestroot import GuestRootError
from harness.preflight import MissingToolError, preflight
from harness.run import Spawner

TOOLS = ("vng", "qemu-system-x86_64", "busybox", "cc", "make")


def host(folder: Path, *missing: str) -> Spawner:
    """Return a spawner that finds these tools but for some."""
    for tool in set(TOOLS) - set(missing):
        path = folder / tool
        path.write_bytes(b"\x7fELF")
        path.chmod(0o755)
    return Spawner(env={"PATH": str(folder)})


def test_all_there(tmp_path: Path) -> None:
    preflight(host(tmp_path))


@pytest.mark.parametrize("tool", TOOLS)
def test_one_missing(tool: str, tmp_path: Path) -> None:
    with pytest.raises(
        MissingToolError, match=rf"^not found on PATH: {tool} \([^()]+\)$"
    ) as caught:
        preflight(host(tmp_path, tool))
    assert "ci/install-deps" in str(caught.value.hint)


def test_all_missing_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError) as caught:
        preflight(host(tmp_path, *TOOLS))
    assert all(f"{tool} (" in str(caught.value) for tool in TOOLS)
    assert "\n" not in str(caught.value)


def test_a_busybox_that_the_guest_cannot_run(tmp_path: Path) -> None:
    spawner = host(tmp_path)
    (tmp_path / "busybox").write_bytes(b"\x7fELF /lib64/ld-linux-x86-64.so.2")
    with pytest.raises(GuestRootError, match="is not static"):
        preflight(spawner)
