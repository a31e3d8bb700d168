# SPDX-License-Identifier: GPL-2.0
"""A kernel's source, out of Debian's linux-source package: single files of it, or what builds.

source/6.12-KEY/scripts/checkpatch.pl   what was asked for, at its place in the tree
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.archive import Archive, ArchiveError, Package
from harness.cache import locked, making, remove_tree
from harness.matrix import Series
from harness.progress import Phase, Progress
from harness.run import Spawner

_UNPACK_DEADLINE = 600.0
# Of 1.7 GB two thirds: what no kernel for our VMs is built from. Kconfig files stay, they are read.
_UNUSED = (
    *("Documentation/*/*", "LICENSES", "samples/*/*.[ch]", "sound/*/*.[ch]"),
    *("arch/[a-w]*/*/*.[chS]", "arch/[a-w]*/*/*.dts*", "tools/testing", "tools/perf"),
    *("tools/power", "drivers/gpu/drm/*/*.[ch]"),
    *("drivers/net/*/*.[ch]", "drivers/media/*/*.[ch]", "drivers/infiniband/*/*.[ch]"),
    *("drivers/staging/*/*.[ch]", "drivers/scsi/*/*.[ch]"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePackage:
    """The newest linux-source package of a series, not yet downloaded.

    Attributes:
        archive: that has it; locked while this is used.
        package: name, version and hash.
    """

    archive: Archive
    package: Package

    def unpack(self, folder: Path, *, spawner: Spawner, phase: Phase) -> None:
        """Download the package and unpack what a kernel for a VM is built from.

        Args:
            folder: empty; becomes the root of the source tree.

        Raises:
            ArchiveError: no network.
            CommandError: it is damaged, or there is no space.
        """
        exclude = (f"--exclude={self.package.name}/{pattern}" for pattern in _UNUSED)
        self._extract(folder, tuple(exclude), (), spawner=spawner, phase=phase)

    def pick(self, folder: Path, paths: Sequence[str], *, spawner: Spawner, phase: Phase) -> None:
        """Download the package and unpack these files; as :meth:`unpack`."""
        # At the first occurrence of the last file tar is done, before the archive's end.
        members = tuple(f"{self.package.name}/{path}" for path in paths)
        self._extract(folder, ("--occurrence=1",), members, spawner=spawner, phase=phase)

    def _extract(
        self,
        folder: Path,
        options: Sequence[str],
        members: Sequence[str],
        *,
        spawner: Spawner,
        phase: Phase,
    ) -> None:
        name = self.package.name
        (deb,) = self.archive.download([self.package], phase)
        phase.update(f"unpacking {name}")
        unpacked = folder / ".deb"
        spawner.run(("dpkg-deb", "--extract", deb, unpacked), deadline=_UNPACK_DEADLINE)
        # xz alone uses one core.
        argv = ("tar", "-x", "-I", "xz -T0", "-f", unpacked / f"usr/src/{name}.tar.xz")
        spawner.run(
            (*argv, "-C", folder, "--strip-components=1", *options, *members),
            deadline=_UNPACK_DEADLINE,
        )
        remove_tree(unpacked)
        self.archive.clean()


@contextmanager
def source_package(
    series: Series, *, cache: Path, spawner: Spawner, phase: Phase, keyring: Path | None
) -> Iterator[SourcePackage]:
    """Find a series' newest source package; its archive is locked until the end.

    Args:
        series: its first suite that has the package counts.
        cache: the user's cache folder of this project.
        keyring: as for :class:`Archive`.

    Raises:
        ArchiveError: no suite of the series has the package, or no network.
    """
    name = f"linux-source-{series.name}"
    waiting = partial(phase.update, "another run is fetching it")
    for suite in series.suites:
        root = cache / "apt" / suite.name
        with locked(root, waiting=waiting):
            archive = Archive(root, suite, spawner, keyring=keyring)
            archive.update(phase)
            package = archive.find(name)
            if package is not None:
                yield SourcePackage(archive=archive, package=package)
                return
    suites = ", ".join(suite.name for suite in series.suites)
    raise ArchiveError(f"no {name} in {suites}", hint="give --kernel a source tree")


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
    with progress.phase("source") as phase:
        with locked(folder, waiting=partial(phase.update, "another run is fetching it")):
            if not folder.is_dir():
                with (
                    source_package(
                        series, cache=cache, spawner=spawner, phase=phase, keyring=keyring
                    ) as source,
                    making(folder) as temp,
                ):
                    source.pick(temp, paths, spawner=spawner, phase=phase)
        phase.done(f"{len(paths)} files of linux-source-{series.name}")
    return folder
