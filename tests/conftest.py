# SPDX-License-Identifier: GPL-2.0
"""Options and fixtures that several test files share."""

import os
from pathlib import Path

import hypothesis
import platformdirs
import pytest
from rich.console import Console

from harness.kernels import KernelStore
from harness.matrix import load_matrix
from harness.progress import Progress
from harness.run import Spawner

# What it takes to build and run selftests of a kernel outside of its tree.
_SELFTESTS = "tools/testing/selftests"
KERNEL_FILES = (
    *("scripts/subarch.include", f"{_SELFTESTS}/Makefile", f"{_SELFTESTS}/lib.mk"),
    *(f"{_SELFTESTS}/{name}" for name in ("kselftest.h", "kselftest_harness.h")),
    *(f"{_SELFTESTS}/kselftest/{name}" for name in ("runner.sh", "prefix.pl", "module.sh")),
    *(f"{_SELFTESTS}/kselftest/{name}" for name in ("ktap_helpers.sh", "ksft.py")),
    *(f"{_SELFTESTS}/drivers/dma-buf/{name}" for name in ("Makefile", "config", "udmabuf.c")),
    f"{_SELFTESTS}/run_kselftest.sh",
)

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


@pytest.fixture(scope="session")
def kernel_source() -> Path:
    """KERNEL_FILES in $KERNEL_SOURCE (a tree of any kernel), or of Debian's 6.12, fetched once."""
    if given := os.environ.get("KERNEL_SOURCE"):
        return Path(given)
    store = KernelStore(
        platformdirs.user_cache_path("udmabuf-harness"),
        load_matrix(Path(__file__).parents[1] / "kconfigs" / "matrix.toml"),
        Spawner(env=dict(os.environ)),
        Progress(Console(quiet=True)),
    )
    return store.source_files("6.12", KERNEL_FILES)
