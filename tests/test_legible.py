# SPDX-License-Identifier: GPL-2.0
"""legible.py: nothing that a guest prints can hide in a document, or break it."""

from hypothesis import given
from hypothesis import strategies as st

from harness.legible import legible, legible_line

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_what_is_unfit_is_shown() -> None:
    assert legible("a\0b\x07\x85\x9b\r\n\tc") == "a\\x00b\\x07\\x85\\x9b\\x0d\n\tc"
    assert legible("\ud800\ufdd0\ufffe\U0001ffff") == "\\ud800\\ufdd0\\ufffe\\U0001ffff"


def test_colours_go() -> None:
    assert legible("\x1b[1;31mred\x1b[0m") == "red"


def test_text_cannot_turn_around() -> None:
    assert legible("ok\u202eliaf") == "ok\\u202eliaf"


def test_other_scripts_stay() -> None:
    assert legible("größer 日本 🙂") == "größer 日本 🙂"


def test_one_line() -> None:
    assert legible_line(" a\n\tb\r\n") == "a  b\\x0d"


@given(ANY_TEXT)
def test_any_text_can_be_written_and_read_back(text: str) -> None:
    shown = legible(text)
    assert shown.encode().decode() == shown
    assert legible(shown) == shown
    assert not any(ord(one) < 32 and one not in "\n\t" for one in shown)
