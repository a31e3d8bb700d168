# SPDX-License-Identifier: GPL-2.0
"""history.py and flake.py: no run is lost or taken back, and few runs prove little."""

import fcntl
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.flake import Rate, find_flakes, tell
from harness.history import History, Record, append, load, record_of
from harness.manifest import Manifest, VmRun
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit

IDS = ("mmap:map.size", "mmap:map.content", "sg:table.anon.shape")
START = "2026-11-22T13:20:50+00:00"
MANIFEST = Manifest(
    kernel="6.12",
    release="6.12.117",
    driver="udmabuf_iov",
    package=None,
    kernel_sha256="aa",
    compiler="gcc",
    accelerator="tcg",
    accelerator_why="",
    qemu="",
    vng="",
    host="",
    started=START,
    expected=IDS,
    vms=(VmRun(nonce="0" * 32, planned=IDS),),
    extra=(("udmabuf_iov_sha256", "bb"), ("tests_sha256", "cc"), ("cpus", "2"), ("note", "x")),
)


def result(**statuses: Status) -> RunResult:
    tests = [TestResult(id=id_, status=statuses.get(id_[-4:], Status.PASS)) for id_ in IDS]
    end = VmEnd(exit=VmExit.CLEAN, seconds=3.0, boot_seconds=0.5)
    return RunResult(
        kernel="6.12", release=None, accelerator="tcg", vms=(end, end), tests=tuple(tests)
    )


def run(number: int, inputs: str = "same", cell: str = "6.12", **statuses: Status) -> Record:
    """The record of the Nth run, a minute after the one before."""
    record = record_of(cell, MANIFEST, result(**statuses))
    started = f"2026-11-22T13:{number:02d}:00+00:00"
    return replace(record, run=f"run{number}-{cell}", inputs=inputs, started=started)


def history(*records: Record) -> History:
    return History(records=records, lists={records[0].tests: frozenset(IDS)})


def test_what_is_appended_can_be_read(tmp_path: Path) -> None:
    first, second = run(1), run(2, size=Status.FAIL, tent=Status.SKIP)
    append(tmp_path / "new", [(second, IDS)])
    append(tmp_path / "new", [(first, IDS)])
    found = load(tmp_path / "new")
    assert found.records == (first, second)
    assert found.notes == ()
    assert found.status(second, "mmap:map.size") is Status.FAIL
    assert found.status(second, "mmap:map.content") is Status.SKIP
    assert found.status(second, "sg:table.anon.shape") is Status.PASS
    assert found.status(second, "never:heard.of") is None


def test_a_line_is_small_and_the_list_is_told_once(tmp_path: Path) -> None:
    for number in range(1, 5):
        append(tmp_path, [(run(number), IDS)])
    kinds = [
        json.loads(line)["kind"] for line in (tmp_path / "2026-11.jsonl").read_text().splitlines()
    ]
    assert kinds == ["tests", "run", "run", "run", "run"]


def test_a_run_is_told_once(tmp_path: Path) -> None:
    append(tmp_path, [(run(1), IDS), (run(1), IDS)])
    append(tmp_path, [(run(1), IDS)])
    assert (tmp_path / "2026-11.jsonl").read_text().count('"run":') == 1


def test_a_retry_stands_beside_what_failed(tmp_path: Path) -> None:
    append(tmp_path, [(run(1, size=Status.FAIL), IDS)])
    append(tmp_path, [(run(2), IDS)])
    assert [one.exit_status for one in load(tmp_path).records] == [1, 0]


def test_each_month_has_its_file(tmp_path: Path) -> None:
    december = replace(run(2), started="2026-12-01T00:00:00+00:00")
    append(tmp_path, [(run(1), IDS), (december, IDS)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11.jsonl", "2026-12.jsonl"]
    assert len(load(tmp_path).records) == 2


@given(st.integers(min_value=0))
def test_a_torn_last_line_costs_no_other(cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "2026-11.jsonl"
        append(folder, [(run(1), IDS)])
        whole = path.read_bytes()
        append(folder, [(run(2), IDS)])
        torn = path.read_bytes()[len(whole) : -1]
        path.write_bytes(whole + torn[: cut % len(torn)])
        append(folder, [(run(3), IDS)])
        assert [one.run for one in load(folder).records] == ["run1-6.12", "run3-6.12"]


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    (tmp_path / "2026-10.jsonl").write_bytes(
        b"garbage\n\n"
        b'{"schema": 9}\n'
        b'{"schema": 1, "kind": "other"}\n'
        b'{"schema": 1, "kind": "tests", "key": "k", "ids": [1]}\n'
        b"\xff\xfe\n"
    )
    append(tmp_path, [(run(1), IDS)])
    found = load(tmp_path)
    assert len(found.records) == 1
    numbers = [re.search(r"2026-10.jsonl:(\d+): ", note) for note in found.notes]
    assert [int(number[1]) for number in numbers if number] == [1, 3, 4, 5, 6]


def test_a_status_of_the_future_is_noted(tmp_path: Path) -> None:
    append(tmp_path, [(run(1, size=Status.FAIL), IDS)])
    path = tmp_path / "2026-11.jsonl"
    path.write_text(path.read_text().replace('"fail"', '"worse"'))
    found = load(tmp_path)
    assert found.records == ()
    assert 'unknown status "worse"' in found.notes[0]


def _append_some(folder: Path, worker: int) -> None:
    for number in range(10):
        append(folder, [(run(number, cell=f"cell{worker}"), IDS)])


def test_runs_append_side_by_side(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_some, args=(tmp_path, at)) for at in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = load(tmp_path)
    assert (len(found.records), found.notes) == (30, ())


def test_what_another_run_adds_while_it_has_the_lock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = [(run(1), IDS), (run(3), IDS)]

    def lock(file: IO[bytes], operation: int) -> None:
        assert operation == fcntl.LOCK_EX
        while other:
            append(tmp_path, [other.pop()])

    monkeypatch.setattr(fcntl, "flock", lock)
    append(tmp_path, [(run(1), IDS), (run(2), IDS)])
    text = (tmp_path / "2026-11.jsonl").read_text()
    assert (text.count('"kind":"tests"'), text.count('"kind":"run"')) == (1, 3)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    append(tmp_path, [(run(1), IDS)])
    file = tmp_path / "2026-11.jsonl"
    before = file.read_bytes()
    script = (
        "import resource, signal, sys\n"
        "from tests.test_history import IDS, Path, append, run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "append(Path(sys.argv[1]), [(run(2), IDS)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(len(before) + 40)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HarnessError" in done.stderr and "File too large" in done.stderr
    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot add to the history"):
        append(tmp_path / "file" / "below", [(run(1), IDS)])
    assert load(tmp_path / "nothing").records == ()


def test_a_start_that_is_no_date(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no date"):
        append(tmp_path, [(replace(run(1), started="../../etc"), IDS)])


def test_what_the_inputs_are() -> None:
    same = record_of("6.12", MANIFEST, result())
    assert record_of("other", replace(MANIFEST, host="h", qemu="8"), result()).inputs == same.inputs
    changed: Sequence[Manifest] = [
        replace(MANIFEST, kernel_sha256="other"),
        replace(MANIFEST, driver="builtin"),
        replace(MANIFEST, accelerator="kvm"),
        replace(MANIFEST, extra=(*MANIFEST.extra[1:], ("udmabuf_iov_sha256", "other"))),
        replace(MANIFEST, extra=(("tests_sha256", "other"), MANIFEST.extra[0])),
        replace(MANIFEST, vms=(replace(MANIFEST.vms[0], cmdline=("swiotlb=force",)),)),
    ]
    hashes = [record_of("6.12", one, result()).inputs for one in changed]
    assert len({same.inputs, *hashes}) == len(changed) + 1


def test_runs_are_told_apart_by_their_nonces() -> None:
    again = replace(MANIFEST, vms=(VmRun(nonce="1" * 32, planned=IDS),))
    assert record_of("c", MANIFEST, result()).run != record_of("c", again, result()).run
    assert record_of("c", MANIFEST, result()) == record_of("c", MANIFEST, result())


def test_what_a_record_keeps() -> None:
    record = record_of("c", MANIFEST, result(size=Status.XFAIL, tent=Status.CRASHED))
    assert record.not_passed == {"mmap:map.content": Status.CRASHED}
    assert (record.seconds, record.boot_seconds, record.exit_status) == (6.0, 1.0, 2)


def test_flaky_is_what_changes_on_the_same_inputs() -> None:
    runs = [run(1), run(2, size=Status.FAIL), run(3), run(4), run(5, inputs="new")]
    (flake,) = find_flakes(history(*runs))
    assert (flake.cell, flake.test) == ("6.12", "mmap:map.size")
    assert flake.rate == Rate(failed=1, runs=5)
    assert flake.newest == Rate(failed=0, runs=1)
    assert not flake.worse


def test_a_change_that_breaks_a_test_makes_it_not_flaky() -> None:
    runs = [run(1), run(2), run(3, inputs="new", size=Status.FAIL), run(4, size=Status.SKIP)]
    assert find_flakes(history(*runs)) == ()


def test_neither_skipped_nor_lost_is_flaky() -> None:
    runs = [run(1), run(2, size=Status.SKIP), run(3, size=Status.MISSING, tent=Status.CRASHED)]
    assert find_flakes(history(*runs)) == ()


def test_cells_do_not_mix() -> None:
    assert find_flakes(history(run(1), run(2, cell="7.3", size=Status.FAIL))) == ()


def test_failures_on_inputs_that_never_pass_are_no_part_of_the_rate() -> None:
    runs = [run(1), run(2, size=Status.FAIL)]
    runs += [run(at, inputs="broken", size=Status.FAIL) for at in range(3, 9)]
    (flake,) = find_flakes(history(*runs))
    assert flake.rate == Rate(failed=1, runs=2)
    assert flake.newest == Rate(failed=6, runs=6)


def test_a_flaky_test_that_a_change_made_worse() -> None:
    before = [run(at) for at in range(20)]
    before[7] = run(7, size=Status.TIMEOUT)
    after = [run(at, inputs="new", size=Status.FAIL) for at in range(20, 24)]
    (flake,) = find_flakes(history(*before, *after[:1]))
    assert not flake.worse
    (flake,) = find_flakes(history(*before, *after))
    assert flake.worse


# From Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
@pytest.mark.parametrize(
    ("failed", "runs", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval(failed: int, runs: int, low: float, high: float) -> None:
    assert Rate(failed=failed, runs=runs).interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_holds_the_share(failed: int, passed: int) -> None:
    rate = Rate(failed=failed, runs=failed + passed)
    low, high = rate.interval
    assert 0 <= low <= high <= 1
    assert rate.runs == 0 or low - 1e-9 <= failed / rate.runs <= high + 1e-9
    assert rate.explains(rate)


def test_what_is_told_of_a_failure() -> None:
    fail = {"size": Status.FAIL}
    told = [
        ([run(1, **fail)], ""),
        ([run(1, size=Status.SKIP), run(2, **fail)], "never judged before"),
        (
            [run(1), run(2, **fail)],
            "flaky: failed in 1 of 2 runs of the same inputs",
        ),
        ([run(1), run(2, "new", **fail)], "new: passed in the last run of other inputs"),
        (
            [run(1, "a", **fail), run(2, "b"), run(3, "c", **fail)],
            "new: passed in the last run of other inputs, though it failed in 1 of 2 runs before",
        ),
        (
            [run(1), run(2, "b", **fail), run(3, "c", **fail), run(4, "d", **fail)],
            "fails since 2026-11-22T13:02:00+00:00",
        ),
    ]
    for records, words in told:
        assert tell(history(*records), records[-1], "mmap:map.size") == words


def test_later_runs_tell_nothing_of_what_was_before() -> None:
    records = [run(1, size=Status.FAIL), run(2, "new")]
    assert tell(history(*records), records[0], "mmap:map.size") == ""
