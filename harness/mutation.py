# SPDX-License-Identifier: GPL-2.0
"""A mutant applied to the driver as it is: its sources, the lines that it changes, its module."""

import difflib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.cache import remove_tree
from harness.errors import HarnessError
from harness.kmod import ModuleBuild
from harness.mutant import FOLDER, Mutant
from harness.objcode import fingerprint
from harness.run import CommandError, Spawner

_SECONDS = 30.0
_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")

Lines = frozenset[tuple[str, int]]


class MutationError(HarnessError):
    """The mutant proves nothing: it does not apply, or changes nothing that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A mutant, and the driver with it.

    Attributes:
        mutant: the patch.
        sources: of the driver, by path in module/.
        lines: what the patch changes: file and number of the line in the driver as it is. Where
            lines are only added, their neighbours.
    """

    mutant: Mutant
    sources: Mapping[str, bytes]
    lines: Lines

    @property
    def digest(self) -> str:
        """The hash of the sources."""
        return hash_sources(self.sources)


def hash_sources(sources: Mapping[str, bytes]) -> str:
    """Return a hash of what a module is built from; texts for people do not count."""
    digest = hashlib.sha256()
    for name, content in sorted(sources.items()):
        if not name.endswith(".md"):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def apply(
    mutant: Mutant, sources: Mapping[str, bytes], *, scratch: Path, spawner: Spawner
) -> Mutation:
    """Apply a mutant to a private copy of the driver.

    Args:
        mutant: the patch.
        sources: of the driver, by path in module/.
        scratch: an empty folder or none, which the copy is made in and removed from.
        spawner: runs git.

    Raises:
        MutationError: it does not apply, without fuzz.
    """
    try:
        write_sources(sources, scratch / FOLDER)
        # Without a repository around it, git apply leaves no file out.
        git = spawner.with_env(
            GIT_CEILING_DIRECTORIES=str(scratch.parent),
            GIT_CONFIG_GLOBAL="/dev/null",
            GIT_CONFIG_NOSYSTEM="1",
        )
        argv = ("git", "apply", "--whitespace=nowarn", mutant.path)
        git.run(argv, deadline=_SECONDS, cwd=scratch)
        after = {name: (scratch / FOLDER / name).read_bytes() for name in sources}
    except CommandError as error:
        said = error.completed.output.strip().partition("\n")[0] or str(error)
        raise MutationError(
            f"{mutant.path}: does not apply to the driver as it is: {said}",
            hint="make the same change to the driver of today, and `git diff` a patch of it",
        ) from None
    finally:
        remove_tree(scratch)
    lines = frozenset(
        (name, number)
        for name, content in sources.items()
        if content != after[name]
        for number in _changed(content, after[name])
    )
    return Mutation(mutant=mutant, sources=after, lines=lines)


def write_sources(sources: Mapping[str, bytes], folder: Path) -> None:
    """Make a folder hold these files and no others."""
    remove_tree(folder)
    for name, content in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _changed(before: bytes, after: bytes) -> set[int]:
    """Return the lines of `before` that are not in `after`, and the neighbours of new ones."""
    old, new = before.splitlines(), after.splitlines()
    found: set[int] = set()
    for tag, first, end, _, _ in difflib.SequenceMatcher(
        a=old, b=new, autojunk=False
    ).get_opcodes():
        if tag == "insert":
            found |= {first, first + 1}
        elif tag != "equal":
            found |= set(range(first + 1, end + 1))
    return found


def build(mutation: Mutation, original: str, builder: Callable[[], ModuleBuild]) -> ModuleBuild:
    """Build a mutated driver.

    Args:
        mutation: what is built.
        original: fingerprint of the driver without it.
        builder: builds it.

    Raises:
        MutationError: the object code is that of the driver.
        HarnessError: it does not compile.
    """
    built = builder()
    if fingerprint(built.ko) == original:
        raise MutationError(
            f"{mutation.mutant.path}: the driver's object code is the same with it",
            hint="a change that the compiler undoes is no bug: find another",
        )
    return built


def changed_since(revision: str, *, source: Path, spawner: Spawner) -> Lines:
    """Return the lines of the driver that are not those of a revision, and where some went.

    Args:
        revision: as git understands it.
        source: the checkout.
        spawner: runs git.

    Raises:
        HarnessError: not a revision, or not a checkout.
    """
    # -- behind it: never a path, never an option.
    argv = (
        "git",
        "diff",
        "--unified=0",
        "--no-color",
        "--no-ext-diff",
        "--no-prefix",
        "--relative",
    )
    completed = spawner.run(
        (*argv, "--end-of-options", revision, "--", "."),
        deadline=_SECONDS,
        cwd=source / FOLDER,
        check=False,
    )
    if completed.status:
        said = completed.output.strip().partition("\n")[0]
        raise HarnessError(f"--since {revision}: {said}", hint="name a commit, such as HEAD~3")
    found: set[tuple[str, int]] = set()
    name = ""
    for line in completed.output.splitlines():
        if line.startswith("+++ "):
            name = line[4:]
        elif match := _HUNK.match(line):
            first, count = int(match[1]), int(match[2] or 1)
            # Where lines were only taken away, the neighbours of the gap.
            numbers = range(first, first + count) if count else (first, first + 1)
            found |= {(name, number) for number in numbers}
    return frozenset(found)
