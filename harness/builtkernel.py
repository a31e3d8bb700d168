# SPDX-License-Identifier: GPL-2.0
"""A kernel that we built ourselves, as it lies in the cache: a folder with a manifest.json."""

from dataclasses import dataclass
from pathlib import Path

from harness.jsonfile import DocumentError, Fields, read_text
from harness.kernel import Kernel

MANIFEST = "manifest.json"
SCHEMA = 1
# There in what came from another machine.
IMPORTED = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A kernel of ours in the cache.

    Attributes:
        kernel: what the rest of the harness takes.
        folder: that holds it.
        source: hash of what it was built from: the package, or the files of a tree.
        config: :attr:`Recipe.digest`.
        compiler: the first line of the compiler's `--version`.
        in_root: built in a build root.
        imported: came from another machine.
        size: bytes.
        seconds: what the build took.
    """

    kernel: Kernel
    folder: Path
    source: str
    config: str
    compiler: str
    in_root: bool
    imported: bool
    size: int
    seconds: float


def load_built(folder: Path) -> Built | None:
    """Return the kernel that lies in a folder; None if it is not whole."""
    path, bzimage = folder / MANIFEST, folder / "bzImage"
    try:
        fields = Fields.parse(read_text(path), source=str(path), schema=SCHEMA)
        kernel = Kernel(
            name=fields.text("name"),
            release=fields.text("release"),
            image=bzimage if bzimage.is_file() else folder / "vmlinux",
            moddir=None,
            build=folder / "build",
            config=folder / "build/.config",
            package=fields.text_or_none("package"),
            sha256=fields.text("sha256"),
            compiler=fields.text("command"),
            suite=fields.text_or_none("suite"),
            profile=fields.text("profile"),
        )
        built = Built(
            kernel=kernel,
            folder=folder,
            source=fields.text("source"),
            config=fields.text("config"),
            compiler=fields.text("compiler"),
            in_root=fields.take("in_root", bool, "true or false"),
            imported=(folder / IMPORTED).exists(),
            size=fields.count("size"),
            seconds=fields.seconds("seconds"),
        )
    except DocumentError:
        return None
    return built if kernel.image.is_file() and kernel.config.is_file() else None


def builds_in(folder: Path) -> list[Built]:
    """Return the builds in a folder of one name, newest first."""
    entries = [path.parent for path in folder.glob(f"[!.]*/{MANIFEST}")]
    entries.sort(key=lambda path: (path / MANIFEST).stat().st_mtime_ns, reverse=True)
    found = (load_built(entry) for entry in entries)
    return [built for built in found if built is not None]
