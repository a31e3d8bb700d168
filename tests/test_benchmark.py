# SPDX-License-Identifier: GPL-2.0
"""What the benchmark counts, and what it leaves behind; the paths themselves are stand-ins."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness import benchmark, runner
from harness.benchmark import BenchError, Contest, bench
from harness.place import Place
from harness.progress import Progress
from harness.run import Spawner
from harness.target import (
    COLD,
    EDITED,
    FIRST_TEST,
    LESS_TESTS,
    STOCK,
    TARGETS,
    UNCHANGED,
    WARM,
    Target,
    hold,
)


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


@pytest.fixture(autouse=True)
def promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise nothing of paths that are stand-ins."""
    monkeypatch.setattr(benchmark, "TARGETS", ())


def printed(place: Place) -> list[str]:
    file = place.progress.console.file
    assert isinstance(file, io.StringIO)
    return [line.strip() for line in file.getvalue().splitlines()]


def test_ratios_are_to_the_first_path(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Contest(name="ours", job=lambda: 2.0)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, half))
    assert bench(place, "6.12", rounds=2) == 0
    (ours,) = (line for line in printed(place) if line.startswith("ours "))
    assert ours.split()[1:4] == ["2.00", "0.00", "0.25"]
    # Peaks, MiB: of the process that does it, and of the largest that it starts.
    harness, largest = (int(word) for word in ours.split()[4:])
    assert 10 < harness < 1000
    assert largest == 0


def test_memory_is_told_by_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> float:
        place.spawner.run([sys.executable, "-c", "x = b'1' * (300 << 20)"], deadline=60)
        return 2.0

    ours = Contest(name="ours", job=start)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, ours))
    bench(place, "6.12", rounds=1)
    (line,) = (line for line in printed(place) if line.startswith("ours "))
    harness, largest = (int(word) for word in line.split()[4:])
    assert harness < 300 < largest


def test_promises_are_held_against_what_was_measured(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = Contest(name="ours", job=lambda: 2.0)
    promise = Target(words="a check", path="ours", limit=1.5)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, half))
    monkeypatch.setattr(benchmark, "TARGETS", (promise,))
    bench(place, "6.12", rounds=1)
    (line,) = (line for line in printed(place) if line.startswith("a check "))
    assert line.split() == ["a", "check", "under", "1.5", "s", "2.00", "s", "missed"]


def test_the_promises_are_those_of_the_paths_that_are_measured() -> None:
    medians = {STOCK: 32.0, COLD: 4.0, WARM: 0.5, FIRST_TEST: 0.9}
    medians |= {UNCHANGED: 7.99, EDITED: 10.0, LESS_TESTS: 3.5}
    results = hold(TARGETS, medians)
    assert [(result.measured, result.verdict) for result in results] == [
        ("", "not measured here: takes a machine with nothing on it"),
        ("7.99 s", "met"),
        ("10.00 s", "missed"),
        ("3.50 s", "met"),
        ("0.90 s", "missed"),
        ("8.0 times", "met"),
        ("8.0 times", "met"),
        ("64.0 times", "met"),
    ]
    assert hold(TARGETS, medians | {WARM: 1.0})[-2].verdict == "missed"


@pytest.mark.parametrize(
    ("own", "share", "busy"), [(20.0, "0%", False), (18.4, "8%", False), (5.0, "75%", True)]
)
def test_a_busy_host_is_told(own: float, share: str, busy: bool) -> None:
    seen = benchmark._share_of_others((100.0, 7.0), (120.0, 7.0 + own))
    words = benchmark._host(1.25, seen)
    assert "load average 1.25 when it began" in words
    assert f"others had {share} of the CPU time" in words
    assert ("busy" in words) is busy


def test_cpu_time_of_children_is_our_own() -> None:
    before = benchmark._cpu_time()
    loop = "import time\nwhile time.process_time() < 0.3: pass"
    Spawner().run([sys.executable, "-c", loop], deadline=60)
    busy, own = (now - then for now, then in zip(benchmark._cpu_time(), before, strict=True))
    assert own >= 0.3
    # In ticks, of all CPUs.
    assert own - 0.1 <= busy


def test_nothing_is_left_on_the_shelf(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Contest(name="broken", job=fail)
    monkeypatch.setattr(benchmark, "_checks", lambda *_: on_the_shelf(place, broken))
    with pytest.raises(BenchError, match="it did not work"):
        bench(place, "6.12", rounds=1)
    assert not (place.cache / "bench").exists()
    assert not place.runs.exists()


def test_the_tests_own_time_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(on_line: Callable[[bytes], None]) -> None:
        for line in (b"TAP version 13", b"#  RUN  a ...", b"ok 1 a", b"not ok 2 b", b"@nonce end"):
            on_line(line)

    # Start, three lines that are of tests, end.
    clock = iter((100.0, 103.0, 104.0, 110.0, 110.5))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert benchmark._less(check) == 3.5


def test_a_check_without_tests_measures_nothing() -> None:
    with pytest.raises(BenchError, match="no test ran"):
        benchmark._less(lambda on_line: None)
