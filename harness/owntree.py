# SPDX-License-Identifier: GPL-2.0
"""A source tree of the user's own: only read, whether or not a build has been made inside of it.

kbuild builds elsewhere only from a tree in which nothing was built. Of another one git knows which
files are source: tracked ones, and new ones that are not ignored. They are copied to the cache, and
those that were edited copied again.
"""

import hashlib
import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.run import CommandError, Spawner

# What kbuild's outputmakefile and prepare look for.
_MADE_BY_A_BUILD = (".config", "include/config", "arch/x86/include/generated")


class OwnTreeError(HarnessError):
    """The path is not a source tree that can be built from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTree:
    """A user's source tree.

    Attributes:
        path: the tree.
        files: what of it is source, sorted; None for all of it.
    """

    path: Path
    files: tuple[str, ...] | None

    @classmethod
    def at(cls, path: Path, spawner: Spawner) -> "OwnTree":
        """Look at a tree.

        Raises:
            OwnTreeError: no kernel's source, or it was built in, and git does not know what of it
                is source.
        """
        tree_version(path)
        made = made_by_a_build(path)
        if made is None:
            return cls(path=path, files=None)
        return cls(path=path, files=_known_to_git(path, made, spawner))

    def fingerprint(self) -> str:
        """Return a hash that changes with every edit of the source: paths, sizes and times.

        Half a second for a kernel; reading all of it takes a minute.
        """
        digest = hashlib.sha256()
        for name, stat in self._entries() if self.files is None else self._stats():
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def source(self, copy: Path) -> Path:
        """Return a folder that kbuild builds from elsewhere: the tree itself, or a copy of it.

        Args:
            copy: where a copy goes; what is there of an earlier one is brought up to date.
        """
        if self.files is None:
            return self.path
        wanted = dict(self._stats())
        for folder, _, names in os.walk(copy):
            for name in names:
                file = Path(folder, name)
                if str(file.relative_to(copy)) not in wanted:
                    file.unlink()
        for name, stat in wanted.items():
            target = copy / name
            if not _same(target, stat):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copy2(self.path / name, target, follow_symlinks=False)
        return copy

    def _stats(self) -> Iterator[tuple[str, os.stat_result]]:
        for name in self.files or ():
            yield name, (self.path / name).lstat()

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        folders = deque([str(self.path)])
        while folders:
            with os.scandir(folders.popleft()) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != ".git":
                            folders.append(entry.path)
                        continue
                    yield entry.path, entry.stat(follow_symlinks=False)


def is_source_tree(tree: Path) -> bool:
    """Tell whether a folder is a kernel's source, built in or not."""
    return (tree / "Makefile").is_file() and (tree / "scripts/kconfig/merge_config.sh").is_file()


def made_by_a_build(tree: Path) -> str | None:
    """Return what a build inside of a tree left there, for which kbuild refuses it; or None."""
    return next((name for name in _MADE_BY_A_BUILD if (tree / name).exists()), None)


def tree_version(tree: Path) -> str:
    """Return the version that a source tree says it is: "6.12.117", "7.3.0-rc2".

    Raises:
        OwnTreeError: no kernel's source.
    """
    if not is_source_tree(tree):
        raise OwnTreeError(
            f"{tree}: not a kernel's source tree",
            hint="name the folder that has its Makefile, scripts/ and Kconfig",
        )
    text = (tree / "Makefile").read_text(errors="replace")
    parts = [
        found[1].strip() if (found := re.search(rf"^{key} *=(.*)$", text, re.MULTILINE)) else ""
        for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL", "EXTRAVERSION")
    ]
    return f"{parts[0]}.{parts[1]}.{parts[2] or 0}{parts[3]}"


def _known_to_git(tree: Path, made: str, spawner: Spawner) -> tuple[str, ...]:
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        if spawner.which("git") is None:
            raise _not_clean(tree, made, "git is not installed")
        said = spawner.run(("git", "-C", tree, *words), deadline=120).output
    except CommandError as error:
        last = error.completed.output.strip().rpartition("\n")[2]
        raise _not_clean(tree, made, last) from error
    # A file that was deleted is tracked until that is committed; a folder is a repository in this.
    found = {name for name in said.split("\0") if name and os.path.lexists(tree / name)}
    files = tuple(sorted(name for name in found if not name.endswith("/")))
    if "Makefile" not in files:
        raise _not_clean(tree, made, "git ignores it")
    return files


def _not_clean(tree: Path, made: str, why: str) -> OwnTreeError:
    return OwnTreeError(
        f"{tree}: {made} is there: kbuild refuses to build elsewhere from a tree that was itself"
        f" built in, and git does not tell its source from the rest: {why}",
        hint=f"save its .config and run `make -C {tree} mrproper`",
    )


def _same(file: Path, stat: os.stat_result) -> bool:
    try:
        there = file.lstat()
    except FileNotFoundError:
        return False
    return all(
        getattr(there, one) == getattr(stat, one) for one in ("st_mode", "st_size", "st_mtime_ns")
    )
