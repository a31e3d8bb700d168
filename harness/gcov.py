# SPDX-License-Identifier: GPL-2.0
"""What a driver has counted of itself: gcov's JSON -> how often each line ran. Pure.

The format is that of `gcov --json-format` (gcov(1), since GCC 9). gcovr reads the one of GCC 14 and
later only, and would take names for files that are elsewhere by now; it is given its own.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

# Of gcovr's own JSON (its data_model/version.py); tests/test_coverage.py has it read one.
_GCOVR_FORMAT = "0.15"
# zlib's window for a gzip header and checksum.
_GZIP = 31


class CountersError(Exception):
    """Counters, or what gcov says of them, are not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCount:
    """How often a line ran, and each branch on it was taken."""

    count: int
    branches: tuple[int, ...] = ()

    def __add__(self, other: "LineCount") -> "LineCount":
        return LineCount(
            count=self.count + other.count, branches=_sums(self.branches, other.branches)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """What was counted in a source file.

    Attributes:
        lines: by number.
        functions: how often each was called, by name and first line.
    """

    lines: Mapping[int, LineCount]
    functions: Mapping[tuple[str, int], int]

    def __add__(self, other: "FileCounts") -> "FileCounts":
        lines, functions = dict(self.lines), dict(self.functions)
        for number, line in other.lines.items():
            lines[number] = lines[number] + line if number in lines else line
        for key, count in other.functions.items():
            functions[key] = functions.get(key, 0) + count
        return FileCounts(lines=lines, functions=functions)


Counts = Mapping[str, FileCounts]


def unpack(data: str) -> bytes:
    """Return a file of counters that came over the results channel: gzip, then base64.

    Raises:
        CountersError: it was cut short or damaged.
    """
    try:
        packed = base64.b64decode(data, validate=True)
    except ValueError:
        raise CountersError("cut short") from None
    unpacker = zlib.decompressobj(_GZIP)
    try:
        content = unpacker.decompress(packed)
    except zlib.error as error:
        raise CountersError(str(error)) from None
    if not unpacker.eof:
        raise CountersError("cut short")
    return content


def read_counts(text: str, objects: PurePosixPath) -> dict[str, FileCounts]:
    """Read what gcov says.

    Args:
        text: a JSON document for each object; gcov's warnings between them.
        objects: folder in which they were compiled; what is not below it is the kernel's.

    Returns:
        Counts by the file's path below that folder.

    Raises:
        CountersError: that is not what gcov says.
    """
    found: dict[str, FileCounts] = {}
    try:
        for document in _documents(text):
            # Since Linux 6.13 the compiler runs there, and its names are relative.
            base = PurePosixPath(document["current_working_directory"])
            for file in document["files"]:
                path = base / file["file"]
                if path.is_relative_to(objects):
                    add(found, {str(path.relative_to(objects)): _file(file)})
    except (ValueError, KeyError, TypeError) as error:
        raise CountersError(f"not gcov's JSON: {error!r}") from None
    return found


def _documents(text: str) -> Iterator[Any]:
    """Yield the documents; GCC 12 puts no line ends between them."""
    decoder = json.JSONDecoder()
    for line in text.splitlines():
        rest = line
        while rest.startswith("{"):
            document, end = decoder.raw_decode(rest)
            yield document
            rest = rest[end:].lstrip()


def add(total: dict[str, FileCounts], counts: Counts) -> None:
    """Add counts, of another VM or another object, to the sums."""
    for name, file in counts.items():
        total[name] = total[name] + file if name in total else file


def _file(file: Mapping[str, Any]) -> FileCounts:
    lines: dict[int, LineCount] = {}
    for line in file["lines"]:
        # What is inlined into several functions is told once for each.
        before = lines.get(line["line_number"], LineCount(count=0))
        branches = tuple(branch["count"] for branch in line["branches"])
        lines[line["line_number"]] = LineCount(
            count=before.count + line["count"], branches=(*before.branches, *branches)
        )
    functions = {
        (one["name"], one["start_line"]): one["execution_count"] for one in file["functions"]
    }
    return FileCounts(lines=lines, functions=functions)


def tracefile(counts: Counts) -> str:
    """Return counts as gcovr writes and reads them (its `--json`)."""
    files = [
        {
            "file": name,
            "lines": [
                {
                    "line_number": number,
                    "count": line.count,
                    "branches": [
                        {"branchno": at, "count": count, "fallthrough": False, "throw": False}
                        for at, count in enumerate(line.branches)
                    ],
                }
                for number, line in sorted(file.lines.items())
            ],
            "functions": [
                {"name": function, "lineno": line, "execution_count": count}
                for (function, line), count in sorted(file.functions.items())
            ],
        }
        for name, file in sorted(counts.items())
    ]
    return json.dumps({"gcovr/format_version": _GCOVR_FORMAT, "files": files})


def _sums(ours: Iterable[int], theirs: Iterable[int]) -> tuple[int, ...]:
    """Add branch by branch; a line of several functions may have more in one of them."""
    first, second = list(ours), list(theirs)
    longest = max(len(first), len(second))
    first += [0] * (longest - len(first))
    second += [0] * (longest - len(second))
    return tuple(map(sum, zip(first, second, strict=True)))
