# SPDX-License-Identifier: GPL-2.0
"""A matrix of one suite; each test adds its series, profiles and cells."""

from pathlib import Path

ONE_SUITE = (Path(__file__).parent / "data/matrix.toml").read_text()
