# SPDX-License-Identifier: GPL-2.0
"""A run as Markdown for GitHub's job summary: what failed first, and no more than fits. Pure.

What a guest printed stands in code spans and fences that it cannot close, or with every character
escaped that Markdown or HTML could take for its own.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from harness.legible import legible, legible_line
from harness.reportmodel import ReportData
from harness.spot import trimmed

# Bytes of one step's summary (GitHub: "Workflow commands", 1 MiB), with some room to spare.
LIMIT = (1 << 20) - 4096

_TEMPLATES = Path(__file__).with_name("data") / "report"
# What GitHub's Markdown may see a meaning in within a line; a backslash takes it away.
_MARKUP = re.compile(r"([\\`*_\[\]#|<>~$@:])")
_WIDTH = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Most:
    """How much to tell: causes, lines of each, tests of each, rows of a table."""

    causes: int
    lines: int
    tests: int
    rows: int


# From what a reader wants down to what always fits.
_LEVELS = (
    _Most(causes=20, lines=40, tests=8, rows=200),
    _Most(causes=20, lines=12, tests=4, rows=50),
    _Most(causes=10, lines=0, tests=2, rows=20),
    _Most(causes=3, lines=0, tests=1, rows=3),
)


def summarize(data: ReportData, *, room: int = LIMIT) -> str:
    """Return the summary of a run, or of a matrix.

    Args:
        data: what its report shows.
        room: bytes that it may take; "" when it does not fit however short.
    """
    for most in _LEVELS:
        text = _environment().get_template("summary.md.j2").render(data=data, most=most)
        text = re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
        if len(text.encode()) <= room:
            return text
    return ""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        # The filters escape: what is no Markup here is no HTML either.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "span": span, "fence": fence}
    environment.filters |= {"html": _html, "trimmed": trimmed}
    return environment


def plain(text: str) -> str:
    """Return text as Markdown that shows it as it is, in one line of a table or list."""
    return _MARKUP.sub(r"\\\1", _clip(legible_line(text))).replace("&", "&amp;")


def span(text: str) -> str:
    """Return a code span of it, in one line."""
    shown = _clip(legible_line(text)) or " "
    ticks = "`" * (1 + _longest(shown))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    # Within a table's cell a bar needs its backslash even here.
    return f"{ticks}{pad}{shown}{pad}{ticks}".replace("|", r"\|")


def fence(lines: Iterable[str], most: int) -> str:
    """Return a block of code of so many lines; the last one tells how many are left out."""
    shown = [_clip(line) for line in legible("\n".join(lines)).split("\n")]
    if len(shown) > most:
        shown[most:] = [f"... {len(shown) - most} more lines"]
    text = "\n".join(shown)
    ticks = "`" * max(3, 1 + _longest(text))
    return f"{ticks}text\n{text}\n{ticks}"


def _html(text: str) -> str:
    """Return text for within an element, where Markdown has no say."""
    return html.escape(_clip(legible_line(text)))


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _clip(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
