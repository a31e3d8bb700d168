# SPDX-License-Identifier: GPL-2.0
"""Debian's kernel packages, unpacked so that they work wherever they lie."""

import lzma
import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.archive import KernelPackages
from harness.bzimage import extract_vmlinux
from harness.cache import tree_size
from harness.errors import HarnessError
from harness.jsonfile import dump, write_text
from harness.kernel import config_option
from harness.localkernel import named_compiler
from harness.progress import Phase
from harness.run import Spawner

SCHEMA = 1
MANIFEST = "manifest.json"
_UNPACK_DEADLINE = 600.0
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


def unpack(
    found: KernelPackages, debs: Sequence[Path], temp: Path, *, spawner: Spawner, phase: Phase
) -> None:
    """Fill a folder with what a kernel's packages hold, fit to boot and to build modules against.

    Args:
        found: the packages.
        debs: their files, in the same order.
        temp: the folder; empty.

    Raises:
        KernelUnpackError: they do not hold what a kernel consists of.
    """
    for package, deb in zip(found.packages, debs, strict=True):
        phase.update(f"unpacking {package.name}")
        spawner.run(
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
    extract_vmlinux(vmlinuz, temp / "vmlinux", spawner=spawner)
    if not (moddir / "modules.dep").is_file():
        phase.update("indexing the modules")
        spawner.run((_depmod(spawner), "-b", temp, found.release), deadline=_UNPACK_DEADLINE)


def _depmod(spawner: Spawner) -> Path:
    # Debian keeps it out of an ordinary user's PATH.
    depmod = spawner.which("depmod") or Path("/usr/sbin/depmod")
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


def write_manifest(tree: Path, found: KernelPackages, suite: str) -> None:
    """Write down what was unpacked into a folder, and from which suite."""
    build = Path("usr/src") / f"linux-headers-{found.release}"
    bootable = config_option(tree / build / ".config", "CONFIG_PVH") == "y"
    # QEMU starts an ELF kernel through its PVH entry note only.
    image = Path("vmlinux") if bootable else _vmlinuz(tree, found.release).relative_to(tree)
    holder = next(
        (one for one in found.packages if one.name.startswith("linux-binary-")), found.image
    )
    document = {
        "schema": SCHEMA,
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
    write_text(tree / MANIFEST, dump(document))
