# SPDX-License-Identifier: GPL-2.0
"""The command line as its user meets it: verdicts, exit statuses, clear lines, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import pytest

from harness import cli, commands
from tests.awaiting import wait_for_files, wait_gone

ROOT = Path(__file__).parent.parent


def run(scenario: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the fake harness to its end; COLUMNS makes sure that nothing depends on the terminal."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fakerun", scenario, folder, *(arguments or ("check",))],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def verdicts(folder: Path) -> dict[str, str]:
    """What results.json says of each test."""
    document = json.loads((folder / "runs/latest/results.json").read_text())
    return {test["id"]: test["status"] for test in document["tests"]}


def test_all_passed(tmp_path: Path) -> None:
    done = run("clean", tmp_path)
    assert done.returncode == 0, done.stderr
    assert verdicts(tmp_path) == {"fake:global.one": "pass", "fake:global.two": "pass"}
    assert "2 passed" in done.stdout
    assert str(tmp_path / "runs") in done.stdout


def test_a_failure_is_explained_and_exits_1(tmp_path: Path) -> None:
    done = run("failing", tmp_path)
    assert done.returncode == 1
    assert verdicts(tmp_path) == {"fake:global.one": "fail", "fake:global.two": "pass"}
    assert "fake.c:7:one:Expected 1 (1) == 2 (2)" in done.stdout
    assert "results.ktap" in done.stdout


@pytest.mark.parametrize("scenario", ["panic", "truncated", "killed", "no_end", "silent"])
def test_a_lost_vm_is_never_green(scenario: str, tmp_path: Path) -> None:
    done = run(scenario, tmp_path)
    assert done.returncode == 2
    assert "crashed" in verdicts(tmp_path).values()
    tree = ElementTree.parse(tmp_path / "runs/latest/junit.xml")
    assert tree.findall(".//error")


def test_never_reaches_userspace(tmp_path: Path) -> None:
    done = run("never_boots", tmp_path)
    assert done.returncode == 2
    assert "Unable to mount root fs" in done.stdout


def test_parse_judges_again_without_a_vm(tmp_path: Path) -> None:
    assert run("failing", tmp_path).returncode == 1
    first = (tmp_path / "runs/latest/results.json").read_bytes()
    again = run("clean", tmp_path, "parse", str(tmp_path / "runs/latest"))
    assert again.returncode == 1
    assert (tmp_path / "runs/latest/results.json").read_bytes() == first


def test_parse_of_something_else(tmp_path: Path) -> None:
    done = run("clean", tmp_path, "parse", str(tmp_path))
    assert done.returncode == 2
    assert "manifest.json" in done.stderr


def test_a_selection_runs_only_that(tmp_path: Path) -> None:
    done = run("clean", tmp_path, "check", "fake:*.one")
    # The fake guest runs both all the same, and what was not asked for is not taken for a pass.
    assert done.returncode == 2
    assert verdicts(tmp_path)["fake:global.two"] == "error"
    assert verdicts(tmp_path)["fake:global.one"] == "pass"


def test_each_test_alone_has_a_vm(tmp_path: Path) -> None:
    run("clean", tmp_path, "check", "--alone")
    manifest = json.loads((tmp_path / "runs/latest/manifest.json").read_text())
    assert [vm["planned"] for vm in manifest["vms"]] == [["fake:global.one"], ["fake:global.two"]]


def test_no_test_matches(tmp_path: Path) -> None:
    done = run("clean", tmp_path, "check", "nothing:*")
    assert done.returncode == 2
    assert "no test matches 'nothing:*'" in done.stderr
    assert "the suites are fake" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_manifest_has_what_a_reviewer_needs(tmp_path: Path) -> None:
    run("clean", tmp_path)
    manifest = json.loads((tmp_path / "runs/latest/manifest.json").read_text())
    assert manifest["expected"] == ["fake:global.one", "fake:global.two"]
    assert manifest["accelerator_why"] == "a test"
    (vm,) = manifest["vms"]
    assert vm["planned"] == manifest["expected"]
    assert "initcall_blacklist=udmabuf_dev_init" in vm["argv"]
    assert manifest["extra"]["udmabuf_iov_sha256"]
    assert manifest["extra"]["tests_sha256"]
    assert vm["end"]["exit"] == "clean"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_interrupted(number: signal.Signals, status: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakerun", "silent", tmp_path, "check"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as harness:
        pids = wait_for_vng(tmp_path, harness)
        harness.send_signal(number)
        assert harness.stderr is not None
        said = harness.stderr.read()
    assert harness.returncode == status
    assert "interrupted" in said
    assert all(map(wait_gone, pids))
    # What was there is kept, and is no pass.
    assert run("clean", tmp_path, "parse", str(tmp_path / "runs/latest")).returncode == 2


def test_interrupted_while_the_guest_boots(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakerun", "never_boots", tmp_path, "check"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as harness:
        console = tmp_path / "runs/latest/vm-1/console.log"
        wait_for_files(tmp_path, lambda: console.exists() and console.stat().st_size > 0, harness)
        pids = descendants(harness.pid)
        harness.send_signal(signal.SIGINT)
    assert harness.returncode == 130
    assert all(map(wait_gone, pids))


def test_interrupted_while_the_tests_are_compiled(tmp_path: Path) -> None:
    slow = tmp_path / "bin/gcc"
    slow.parent.mkdir()
    slow.write_text('#!/bin/sh\n[ "$1" = --version ] || exec sleep 1000\n')
    slow.chmod(0o755)
    cache = tmp_path / "cache"
    code = (
        "from pathlib import Path; from harness.kselftest import build; "
        "from harness.run import Spawner\n"
        f"build(Path('selftests/specs'), source=Path('.'), cache=Path({str(cache)!r}), "
        f"spawner=Spawner(env={{'PATH': '{slow.parent}:/usr/bin:/bin'}}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as harness:
        wait_until(lambda: len(sleeping(harness.pid)) >= 2, harness)
        pids = descendants(harness.pid)
        # Python drops a KeyboardInterrupt that hits a destructor: a user would press it again.
        while harness.poll() is None:
            harness.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                harness.wait(timeout=10)
        assert harness.stderr is not None
        assert "KeyboardInterrupt" in harness.stderr.read()
    assert all(map(wait_gone, pids))
    # An entry is there whole or not at all; what is swept before the next attempt may stay.
    made = {path.name for path in cache.iterdir() if path.is_dir()}
    assert all(name.startswith(".making-") for name in made)


def test_watch_checks_again_on_save_and_shows_what_changed(tmp_path: Path) -> None:
    """The fake guest fails while its checkout has a file that says so."""
    module = tmp_path / "checkout/module"
    for name in ("module", "selftests"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    shutil.copytree(ROOT / "kconfigs", tmp_path / "checkout/kconfigs")
    fake = [sys.executable, "-m", "tests.fakerun", "by_file", str(tmp_path)]
    with subprocess.Popen(
        [*fake, "--source", str(tmp_path / "checkout"), "watch"],
        cwd=ROOT,
        env={**os.environ, "FAKE_FILE": str(module / "broken")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as harness:
        assert harness.stdout is not None
        said = read_until(harness.stdout, "run: ")
        assert "fake:global.* (2 tests)" in said
        (module / "broken").write_text("")
        said = read_until(harness.stdout, "run: ")
        assert "saved: module/broken" in said
        assert "fake:global.one" in said
        assert "FAIL" in said
        assert "global.two" not in said
        (module / "other").write_text("")
        assert "nothing changed" in read_until(harness.stdout, "run: ")
        harness.send_signal(signal.SIGINT)
        assert harness.stderr is not None
        complaint = harness.stderr.read()
    assert harness.returncode == 130, complaint


def test_watch_ended_by_sigterm(tmp_path: Path) -> None:
    for name in ("module", "selftests"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    shutil.copytree(ROOT / "kconfigs", tmp_path / "checkout/kconfigs")
    fake = [sys.executable, "-m", "tests.fakerun", "clean", str(tmp_path)]
    with subprocess.Popen(
        [*fake, "--source", str(tmp_path / "checkout"), "watch"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as harness:
        assert harness.stdout is not None
        read_until(harness.stdout, "run: ")
        # It is asleep in the watcher, which is not ours, as nearly always.
        harness.send_signal(signal.SIGTERM)
        assert harness.stderr is not None
        complaint = harness.stderr.read()
    assert harness.returncode == 143, complaint


def read_until(stream: IO[str], start: str) -> str:
    """Read lines up to one that starts so."""
    said = ""
    for line in stream:
        said += line
        if line.startswith(start):
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("command", ["check", "watch"])
def test_a_reader_who_leaves_gets_no_verdict(command: str, tmp_path: Path) -> None:
    """Rich exits with status 1 where a pipe is broken."""
    source = tmp_path / "checkout"
    for name in ("module", "selftests"):
        (source / name).mkdir(parents=True)
    shutil.copytree(ROOT / "kconfigs", source / "kconfigs")
    fake = [sys.executable, "-m", "tests.fakerun", "clean", str(tmp_path)]
    with subprocess.Popen(
        [*fake, "--source", str(source), command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as harness:
        assert harness.stdout is not None
        harness.stdout.close()
        assert harness.stderr is not None
        complaint = harness.stderr.read()
    assert (harness.returncode, complaint) == (2, "")


def test_a_run_folder_without_space_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("/dev/full")
    done = run("clean", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2
    assert "Traceback" not in done.stderr


def test_a_bug_of_the_harness_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "parse", lambda arguments, place: 1 // 0)
    assert cli.main(["parse", "anything"]) == 2
    said = capsys.readouterr().err
    assert "a bug of the harness: ZeroDivisionError at test_cli.py:" in said
    assert "Traceback" not in said


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The run folder on a file system of 64 KiB, which the flood fills."""
    runs = tmp_path / "runs"
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        done = run("flood", tmp_path)
    finally:
        subprocess.run(["umount", str(runs)], check=True)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "free some space" in done.stderr


def wait_until(
    ready: Callable[[], bool], harness: "subprocess.Popen[str] | subprocess.Popen[bytes]"
) -> None:
    """Wait for something that the harness is about to do."""
    deadline = time.monotonic() + 30
    while not ready():
        assert harness.poll() is None
        assert time.monotonic() < deadline
        os.sched_yield()


def sleeping(pid: int) -> list[int]:
    """Which descendants run sleep(1)."""
    found = []
    for child in descendants(pid):
        with suppress(OSError):  # it has gone meanwhile
            if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                found.append(child)
    return found


def wait_for_vng(folder: Path, harness: subprocess.Popen[str]) -> list[int]:
    """Wait until the guest has said hello; return the harness's descendants."""
    results = folder / "runs/latest/vm-1/results.ktap"
    wait_for_files(folder, lambda: results.exists() and b"suite" in results.read_bytes(), harness)
    return descendants(harness.pid)


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    found: list[int] = []
    queue = [pid]
    while queue:
        pid = queue.pop()
        # A child is its parent's thread's.
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):  # it has gone meanwhile
                children = path.read_text().split()
                queue += map(int, children)
                found += map(int, children)
    return found


def test_help_teaches() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ("check", "kernels", "parse", "doctor", "exit status"):
        assert word in done.stdout
