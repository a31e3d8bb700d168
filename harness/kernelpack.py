# SPDX-License-Identifier: GPL-2.0
"""What is kept of a kernel that was built: what boots, and what external modules build against.

    vmlinux     boots through its PVH entry; has the debug info, compressed
    bzImage     boots where that cannot
    build/      kbuild's output: configuration, generated headers, symbols, modpost, objtool
    source/     of the tree: Makefiles, scripts, headers

The folder works wherever it lies. Objects and all other sources are gone: they are 95 % of it.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.kernel import BZIMAGE, boots_as_elf
from harness.kernelbuild import KernelBuildError
from harness.run import Spawner

_OBJCOPY_DEADLINE = 600.0
# In make's words: the folder of the first Makefile, as an absolute path.
_HERE = "$(realpath $(dir $(firstword $(MAKEFILE_LIST))))"
_FROM_TREE = ("scripts", "include", "arch/x86/include")
_FROM_OUT = ("scripts", "include", "arch/x86/include/generated", "tools/objtool/objtool")
_FILES = (".config", "Module.symvers", "System.map")
_MAKEFILES = ("Makefile", "Kbuild", "arch/x86/Makefile", "arch/x86/Makefile.um")
_OBJECTS = (".o", ".a", ".cmd", ".d", ".ko", ".mod", ".order")


def pack(*, tree: Path, out: Path, target: Path, spawner: Spawner) -> None:
    """Copy what is kept.

    Args:
        tree: the kernel's source.
        out: kbuild's output folder, built.
        target: an existing folder.

    Raises:
        KernelBuildError: the build has not made something that modules need.
        CommandError: objcopy fails.
    """
    source, build = target / "source", target / "build"
    for name in _FROM_TREE:
        _copy(tree / name, source / name, lambda path: path.suffix not in _OBJECTS)
    for name in _MAKEFILES:
        if (tree / name).is_file():
            _copy(tree / name, source / name, lambda _: True)
    for name in (*_FILES, *_FROM_OUT):
        # Without the unwinder's tables there is no objtool.
        if (out / name).exists():
            _copy(out / name, build / name, _is_kept)
    for name in (*_FILES, "include/config/kernel.release", "scripts/mod/modpost"):
        if not (build / name).is_file():
            raise KernelBuildError(
                f"{out}: no {name} after the build", hint="try again; then report it"
            )
    # One of an earlier build may lie there.
    if not boots_as_elf(tree, out / ".config"):
        shutil.copyfile(out / BZIMAGE, target / "bzImage")
    makefile = (out / "Makefile").read_text()
    for path, words in ((tree, f"{_HERE}/../source"), (out, _HERE)):
        makefile = makefile.replace(str(path), words)
    (build / "Makefile").write_text(makefile)
    spawner.run(
        ("objcopy", "--compress-debug-sections=zlib", out / "vmlinux", target / "vmlinux"),
        deadline=_OBJCOPY_DEADLINE,
    )
    # A program that is loaded, never run here.
    (target / "vmlinux").chmod(0o644)


def _is_kept(path: Path) -> bool:
    """Leave out objects, and the empty files by which kbuild notes when an option changed."""
    if path.suffix in _OBJECTS or path.name.startswith(".tmp_"):
        return False
    return path.stat().st_size > 0 or "config" not in path.parts


def _copy(source: Path, target: Path, kept: Callable[[Path], bool]) -> None:
    for path, place in _pairs(source, target):
        if path.is_symlink():
            # scripts/dtc and others link within what is kept; a broken link harms nobody.
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.readlink())
        elif kept(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def _pairs(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    if source.is_dir() and not source.is_symlink():
        for entry in sorted(source.iterdir()):
            yield from _pairs(entry, target / entry.name)
    else:
        yield source, target
