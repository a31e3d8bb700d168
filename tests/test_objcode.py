# SPDX-License-Identifier: GPL-2.0
"""When two builds of a module are the same program."""

import subprocess
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.objcode import fingerprint

CODE = """\
extern int other(int);
extern int another(int);
static int table[] = { 1, 2, 3 };
static const char words[] = "hello";
int run(int n) { return other(table[n]) + words[n]; }
int walk(int n) { return another(n); }
__attribute__((section("__bug_table"), used)) static int line = __LINE__;
"""


def compiled(folder: Path, code: str) -> str:
    target = folder / "code.o"
    argv = ("gcc", "-g", "-O2", "-ffunction-sections", "-c", "-x", "c", "-", "-o", str(target))
    subprocess.run(argv, input=code, text=True, check=True)
    return fingerprint(target)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("extern int other", "\n\n/* more lines */\nextern int other"),
        ("other(int)", "other(int much)"),
    ],
)
def test_the_same_at_other_lines(tmp_path: Path, old: str, new: str) -> None:
    assert compiled(tmp_path, CODE) == compiled(tmp_path, CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("other(table[n]) +", "other(table[n]) -"),
        ("2, 3", "2, 4"),
        ("hello", "hallo"),
        ("return another(n)", "return other(n)"),
        ("{ 1, 2, 3 }", "{ 1, 2, 3, 0 }"),
        ("int run", "int ran"),
    ],
)
def test_another_program(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert compiled(tmp_path, CODE) != compiled(tmp_path, CODE.replace(old, new))


def test_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_text("no")
    with pytest.raises(HarnessError, match="not an object file"):
        fingerprint(tmp_path / "x.ko")
