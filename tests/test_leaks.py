# SPDX-License-Identifier: GPL-2.0
"""guest/leaks, on this host: files in a folder stand for the kernel's."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.attribute import Charge, attribute

SCRIPT = Path(__file__).parents[1] / "harness/guest/leaks"
JOURNAL = "100 ioctl:a.one\n110 ioctl:a.two\n120 mmap:a.one\n"


def leak(pid: int, function: str, comm: str = "ioctl") -> str:
    """An object as kmemleak tells of it, with an ASCII column that shells might interpret."""
    return (
        f"unreferenced object 0xffff888003d1c{pid:03x} (size 192):\n"
        f'  comm "{comm}", pid {pid}, jiffies 4294894312 (age 12.3s)\n'
        "  hex dump (first 32 bytes):\n"
        "    5c 6e 5c 74 25 73 60 24 00 00 00 00 00 00 00 00  \\n\\t%s`$........\n"
        "  backtrace (crc 2ee5ba0d):\n"
        "    kmalloc_trace+0x25/0x90\n"
        f"    {function}\n"
    )


def tell(folder: Path, report: str, journal: str = JOURNAL) -> tuple[Charge, ...]:
    """Run the script on a kernel that reports this; return what its log is read as."""
    files = {
        "sys/kernel/debug/kmemleak": report,
        "proc/sys/kernel/printk": "7\t4\t1\t7\n",
        "dev/kmsg": "",
        "bin/sleep": "#!/bin/sh\n",
        "journal": journal,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin/sleep").chmod(0o755)
    environment = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "KSFT_ROOT": str(folder),
        "KSFT_MODULES": " helper udmabuf_iov",
    }
    subprocess.run(["sh", SCRIPT, folder / "journal"], env=environment, check=True)
    assert (folder / "proc/sys/kernel/printk").read_text() == "7 4\t1\t7\n"
    log = (folder / "dev/kmsg").read_text().splitlines()
    stamped = (f"[{at:5}.000000] {line[3:]}\n" for at, line in enumerate(log, 1))
    return attribute(line.encode() for line in stamped)


@pytest.mark.parametrize(
    ("pid", "test"),
    [(100, "ioctl:a.one"), (109, "ioctl:a.one"), (110, "ioctl:a.two"), (4000, "mmap:a.one")],
)
def test_a_leak_is_charged_to_the_test_whose_process_it_was(
    pid: int, test: str, tmp_path: Path
) -> None:
    (found,) = tell(tmp_path, leak(99, "boot+0x1/0x2") + leak(pid, "uiov_new+0x1/0x2 [other]"))
    assert (found.test, found.splat.title) == (test, "memory leak in uiov_new")
    assert "\\n\\t%s`$" in found.splat.text


@pytest.mark.parametrize(
    ("pid", "comm", "test"),
    [
        (32001, "ioctl", "ioctl:a.one"),
        (32700, "ioctl", "ioctl:a.two"),
        (310, "mmap", "mmap:a.one"),
        # What has another name is taken for the latest.
        (401, "helper", "sg:a.one"),
        (32700, "helper", "longer_than_a_name:a.one"),
        (501, "longer_than_a_n", "longer_than_a_name:a.one"),
    ],
)
def test_the_numbers_of_processes_may_begin_anew(
    pid: int, comm: str, test: str, tmp_path: Path
) -> None:
    journal = "32000 ioctl:a.one\n32600 ioctl:a.two\n300 mmap:a.one\n400 sg:a.one\n"
    journal += "500 longer_than_a_name:a.one\n"
    (found,) = tell(tmp_path, leak(pid, "f+0x1/0x2", comm), journal)
    assert found.test == test


@pytest.mark.parametrize("comm", ["kworker/0:1", "kthreadd", "insmod"])
def test_what_is_no_test_s_counts_if_it_is_our_module_s(comm: str, tmp_path: Path) -> None:
    pid = 99 if comm == "insmod" else 200
    theirs, ours = leak(pid, "boot+0x1/0x2", comm), leak(pid, "put+0x1/0x2 [udmabuf_iov]", comm)
    found = tell(tmp_path, leak(115, "get+0x1/0x2") + theirs + ours)
    assert [(one.test, one.splat.title) for one in found] == [
        ("ioctl:a.two", "memory leak in get"),
        (None, "memory leak in put"),
    ]


def test_without_leaks_or_tests_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert tell(tmp_path, "") == ()
    subprocess.run(["sh", SCRIPT, tmp_path / "none"], check=True)
