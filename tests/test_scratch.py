# SPDX-License-Identifier: GPL-2.0
"""scratch.py: folders that are gone with their process, sooner or later."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness import scratch
from harness.scratch import scratch_folder, sweep

HOLD = """
import sys
from harness.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "root").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_gone_on_leaving_also_by_an_error(parent: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == parent
    with pytest.raises(ValueError, match="any"), scratch_folder():
        raise ValueError("any")
    assert list(parent.iterdir()) == []


def test_what_a_killed_harness_leaves_is_removed_and_nothing_else(parent: Path) -> None:
    (parent / "harness-of-mine").mkdir()
    (parent / "harness-of-mine/.lock").touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        sweep(parent)
        assert (folder / "root").is_dir()
        holder.kill()
    assert folder.is_dir()
    sweep(parent)
    assert [path.name for path in parent.iterdir()] == ["harness-of-mine"]


def test_the_first_folder_of_a_process_sweeps(parent: Path) -> None:
    dead = parent / "harness-dead"
    dead.mkdir()
    (dead / ".lock").write_bytes(scratch._OURS)
    with scratch_folder() as folder:
        assert list(parent.iterdir()) == [folder]
