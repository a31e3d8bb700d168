# SPDX-License-Identifier: GPL-2.0
"""The kernels that lie unpacked in the cache, fetched from Debian's archive when they do not.

    kernels/6.12/current            link to the version in use
    kernels/6.12/6.12.117-1~deb12u1 one version: what its packages hold, vmlinux, manifest.json
    apt/bookworm-security           apt's private root (archive.py)

A version never changes once it is there; `current` is switched under the series' lock.
"""

import lzma
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.archive import DEBIAN_KEYRING, Archive, ArchiveError, KernelPackages
from harness.bzimage import extract_vmlinux
from harness.cache import check_folder, locked, making, remove_tree, tree_size
from harness.errors import HarnessError
from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text
from harness.kernel import Kernel, config_option
from harness.kernelsource import fetch_source_files
from harness.localkernel import is_local, load_local, named_compiler
from harness.matrix import Matrix, Series
from harness.progress import Phase, Progress
from harness.run import Spawner

_UNPACK_DEADLINE = 600.0
_SCHEMA = 1
_MANIFEST = "manifest.json"
# In make's words: the folder above the one of the first Makefile, as an absolute path.
_BESIDE = "$(realpath $(dir $(firstword $(MAKEFILE_LIST)))..)/"
# What virtme-ng needs to mount a 9p root, with what these depend on.
_BOOT_MODULES = (
    *("virtio", "virtio_ring", "virtio_pci", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
    *("virtio_mmio", "virtio_console", "netfs", "fscache", "9pnet", "9pnet_virtio", "9p"),
    "overlay",
)


class KernelUnpackError(HarnessError):
    """The packages do not hold what a kernel consists of."""


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

    def get(self, name: str) -> Kernel:
        """Return a kernel, fetching it if it is a series that is not cached.

        Args:
            name: a series, the path of a build tree or of a vmlinuz with its modules, or "host".

        Raises:
            HarnessError: no such kernel, or it cannot be had; says what to do.
        """
        if is_local(name):
            with self._progress.phase("kernel") as phase:
                kernel = load_local(name)
                phase.done(f"{kernel.release}, {kernel.image}")
                return kernel
        series = self._matrix.find(name)
        with self._progress.phase("kernel") as phase:
            cached = self._cached(series.name)
            if cached is not None:
                phase.done(f"{series.name}: {cached.release}, cached")
                return cached
            return self._fetch(series, phase, newest=False)

    def fetch(self, name: str) -> Kernel:
        """Make the newest kernel of a series the cached one.

        Raises:
            UnknownSeriesError: not in the matrix.
            HarnessError: as :meth:`get`.
        """
        series = self._matrix.find(name)
        with self._progress.phase("kernel") as phase:
            return self._fetch(series, phase, newest=True)

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

    def source_files(self, name: str, paths: Sequence[str]) -> Path:
        """Return a folder with files of a series' source tree, at their places in it.

        Raises:
            UnknownSeriesError: not in the matrix.
            HarnessError: as :func:`fetch_source_files`.
        """
        return fetch_source_files(
            self._matrix.find(name),
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
                read_text(tree / _MANIFEST), source=str(tree / _MANIFEST), schema=_SCHEMA
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
        manifest = self._cache / "kernels" / series / "current" / _MANIFEST
        try:
            fields = Fields.parse(read_text(manifest), source=str(manifest), schema=_SCHEMA)
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
                self._unpack(found, debs, temp, tree, phase)
                _write_manifest(temp, found, archive.suite.name)
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
            found = archive.resolve(series.name)
            if found is not None:
                return archive, found
        suites = ", ".join(suite.name for suite in series.suites)
        raise ArchiveError(
            f"no kernel {series.name} with headers in {suites}",
            hint="Debian may have dropped it: see kconfigs/matrix.toml",
        )

    def _with_cached(self, error: ArchiveError) -> ArchiveError:
        cached = [entry.series for entry in self.listing() if entry.kernel is not None]
        usable = f"cached and usable without a network: {', '.join(cached) or 'no kernel'}"
        return ArchiveError(str(error), hint=f"{error.hint}; {usable}")

    def _unpack(
        self, found: KernelPackages, debs: Sequence[Path], temp: Path, final: Path, phase: Phase
    ) -> None:
        for package, deb in zip(found.packages, debs, strict=True):
            phase.update(f"unpacking {package.name}")
            self._spawner.run(
                ("dpkg-deb", "--extract", deb, temp),
                deadline=_UNPACK_DEADLINE,
                hint="apt-get install dpkg",
            )
        _merge_lib(temp)
        moddir = temp / "usr/lib/modules" / found.release
        build = temp / "usr/src" / f"linux-headers-{found.release}"
        vmlinuz = _vmlinuz(temp, found.release)
        for path in (moddir / "kernel", build / "Makefile", build / ".config"):
            if not path.exists():
                raise KernelUnpackError(
                    f"{found.image.name}: {path.relative_to(temp)} is in none of its packages"
                )
        _relocate(temp, moddir, build)
        _decompress(moddir)
        phase.update("extracting vmlinux")
        extract_vmlinux(vmlinuz, temp / "vmlinux", spawner=self._spawner)
        if not (moddir / "modules.dep").is_file():
            phase.update("indexing the modules")
            self._spawner.run(
                (self._depmod(), "-b", temp, found.release), deadline=_UNPACK_DEADLINE
            )

    def _depmod(self) -> Path:
        # Debian keeps it out of an ordinary user's PATH.
        depmod = self._spawner.which("depmod") or Path("/usr/sbin/depmod")
        if not depmod.is_file():
            raise KernelUnpackError("depmod not found", hint="apt-get install kmod")
        return depmod


def _vmlinuz(tree: Path, release: str) -> Path:
    """Find the kernel image; since 6.19 it lies with the modules (notes/measured.md)."""
    for path in (tree / f"boot/vmlinuz-{release}", tree / f"usr/lib/modules/{release}/vmlinuz"):
        if path.is_file():
            return path
    raise KernelUnpackError(f"linux-image-{release}: no vmlinuz in its packages")


def _merge_lib(tree: Path) -> None:
    """Make /lib a link to /usr/lib, as on any installed Debian since 12.

    Packages before 6.19 have /lib/modules, later ones /usr/lib/modules, and which of the two
    `depmod -b` looks into depends on the kmod of the host.
    """
    lib, usr_lib = tree / "lib", tree / "usr/lib"
    usr_lib.mkdir(parents=True, exist_ok=True)
    if lib.is_dir():
        for entry in tuple(lib.iterdir()):
            entry.rename(usr_lib / entry.name)
        lib.rmdir()
    lib.symlink_to("usr/lib")


def _relocate(tree: Path, moddir: Path, build: Path) -> None:
    """Make the headers build wherever they lie, also after a move: Debian's are made for /usr/src.

    The Makefile includes its -common twin by absolute path (and since 6.19 names its own folder as
    KBUILD_OUTPUT); everything below that uses relative links.
    """
    makefile = build / "Makefile"
    makefile.write_text(re.sub(r"(?<=[ =])/usr/src/", _BESIDE, makefile.read_text()))
    for name in ("build", "source"):
        link = moddir / name
        target = Path("usr/src") / link.readlink().name
        if not (tree / target).is_dir():
            raise KernelUnpackError(f"{link.name}: points to {target}, which no package has")
        link.unlink()
        link.symlink_to(os.path.relpath(tree / target, moddir))


def _decompress(moddir: Path) -> None:
    """Unpack the modules that the guest's initramfs loads.

    Decompressing them in the guest costs 0.4 s of each boot under TCG.
    """
    for name in _BOOT_MODULES:
        for packed in moddir.glob(f"kernel/**/{name}.ko.xz"):
            packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
            packed.unlink()


def _write_manifest(tree: Path, found: KernelPackages, suite: str) -> None:
    build = Path("usr/src") / f"linux-headers-{found.release}"
    bootable = config_option(tree / build / ".config", "CONFIG_PVH") == "y"
    # QEMU starts an ELF kernel through its PVH entry note only.
    image = Path("vmlinux") if bootable else _vmlinuz(tree, found.release).relative_to(tree)
    holder = next(
        (one for one in found.packages if one.name.startswith("linux-binary-")), found.image
    )
    document = {
        "schema": _SCHEMA,
        "release": found.release,
        "suite": suite,
        "package": f"{found.image.name} {found.image.version}",
        "sha256": holder.sha256,
        "compiler": named_compiler(tree / build),
        "image": str(image),
        "moddir": f"usr/lib/modules/{found.release}",
        "build": str(build),
        "config": str(build / ".config"),
        "size": tree_size(tree),
        "packages": [
            {"name": one.name, "version": one.version, "sha256": one.sha256}
            for one in found.packages
        ],
    }
    write_text(tree / _MANIFEST, dump(document))


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
    for entry in link.parent.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.resolve() not in (last, tree):
            remove_tree(entry)
