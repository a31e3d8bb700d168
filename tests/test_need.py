# SPDX-License-Identifier: GPL-2.0
"""need.py: bounds and options, met or not."""

import pytest

from harness.need import missing, parse

NEEDS = parse(">=6.12 <7.0 CONFIG_KASAN=y CONFIG_X=16")
OPTIONS = {"CONFIG_KASAN": "y", "CONFIG_X": "16"}


@pytest.mark.parametrize(
    ("release", "lack"),
    [
        ("6.12.117+deb12-amd64", None),
        ("6.11.9", "a kernel >=6.12"),
        ("7.0.1-amd64", "a kernel <7.0"),
        # Its code is that of 6.12, although a release candidate comes before it.
        ("6.12-rc3", None),
    ],
)
def test_bounds(release: str, lack: str | None) -> None:
    found = missing(NEEDS, release, OPTIONS.get)
    assert (None if found is None else str(found)) == lack


def test_options() -> None:
    assert str(missing(NEEDS, "6.12.1", {"CONFIG_KASAN": "y"}.get)) == "CONFIG_X=16"
    assert str(missing(NEEDS, "6.12.1", {**OPTIONS, "CONFIG_KASAN": "m"}.get)) == "CONFIG_KASAN=y"


def test_nothing_is_always_met() -> None:
    assert missing(parse(""), "5.10.1", OPTIONS.get) is None


@pytest.mark.parametrize(
    "word", ["=6.1", ">=6", "<6.1.2", "6.1", "KASAN=y", "CONFIG_KASAN", "CONFIG_X="]
)
def test_neither(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word}$"):
        parse(f">=6.12 {word}")
