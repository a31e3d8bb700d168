# SPDX-License-Identifier: GPL-2.0
"""Options and fixtures that several test files share."""

from pathlib import Path

import hypothesis
import pytest

# A slow machine fails no test: nothing here asserts wall time.
hypothesis.settings.register_profile("harness", deadline=None)
hypothesis.settings.load_profile("harness")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/data/golden/ instead of comparing"
    )


class Golden:
    """Compares text with its copy in tests/data/golden/, or renews the copy."""

    def __init__(self, update: bool) -> None:
        self._update = update
        self._folder = Path(__file__).parent / "data" / "golden"

    def check(self, name: str, text: str) -> None:
        path = self._folder / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), "pytest --update-golden renews the copy"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.config.getoption("--update-golden"))
