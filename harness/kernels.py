# SPDX-License-Identifier: GPL-2.0
"""The kernels that lie unpacked in the cache, fetched from Debian's archive when they do not.

    kernels/6.12/current            link to the version in use
    kernels/6.12/6.12.117-1~deb12u1 one version: what its packages hold, vmlinux, manifest.json
    apt/bookworm-security           apt's private root (archive.py)

A version never changes once it is there; `current` is switched under the series' lock.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.archive import DEBIAN_KEYRING, Archive, ArchiveError, KernelPackages
from harness.builtkernel import Built
from harness.cache import check_folder, locked, making, remove_tree
from harness.jsonfile import DocumentError, Fields, read_text
from harness.kernel import Kernel
from harness.kernelname import is_local, split_profile
from harness.kernelsource import fetch_source_files
from harness.kernelunpack import (
    MANIFEST,
    SCHEMA,
    KernelUnpackError,
    unpack,
    write_manifest,
)
from harness.localkernel import is_source, load_local
from harness.matrix import Matrix, Series, UnknownProfileError
from harness.ownkernels import OwnKernels
from harness.progress import Phase, Progress
from harness.run import Spawner
from harness.version import KernelVersion

# The profile of a tree that is named without one.
_PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEntry:
    """One line of `harness kernels`.

    Attributes:
        suites: where the series is looked for, best first.
        kernel: what is cached, or None.
        size: of what is cached, in bytes; 0 when nothing is.
    """

    series: str
    suites: tuple[str, ...]
    kernel: Kernel | None
    size: int


class KernelStore:
    """Finds, fetches and lists kernels.

    Args:
        cache: the user's cache folder of this project; need not exist.
        matrix: the series that can be named.
        spawner: the one door for processes.
        progress: each call that returns a kernel is one phase.
        keyring: whose signatures on the archive count; None trusts anybody (tests only).
    """

    def __init__(
        self,
        cache: Path,
        matrix: Matrix,
        spawner: Spawner,
        progress: Progress,
        *,
        keyring: Path | None = DEBIAN_KEYRING,
    ) -> None:
        self._cache = check_folder(cache)
        self._matrix = matrix
        self._spawner = spawner.with_env(LC_ALL="C.UTF-8")
        self._progress = progress
        self._keyring = keyring
        self._own = OwnKernels(
            cache=self._cache,
            matrix=matrix,
            spawner=self._spawner,
            progress=progress,
            keyring=keyring,
        )

    def get(self, name: str) -> Kernel:
        """Return a kernel, fetching it if it is a series that is not cached.

        Args:
            name: a series, or a suite for the newest that it has; the path of a built tree or of a
                vmlinuz with its modules, or "host"; a series or the path of a source tree, a plus
                and a profile: one that we build. A source tree alone is built with no more than a
                VM needs.

        Raises:
            HarnessError: no such kernel, or it cannot be had; says what to do.
        """
        parts = (name, _PLAIN) if is_source(name) else split_profile(name)
        if parts is not None:
            return self._own.get(*parts)
        if is_local(name):
            with self._progress.phase("kernel") as phase:
                kernel = load_local(name)
                phase.done(f"{kernel.release}, {kernel.image}")
                return kernel
        series = self._matrix.packaged(name)
        with self._progress.phase("kernel") as phase:
            cached = self._cached(series.name)
            if cached is not None:
                phase.done(f"{series.name}: {cached.release}, cached")
                return cached
            return self._fetch(series, phase, newest=False)

    def fetch(self, name: str) -> Kernel:
        """Make the newest kernel of a series or suite the cached one; with a profile, build it.

        Raises:
            UnknownSeriesError: not in the matrix.
            HarnessError: as :meth:`get`.
        """
        parts = split_profile(name)
        if parts is not None:
            return self._own.get(*parts, newest=True)
        series = self._matrix.packaged(name)
        with self._progress.phase("kernel") as phase:
            return self._fetch(series, phase, newest=True)

    def key(self, name: str) -> str:
        """Return what the newest kernel of a name is kept by, for the cache of a CI.

        It changes when Debian has a newer package; for one that we build, also with its
        configuration and compiler. Downloads package lists, no package.

        Args:
            name: a series or suite, or a series or source tree with a profile.

        Raises:
            HarnessError: no such kernel, or no network.
        """
        parts = split_profile(name)
        if parts is not None:
            return self._own.key(*parts)
        series = self._matrix.packaged(name)
        with self._progress.phase("key") as phase, ExitStack() as stack:
            _, found = self._resolve(series, phase, stack)
            phase.done(f"{found.image.name} {found.image.version}")
        return f"{series.name}-{found.image.version}-{SCHEMA}"

    def listing(self) -> tuple[KernelEntry, ...]:
        """Return every series of the matrix, oldest first, with what is cached of it."""
        return tuple(
            KernelEntry(
                series=series.name,
                suites=tuple(suite.name for suite in series.suites),
                kernel=self._cached(series.name),
                size=self._manifest_size(series.name),
            )
            for series in self._matrix.series
        )

    def build(self, name: str) -> Kernel:
        """Build a kernel from the newest source, unless it was built before.

        Raises:
            HarnessError: the name has no profile, or as :meth:`get`.
        """
        if split_profile(name) is None:
            raise UnknownProfileError(
                f"{name}: no profile, so nothing to build",
                hint=f"{name}+PROFILE; the profiles: {', '.join(self.profiles)}",
            )
        return self.fetch(name)

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles."""
        return tuple(profile.name for profile in self._matrix.profiles)

    def built(self) -> tuple[Built, ...]:
        """Return the kernels that were built here, the newest of each name."""
        return self._own.listing()

    def export(self, name: str, file: Path) -> None:
        """Write a kernel that is in the cache to a file.

        Raises:
            KernelArchiveError: there is none of that name, or as :func:`export_kernel`.
        """
        from harness.kernelexport import KernelArchiveError, export_kernel

        built = next((one for one in self.built() if one.kernel.name == name), None)
        if built is None and split_profile(name) is None:
            raise KernelArchiveError(
                f"{name}: no profile, so not built here",
                hint=f"{name}+PROFILE; what there is: `harness kernels`",
            )
        if built is None:
            raise KernelArchiveError(
                f"{name}: not built here yet", hint=f"`harness kernels build {name}`"
            )
        with self._progress.phase("export") as phase:
            phase.update(f"{built.size >> 20} MiB")
            export_kernel(built, file, spawner=self._spawner)
            phase.done(f"{name}: {built.kernel.release}, {file}, {file.stat().st_size >> 20} MiB")

    def import_file(self, file: Path) -> Kernel:
        """Take a kernel from a file into the cache; as :func:`import_kernel`."""
        from harness.kernelexport import import_kernel

        with self._progress.phase("import") as phase:
            built = import_kernel(
                file, cache=self._cache, matrix=self._matrix, spawner=self._spawner
            )
            phase.done(f"{built.kernel.name}: {built.kernel.release}, {built.size >> 20} MiB")
            return built.kernel

    def source_files(self, name: str, paths: Sequence[str]) -> Path:
        """Return a folder with files of a series' source tree, at their places in it.

        Of a suite's newest kernel, of the series of that which is cached.

        Raises:
            UnknownSeriesError: not in the matrix.
            HarnessError: as :func:`fetch_source_files`.
        """
        base, _, _ = name.partition("+")
        series = self._matrix.packaged(base)
        if series.newest and (kernel := self._cached(base)) is not None:
            # The source of what is there, even if the matrix does not know its series.
            series = replace(series, name=KernelVersion.parse(kernel.release).series, newest=False)
        return fetch_source_files(
            series,
            paths,
            cache=self._cache,
            spawner=self._spawner,
            progress=self._progress,
            keyring=self._keyring,
        )

    def _cached(self, series: str) -> Kernel | None:
        return self._load(series, (self._cache / "kernels" / series / "current").resolve())

    def _load(self, series: str, tree: Path) -> Kernel | None:
        """Return the kernel that lies in a folder; None if it is not whole."""
        try:
            fields = Fields.parse(
                read_text(tree / MANIFEST), source=str(tree / MANIFEST), schema=SCHEMA
            )
            kernel = Kernel(
                name=series,
                release=fields.text("release"),
                image=tree / fields.text("image"),
                moddir=tree / fields.text("moddir"),
                build=tree / fields.text("build"),
                config=tree / fields.text("config"),
                package=fields.text("package"),
                sha256=fields.text("sha256"),
                compiler=fields.text_or_none("compiler"),
                suite=fields.text("suite"),
            )
        except DocumentError:
            return None
        if not kernel.image.is_file() or not kernel.config.is_file():
            return None
        suite = self._matrix.suite(kernel.suite or "")
        return replace(kernel, buildroot=suite.buildroot if suite else None)

    def _manifest_size(self, series: str) -> int:
        manifest = self._cache / "kernels" / series / "current" / MANIFEST
        try:
            fields = Fields.parse(read_text(manifest), source=str(manifest), schema=SCHEMA)
            return fields.count_or_none("size") or 0
        except DocumentError:
            return 0

    def _fetch(self, series: Series, phase: Phase, *, newest: bool) -> Kernel:
        folder = self._cache / "kernels" / series.name
        with locked(folder, waiting=partial(phase.update, "another run is fetching it")):
            kernel = self._cached(series.name)
            if kernel is not None and not newest:
                phase.done(f"{series.name}: {kernel.release}, cached")
                return kernel
            try:
                with ExitStack() as stack:
                    self._install(series, folder, phase, stack)
            except ArchiveError as error:
                raise self._with_cached(error) from error
            kernel = self._cached(series.name)
            if kernel is None:
                raise KernelUnpackError(f"{folder}: not whole after it was unpacked")
            phase.done(f"{series.name}: {kernel.package}")
            return kernel

    def _install(self, series: Series, folder: Path, phase: Phase, stack: ExitStack) -> None:
        archive, found = self._resolve(series, phase, stack)
        tree = folder / found.image.version
        if self._load(series.name, tree) is None:
            debs = archive.download(found.packages, phase)
            with making(tree) as temp:
                unpack(found, debs, temp, spawner=self._spawner, phase=phase)
                write_manifest(temp, found, archive.suite.name)
            archive.clean()
        _switch(folder / "current", tree)

    def _resolve(
        self, series: Series, phase: Phase, stack: ExitStack
    ) -> tuple[Archive, KernelPackages]:
        """Return the archive that has the series; it stays locked until the stack is closed."""
        for suite in series.suites:
            root = self._cache / "apt" / suite.name
            text = f"another run is fetching from {suite.name}"
            stack.enter_context(locked(root, waiting=partial(phase.update, text)))
            archive = Archive(root, suite, self._spawner, keyring=self._keyring)
            archive.update(phase)
            found = archive.resolve(None if series.newest else series.name)
            if found is not None:
                return archive, found
        suites = ", ".join(suite.name for suite in series.suites)
        raise ArchiveError(
            f"no kernel {'' if series.newest else f'{series.name} '}with headers in {suites}",
            hint="Debian may have dropped it: see kconfigs/matrix.toml",
        )

    def _with_cached(self, error: ArchiveError) -> ArchiveError:
        cached = [entry.series for entry in self.listing() if entry.kernel is not None]
        usable = f"cached and usable without a network: {', '.join(cached) or 'no kernel'}"
        return ArchiveError(str(error), hint=f"{error.hint}; {usable}")


def _switch(link: Path, tree: Path) -> None:
    """Point `current` at a tree, and remove those that are neither this nor the last one.

    The last one stays: a run that began before may still have it booted.
    """
    last = link.resolve() if link.is_symlink() else None
    if last == tree.resolve():
        return
    fresh = link.with_name(".current")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(tree.name)
    fresh.replace(link)
    kept = (last, tree.resolve())
    for entry in link.parent.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.resolve() not in kept:
            remove_tree(entry)
