# SPDX-License-Identifier: GPL-2.0
"""The line grammar of KTAP: one line of text -> what it is. Pure; the tree is ktap.py's business.

The format is Documentation/dev-tools/ktap.rst (version 1), and what kselftest.h,
kselftest_harness.h, kselftest/runner.sh and KUnit print beyond it. Accepted lines, each with
kernel prefixes and an indentation in front:

    KTAP version N | TAP version N
    1..N [# SKIP reason]
    ok N [- ][description][ # [directive] [reason]]
    not ok N [- ][description][ # [directive] [reason]]
    Bail out! [reason]
    # Subtest: name
    #  RUN           name ...                   (kselftest_harness.h: name begins)
    #            OK  name                       (the same: name ended; FAIL, SKIP)
    # DURATION name MICROSECONDS                (our selftests/include, as the next two)
    # KERNEL: <LEVEL>message                    (what the kernel complained of meanwhile)
    # DIRTY: what before -> after               (with "not ok N name # DIRTY what ...")

Any other line is an unknown line: kept as a diagnostic, never a verdict.

Kernel prefixes are `<6>`, `[   12.345678]`, `[T12]`, `[C0]`, stripped from each line by itself,
because their width changes. Indentation is columns of spaces, or "# " as in kselftest's commented
nesting ("# ok 1 name" before "ok 1 selftests: dir: name").
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

_PREFIX = re.compile(r"\A(?:<[0-9]{1,3}>|\[ *[0-9]+\.[0-9]+\]|\[ *[TC][0-9]+\])+ ?")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROL = "".join(map(chr, (*range(0x20), 0x7F))).replace("\t", "")
_LEAD = re.compile(r"\A(?:# |[ \t])*")
_COMMENT = re.compile(r"\A(?:[ \t]*# )+")
_VERSION = re.compile(r"K?TAP version [0-9]+\Z")
_PLAN = re.compile(r"1\.\.(?P<number>[0-9]{1,9}) *(?:#(?P<tail>.*))?\Z")
_RESULT = re.compile(r"(?P<word>not ok|ok) +(?P<number>[0-9]{1,9})(?![^\s#])(?P<rest>.*)\Z")
_BAIL = re.compile(r"Bail out! *(?P<name>.*)\Z")
_SUBTEST = re.compile(r"[ \t]*# Subtest: *(?P<name>.*)\Z")
_RUN = re.compile(r"# +RUN +(?P<name>\S.*?) *\.\.\.\Z")
_OUTCOME = re.compile(r"[# \t]*# +(?:OK|FAIL|SKIP) +\S+\Z")
_DURATION = re.compile(r"# DURATION (?P<name>\S.*?) (?P<number>[0-9]{1,15})\Z")
_DIRECTIVE = re.compile(r"\s*([A-Za-z]+)(?![^\s:])[\s:]*(.*)\Z")
_HASH = re.compile(r"(?<!\\)#")

_DIRECTIVES = frozenset({"SKIP", "TODO", "XFAIL", "XPASS", "TIMEOUT", "DIRTY", "ERROR"})
# With these "not ok" is no failure.
HARMLESS = frozenset({"SKIP", "TODO", "XFAIL"})


class Kind(Enum):
    """What a line is."""

    VERSION = auto()
    PLAN = auto()
    RESULT = auto()
    BAIL = auto()
    SUBTEST = auto()
    RUN = auto()
    OUTCOME = auto()
    DURATION = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line.

    Attributes:
        kind: what it is.
        column: where the body stands, with the kernel prefix taken off.
        text: without kernel prefix, indentation kept.
        diagnostic: what to show of it: without "# "; an unknown line whole, prefix included.
        number: of a result, the N of a plan, microseconds.
        ok: whether a result is "ok".
        name: description of a result, name of a test or subtest, reason of a bail-out.
        directive: SKIP, TODO, XFAIL, XPASS, TIMEOUT, DIRTY, ERROR, or "".
        reason: what stands behind the directive, or behind the "#" when there is none.
    """

    kind: Kind
    column: int = 0
    text: str = ""
    diagnostic: str = ""
    number: int = 0
    ok: bool = False
    name: str = ""
    directive: str = ""
    reason: str = ""


def lines(text: str, first: int) -> Iterator[tuple[int, Line]]:
    """Yield the complete lines with their numbers, counted from ``first``.

    What stands behind the last newline is left out: half a line is no line. A carriage return in
    mid-line starts a line, as it does on a terminal.
    """
    for number, line in enumerate(text.split("\n")[:-1], first):
        for piece in line.rstrip("\r").split("\r"):
            yield number, classify(piece)


def classify(raw: str) -> Line:
    """Tell what one line is."""
    raw = _ANSI.sub("", raw).strip(_CONTROL)
    text = _PREFIX.sub("", raw)
    column = len(text) - len(_LEAD.sub("", text))
    body = text[column:].rstrip()
    if result := result_in(body):
        return replace(result, column=column, text=text, diagnostic=text)
    if found := _PLAN.match(body):
        directive, reason = _directive(found["tail"] or "")
        return Line(
            kind=Kind.PLAN,
            column=column,
            text=text,
            diagnostic=text,
            number=int(found["number"]),
            directive=directive,
            reason=reason,
        )
    if _VERSION.match(body):
        return Line(kind=Kind.VERSION, column=column, text=text, diagnostic=text)
    return _unstructured(raw, text, column, body)


def _unstructured(raw: str, text: str, column: int, body: str) -> Line:
    """Tell what a line is that has neither version, plan nor result."""
    diagnostic = _COMMENT.sub("", text) if _COMMENT.match(text) else raw
    kind, found = Kind.UNKNOWN, None
    if found := _BAIL.match(body):
        kind = Kind.BAIL
    elif found := _RUN.search(text):
        kind = Kind.RUN
    elif found := _DURATION.search(text):
        kind = Kind.DURATION
    elif found := _SUBTEST.match(text):
        # The lead took the "# " of this line for indentation.
        kind, column = Kind.SUBTEST, max(column - 2, 0)
    elif _OUTCOME.match(text):
        kind = Kind.OUTCOME
    number = int(found["number"]) if found and kind is Kind.DURATION else 0
    return Line(
        kind=kind,
        column=column,
        text=text,
        diagnostic=diagnostic,
        number=number,
        name=found["name"] if found else "",
    )


def result_in(body: str) -> Line | None:
    """Read a result that starts at the first character of this text; None when there is none."""
    found = _RESULT.match(body)
    if found is None:
        return None
    description, *tail = _HASH.split(found["rest"], maxsplit=1)
    directive, reason = _directive(tail[0] if tail else "")
    return Line(
        kind=Kind.RESULT,
        number=int(found["number"]),
        ok=found["word"] == "ok",
        name=description.strip().removeprefix("- ").strip(),
        directive=directive,
        reason=reason,
    )


def _directive(tail: str) -> tuple[str, str]:
    """Split what stands behind the "#" into a known directive, or "", and the rest."""
    if (found := _DIRECTIVE.match(tail)) and found[1].upper() in _DIRECTIVES:
        return found[1].upper(), found[2].strip()
    return "", tail.strip()
