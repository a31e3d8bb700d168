# SPDX-License-Identifier: GPL-2.0
"""The kernel's own kselftest_harness.h, from Debian's linux-source package."""

import tarfile
from pathlib import Path

from harness.archive import Archive
from harness.cache import locked, making
from harness.matrix import load_matrix
from harness.progress import Phase
from harness.run import Spawner

ROOT = Path(__file__).parents[1]
_FOLDER = "tools/testing/selftests"


def kernel_selftests(series: str, cache: Path, spawner: Spawner) -> Path:
    """Return a folder with the harness headers of a kernel series, fetching the package once.

    Raises:
        HarnessError: not in the cache, and no network or no such package.
    """
    folder = cache / "kernel-selftests" / series
    if folder.exists():
        return folder
    phase = Phase("source", None)
    with locked(folder):
        for suite in load_matrix(ROOT / "kconfigs" / "matrix.toml").find(series).suites:
            archive = Archive(cache / "kernel-selftests" / f"apt-{suite.name}", suite, spawner)
            archive.update(phase)
            package = archive.find(f"linux-source-{series}")
            if package is None:
                continue
            (deb,) = archive.download([package], phase)
            with making(folder) as staging:
                _extract(deb, series, staging, spawner)
            archive.clean()
            return folder
    raise AssertionError(f"no suite of the matrix has linux-source-{series}")


def _extract(deb: Path, series: str, folder: Path, spawner: Spawner) -> None:
    """Take the two headers out of the source archive that the package consists of."""
    spawner.run(["dpkg-deb", "-x", deb, folder / "deb"], deadline=300)
    archive = folder / "deb" / "usr" / "src" / f"linux-source-{series}.tar.xz"
    wanted = {"kselftest.h", "kselftest_harness.h"}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            path = Path(member.name)
            if path.name in wanted and path.parent.as_posix().endswith(_FOLDER):
                content = tar.extractfile(member)
                assert content is not None
                (folder / path.name).write_bytes(content.read())
                wanted.discard(path.name)
            if not wanted:
                break
    spawner.run(["rm", "-r", folder / "deb"], deadline=60)
