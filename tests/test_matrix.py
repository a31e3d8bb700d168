# SPDX-License-Identifier: GPL-2.0
"""The matrix file: the real one is sound, and what cannot be meant is refused by name."""

from pathlib import Path

import pytest

from harness.matrix import MatrixError, UnknownProfileError, UnknownSeriesError, load_matrix

REAL = Path(__file__).parents[1] / "kconfigs" / "matrix.toml"

GOOD = """\
default = "6.12"
[mirrors]
debian = "http://deb.example/debian"
[series."6.12"]
suites = ["stable"]
[series."5.10"]
suites = ["stable"]
[suites.stable]
mirror = "debian"
buildroot = "stable"
[buildroots.stable]
mirror = "debian"
compiler = "gcc-12"
packages = ["make"]
[profiles.small]
fragments = ["one"]
"""


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "one.config").write_text("CONFIG_ONE=y\n")
    path = tmp_path / "matrix.toml"
    path.write_text(text)
    return path


def test_the_real_file_has_the_five_series_in_order() -> None:
    matrix = load_matrix(REAL)
    assert [series.name for series in matrix.series] == ["5.10", "6.1", "6.12", "7.2", "7.3"]
    assert matrix.default == "6.12"
    assert matrix.find("6.12").suites[0].name == "bookworm-security"
    assert matrix.find("7.3").suites[0].buildroot.compiler == "gcc-14"


def test_series_are_sorted_as_versions_not_as_text(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, GOOD))
    assert [series.name for series in matrix.series] == ["5.10", "6.12"]


def test_unknown_series_names_the_known_ones() -> None:
    with pytest.raises(UnknownSeriesError, match=r"'6\.99'.*5\.10, 6\.1, 6\.12, 7\.2, 7\.3"):
        load_matrix(REAL).find("6.99")


def test_the_profiles_of_the_real_file() -> None:
    matrix = load_matrix(REAL)
    assert [profile.name for profile in matrix.profiles] == ["debug", "coverage", "kcsan"]
    names = [path.name for path in matrix.profile("debug").fragments]
    assert names == ["base.config", "debug.config"]
    with pytest.raises(UnknownProfileError, match=r"'fast'.*debug, coverage, kcsan"):
        matrix.profile("fast")


def test_a_mirror_can_be_replaced(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, GOOD), mirrors={"debian": "http://near.example/d"})
    assert matrix.find("6.12").suites[0].mirror == "http://near.example/d"
    with pytest.raises(MatrixError, match=r"mirrors\.ubuntu: expected one of debian"):
        load_matrix(write(tmp_path, GOOD), mirrors={"ubuntu": "http://x"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('default = "6.12"', 'default = "6.13"', "default: expected one of the series"),
        ('default = "6.12"', "", "default: expected a non-empty string, got nothing"),
        ('default = "6.12"', 'defualt = "6.12"', "default: expected a non-empty string"),
        ('default = "6.12"', 'default = "6.12"\nextra = 1', "extra: expected no such key"),
        ('"http://deb.example/debian"', "7", "mirrors.debian: expected a non-empty string, got 7"),
        ('suites = ["stable"]', 'suites = "stable"', "series.6.12.suites: expected a non-empty"),
        ('suites = ["stable"]', "suites = []", "series.6.12.suites: expected a non-empty list"),
        ('suites = ["stable"]', "suites = [1]", "series.6.12.suites: expected non-empty strings"),
        ('suites = ["stable"]', 'suites = ["old"]', "series.6.12.suites: expected some of stable"),
        ('suites = ["stable"]', 'suites = ["stable"]\ncells = 1', "series.6.12.cells: expected no"),
        ('[series."6.12"]', '[series."6.12.1"]', "expected a series such as 6.12, got '6.12.1'"),
        ('[series."6.12"]', "[series.six]", "expected a series such as 6.12, got 'six'"),
        ('mirror = "debian"', 'mirror = "ubuntu"', "suites.stable.mirror: expected one of debian"),
        ('buildroot = "stable"', 'buildroot = "x"', "suites.stable.buildroot: expected one of"),
        ('compiler = "gcc-12"', "", "buildroots.stable.compiler: expected a non-empty string"),
        ("[profiles.small]", "[profiles.Small]", "profiles.Small.(name): expected lower-case"),
        ("[profiles.small]", "[profiles.'a+b']", "profiles.a+b.(name): expected lower-case"),
        ('["one"]', '["two"]', "profiles.small.fragments: expected names of files: there is no"),
        ('["one"]', '["one"]\nsize = 1', "profiles.small.size: expected no such key"),
        ("[buildroots.stable]", "[[buildroots]]", "buildroots: expected a table"),
        ("[buildroots.stable]", "[buildroots", "at line 11, column 12"),
    ],
)
def test_errors_name_file_key_and_expectation(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="No such file"):
        load_matrix(tmp_path / "none.toml")
