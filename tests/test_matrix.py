# SPDX-License-Identifier: GPL-2.0
"""The matrix file: the real one is sound, and what cannot be meant is refused by name."""

from pathlib import Path

import pytest

from harness.matrix import Cell, MatrixError, UnknownProfileError, UnknownSeriesError, load_matrix
from tests.smallmatrix import ONE_SUITE

REAL = Path(__file__).parents[1] / "kconfigs" / "matrix.toml"

GOOD = f"""{ONE_SUITE}
[series."6.12"]
suites = ["stable"]
[series."5.10"]
suites = ["stable"]
[profiles.small]
fragments = ["one"]
[cells.plain]
kernel = "6.12"
[cells.odd]
kernel = "5.10+small"
group = "debug"
driver = "builtin"
cmdline = ["quiet"]
memory = 2048
cpus = 2
more_vms = 30
accelerator = "tcg"
tests = ["mmap:*"]
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


def test_cells_say_what_they_are_and_the_rest_is_usual(tmp_path: Path) -> None:
    plain, odd = load_matrix(write(tmp_path, GOOD)).cells
    assert plain == Cell(name="plain", kernel="6.12", group="default")
    assert odd == Cell(
        name="odd",
        kernel="5.10+small",
        group="debug",
        builtin=True,
        cmdline=("quiet",),
        memory=2048,
        cpus=2,
        more_vms=30,
        accelerator="tcg",
        tests=("mmap:*",),
    )


@pytest.mark.parametrize("kernel", ["host", "~/linux", "/boot/vmlinuz-6.1", "~/linux+small"])
def test_a_cell_of_a_kernel_of_ones_own(tmp_path: Path, kernel: str) -> None:
    text = GOOD.replace('kernel = "6.12"', f'kernel = "{kernel}"')
    assert load_matrix(write(tmp_path, text)).cells[0].kernel == kernel


def test_the_cells_of_the_real_file() -> None:
    cells = load_matrix(REAL).cells
    default = [cell.name for cell in cells if cell.group == "default"]
    assert default == ["5.10", "6.1", "6.12", "7.2", "7.3"]
    debug = {cell.name for cell in cells if cell.group == "debug"}
    assert debug == {"6.12+debug", "7.3+debug", "6.12+coverage", "7.3+coverage", "6.12+kcsan"}
    newest = [cell.kernel for cell in cells if cell.group == "newest"]
    assert newest == [suite.name for suite in load_matrix(REAL).suites], "of each suite"


def test_unknown_series_names_the_known_ones() -> None:
    with pytest.raises(UnknownSeriesError, match=r"'6\.99'.*5\.10, 6\.1, 6\.12, 7\.2, 7\.3"):
        load_matrix(REAL).find("6.99")


def test_the_profiles_of_the_real_file() -> None:
    matrix = load_matrix(REAL)
    assert [profile.name for profile in matrix.profiles] == [
        "plain",
        "debug",
        "coverage",
        "kcsan",
    ]
    names = [path.name for path in matrix.profile("debug").fragments]
    assert names == ["base.config", "debug.config"]
    with pytest.raises(UnknownProfileError, match=r"'fast'.*plain, debug, coverage, kcsan"):
        matrix.profile("fast")


def test_a_profile_says_how_many_cpus_its_kernels_need(tmp_path: Path) -> None:
    text = GOOD.replace('fragments = ["one"]', 'fragments = ["one"]\ncpus = 3')
    matrix = load_matrix(write(tmp_path, text))
    names = ("6.12", "6.12+small", "~/linux+small", "x")
    assert [matrix.least_cpus(name) for name in names] == [1, 3, 3, 1]


def test_a_mirror_can_be_replaced(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, GOOD), mirrors={"debian": "http://near.example/d"})
    assert matrix.find("6.12").suites[0].mirror == "http://near.example/d"
    with pytest.raises(MatrixError, match=r"mirrors\.ubuntu: expected one of debian"):
        load_matrix(write(tmp_path, GOOD), mirrors={"ubuntu": "http://x"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('default = "6.12"', 'default = "6.13"', "default: expected one of the series"),
        ('default = "6.12"', "", "default: expected a string, but it is missing"),
        ('default = "6.12"', 'defualt = "6.12"', "default: expected a string"),
        ('default = "6.12"', 'default = "6.12"\nextra = 1', "extra: expected no such key"),
        ('"http://deb.example/debian"', "7", ":4: mirrors.debian: expected a string, got 7"),
        ('suites = ["stable"]', 'suites = "stable"', ":14: series.6.12.suites: expected a list"),
        ('suites = ["stable"]', "suites = []", "series.6.12.suites: expected at least one"),
        ('suites = ["stable"]', "suites = [1]", "series.6.12.suites: expected a list of"),
        ('suites = ["stable"]', 'suites = ["old"]', "series.6.12.suites: expected some of stable"),
        ('suites = ["stable"]', 'suites = ["stable"]\ncells = 1', "series.6.12.cells: expected no"),
        ('[series."6.12"]', '[series."6.12.1"]', "expected a series such as 6.12, got '6.12.1'"),
        ('[series."6.12"]', "[series.six]", "expected a series such as 6.12, got 'six'"),
        (
            'mirror = "debian"',
            'mirror = "ubuntu"',
            ":6: suites.stable.mirror: expected one of debian",
        ),
        ('buildroot = "stable"', 'buildroot = "x"', "suites.stable.buildroot: expected one of"),
        ('compiler = "gcc-12"', "", ":8: buildroots.stable.compiler: expected a string, but"),
        ("[profiles.small]", "[profiles.Small]", ":17: profiles.Small: expected lower-case"),
        ("[profiles.small]", "[profiles.'a+b']", "profiles.a+b: expected lower-case"),
        ('["one"]', '["two"]', "profiles.small.fragments: expected names of files: there is no"),
        ('["one"]', '["one"]\nsize = 1', "profiles.small.size: expected no such key"),
        ("[cells.plain]", "[cells.'a b']", ":19: cells.a b: expected letters, digits"),
        ("[cells.plain]", "[cells.'..']", "cells...: expected letters, digits"),
        ('kernel = "6.12"', "", ":19: cells.plain.kernel: expected a string, but it is missing"),
        (
            'kernel = "6.12"',
            'kernel = "6.13"',
            ":20: cells.plain.kernel: expected SERIES, SUITE or SERIES",
        ),
        ("5.10+small", "5.10+large", ":22: cells.odd.kernel: expected SERIES, SUITE or SERIES"),
        ("5.10+small", "+small", "cells.odd.kernel: expected SERIES, SUITE or SERIES"),
        (
            'driver = "builtin"',
            'driver = "yours"',
            "cells.odd.driver: expected one of ours, builtin",
        ),
        ('["quiet"]', '["quiet", "a b"]', ":25: cells.odd.cmdline: expected words without spaces"),
        ("2048", "20", ":26: cells.odd.memory: expected 512 to 65536 MiB, got 20"),
        ("cpus = 2", "cpus = 5", ":27: cells.odd.cpus: expected 1 to 4 CPUs, got 5"),
        ("cpus = 2", "cpus = 0", ":27: cells.odd.cpus: expected 1 to 4 CPUs, got 0"),
        ("_vms = 30", "_vms = -1", ":28: cells.odd.more_vms: expected 0 to 1000 VMs, got -1"),
        ("2048", "true", "cells.odd.memory: expected a number of MiB, got True"),
        ('"tcg"', '"hvf"', "cells.odd.accelerator: expected one of kvm, tcg, got 'hvf'"),
        ("tests = ", "test = ", ":30: cells.odd.test: expected no such key; known here: kernel,"),
        ("[buildroots.stable]", "[[buildroots]]", "buildroots: expected a table"),
        ("[buildroots.stable]", "[buildroots", "at line 8, column 12"),
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


def test_a_cell_of_a_tree_with_a_profile_that_there_is_not(tmp_path: Path) -> None:
    tree = tmp_path / "linux"
    text = GOOD.replace('kernel = "6.12"', f'kernel = "{tree}+smal"')
    path = write(tmp_path, text)
    # No tree there: it may be the name of a file.
    assert load_matrix(path).cells[0].kernel == f"{tree}+smal"
    tree.mkdir()
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    assert str(caught.value).startswith(f"{path}:20: cells.plain.kernel: expected SERIES, SUITE")
    assert str(caught.value).endswith(f"got '{tree}+smal'; the profiles are small")


def test_each_glob_of_a_cell_matches_a_test(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('["mmap:*"]', '["mmap:*", "*.tow"]'))
    ids = ("mmap:a.one", "mmap:a.two")
    assert load_matrix(path).cells[1].tests == ("mmap:*", "*.tow")
    assert load_matrix(path, tests=(*ids, "iov:a.tow")).cells[1].tests == ("mmap:*", "*.tow")
    with pytest.raises(MatrixError) as caught:
        load_matrix(path, tests=ids)
    expected = f"{path}:30: cells.odd.tests: expected globs that match a test each, got '*.tow'"
    assert str(caught.value) == expected


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="No such file"):
        load_matrix(tmp_path / "none.toml")
