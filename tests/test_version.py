# SPDX-License-Identifier: GPL-2.0
"""Kernel versions: what counts, and in which order."""

import random

import pytest

from harness.version import KernelVersion

# Oldest first.
ORDERED = (
    "5.10.0-46-amd64",
    "5.10.262",
    "6.1.0-0.deb11.52-amd64",
    "6.9",
    "6.12.99+deb12-amd64",
    "6.12.117+deb12-amd64",
    "7.3-rc1",
    "7.3.0-rc9+",
    "7.3.0-rc10-dirty",
    "7.3",
    "7.3.4+deb13-amd64",
)


def test_order_is_numeric_and_candidates_precede_their_release() -> None:
    shuffled = random.Random(1).sample(ORDERED, len(ORDERED))
    assert tuple(sorted(shuffled, key=KernelVersion.parse)) == ORDERED


@pytest.mark.parametrize(
    ("release", "series"),
    [("6.12.117+deb12-amd64", "6.12"), ("5.10.0-46-amd64", "5.10"), ("7.3-rc2", "7.3")],
)
def test_series(release: str, series: str) -> None:
    assert KernelVersion.parse(release).series == series


def test_what_a_distribution_appends_does_not_count() -> None:
    assert KernelVersion.parse("6.12.5-custom") == KernelVersion.parse("6.12.5+deb13-amd64")


@pytest.mark.parametrize("text", ["", "six", "6", "6.", "6.x", "v6.12", "6.12abc", " 6.12"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a kernel version"):
        KernelVersion.parse(text)
