# SPDX-License-Identifier: GPL-2.0
"""tomlfile.py: a value's line is that on which its statement begins, however it is written."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tomlfile import Document, Table, TomlError

TEXT = '''\
a = 1
# b = 2

[x."6.12"]
list = [
  "b = 3",
  [4],
]
text = """
b = 5
"""
b = 6
[[f]]
name = "q"
[[f]]
z.y = 3
row = { one = 1, two = "2" }
'''


def document(text: str) -> Document:
    return Document(path=Path("x.toml"), text=text, error=TomlError)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("a",), 1),
        (("b",), None),
        (("x",), 4),
        (("x", "6.12"), 4),
        (("x", "6.12", "list"), 5),
        (("x", "6.12", "list", 1, 0), 5),
        (("x", "6.12", "list", 2), None),
        (("x", "6.12", "text"), 9),
        (("x", "6.12", "b"), 12),
        (("f",), 13),
        (("f", 0), 13),
        (("f", 1), 15),
        (("f", 1, "z", "y"), 16),
        (("f", 1, "row", "two"), 17),
        (("f", 2), None),
    ],
)
def test_lines(keys: tuple[str | int, ...], line: int | None) -> None:
    assert document(TEXT).line(keys) == line


@given(st.lists(st.sampled_from(["", "# c", "m = [", "]", '"""', 's = """', "'''"]), max_size=12))
def test_a_line_is_where_the_statement_is(lines: list[str]) -> None:
    """Whatever stands above it, as long as the whole is TOML."""
    text = "\n".join([*lines, "here = 1", ""])
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if "here" in values:
        assert document(text).line(("here",)) == len(lines) + 1


def load(tmp_path: Path, text: str) -> Table:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return Table.load(path)


def test_errors_name_file_line_key_and_what_was_expected(tmp_path: Path) -> None:
    table = load(tmp_path, TEXT)
    row = table.tables("f")[1]
    with pytest.raises(TomlError) as caught:
        row.take("row", str, "a string")
    path = tmp_path / "x.toml"
    words = "expected a string, got {'one': 1, 'two': '2'}"
    assert str(caught.value) == f"{path}:17: f[1].row: {words}"


def test_what_is_missing_is_missing_in_its_table(tmp_path: Path) -> None:
    table = load(tmp_path, TEXT)
    with pytest.raises(TomlError, match=r"x\.toml:4: x\.6\.12\.c: expected a string, but it is"):
        table.subtables("x")["6.12"].text("c")
    with pytest.raises(TomlError, match=r"x\.toml: c: expected a string, but it is missing"):
        table.text("c")


def test_what_nobody_took_is_unknown(tmp_path: Path) -> None:
    table = load(tmp_path, "a = 1\nb = true\n")
    assert table.take("a", int, "a number") == 1
    assert not table.flag("c")
    with pytest.raises(TomlError, match=r"x\.toml:2: b: expected no such key; known here: a, c"):
        table.finish()


def test_defaults_have_the_line_of_their_table(tmp_path: Path) -> None:
    table = load(tmp_path, "[one]\n[two]\n").table("two", {"size": 3})
    with pytest.raises(TomlError, match=r"x\.toml:2: two\.size: expected a string, got 3"):
        table.text("size")


def test_a_kind_of_document_has_its_own_error_and_hint(tmp_path: Path) -> None:
    class OwnError(TomlError):
        HINT = "look here"

    (tmp_path / "x.toml").write_text("a = ]\n")
    with pytest.raises(OwnError, match=r"x\.toml: not TOML: .*line 1") as caught:
        Table.load(tmp_path / "x.toml", OwnError)
    assert caught.value.hint == "look here"
    with pytest.raises(OwnError, match=r"none\.toml: expected a file that can be read: No such"):
        Table.load(tmp_path / "none.toml", OwnError)
