# SPDX-License-Identifier: GPL-2.0
"""kselftest_dirt.h on this host: files in a folder stand for the kernel's."""

import os
import re
import shutil
from pathlib import Path

import pytest

from harness import ktap
from harness.results import Status
from harness.run import Completed, Spawner

ROOT = Path(__file__).parents[1]
SPAWNER = Spawner(env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
ENVIRONMENT = {"KSFT_SUITE": "dirt", "KSFT_MODULES": "first second"}
KERNEL = {
    "dev/kmsg": "4,0,1,-;what was said before the tests\n",
    "proc/sys/kernel/tainted": "4096\n",
    # Longer than what is read at a time.
    "proc/vmstat": "acquired 5\nreleased 3\n" + "other 1\n" * 1000 + "charged 4\n",
    "sys/kernel/debug/dma_buf/bufinfo": "size count\n\nTotal 0 objects, 0 bytes\n",
    "sys/module/first/refcnt": "2\n",
    "sys/module/second/refcnt": "0\n",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, beside the folder `root` that it takes for the root of the file system."""
    folder = tmp_path_factory.mktemp("dirt")
    shutil.copy(ROOT / "tests" / "data" / "dirt_selftest.c", folder)
    flags = ["-static", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "selftests" / "include")]
    fake = f'-DKSFT_ROOT="{folder}/root"'
    argv = ["gcc", *flags, fake, "-o", "dirt", "dirt_selftest.c"]
    SPAWNER.run(argv, deadline=60, cwd=folder)
    return folder / "dirt"


@pytest.fixture(autouse=True)
def kernel(program: Path) -> Path:
    """A kernel in its first state."""
    root = program.parent / "root"
    for name, text in KERNEL.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run(program: Path, *ids: str, **environment: str) -> Completed:
    spawner = SPAWNER.with_env(**ENVIRONMENT, **environment)
    argv = [str(program), *(word for id_ in ids for word in ("-r", id_))]
    return spawner.run(argv, deadline=60, check=False)


@pytest.mark.parametrize(
    ("test", "dirt"),
    [
        ("taints", "taint 4096 -> 4608"),
        ("leaks_buffer", "dma-bufs 0 -> 1"),
        ("leaks_pin", "pinned pages 2 -> 3"),
        ("unpins_twice", "pinned pages 2 -> 1"),
        ("leaks_charge", "charges 4 -> 1"),
        ("leaks_user", "users of second 0 -> 4"),
        ("skips_and_leaks", "users of first 2 -> 3"),
    ],
)
def test_dirt_is_told_and_ends_the_program(program: Path, test: str, dirt: str) -> None:
    completed = run(program, f"global.{test}", "global.last")
    assert completed.status == 5
    assert completed.output.count("# DIRTY: ") == 1
    assert f"# DIRTY: {dirt}\n" in completed.output
    assert f"not ok 1 global.{test} # DIRTY {dirt}\n" in completed.output
    assert "global.last" not in completed.output
    (told,) = ktap.parse(completed.output).tests
    assert (told.status, told.reason) == (Status.DIRTY, dirt)
    assert told.lines[-1] == f"DIRTY: {dirt}"


def test_a_number_is_read_to_its_end(program: Path, kernel: Path) -> None:
    lines = "acquired 5\nreleased 3\n"
    # The header reads 1024 bytes at a time.
    padding = "x" * (1024 - len(f"{lines}\ncharged 4"))
    (kernel / "proc/vmstat").write_text(f"{lines}{padding}\ncharged 42\n")
    assert "# DIRTY: charges 42 -> 4\n" in run(program, "global.clean").output


@pytest.mark.parametrize("lost", ["acquired", "released"])
def test_half_of_a_difference_is_no_number(program: Path, kernel: Path, lost: str) -> None:
    path = kernel / "proc/vmstat"
    path.write_text(path.read_text().replace(lost, "other"))
    told = run(program, "global.skips_and_leaks").output
    assert "# UNWATCHED: pinned pages: not in /proc/vmstat\n" in told


def test_a_taint_is_not_waited_for(program: Path) -> None:
    """Else it would take 200 s, with this scale."""
    completed = run(program, "global.taints", KSFT_TIMEOUT_SCALE="1000")
    assert "# DIRTY: taint 4096 -> 4608\n" in completed.output


def test_all_dirt_is_told(program: Path) -> None:
    completed = run(program, "global.taints_and_leaks")
    first, second = "taint 4096 -> 4608", "users of first 2 -> 3"
    assert f"# DIRTY: {first}\n# DIRTY: {second}\n" in completed.output
    assert f"not ok 1 global.taints_and_leaks # DIRTY {first}, {second}\n" in completed.output


def test_a_failure_stays_one(program: Path) -> None:
    completed = run(program, "global.fails_and_leaks", "global.last")
    assert completed.status == 5
    assert "# DIRTY: users of first 2 -> 3\n" in completed.output
    assert "not ok 1 global.fails_and_leaks\n" in completed.output
    assert "global.last" not in completed.output


def test_what_is_given_back_late_is_no_dirt(program: Path) -> None:
    completed = run(program, "global.leaks_for_a_moment", "global.last", KSFT_TIMEOUT_SCALE="50")
    assert completed.status == 0
    assert "ok 2 global.last\n" in completed.output


def test_each_test_is_named_in_the_log_before_it_starts(program: Path, kernel: Path) -> None:
    assert run(program, "global.clean", "global.last").status == 0
    before, clean, last = re.split(
        r"<6>harness: test dirt:global\.(?:clean|last)\n", (kernel / "dev/kmsg").read_text()
    )
    assert before == KERNEL["dev/kmsg"]
    assert "fine" in clean
    assert last == ""


def test_warnings_of_the_kernel_are_told_and_are_no_dirt(program: Path) -> None:
    output = run(program, "global.clean").output
    assert "KERNEL" not in output
    completed = run(program, "global.warns", "global.last")
    assert completed.status == 0
    lines = [line for line in completed.output.splitlines() if "KERNEL" in line]
    assert lines == ["# KERNEL: <4>udmabuf_iov: odd; very", "# KERNEL: <3>worse"]
    warns, last = ktap.parse(completed.output).tests
    assert warns.kernel == ("<4>udmabuf_iov: odd; very", "<3>worse")
    assert (last.kernel, last.dirt) == ((), ())


def test_a_flood_of_warnings_is_counted(program: Path) -> None:
    output = run(program, "global.floods").output
    assert output.count("# KERNEL: <4>again\n") == 50
    assert "# KERNEL: <4>10 more messages\n" in output


def test_a_test_sees_no_descriptor_of_the_checks(program: Path) -> None:
    assert run(program, "global.has_standard_descriptors_only").status == 0


def test_a_test_may_use_all_cpus_though_the_runner_stays_on_one(program: Path) -> None:
    assert run(program, "global.has_all_cpus").status == 0


def test_what_cannot_be_watched_is_told(program: Path, kernel: Path) -> None:
    output = run(program, "global.last").output
    assert output.count("UNWATCHED") == 1
    assert "# UNWATCHED: unicorns: not in /sys/unicorns\n" in output
    (kernel / "dev/kmsg").unlink()
    completed = run(program, "global.last")
    assert completed.status == 1
    assert "Bail out! /dev/kmsg: No such file or directory\n" in completed.output


def test_the_checks_sleep_without_a_suite(program: Path, kernel: Path) -> None:
    argv = [str(program), "-r", "global.taints", "-r", "global.leaks_pin", "-r", "global.warns"]
    completed = SPAWNER.run(argv, deadline=60)
    assert "ok 3 global.warns\n" in completed.output
    assert "KERNEL" not in completed.output
    assert "harness" not in (kernel / "dev/kmsg").read_text()


def test_what_cannot_be_killed_ends_the_program(program: Path) -> None:
    completed = run(program, "hang.unkillable", "hang.last")
    assert completed.status == 5
    assert "not ok 1 hang.unkillable # TIMEOUT stuck in the kernel\n" in completed.output
    assert re.search(r"^# STACK: thread \d+ \(dirt\) in state S at ", completed.output, re.M)
    assert re.search(r"^# STUCK: thread \d+ \(dirt\) in state Z at ", completed.output, re.M)
    assert "hang.last" not in completed.output


def test_the_journal_says_which_test_has_which_processes(program: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run(program, "global.last", KSFT_JOURNAL=str(journal))
    run(program, "global.last", KSFT_JOURNAL=str(journal))
    lines = journal.read_text().splitlines()
    pids = [int(line.removesuffix(" dirt:global.last")) for line in lines]
    assert len(set(pids)) == 2
