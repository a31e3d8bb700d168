# SPDX-License-Identifier: GPL-2.0
"""What a kernel is to the rest of the harness: something to build modules for, and to boot."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.matrix import BuildRootSpec


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
