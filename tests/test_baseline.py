# SPDX-License-Identifier: GPL-2.0
"""baseline.py, difference.py: what is new since a revision; the checkout stays as it was."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.baseline import RevisionError, checked_out, exit_status, news_of
from harness.cell import CellResult, load_cells
from harness.difference import gone, new_troubles
from harness.place import Place
from harness.progress import Progress
from harness.results import RunResult, Status, TestResult
from harness.run import Spawner
from tests.test_cli import run
from tests.test_matrixrun import MATRIX

DRIVER = '[cells.driver]\nkernel = "fake/driver"\n'


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose last commit has a driver that passes."""
    source = tmp_path / "source"
    for name in ("module", "selftests", "kconfigs", "harness"):
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text(f"{name}\n")
    (source / "module/scenario").write_text("clean\n")
    (source / "kconfigs/small.config").touch()
    (source / "kconfigs/matrix.toml").write_text(MATRIX + DRIVER)
    git(source, "init", "-q", "-b", "main")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    return source


def place_of(source: Path, folder: Path) -> Place:
    return Place(
        source=source,
        cache=folder / "cache",
        runs=folder / "runs",
        spawner=Spawner(env={"PATH": "/usr/bin:/bin"}),
        progress=Progress(Console(quiet=True)),
    )


def test_driver_and_tests_of_the_revision_kernels_of_today(checkout: Path, tmp_path: Path) -> None:
    (checkout / "module/file").write_text("changed\n")
    (checkout / "kconfigs/file").write_text("changed\n")
    before = git(checkout, "status", "--porcelain")
    place = place_of(checkout, tmp_path)
    with checked_out(place, "HEAD") as old:
        assert (old.source / "module/file").read_text() == "module\n"
        assert (old.source / "selftests/file").read_text() == "selftests\n"
        assert (old.source / "kconfigs/file").read_text() == "changed\n"
        assert not (old.source / "harness").exists()
        assert old.cache == place.cache
    assert not old.source.exists()
    assert git(checkout, "status", "--porcelain") == before
    assert git(checkout, "worktree", "list").count("\n") == 1


def test_the_folder_of_a_run_that_was_killed_is_made_anew(checkout: Path, tmp_path: Path) -> None:
    place = place_of(checkout, tmp_path)
    left = tmp_path / "cache/baseline" / git(checkout, "rev-parse", "HEAD").strip()
    left.mkdir(parents=True)
    (left / "half").touch()
    with checked_out(place, "main") as old:
        assert old.source == left
        assert not (old.source / "half").exists()


def test_an_unknown_revision(checkout: Path, tmp_path: Path) -> None:
    place = place_of(checkout, tmp_path)
    with (
        pytest.raises(RevisionError, match="git has no commit 'v99'"),
        checked_out(place, "v99"),
    ):
        pass


def test_only_what_is_new_counts(checkout: Path, tmp_path: Path) -> None:
    option = f"--source={checkout}"
    again = run("clean", tmp_path, option, "matrix", "--cell=driver", "--baseline=HEAD")
    assert again.returncode == 0, again.stderr
    assert "nothing new" in again.stdout
    (checkout / "module/scenario").write_text("failing\n")
    broken = run("clean", tmp_path, option, "matrix", "--cell=driver", "--baseline=HEAD")
    assert broken.returncode == 1, broken.stderr
    assert "1 new" in broken.stdout
    assert "fake:global.one" in broken.stdout
    git(checkout, "commit", "-q", "-a", "-m", "broken")
    known = run("clean", tmp_path, option, "matrix", "--cell=driver", "--baseline=HEAD")
    assert known.returncode == 0, known.stderr
    assert "nothing new, 1 known" in known.stdout
    latest = (tmp_path / "runs/latest").resolve()
    assert [cell.exit_status for cell in load_cells(latest / "base")] == [1]


def test_tests_that_the_base_has_not_are_new(checkout: Path, tmp_path: Path) -> None:
    only = checkout / "selftests/specs/only"
    only.parent.mkdir()
    only.write_text("global.zero\n")
    git(checkout, "add", "selftests")
    git(checkout, "commit", "-q", "-m", "another test")
    only.unlink()
    words = (f"--source={checkout}", "matrix", "--cell=driver", "--baseline=HEAD", "*.one", "*.two")
    good = run("clean", tmp_path, *words)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "nothing new" in good.stdout
    (checkout / "module/scenario").write_text("failing\n")
    bad = run("clean", tmp_path, *words)
    assert (bad.returncode, "1 new" in bad.stdout) == (1, True), bad.stderr
    nobody = run("clean", tmp_path, *words[:-2], "*.three")
    assert nobody.returncode == 2
    assert "no test matches '*.three'" in nobody.stderr


def result(*tests: TestResult) -> RunResult:
    return RunResult(kernel="6.12", release="6.12.1", accelerator="tcg", vms=(), tests=tests)


def made(name: str, status: Status, reason: str = "") -> TestResult:
    return TestResult(id=name, status=status, reason=reason)


def failed(*lines: str) -> TestResult:
    return TestResult(id="s:f.a", status=Status.FAIL, lines=("# said before", *lines))


PASS = made("s:f.a", Status.PASS)
SPLAT = made("s:f.a", Status.FAIL, "WARNING in uiov_ioctl")
LOST = made("s:f.a", Status.CRASHED)
OTHER = made("s:f.b", Status.FAIL)


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (PASS, SPLAT, True),
        (SPLAT, SPLAT, False),
        (SPLAT, PASS, False),
        (None, SPLAT, True),
        (SPLAT, replace(SPLAT, reason="KASAN: use-after-free in uiov_ioctl"), True),
        (SPLAT, replace(SPLAT, status=Status.TIMEOUT), True),
        (made("s:f.a", Status.SKIP, "x"), SPLAT, True),
        # How much it leaks is other each time.
        (
            made("s:f.a", Status.DIRTY, "pins 0 -> 3"),
            made("s:f.a", Status.DIRTY, "pins 2 -> 17"),
            False,
        ),
        (
            made("s:f.a", Status.DIRTY, "pins 0 -> 3"),
            made("s:f.a", Status.DIRTY, "dma-bufs 0 -> 3"),
            True,
        ),
        # A plain failure has no reason but what it expected.
        (
            failed("m.c:7:x:Expected 1 (1) == got (2)"),
            failed("m.c:9:x:Expected 0 (0) < ret (-1)"),
            True,
        ),
        (
            failed("m.c:7:x:Expected 1 (1) == got (2)"),
            failed("m.c:9:x:Expected 1 (1) == got (3)"),
            False,
        ),
        # So is the number of the VM.
        (made("vm-1:kernel", Status.FAIL, "x"), made("vm-4:kernel", Status.FAIL, "x"), False),
        (made("vm-1:taint", Status.FAIL, "x"), made("vm-1:kernel", Status.FAIL, "x"), True),
    ],
)
def test_what_is_new(before: TestResult | None, after: TestResult, new: bool) -> None:
    base = result(*([before] if before is not None else []))
    assert new_troubles(base, result(after)) == ((after,) if new else ())


def test_tests_that_are_gone() -> None:
    vm = made("vm-1:kernel", Status.FAIL)
    assert gone(result(PASS, vm), result()) == ("s:f.a",)
    assert gone(result(PASS), result(SPLAT)) == ()


def cell(*tests: TestResult, error: str | None = None) -> CellResult:
    return CellResult(
        name="6.12",
        folder=Path("x"),
        result=None if error else result(*tests),
        error=error,
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("now", "base", "status", "words"),
    [
        (cell(PASS), cell(PASS), 0, "nothing new"),
        (cell(SPLAT), cell(SPLAT), 0, "nothing new, 1 known"),
        (cell(SPLAT), cell(PASS), 1, "1 new"),
        (cell(made("s:f.a", Status.CRASHED)), cell(PASS), 2, "1 new"),
        (cell(error="no disk"), cell(PASS), 2, "ERROR: no disk"),
        (cell(PASS), cell(error="no driver"), 2, "ERROR: at the base: no driver"),
        (cell(), cell(PASS), 2, "ERROR: not everything could be judged"),
        (cell(LOST), cell(LOST), 2, "ERROR: not everything could be judged"),
        (cell(PASS), cell(LOST), 2, "ERROR: not everything could be judged at the base"),
        (cell(LOST, OTHER), cell(LOST), 2, "1 new, 1 known"),
        (cell(PASS), cell(PASS, made("s:f.b", Status.PASS)), 0, "nothing new, 1 tests gone"),
    ],
)
def test_what_a_comparison_comes_to(
    now: CellResult, base: CellResult, status: int, words: str
) -> None:
    assert news_of(now, base).words[0] == words
    assert exit_status([now], [base]) == status
