# SPDX-License-Identifier: GPL-2.0
"""The whole way, on a real kernel in a real VM: green when the driver is right, red when not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.awaiting import wait_for_files

pytestmark = pytest.mark.vm

ROOT = Path(__file__).parent.parent


def command(source: Path, runs: Path, *patterns: str) -> list[str]:
    options = ["--source", str(source), "--runs", str(runs)]
    return [sys.executable, "-m", "harness", *options, "check", *patterns]


def check(source: Path, runs: Path, *patterns: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, runs, *patterns), cwd=ROOT, capture_output=True, text=True, check=False
    )


def statuses(runs: Path) -> dict[str, str]:
    tests = json.loads((runs / "latest/results.json").read_text())["tests"]
    return {test["id"]: test["status"] for test in tests}


def checkout(target: Path) -> Path:
    """Copy what a check works on, so that a test can break it."""
    for folder in ("module", "selftests", "kconfigs"):
        shutil.copytree(ROOT / folder, target / folder)
    return target


def test_green(tmp_path: Path) -> None:
    done = check(ROOT, tmp_path, "ioctl:device.*", "release:last_user.shmem_many.*")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(statuses(tmp_path).values()) == {"pass"}
    logs = ("vm-1/console.log", "vm-1/results.ktap", "commands.log")
    for name in ("junit.xml", "manifest.json", *logs):
        assert (tmp_path / "latest" / name).stat().st_size > 0
    # The checkout is not built in.
    assert not list((ROOT / "module").rglob("*.ko"))


def test_warm_and_cold_agree(tmp_path: Path) -> None:
    """A VM that was restored and one that was booted come to the same verdicts."""
    found = []
    for how in ("warm", "cold"):
        runs = tmp_path / how
        patterns = ("ioctl:*", "sg:table.*", "pin_limit:memlock.*", "fork:*")
        done = check(ROOT, runs, *patterns, *(["--cold"] if how == "cold" else []))
        assert done.returncode == 0, done.stdout + done.stderr
        (argv,) = {
            Path(vm["argv"][0]).name
            for vm in json.loads((runs / "latest/manifest.json").read_text())["vms"]
        }
        assert argv == ("vng" if how == "cold" else "qemu-system-x86_64")
        found.append(statuses(runs))
    warm, cold = found
    assert warm == cold
    assert len(warm) > 200


# What is broken, and a test that must see it.
BREAKS = [
    (
        "exporter.c",
        "page_to_pfn(buf->pages[pgoff])",
        "page_to_pfn(buf->pages[0])",
        "mmap:map.shmem_many.content",
    ),
    (
        "account.c",
        "atomic_long_sub(charge->pages, &charge->cred->user->locked_vm);",
        ";",
        "pin_limit:memlock.at_limit",
    ),
    (
        "mapping.c",
        "sg_set_page(sg, buf->pages[i],",
        "sg_set_page(sg, buf->pages[buf->nr_pages - 1 - i],",
        "sg:table.shmem_many.read",
    ),
]


@pytest.mark.parametrize(("file", "right", "wrong", "test"), BREAKS)
def test_a_broken_driver_is_red(
    file: str, right: str, wrong: str, test: str, tmp_path: Path
) -> None:
    source = checkout(tmp_path / "checkout")
    path = source / "module" / file
    assert right in path.read_text(), "the driver has changed: break it elsewhere"
    path.write_text(path.read_text().replace(right, wrong))
    done = check(source, tmp_path / "runs", test, "ioctl:device.*")
    found = statuses(tmp_path / "runs")
    assert found.pop(test) in ("fail", "crashed"), done.stdout
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(found.values()) == {"pass"}


def test_the_built_in_driver_is_held_to_our_tests(tmp_path: Path) -> None:
    """Mainline's takes a read-only memfd for memory it may write to (notes/udmabuf.md 2.4)."""
    done = check(ROOT, tmp_path, "ioctl:create.*", "account:*", "--driver=builtin")
    # That is known of it, and nothing else is wrong here.
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all shown, and nothing else" in done.stdout
    found = statuses(tmp_path)
    assert found["ioctl:create.memfd_read_only.answers"] == "fail"
    assert found["account:paid.map.memory_cgroup"] == "fail"
    iovecs = {id_ for id_ in found if id_.startswith("account:repeated.")}
    assert iovecs
    assert {found[id_] for id_ in iovecs} == {"skip"}
    assert "pass" in found.values()


def test_a_warning_alone_is_red(tmp_path: Path) -> None:
    source = checkout(tmp_path / "checkout")
    path = source / "module/main.c"
    right = "	switch (cmd) {\n	case UDMABUF_CREATE:\n"
    assert right in path.read_text(), "the driver has changed: warn elsewhere"
    path.write_text(path.read_text().replace(right, f"	WARN_ON_ONCE(1);\n{right}"))
    done = check(source, tmp_path / "runs", "ioctl:device.*")
    found = statuses(tmp_path / "runs")
    assert "fail" in found.values(), done.stdout
    assert "WARNING in " in done.stdout
    junit = (tmp_path / "runs/latest/junit.xml").read_text()
    assert re.search(rf"_ioctl\+0x\S+ \[udmabuf_iov\] \({source}/module/main\.c:\d+\)", junit), (
        junit
    )
    assert done.returncode == 1


def test_a_driver_that_does_not_compile(tmp_path: Path) -> None:
    source = checkout(tmp_path / "checkout")
    with (source / "module/main.c").open("a") as file:
        file.write("int broken(void) { return undeclared; }\n")
    done = check(source, tmp_path / "runs")
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert re.match(rf"{re.escape(str(source))}/module/main\.c:\d+:\d+: error: .*undeclared", first)


def test_a_killed_qemu_is_never_green(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(ROOT, tmp_path, "mmap:*", "sg:*"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as harness:
        results = tmp_path / "latest/vm-1/results.ktap"
        wait_for_files(
            tmp_path, lambda: results.exists() and b"\nok 3 " in results.read_bytes(), harness
        )
        os.kill(qemu_of(harness.pid), signal.SIGKILL)
        assert harness.stdout is not None
        said = harness.stdout.read()
    assert harness.returncode == 2
    found = statuses(tmp_path)
    assert "crashed" in found.values()
    assert list(found.values()).count("crashed") == 1
    # Between two suites it dies in neither, and by now it may be the next VM's.
    where = r"(in \S+|after suite \S+|before the first test)"
    assert re.search(rf"the VM died {where} \(lost: QEMU died ", said), said


def qemu_of(pid: int) -> int:
    """Find the QEMU among a process's descendants."""
    queue = [pid]
    while queue:
        pid = queue.pop()
        if Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):
            return pid
        # A child is its parent's thread's.
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            queue += map(int, children.read_text().split())
    raise AssertionError("no QEMU")
