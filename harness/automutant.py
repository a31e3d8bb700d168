# SPDX-License-Identifier: GPL-2.0
"""Mutants that nobody wrote: each change that an operator makes of the driver, with a name. Pure.

A name is FILE:FUNCTION:OPERATOR:HASH. The hash is of the statement that is changed, so that edits
elsewhere leave it, and a list of names (selftests/mutants/survivors.toml), alone.
"""

import difflib
import fnmatch
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.mutant import FOLDER, Mutant
from harness.mutation import Mutation
from harness.operators import Edit, edits

BUG = "auto"
# Not the UAPI in a folder below: the tests are built with it, and would agree with what is wrong.
_SOURCES = "*.[ch]"
_DIGITS = 4


def automatic(sources: Mapping[str, bytes], listed: Sequence[Mutation]) -> tuple[Mutation, ...]:
    """Return the driver with each small change, in an order that mixes files and operators.

    The order is that of a hash of the names, so that the first N are a sample, always the same.

    Args:
        sources: of the driver, by path in module/.
        listed: mutants that were written by hand. What is expected to catch those of a function,
            or else of a file, is expected to catch the automatic ones there.
    """
    found = []
    for name, content in sources.items():
        if fnmatch.fnmatch(name, _SOURCES) and "/" not in name:
            found += list(_of_file(name, content, sources, listed))
    return tuple(sorted(found, key=lambda one: _hash(one.mutant.name.encode())))


def _of_file(
    file: str, content: bytes, sources: Mapping[str, bytes], listed: Sequence[Mutation]
) -> Iterator[Mutation]:
    there = [one for one in listed if file in one.mutant.files]
    functions = _functions(content)
    seen: Counter[str] = Counter()
    for edit in edits(content):
        stem = f"{file}:{edit.function}:{edit.operator}"
        # The same statement may stand in a function twice.
        at = f"{stem}:{edit.context.decode(errors='replace')}"
        seen[at] += 1
        name = f"{stem}:{_hash(f'{at}:{seen[at]}'.encode())[:_DIGITS]}"
        near = [one for one in there if one.lines & _lines(file, functions[edit.function])]
        yield _mutation(name, file, edit, sources, expect=_expected(near or there))


def _functions(content: bytes) -> dict[str, tuple[int, int]]:
    """Return where each function is changed first and last, by the numbers of lines."""
    spans: dict[str, tuple[int, int]] = {}
    for edit in edits(content):
        line = _line(content, edit.start)
        first, last = spans.get(edit.function, (line, line))
        spans[edit.function] = (min(first, line), max(last, line))
    return spans


def _lines(file: str, span: tuple[int, int]) -> frozenset[tuple[str, int]]:
    return frozenset((file, number) for number in range(span[0], span[1] + 1))


def _line(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def _expected(listed: Sequence[Mutation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(glob for one in listed for glob in one.mutant.expect)) or ("*",)


def _mutation(
    name: str, file: str, edit: Edit, sources: Mapping[str, bytes], *, expect: tuple[str, ...]
) -> Mutation:
    content = sources[file]
    after = edit.apply(content)
    first, last = _line(content, edit.start), _line(content, max(edit.start, edit.end - 1))
    _, _, change = edit.context.decode(errors="replace").rpartition(" @ ")
    mutant = Mutant(
        name=name,
        path=Path(FOLDER) / f"{file}:{first}",
        text=_patch(file, content, after),
        bugs=(BUG,),
        wrong=change,
        expect=expect,
        files=(file,),
        automatic=True,
    )
    lines = frozenset((file, number) for number in range(first, last + 1))
    return Mutation(mutant=mutant, sources={**sources, file: after}, lines=lines)


def _patch(file: str, before: bytes, after: bytes) -> str:
    """Return a diff that git apply takes."""
    old, new = (text.decode(errors="replace").splitlines(keepends=True) for text in (before, after))
    names = (f"a/{FOLDER}/{file}", f"b/{FOLDER}/{file}")
    return "".join(difflib.unified_diff(old, new, *names))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
