# SPDX-License-Identifier: GPL-2.0
"""What the benchmark counts, and what it leaves behind; the paths themselves are stand-ins."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness import benchmark, runner
from harness.benchmark import BenchError, Contest, bench
from harness.manifest import Manifest, VmRun
from harness.place import Place
from harness.progress import Progress
from harness.results import VmEnd, VmExit
from harness.run import Spawner


def fail() -> float:
    raise BenchError("it did not work")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a place where nothing is built and no VM runs."""
    ready = type("Ready", (), {"accelerator": type("Accelerator", (), {"name": "tcg"})()})()
    monkeypatch.setattr(runner, "prepare", lambda place, kernel: ready)
    monkeypatch.setattr(benchmark, "_vms", lambda *_: (Contest(name="stock", job=lambda: 8.0),))
    return Place(
        source=tmp_path,
        cache=tmp_path / "cache",
        runs=tmp_path / "runs",
        spawner=Spawner(),
        progress=Progress(Console(file=io.StringIO(), width=100)),
    )


def on_the_shelf(place: Place, contest: Contest) -> tuple[Contest, ...]:
    (place.cache / "bench/source").mkdir(parents=True)
    return (contest,)


def test_ratios_are_to_the_first_path(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Contest(name="ours", job=lambda: 2.0)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, half))
    assert bench(place, "6.12", rounds=2) == 0
    file = place.progress.console.file
    assert isinstance(file, io.StringIO)
    (ours,) = (line for line in file.getvalue().splitlines() if line.strip().startswith("ours "))
    assert ours.split()[1:4] == ["2.00", "0.00", "0.25"]


def test_nothing_is_left_on_the_shelf(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Contest(name="broken", job=fail)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, broken))
    with pytest.raises(BenchError, match="it did not work"):
        bench(place, "6.12", rounds=1)
    assert not (place.cache / "bench").exists()
    assert not place.runs.exists()


def test_the_tests_own_time_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [VmEnd(exit=VmExit.CLEAN, seconds=9, boot_seconds=1)] * 2
    run = VmRun(nonce="a" * 32, planned=())
    vms = tuple(replace(run, end=end) for end in ends)
    manifest = Manifest.__new__(Manifest)
    object.__setattr__(manifest, "vms", vms)
    monkeypatch.setattr(benchmark, "load_manifest", lambda folder: manifest)
    clock = iter((100.0, 112.0))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    for jobs, left in ((2, 4.0), (1, -4.0)):
        clock = iter((100.0, 112.0))
        monkeypatch.setattr(runner, "Options", lambda jobs=jobs: type("O", (), {"jobs": jobs}))
        assert benchmark._less(Path) == left
