# SPDX-License-Identifier: GPL-2.0
"""Single files of a kernel's source, out of Debian's linux-source package.

source/6.12-KEY/scripts/checkpatch.pl   what was asked for, at its place in the tree
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.archive import Archive, ArchiveError
from harness.cache import locked, making, remove_tree
from harness.matrix import Series
from harness.progress import Phase, Progress
from harness.run import Spawner

_UNPACK_DEADLINE = 600.0


def fetch_source_files(
    series: Series,
    paths: Sequence[str],
    *,
    cache: Path,
    spawner: Spawner,
    progress: Progress,
    keyring: Path | None,
) -> Path:
    """Return a folder that has these files of the kernel's source tree, fetched once.

    The package is some 150 MiB; only the files stay.

    Args:
        series: whose newest source package counts.
        paths: of the files, below the root of the source tree.
        cache: the user's cache folder of this project.
        keyring: as for :class:`Archive`.

    Raises:
        ArchiveError: no suite of the series has the package, or no network.
        CommandError: the tree has no such file.
    """
    key = hashlib.sha256("\0".join(paths).encode()).hexdigest()[:12]
    folder = cache / "source" / f"{series.name}-{key}"
    if folder.is_dir():
        return folder
    name = f"linux-source-{series.name}"
    with progress.phase("source") as phase:
        waiting = partial(phase.update, "another run is fetching it")
        with locked(folder, waiting=waiting):
            for suite in series.suites:
                if folder.is_dir():
                    break
                root = cache / "apt" / suite.name
                with locked(root, waiting=waiting):
                    archive = Archive(root, suite, spawner, keyring=keyring)
                    _fetch(
                        archive, name=name, paths=paths, folder=folder, spawner=spawner, phase=phase
                    )
        if not folder.is_dir():
            suites = ", ".join(suite.name for suite in series.suites)
            raise ArchiveError(f"no {name} in {suites}", hint="give --kernel a source tree")
        phase.done(f"{len(paths)} files of {name}")
    return folder


def _fetch(
    archive: Archive,
    *,
    name: str,
    paths: Sequence[str],
    folder: Path,
    spawner: Spawner,
    phase: Phase,
) -> None:
    """Make the folder if the archive has the package."""
    archive.update(phase)
    package = archive.find(name)
    if package is None:
        return
    (deb,) = archive.download([package], phase)
    phase.update(f"looking into {name}")
    with making(folder) as temp:
        unpacked = temp / ".deb"
        spawner.run(("dpkg-deb", "--extract", deb, unpacked), deadline=_UNPACK_DEADLINE)
        # At the first occurrence of the last file tar is done, before the archive's end.
        argv = ("tar", "-x", "-f", unpacked / f"usr/src/{name}.tar.xz", "-C", temp)
        members = (f"{name}/{path}" for path in paths)
        spawner.run(
            (*argv, "--strip-components=1", "--occurrence=1", *members), deadline=_UNPACK_DEADLINE
        )
        remove_tree(unpacked)
    archive.clean()
