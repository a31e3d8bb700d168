# SPDX-License-Identifier: GPL-2.0
"""A kernel that the user names by path: a build tree, a vmlinuz with its modules, or the host's."""

import os
import re
from pathlib import Path

from harness.bzimage import kernel_release
from harness.cache import digest_file
from harness.errors import HarnessError
from harness.hostcpus import host_cpus
from harness.kernel import BZIMAGE, Kernel, boots_as_elf, config_option
from harness.kernelname import HOST, is_local
from harness.owntree import is_source_tree


class LocalKernelError(HarnessError):
    """The path is not a kernel that can be built for and booted."""


def is_source(name: str) -> bool:
    """Tell whether a kernel's name is the path of a source tree that nothing was built in."""
    tree = Path(name).expanduser()
    return is_local(name) and is_source_tree(tree) and not (tree / ".config").exists()


def load_local(name: str) -> Kernel:
    """Describe the kernel at a path.

    Args:
        name: a build tree (configured and built, holds .config and Module.symvers), a bzImage
            whose `lib/modules/RELEASE` lies beside or above it, or "host".

    Raises:
        LocalKernelError: what is missing, and where it was looked for.
    """
    if name == HOST:
        return _from_image(name, Path("/boot") / f"vmlinuz-{os.uname().release}")
    path = Path(name).expanduser().resolve()
    if path.is_dir():
        return _from_tree(name, path)
    return _from_image(name, path)


def named_compiler(build: Path) -> str | None:
    """Return the compiler that a build folder names: "gcc-12"; None when it names none.

    Debian's headers set CC in .kernelvariables; any built tree says what it was built with in
    CONFIG_CC_VERSION_TEXT, of which the major version counts.
    """
    variables = build / ".kernelvariables"
    if variables.is_file():
        match = re.search(r"^CC\s*[:?]?=.*?\b((?:gcc|clang)-\d+)\s*$", variables.read_text(), re.M)
        if match:
            return match[1]
    text = config_option(build / ".config", "CONFIG_CC_VERSION_TEXT") or ""
    if "clang" in text:
        version = re.search(r"clang version (\d+)", text)
        return f"clang-{version[1]}" if version else None
    version = re.search(r"gcc\S*(?: \(.*\))? (\d+)\.", text)
    return f"gcc-{version[1]}" if version else None


def _from_tree(name: str, tree: Path) -> Kernel:
    for need in (".config", "Module.symvers", "include/config/kernel.release"):
        if not (tree / need).is_file():
            hint = "configure and build it (make olddefconfig, make)"
            if is_source_tree(tree):
                # Whoever configured it may want that kernel, not one of ours.
                hint = (
                    f"to test what it is configured for: make -C {tree} -j{host_cpus()}; to have"
                    f" it built with our options, outside of it: --kernel {name}+plain"
                )
            raise LocalKernelError(f"{tree}: not a built kernel tree: no {need}", hint=hint)
    images = [tree / "vmlinux", tree / BZIMAGE]
    source = tree / "source"
    if not boots_as_elf(source if source.is_dir() else tree, tree / ".config"):
        images = images[1:]
    image = next((image for image in images if image.is_file()), None)
    if image is None:
        raise LocalKernelError(f"{tree}: no {images[-1].relative_to(tree)}", hint="make bzImage")
    return Kernel(
        name=name,
        release=(tree / "include/config/kernel.release").read_text().strip(),
        image=image,
        moddir=None,
        build=tree,
        config=tree / ".config",
        package=None,
        sha256=digest_file(image),
        compiler=named_compiler(tree),
        suite=None,
    )


def _from_image(name: str, image: Path) -> Kernel:
    if not image.is_file():
        raise LocalKernelError(f"{image}: no such kernel", hint="see `harness kernels`")
    release = kernel_release(image)
    moddir = _find_moddir(image, release)
    build = _find_build(moddir, release)
    return Kernel(
        name=name,
        release=release,
        image=image,
        moddir=moddir,
        build=build,
        config=build / ".config",
        package=None,
        sha256=digest_file(image),
        compiler=named_compiler(build),
        suite=None,
    )


def _find_moddir(image: Path, release: str) -> Path:
    """Find `lib/modules/RELEASE` in the image's folder or one above it.

    Since Debian's 6.19 the image lies in that folder itself.
    """
    for folder in image.parents:
        if folder.name == release and folder.parent.name == "modules":
            return folder
        for lib in ("lib", "usr/lib"):
            moddir = folder / lib / "modules" / release
            if moddir.is_dir():
                return moddir
    raise LocalKernelError(
        f"{image}: no modules: lib/modules/{release} is neither beside it nor in a folder above"
    )


def _find_build(moddir: Path, release: str) -> Path:
    """Follow the modules' `build` link, inside the root that the modules lie in."""
    link = moddir / "build"
    candidates = [link]
    if link.is_symlink() and link.readlink().is_absolute():
        root = moddir.parents[2] if moddir.parents[2].name != "usr" else moddir.parents[3]
        candidates.insert(0, root / link.readlink().relative_to("/"))
    for build in candidates:
        if (build / ".config").is_file() and (build / "Makefile").is_file():
            return _usable(build.resolve())
    raise LocalKernelError(
        f"{link}: no headers for {release} there",
        hint=f"install or unpack linux-headers-{release}",
    )


def _usable(build: Path) -> Path:
    """Refuse Debian's headers outside of /usr/src, where they cannot build."""
    for included in re.findall(r"^include (/\S+)", (build / "Makefile").read_text(), re.M):
        if not Path(included).is_file():
            raise LocalKernelError(
                f"{build}/Makefile includes {included}, which is not there",
                hint="install the headers, or change that path to where they were unpacked",
            )
    return build
