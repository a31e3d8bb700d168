# SPDX-License-Identifier: GPL-2.0
"""What a kernel is to the rest of the harness: something to build modules for, and to boot."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.matrix import BuildRootSpec

# Where kbuild puts it.
BZIMAGE = "arch/x86/boot/bzImage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that lies complete on this machine.

    Attributes:
        name: what the user asked for: a series ("6.12"), a path, or "host".
        release: what `uname -r` will print in the guest; the first word of the vermagic.
        image: the file to boot: the uncompressed vmlinux where there is one, else vmlinuz.
        moddir: the modules folder, `.../lib/modules/RELEASE`; None when the kernel has none.
        build: folder for `make -C ... M=`; holds .config and Module.symvers.
        config: the kernel's .config.
        package: Debian package and version ("linux-image-6.12... 6.12.117-1~deb12u1"), or None.
        sha256: hash of the image package, or of the image file when there is no package.
        compiler: the C compiler that the headers name ("gcc-12"), None when they name none.
        suite: Debian suite that the headers come from ("bookworm"); None outside Debian.
        buildroot: the root that can build its modules where the host cannot; None if unknown.
        profile: of the matrix, for a kernel that was built here; its vmlinux has debug info where
            the profile asks for it.
    """

    name: str
    release: str
    image: Path
    moddir: Path | None
    build: Path
    config: Path
    package: str | None
    sha256: str
    compiler: str | None
    suite: str | None
    buildroot: BuildRootSpec | None = None
    profile: str | None = None

    @property
    def vmlinux(self) -> Path:
        """The uncompressed kernel, which may have symbols, where there is one; else the image."""
        found = (folder / "vmlinux" for folder in (self.image.parent, self.build))
        return next((path for path in found if path.is_file()), self.image)

    def option(self, name: str) -> str | None:
        """Return a configuration option's value ("y", "m", a number, a string), None if not set.

        Args:
            name: with its prefix, as in "CONFIG_UDMABUF".

        Raises:
            HarnessError: the .config cannot be read.
        """
        return config_option(self.config, name)


def config_option(config: Path, name: str) -> str | None:
    """Return the value that a .config gives an option, without quotes; None if it is not set.

    Raises:
        HarnessError: the file cannot be read.
    """
    try:
        text = config.read_text()
    except OSError as error:
        raise HarnessError(f"{config}: {error.strerror}") from error
    match = re.search(rf"^{re.escape(name)}=(.*)$", text, re.MULTILINE)
    return match[1].strip('"') if match else None


def boots_as_elf(tree: Path, config: Path) -> bool:
    """Tell whether QEMU can start a kernel's vmlinux, which it does through its PVH entry only.

    With KASAN that entry dies on its first check of an address where its Makefile does not leave it
    out of that, as in 6.1: such a kernel has to be a bzImage.

    Args:
        tree: the kernel's source; what is not there is taken to be good.
        config: the kernel's .config.

    Raises:
        HarnessError: the .config cannot be read.
    """
    if config_option(config, "CONFIG_PVH") != "y":
        return False
    makefile = tree / "arch/x86/platform/pvh/Makefile"
    if config_option(config, "CONFIG_KASAN") != "y" or not makefile.is_file():
        return True
    return "KASAN_SANITIZE" in makefile.read_text()
