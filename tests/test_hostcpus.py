# SPDX-License-Identifier: GPL-2.0
"""hostcpus.py: what affinity and control groups leave of the host's CPUs."""

import os
from pathlib import Path

import pytest

from harness.hostcpus import host_cpus


@pytest.fixture(autouse=True)
def of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def grouped(folder: Path, memberships: str, files: dict[str, str]) -> int:
    (folder / "own").write_text(memberships)
    for name, text in files.items():
        file = folder / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return host_cpus(memberships=folder / "own", cgroups=folder / "cgroup")


def test_nothing_is_limited(tmp_path: Path) -> None:
    assert host_cpus(memberships=tmp_path / "none", cgroups=tmp_path) == 8


def test_some_cpus_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7})
    assert grouped(tmp_path, "0::/\n", {"cpu.max": "400000 100000\n"}) == 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "max 100000\n"}, 8),
        ({"a/b/cpu.max": "200000 100000\n"}, 2),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "150000 50000\n"}, 3),
        ({"a/b/cpu.max": "150000 100000\n"}, 1),
        ({"a/b/cpu.max": "50000 100000\n"}, 1),
        ({"a/b/cpu.max": "9000000 100000\n"}, 8),
        # Another one's.
        ({"a/c/cpu.max": "100000 100000\n"}, 8),
        # In a container, where the path is the host's.
        ({"cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_a_control_group_and_those_above_it(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert grouped(tmp_path, "0::/a/b\n", files) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3), ("1000", 1)])
def test_a_control_group_of_the_first_version(tmp_path: Path, quota: str, expected: int) -> None:
    memberships = "3:cpuset:/elsewhere\n4:cpu,cpuacct:/job\n1:name=systemd:/\n0::/\n"
    files = {"cpu/job/cpu.cfs_quota_us": quota, "cpu/job/cpu.cfs_period_us": "100000\n"}
    assert grouped(tmp_path, memberships, files) == expected
