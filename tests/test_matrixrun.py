# SPDX-License-Identifier: GPL-2.0
"""matrixrun.py, matrixcheck.py: cells side by side, no gap, nothing lost, nothing left running."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness import matrixrun, runner
from harness.accel import Accelerator
from harness.capacity import Capacity, Room
from harness.cell import CellResult, load_cells
from harness.matrix import Cell, Matrix, load_matrix
from harness.matrixrun import (
    MatrixOptions,
    NoAcceleratorError,
    NoCellError,
    _accelerator,
    _by_inputs,
    _Crew,
    choose,
    known_cells,
    longest_first,
)
from harness.place import Place
from harness.progress import Progress
from harness.results import RunResult, Status, TestResult
from harness.run import LeashError
from harness.selection import NoTestError, narrow
from harness.spec import Spec
from harness.vm import VM_MEMORY
from tests.awaiting import wait_gone
from tests.fakerun import ingredients, inputs
from tests.smallmatrix import ONE_SUITE
from tests.test_cli import ROOT, descendants, run, wait_until

MATRIX = f"""{ONE_SUITE}
[series."6.12"]
suites = ["stable"]
[profiles.small]
fragments = ["small"]
[cells.good]
kernel = "fake/clean"
[cells.better]
kernel = "fake/clean"
cmdline = ["quiet"]
"""
BAD = '[cells.bad]\nkernel = "fake/failing"\n'
LOST = '[cells.lost]\nkernel = "fake/missing"\n'
SILENT = '[cells.silent]\nkernel = "fake/silent"\n'
BUILTIN = '[cells.builtin]\nkernel = "fake/failing"\ndriver = "builtin"\n'
KNOWN = """
[[known]]
wrong = "One is wrong."
bug = true
kernels = ["6.12"]
tests = ["fake:global.one"]
"""
DEBUG = '[cells.slow]\nkernel = "fake/clean"\ngroup = "debug"\n'


def source(folder: Path, *more: str) -> str:
    """Make a checkout with a matrix of fakes; returns the option that names it."""
    kconfigs = folder / "source/kconfigs"
    kconfigs.mkdir(parents=True, exist_ok=True)
    (kconfigs / "small.config").touch()
    (kconfigs / "matrix.toml").write_text(MATRIX + "".join(more))
    return f"--source={folder}/source"


def matrix(folder: Path, *more: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run the fake harness; returns its exit status and what it said."""
    done = run("clean", folder, source(folder, *more), "matrix", *options)
    return done.returncode, done.stdout + done.stderr


def latest(folder: Path) -> dict[str, CellResult]:
    return {cell.name: cell for cell in load_cells((folder / "runs/latest").resolve())}


def test_all_passed(tmp_path: Path) -> None:
    status, said = matrix(tmp_path)
    assert status == 0, said
    cells = latest(tmp_path)
    assert [cell.exit_status for cell in cells.values()] == [0, 0]
    assert list(cells) == ["good", "better"]
    assert (cells["better"].folder / "manifest.json").is_file()
    assert (cells["better"].folder / "vm-1/console.log").is_file()
    assert "2 of 2 cells passed; 4 verdicts in" in said
    # Nothing differs: there is no row for a test.
    assert "global.one" not in said


def test_a_cells_own_parameters_reach_its_vm(tmp_path: Path) -> None:
    matrix(tmp_path)
    cells = latest(tmp_path)
    for name, expected in (("good", False), ("better", True)):
        manifest = json.loads((cells[name].folder / "manifest.json").read_text())
        assert ("quiet" in manifest["vms"][0]["argv"]) == expected


def test_one_that_failed_shows_where_and_why(tmp_path: Path) -> None:
    status, said = matrix(tmp_path, BAD)
    assert status == 1
    lines = said.splitlines()
    assert lines[
        lines.index(next(one for one in lines if one.startswith("test  "))) + 1
    ].split() == [*("fake:global.one", "PASS", "PASS", "FAIL")]
    assert "FAIL  fake:global.one: Expected 1 (1) == 2 (2)" in said
    assert f"log: {tmp_path}/runs/" in said
    assert "2 of 3 cells passed, 1 of 3 cells failed" in said


def test_a_cell_that_cannot_be_run_is_an_error_not_a_gap(tmp_path: Path) -> None:
    status, said = matrix(tmp_path, BAD, LOST)
    assert status == 2
    assert latest(tmp_path)["lost"].error == "no kernel of that name (look elsewhere)"
    assert [cell.exit_status for cell in latest(tmp_path).values()] == [0, 0, 1, 2]
    assert "ERROR: no kernel of that name (look elsewhere)" in said
    assert "PASS     PASS     FAIL     ERROR" in said


def test_the_merged_documents(tmp_path: Path) -> None:
    matrix(tmp_path, BAD, LOST)
    folder = tmp_path / "runs/latest"
    document = json.loads((folder / "results.json").read_text())
    assert (document["schema"], document["kind"], document["exit_status"]) == (1, "matrix", 2)
    assert [cell["name"] for cell in document["cells"]] == ["good", "better", "bad", "lost"]
    own = json.loads((folder / "cells/bad/results.json").read_text())
    assert document["cells"][2]["result"] == own
    assert document["cells"][3]["result"] is None
    root = ElementTree.parse(folder / "junit.xml").getroot()
    totals = [root.get(name) for name in ("tests", "failures", "errors")]
    assert totals == ["7", "1", "1"]
    assert {suite.get("name") for suite in root} == {
        *("udmabuf_iov good", "udmabuf_iov better", "udmabuf_iov bad", "udmabuf_iov lost")
    }


def test_parse_judges_a_matrix_again(tmp_path: Path) -> None:
    matrix(tmp_path, BAD, LOST)
    folder = tmp_path / "runs/latest"
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.json"))}
    (folder / "cells/bad/results.json").unlink()
    done = run("clean", tmp_path, "parse", str(folder))
    assert done.returncode == 2
    assert "2 of 4 cells passed, 1 of 4 cells failed, 1 of 4 cells could not be judged" in (
        done.stdout
    )
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.json"))} == before


@pytest.mark.parametrize("verb", ["check", "matrix"])
def test_a_stale_reason_is_an_error_of_each_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("FAKE_STALE", "")
    words = [verb] if verb == "matrix" else [verb, "--kernel=fake/clean"]
    option = source(tmp_path)
    done = run("clean", tmp_path, option, *words)
    assert done.returncode == 2, done.stderr
    assert "stale reason: demo.c, choose: 'x' was run" in done.stdout
    (cell, *_) = load_cells(tmp_path / "runs/latest")
    assert (cell.exit_status, cell.result and cell.result.exit_status) == (2, 0)
    again = run("clean", tmp_path, option, "parse", str((tmp_path / "runs/latest").resolve()))
    assert again.returncode == 2, again.stderr
    assert "stale reason: demo.c, choose: 'x' was run" in again.stdout


def test_json_is_one_line_for_github(tmp_path: Path) -> None:
    status, said = matrix(tmp_path, DEBUG, options=("--json", "--group=debug"))
    assert status == 0
    assert json.loads(said) == {
        "include": [{"cell": "slow", "kernel": "fake/clean", "driver": "ours", "group": "debug"}]
    }
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_nothing_is_begun_with_a_bad_pattern(tmp_path: Path) -> None:
    status, said = matrix(tmp_path, options=("nothing:*",))
    assert status == 2
    assert "no test matches 'nothing:*'" in said


@pytest.mark.parametrize("options", [(), ("--json",), ("--cell=good",)])
def test_nothing_is_begun_with_a_cell_that_cannot_be_meant(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Whichever cells are asked for: the file is checked whole."""
    (tmp_path / "linux").mkdir()
    odd = '[cells.odd]\nkernel = "fake/clean"\ntests = ["fake:global.*", "fkae:*"]\n'
    typo = f'[cells.odd]\nkernel = "{tmp_path}/linux+smal"\n'
    for cell, key, wrong in ((odd, "tests", "fkae:*"), (typo, "kernel", f"{tmp_path}/linux+smal")):
        status, said = matrix(tmp_path, cell, options=options)
        assert status == 2
        line = (
            (MATRIX + cell).splitlines().index(next(one for one in cell.splitlines() if key in one))
        )
        assert f"/source/kconfigs/matrix.toml:{line + 1}: cells.odd.{key}: expected" in said
        assert f"got {wrong!r}" in said
        assert not (tmp_path / "runs").exists()


def test_changed_only_lets_verdicts_stand_while_their_inputs_do(tmp_path: Path) -> None:
    matrix(tmp_path, BAD)
    first = latest(tmp_path)
    status, said = matrix(
        tmp_path, BAD.replace("failing", "clean"), LOST, options=("--changed-only",)
    )
    assert status == 2, said
    second = latest(tmp_path)

    def nonce(cell: CellResult) -> str:
        return str(json.loads((cell.folder / "manifest.json").read_text())["vms"][0]["nonce"])

    assert nonce(second["good"]) == nonce(first["good"])
    assert second["good"].folder != first["good"].folder
    # Another kernel: the same inputs as another cell's, whose verdict it is.
    assert second["bad"].exit_status == 0
    assert second["lost"].exit_status == 2


def test_red_stands_as_green_does(tmp_path: Path) -> None:
    matrix(tmp_path, BAD)
    status, _ = matrix(tmp_path, BAD, options=("--changed-only",))
    assert status == 1


def test_what_is_known_of_mainline_is_asked_anew_of_verdicts_that_stand(tmp_path: Path) -> None:
    known = tmp_path / "source/selftests/known.toml"
    known.parent.mkdir(parents=True)
    known.write_text(KNOWN)
    only = "--cell=builtin"
    assert matrix(tmp_path, BUILTIN, options=(only,))[0] == 0
    known.write_text("")
    status, said = matrix(tmp_path, BUILTIN, options=(only, "--changed-only"))
    assert status == 1
    assert "fake:global.one is red, which nothing known explains" in said
    assert latest(tmp_path)["builtin"].as_known is False
    known.write_text(KNOWN)
    folder = str(tmp_path / "runs/latest")
    assert run("clean", tmp_path, f"--source={tmp_path}/source", "parse", folder).returncode == 0
    assert latest(tmp_path)["builtin"].as_known is True
    root = ElementTree.parse(tmp_path / "runs/latest/junit.xml").getroot()
    assert (root.get("failures"), len(root.findall(".//skipped"))) == ("0", 1)


def test_what_was_not_judged_is_run_again() -> None:
    tests = (TestResult(id="s:f.t", status=Status.ERROR),)
    result = RunResult(kernel="k", release=None, accelerator="tcg", vms=(), tests=tests)
    cell = CellResult(
        name="x", folder=Path("x"), result=result, error=None, seconds=1.0, inputs="same"
    )
    assert _by_inputs([cell]) == {}
    red = replace(result, tests=(replace(tests[0], status=Status.FAIL),))
    newest, older = replace(cell, result=red, name="new"), replace(cell, result=red, name="old")
    assert _by_inputs([cell, newest, older]) == {"same": newest}
    assert _by_inputs([replace(newest, inputs="")]) == {}


def test_longest_first_by_the_last_run(tmp_path: Path) -> None:
    source(tmp_path, BAD)
    cells = load_matrix(tmp_path / "source/kconfigs/matrix.toml").cells
    last = {
        name: CellResult(name=name, folder=tmp_path, result=None, error="", seconds=seconds)
        for name, seconds in (("good", 5.0), ("better", 50.0))
    }
    # What was never run comes first.
    assert [cell.name for cell in longest_first(cells, last)] == ["bad", "better", "good"]


def test_ctrl_c_keeps_what_was_done_and_leaves_nothing_running(tmp_path: Path) -> None:
    option = source(tmp_path, SILENT)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakerun", "clean", tmp_path, option, "matrix"],
        cwd=ROOT,
        env={**os.environ, "FAKE_PATIENT": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as harness:
        assert harness.stdout is not None
        # One VM at a time: while that of the silent one hangs, no other cell ends.
        for line in harness.stdout:
            if line.startswith("better:"):
                break
        results = tmp_path / "runs/latest/cells/silent/vm-1/results.ktap"
        wait_until(lambda: results.exists() and b"suite" in results.read_bytes(), harness)
        pids = descendants(harness.pid)
        harness.send_signal(signal.SIGINT)
        shown, said = harness.communicate()
    assert harness.returncode == 130
    assert "silent:    ERROR: interrupted" in shown
    _, _, table = shown.partition("\ncell ")
    assert "2 of 3 cells passed, 1 of 3 cells could not be judged" in table
    assert (tmp_path / "runs/latest/report.html").is_file()
    assert "interrupted, nothing is left running" in said
    assert all(map(wait_gone, pids))
    cells = latest(tmp_path)
    assert cells["better"].exit_status == 0
    assert cells["silent"].error == "interrupted"
    assert json.loads((tmp_path / "runs/latest/results.json").read_text())["exit_status"] == 2


CELLS = (
    Cell(name="5.10", kernel="5.10"),
    Cell(name="7.3", kernel="7.3"),
    Cell(name="7.3+debug", kernel="7.3+debug", group="debug"),
)


@pytest.mark.parametrize(
    ("names", "groups", "expected"),
    [
        ((), (), ["5.10", "7.3"]),
        (("7.*",), (), ["7.3", "7.3+debug"]),
        ((), ("debug",), ["7.3+debug"]),
        ((), ("*",), ["5.10", "7.3", "7.3+debug"]),
        (("7.*",), ("default",), ["7.3"]),
        (("7.3", "5.10"), (), ["5.10", "7.3"]),
    ],
)
def test_choosing(names: tuple[str, ...], groups: tuple[str, ...], expected: list[str]) -> None:
    chosen = choose(of(CELLS), names, groups)
    assert [cell.name for cell in chosen] == expected


def of(cells: tuple[Cell, ...]) -> Matrix:
    return Matrix(default="7.3", series=(), mirrors=(), suites=(), profiles=(), cells=cells)


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [
        (("7.3", "6.6"), (), r"no cell is called '6\.6'"),
        (("7.3+debug",), ("default",), r"no cell is called '7\.3\+debug'"),
        ((), ("slow",), "no group of cells is called 'slow'"),
    ],
)
def test_what_nothing_is_called(
    names: tuple[str, ...], groups: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NoCellError, match=message):
        choose(of(CELLS), names, groups)


def test_a_cell_that_wants_kvm_does_not_make_do_with_less() -> None:
    kvm, tcg = Accelerator(kvm=True, why="probed"), Accelerator(kvm=False, why="no /dev/kvm")
    cell = Cell(name="x", kernel="7.3")
    assert _accelerator(cell, kvm) is kvm
    assert _accelerator(replace(cell, accelerator="kvm"), kvm) is kvm
    assert not _accelerator(replace(cell, accelerator="tcg"), kvm).kvm
    assert _accelerator(replace(cell, accelerator="tcg"), tcg) is tcg
    with pytest.raises(NoAcceleratorError, match=r"wants KVM.*no /dev/kvm"):
        _accelerator(replace(cell, accelerator="kvm"), tcg)


# Of a specification name and ids are asked for, no more.
SPEC = cast(Spec, SimpleNamespace(name="s", ids=("a.one", "a.two", "b.one")))


def test_a_cells_tests_and_those_asked_for() -> None:
    assert narrow([SPEC], (), ()) == ()
    assert narrow([SPEC], ("s:a.*",), ()) == ("s:a.*",)
    assert narrow([SPEC], (), ("*.one",)) == ("*.one",)
    assert narrow([SPEC], ("s:a.*",), ("*.one",)) == ("s:a.one",)
    with pytest.raises(NoTestError, match=r"no test matches both 's:b\.\*' and '\*\.two'"):
        narrow([SPEC], ("s:b.*",), ("*.two",))
    with pytest.raises(NoTestError, match=r"no test matches 't:\*'"):
        narrow([SPEC], (), ("t:*",))


def test_earlier_runs_newest_first_and_what_is_broken_left_out(tmp_path: Path) -> None:
    matrix(tmp_path)
    first = (tmp_path / "runs/latest").resolve()
    broken = tmp_path / "runs/20990101T000000Z-matrix"
    broken.mkdir()
    (broken / "matrix.json").write_text("{")
    matrix(tmp_path)
    second = (tmp_path / "runs/latest").resolve()
    found = [cell.folder for cell in known_cells(tmp_path / "runs")]
    assert [path.parents[1] for path in found] == [second, second, first, first]


def take(
    room: Room,
    vms: int,
    memory: int,
    cpus: int = 1,
    *,
    entered: threading.Event,
    leave: threading.Event,
) -> threading.Thread:
    def body() -> None:
        with room.taken(vms=vms, cpus=cpus, memory=memory):
            entered.set()
            assert leave.wait(60)

    thread = threading.Thread(target=body)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("capacity", "second"),
    [
        (Capacity(cpus=1, memory=9999), 1024),
        (Capacity(cpus=9, memory=3000), 1024),
        # Enough for the three that run, not for the two that are restored meanwhile.
        (Capacity(cpus=9, memory=3 * 4608 + 4607), 4096),
    ],
)
def test_cores_and_memory_both_limit_what_runs(capacity: Capacity, second: int) -> None:
    room = Room(capacity)
    first_in, second_in, leave = threading.Event(), threading.Event(), threading.Event()
    # Larger than all there is: alone.
    first = take(room, 2, 4096, entered=first_in, leave=leave)
    assert first_in.wait(60)
    other = take(room, 1, second, entered=second_in, leave=leave)
    assert not second_in.wait(0.2)
    leave.set()
    assert second_in.wait(60)
    first.join()
    other.join()


def test_a_vm_of_two_cpus_takes_two() -> None:
    room = Room(Capacity(cpus=3, memory=99999))
    events, leave = [threading.Event() for _ in range(3)], threading.Event()
    first, second, small = events
    threads = [take(room, 1, 1024, 2, entered=first, leave=leave)]
    assert first.wait(60)
    threads.append(take(room, 1, 1024, 2, entered=second, leave=leave))
    threads.append(take(room, 1, 1024, 1, entered=small, leave=leave))
    assert small.wait(60)
    assert not second.wait(0.2)
    leave.set()
    assert second.wait(60)
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("cpus", "jobs", "expected"),
    [((1, 1), None, 1), ((1, 2), None, 2), ((3, 2), None, 3), ((3, 2), 2, 1)],
)
def test_a_cell_takes_the_cpus_of_its_vms(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpus: tuple[int, int],
    jobs: int | None,
    expected: int,
) -> None:
    cell, kernel = cpus

    class Asked(Exception):
        pass

    class Watched(Room):
        def taken(self, *, vms: int, cpus: int, memory: int) -> NoReturn:
            raise Asked(vms, cpus, memory)

    room = Watched(Capacity(cpus=1, memory=1))
    ready = replace(ingredients(tmp_path), cpus=kernel)
    monkeypatch.setattr(runner, "prepare", lambda *_: ready)
    monkeypatch.setattr(matrixrun, "hash_inputs", inputs)
    one = Cell(name="x", kernel="6.12", cpus=cell)
    crew = crew_of_one(one, tmp_path, MatrixOptions(jobs=jobs))
    with pytest.raises(Asked) as asked:
        crew._verdicts(crew.place, one, room, 2)
    assert asked.value.args == (2, expected, VM_MEMORY)


def crew_of_one(cell: Cell, folder: Path, options: MatrixOptions) -> _Crew:
    return _Crew(
        place=cast(Place, SimpleNamespace(progress=Progress(Console(quiet=True)))),
        folder=folder,
        cells=(cell,),
        options=options,
        tests=ingredients(folder).selftests,
        patterns={cell.name: ()},
        known={},
        last={},
    )


@pytest.mark.parametrize(("asked", "expected"), [(24, 30), (40, 40)])
def test_a_cell_knows_how_many_vms_it_spoils(tmp_path: Path, asked: int, expected: int) -> None:
    cell = Cell(name="x", kernel="6.12", more_vms=30)
    crew = crew_of_one(cell, tmp_path, MatrixOptions(more=asked))
    assert crew._options(cell, 1).more == expected


def test_random_choices_are_those_asked_for(tmp_path: Path) -> None:
    cell = Cell(name="x", kernel="6.12")
    crew = crew_of_one(cell, tmp_path, MatrixOptions(seed=7))
    assert crew._options(cell, 1).seed == 7
    crew = crew_of_one(cell, tmp_path, MatrixOptions())
    assert len({crew._options(cell, 1).seed for _ in range(9)}) > 1


def test_what_fits_runs_at_once() -> None:
    # Each has one guest that runs and one that gets ready.
    room = Room(Capacity(cpus=2, memory=4 * 1536))
    leave = threading.Event()
    events = [threading.Event(), threading.Event()]
    threads = [take(room, 1, 1024, entered=event, leave=leave) for event in events]
    assert all(event.wait(60) for event in events)
    leave.set()
    for thread in threads:
        thread.join()


def test_a_closed_room_turns_away_those_who_wait() -> None:
    room = Room(Capacity(cpus=1, memory=9999))
    errors: list[LeashError] = []

    def wait() -> None:
        try:
            with room.taken(vms=1, cpus=1, memory=1):
                pass
        except LeashError as error:
            errors.append(error)

    with room.taken(vms=1, cpus=1, memory=1):
        thread = threading.Thread(target=wait)
        thread.start()
        room.close()
        thread.join(60)
    assert len(errors) == 1
