# SPDX-License-Identifier: GPL-2.0
"""jury.py: what decides a verdict counts, and what does not leaves kept verdicts alone."""

import shutil
from pathlib import Path

import pytest

from harness import jury

PACKAGE = Path(jury.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "harness"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jury, "_PACKAGE", copy)
    return copy


def digest() -> str:
    return jury.judge_digest.__wrapped__()


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


MADE_OF = ("attribute.py", "complaint.py", "ktapline.py", "splat.py", "evidence.py", "results.py")
WITNESSES = ("rundir.py", "emulator.py", "watch.py", "interrogate.py", "session.py")


@pytest.mark.parametrize("name", ["judge.py", *MADE_OF, *WITNESSES])
def test_the_judge_and_what_it_is_made_of(package: Path, name: str) -> None:
    before = digest()
    add(package / name, "\n# A remark.\n")
    assert digest() == before
    add(package / name, "\nMORE = 1\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["data/splats.toml", "guest/run-tests", "guest/counters"])
def test_the_guests_part(package: Path, name: str) -> None:
    before = digest()
    add(package / name, "\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["table.py", "kernels.py", "qmp.py", "commands.py", "mutate.py"])
def test_what_decides_nothing(package: Path, name: str) -> None:
    before = digest()
    add(package / name, "\nMORE = 1\n")
    assert digest() == before


def test_a_docstring_decides_nothing(package: Path) -> None:
    path = package / "judge.py"
    before = digest()
    path.write_text(path.read_text().replace('"""', '"""Well: ', 1))
    assert digest() == before
