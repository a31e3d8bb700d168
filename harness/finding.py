# SPDX-License-Identifier: GPL-2.0
"""What static tools say of the tree: findings, outcomes, and how a compiler's output reads."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError

_HEAD = re.compile(r"^([^\s:][^:]*:\d+(?::\d+)?): (?:fatal )?((?:warning|error): .*)$")
# Sparse explains below a message, at the same place: "expected ...", "got ...".
_DETAIL = re.compile(r"^([^\s:][^:]*:\d+(?::\d+)?):\s{2,}(\S.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One message of a tool.

    Attributes:
        where: FILE:LINE or FILE:LINE:COLUMN, below the checkout; "" when it has no place.
    """

    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one tool said, for one kernel.

    Attributes:
        kernel: its name; None for the tree.
        skipped: why the tool could not judge; None when it could.
        mendable: something that can be installed or fetched would let it judge.
    """

    tool: str
    kernel: str | None
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None
    mendable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """All outcomes; `strict` is --no-skip."""

    outcomes: tuple[Outcome, ...]
    strict: bool

    @property
    def exit_status(self) -> int:
        """0 nothing found, 1 findings, 2 strict and a tool was skipped."""
        if self.strict and any(one.skipped is not None for one in self.outcomes):
            return 2
        return 1 if any(one.findings for one in self.outcomes) else 0


class SkipError(HarnessError):
    """The tool cannot judge here; ``mendable`` as in :class:`Outcome`."""

    def __init__(self, message: str, *, mendable: bool) -> None:
        super().__init__(message)
        self.mendable = mendable


def parse_messages(text: str, source: Path) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Take a compiler's or sparse's output apart.

    Args:
        source: the checkout; places in it lose this prefix.

    Returns:
        Messages about files in the checkout, and about others; each once, in order.
    """
    ours: dict[Finding, None] = {}
    foreign: dict[Finding, None] = {}
    last = Finding(where="", text="")
    for line in text.splitlines():
        if head := _HEAD.match(line):
            where = head[1].removeprefix(f"{source}/")
            last = Finding(where=where, text=head[2])
            (foreign if where == head[1] else ours)[last] = None
            continue
        detail = _DETAIL.match(line)
        if detail is not None and last in ours and detail[1] == f"{source}/{last.where}":
            del ours[last]
            last = replace(last, text=f"{last.text}; {detail[2]}")
            ours[last] = None
    return tuple(ours), tuple(foreign)
