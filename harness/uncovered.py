# SPDX-License-Identifier: GPL-2.0
"""Lines of the driver that no test runs, and why that is so: selftests/uncovered.toml."""

import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.tomlfile import Table, TomlError

FILE = "selftests/uncovered.toml"
# In the kernel's style only a function's braces stand in the first column.
_NAME = re.compile(r"^[A-Za-z_].*?(\w+)\(")


class UncoveredError(TomlError):
    """The file of reasons is not what it must be, or a reason is stale."""

    HINT = f"the head of {FILE} describes the format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why lines are not run.

    Attributes:
        file: of the driver's sources.
        function: that the lines are in.
        lines: globs over their text, without indentation.
        reason: one sentence.
        sometimes: whether they are run in some runs: races.
    """

    file: str
    function: str
    lines: tuple[str, ...]
    reason: str
    sometimes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that was not run.

    Attributes:
        file: of the driver's sources.
        number: of the line, from 1.
        function: that it is in; "" outside of any.
        text: without indentation.
        reason: why; None if nobody knows.
    """

    file: str
    number: int
    function: str
    text: str
    reason: str | None = None


def load_reasons(path: Path, sources: Mapping[str, str]) -> tuple[Reason, ...]:
    """Read the reasons; a missing file has none.

    Args:
        path: the file.
        sources: of the driver, text by name.

    Raises:
        UncoveredError: not what it must be, or about lines that are no more.
    """
    if not path.is_file():
        return ()
    table = Table.load(path, UncoveredError)
    reasons = tuple(_reason(row, sources) for row in table.tables("uncovered"))
    table.finish()
    return reasons


def _reason(row: Table, sources: Mapping[str, str]) -> Reason:
    reason = Reason(
        file=row.choice("file", sources),
        function=row.text("function"),
        lines=row.texts("lines", some=True),
        reason=row.text("reason"),
        sometimes=row.flag("sometimes"),
    )
    row.finish()
    all_lines = numbered(reason.file, sources[reason.file])
    inside = [line for line in all_lines if line.function == reason.function]
    if not inside:
        raise row.fail("function", f"a function of {reason.file}")
    for glob in reason.lines:
        if not any(_matches(glob, line) for line in inside):
            raise row.fail("lines", f"lines of {reason.function}: {glob!r} is none")
    return reason


def numbered(file: str, text: str) -> Iterator[Line]:
    """Yield a source's lines, each with the function whose body it is in."""
    function, inside = "", False
    for number, line in enumerate(text.splitlines(), 1):
        inside = inside or line == "{"
        yield Line(file=file, number=number, function=function if inside else "", text=line.strip())
        if line == "}":
            inside = False
        elif not inside and (named := _NAME.match(line)):
            function = named[1]


def explain(
    lines: Sequence[Line], counted: Collection[Line], reasons: Sequence[Reason]
) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Give lines their reasons.

    Args:
        lines: that were not run.
        counted: all that can be run.
        reasons: as loaded.

    Returns:
        The lines; and what is stale: that a reason is given for what was run.
    """
    explained = []
    for line in lines:
        found = (one.reason for one in reasons if any(_excuses(one, g, line) for g in one.lines))
        explained.append(replace(line, reason=next(found, None)))
    stale = [
        f"{one.file}, {one.function}: {glob!r} was run"
        for one in reasons
        if not one.sometimes
        for glob in one.lines
        # A line that this kernel's branch of the source does not have says nothing.
        if any(_excuses(one, glob, line) for line in counted)
        and not any(_excuses(one, glob, line) for line in lines)
    ]
    return tuple(explained), tuple(stale)


def _excuses(reason: Reason, glob: str, line: Line) -> bool:
    return (reason.file, reason.function) == (line.file, line.function) and _matches(glob, line)


def _matches(glob: str, line: Line) -> bool:
    return fnmatch.fnmatchcase(line.text, glob)
