# SPDX-License-Identifier: GPL-2.0
"""Drills: whatever happens to the harness or its guest, no wrong green, no orphan, no bad cache.

The guests are fakes (tests/fakebin), so that hundreds can be had; what is drilled is real.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.manifest import MANIFEST, load_manifest
from harness.results import VmExit
from harness.rundir import rejudge
from tests.awaiting import wait_gone

ROOT = Path(__file__).parent.parent
# Interrupted runs, in all, and at a time.
KILLS, ABREAST = 100, 4
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def start(scenario: str, folder: Path, **extra: str) -> subprocess.Popen[str]:
    """Start a fake check whose processes can be told by a variable in their environment."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakerun", scenario, str(folder), "check"],
        cwd=ROOT,
        env={
            **os.environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "FAKE_FILE": str(folder),
            "FAKE_PATIENT": "1",
            **extra,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Two lanes at work while the VM of a third one is ready and stands by.
LANES = {"FAKE_SUITES": "3", "FAKE_JOBS": "2", "FAKE_WARM": "1"}
ONE_LANE = {"FAKE_WARM": "1"}


def start_planned(folder: Path, number: int) -> subprocess.Popen[str]:
    """Start a check, every other one of which has several lanes."""
    lanes = LANES if number % 2 else ONE_LANE
    return start("planned", folder / f"check{number}", FAKE_TESTS="2000", **lanes)


def check(scenario: str, folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    with start(scenario, folder, **extra) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def verdicts(folder: Path) -> dict[str, str]:
    tests = json.loads((folder / "runs/latest/results.json").read_text())["tests"]
    return {test["id"]: test["status"] for test in tests}


def survivors(folder: Path) -> set[int]:
    """Processes that were started for a check in this folder and are alive."""
    mark = f"FAKE_FILE={folder}\0".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has gone meanwhile
            # A zombie's environment reads as empty.
            if mark in path.read_bytes():
                found.add(int(path.parent.name))
    return found


@dataclass
class Drill:
    """One check that is interrupted at some time."""

    folder: Path
    process: subprocess.Popen[str]
    number: signal.Signals
    at: float


def interrupted(drills: list[Drill]) -> list[str]:
    """Send each drill its signal when its time has come; return what each complained of."""
    for drill in sorted(drills, key=lambda drill: drill.at):
        with suppress(subprocess.TimeoutExpired):
            drill.process.wait(max(0.0, drill.at - time.monotonic()))
        drill.process.send_signal(drill.number)
    return [drill.process.communicate()[1] for drill in drills]


def test_a_hundred_interrupts_at_random_points(tmp_path: Path) -> None:
    """Every one is followed by an undisturbed check on the cache that it left."""
    chance = random.Random(4)
    for _ in range(2):
        # The first makes the snapshots, which is not what most take.
        begun = time.monotonic()
        for process in [start_planned(tmp_path, number) for number in range(ABREAST)]:
            process.communicate()
            assert process.returncode == 0
        whole = time.monotonic() - begun
    # Some come before Python has its handlers.
    allowed = {0, 130, 143, *(-number for number in SIGNALS)}
    statuses = set()
    for batch in range(KILLS // ABREAST):
        drills = []
        for number in range(ABREAST):
            process = start_planned(tmp_path, number)
            at = time.monotonic() + chance.uniform(0, 1.5 * whole)
            drills.append(Drill(tmp_path / f"check{number}", process, chance.choice(SIGNALS), at))
        for drill, complaint in zip(drills, interrupted(drills), strict=True):
            # Python itself, before it runs a line of ours, has no better status for Ctrl-C.
            if drill.process.returncode != 1 or "Fatal Python error" not in complaint:
                statuses.add(drill.process.returncode)
                assert drill.process.returncode in allowed, complaint
            # What a kill has brought about, the kernel is about to finish.
            while left := survivors(drill.folder):
                assert all(map(wait_gone, left))
            examine(drill, f"batch {batch}, {drill.number.name}")
    # Some were too late, and each did interrupt.
    assert {0, 130, 143, -signal.SIGKILL} <= statuses
    for number in range(ABREAST):
        with start_planned(tmp_path, number) as process:
            _, complaint = process.communicate()
        assert process.returncode == 0, complaint
        found = verdicts(tmp_path / f"check{number}")
        assert (len(found), set(found.values())) == (2000, {"pass"})


def examine(drill: Drill, words: str) -> None:
    """Hold what an interrupted check left to its word: no green run that was not whole."""
    latest = drill.folder / "runs/latest"
    if drill.process.returncode != 0 and (latest / MANIFEST).exists():
        manifest = load_manifest(latest)
        clean = [vm for vm in manifest.vms if vm.end and vm.end.exit is VmExit.CLEAN]
        whole = {id_ for vm in clean for id_ in vm.planned} == set(manifest.expected)
        assert rejudge(latest).exit_status == (0 if whole else 2), words
        # The next examination is of another run.
        latest.unlink()


def test_garbage_on_both_channels(tmp_path: Path) -> None:
    done = check("garbage", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(tmp_path) == {"fake:global.one": "pass", "fake:global.two": "pass"}
    assert "\x1b" not in done.stdout


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    done = check("clock_jumps", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(tmp_path) == {"fake:global.one": "pass", "fake:global.two": "pass"}


def test_a_test_that_talks_without_end(tmp_path: Path) -> None:
    """It is stopped long before the disk is full, and the other one is run all the same."""
    done = check("endless", tmp_path)
    assert done.returncode == 2
    assert "more than 16 MiB of results" in done.stdout
    assert verdicts(tmp_path)["fake:global.one"] == "crashed"
    for results in tmp_path.glob("runs/latest/vm-*/results.ktap"):
        assert results.stat().st_size < 17 << 20


def test_a_thousand_tests(tmp_path: Path) -> None:
    done = check("planned", tmp_path, FAKE_TESTS="1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(verdicts(tmp_path)) == 1000
    assert "1000 passed" in done.stdout


def test_a_hundred_megabytes_of_console(tmp_path: Path) -> None:
    """The splat in it is found and charged, in memory that the console's size does not drive."""
    with start("megabytes", tmp_path) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        # communicate() would reap it, and with it what it took.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1, said
    assert verdicts(tmp_path) == {"fake:global.one": "fail", "fake:global.two": "pass"}
    assert "WARNING in broken" in said
    # KiB. All that a check takes without a console is some 60 MB.
    assert used.ru_maxrss < 300 << 10


def test_lanes_side_by_side_and_one_that_stands_by(tmp_path: Path) -> None:
    """That the drills drill it: the third VM is there before one of the two others has ended."""
    # The first makes the snapshot, which restores VMs of its own.
    done = [check(name, tmp_path, FAKE_TESTS="30", **LANES) for name in ("planned", "meeting")]
    assert [one.returncode for one in done] == [0, 0], done[-1].stderr
    assert (len(verdicts(tmp_path)), set(verdicts(tmp_path).values())) == (30, {"pass"})
    log = (tmp_path / "runs/latest/commands.log").read_text().splitlines()
    vms = [line[:4] for line in log if "qemu-system" in line and "--version" not in line]
    assert vms[:3] == ["run:"] * 3, log
    assert sorted(vms[3:]) == ["end:"] * 3, log


def test_two_runs_share_a_cache(tmp_path: Path) -> None:
    both = [start("planned", tmp_path, FAKE_WARM="1") for _ in range(2)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    runs = [path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]
    assert len(runs) == 2
    (slot,) = tmp_path.glob("cache/*/snapshots/*/manifest.json")
    assert slot.stat().st_size > 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("lanes", [ONE_LANE, LANES])
def test_no_space_in_the_cache(lanes: dict[str, str], tmp_path: Path) -> None:
    """One line that says so; the cache is usable when there is room."""
    with small_disk(tmp_path / "cache", "4k"):
        done = check("planned", tmp_path, FAKE_TESTS="30", **lanes)
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 2, done.stderr
        assert "no space left" in done.stderr
    assert not survivors(tmp_path)
    assert check("planned", tmp_path, FAKE_TESTS="30", **lanes).returncode == 0


@pytest.mark.parametrize("size", ["4k", "16k", "32k", "64k"])
@pytest.mark.parametrize("lanes", [{}, LANES])
def test_no_space_in_the_run_folder(lanes: dict[str, str], size: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "runs", size):
        done = check("planned", tmp_path, FAKE_TESTS="3000", **lanes)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr
        assert "free some space" in done.stderr
    assert not survivors(tmp_path)
