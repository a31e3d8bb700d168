# SPDX-License-Identifier: GPL-2.0
"""Which line of ours a failure is about: of the driver, or of the test's specification. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# The decoder writes the path that a reader can open, which is absolute; kernel/module/main.c of a
# kernel with debug info is not ours.
_DRIVER = re.compile(r"(?:^|[\s(])/(?:[^\s:/]+/)*?(?<!/kernel/)(module/[\w.-]+\.[ch]):([0-9]+)\b")
# What a splat holds for those who read machine code: registers, the opcode bytes, the modules.
_MACHINE = re.compile(
    r"(?:<[0-9]>)?\[ *[0-9]+\.[0-9]+\](?:\[ *[TC][0-9]+\])? *"
    r"(?:R(?!IP)[A-Z0-9]{2}|RIP: 0033|[DEFCG]S|CR[0-9]|PKRU|Code|PGD|Modules linked in"
    r"|Hardware name)\b *:?"
)
_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_NAME = re.compile(r"""\s*name\s*=\s*["']([^"']*)["']""")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Spot:
    """A line of a file of the checkout.

    Attributes:
        file: path below the checkout's root.
        line: from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def driver_spot(lines: Iterable[str]) -> Spot | None:
    """Return the first line of the driver that a decoded splat names.

    That is the innermost one: a stack trace begins with where it happened, and inlined functions
    stand above those that they are in (:meth:`harness.decode.Decoder.decode`).
    """
    for line in lines:
        if found := _DRIVER.search(line):
            return Spot(file=found[1], line=int(found[2]))
    return None


def trimmed(lines: Iterable[str]) -> tuple[str, ...]:
    """Return a splat's lines without registers, opcode bytes and lists of modules."""
    return tuple(line for line in lines if not _MACHINE.match(line))


def spec_lines(text: str) -> dict[str, int]:
    """Return on which line of a specification each test is named.

    Args:
        text: the TOML of one suite, valid (:func:`harness.spec.load_spec`).

    Returns:
        Line numbers from 1 by `fixture.test`.
    """
    found: dict[str, int] = {}
    header = fixture = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if named := _HEADER.fullmatch(line):
            header = named[1].replace(" ", "")
        elif named := _NAME.match(line):
            if header == "fixture":
                fixture = named[1]
            elif header == "fixture.test":
                found.setdefault(f"{fixture}.{named[1]}", number)
    return found


def without_variant(id_: str) -> str:
    """Return `suite:fixture.test` of `suite:fixture.variant.test`; other ids as they are."""
    suite, colon, name = id_.partition(":")
    parts = name.split(".")
    return f"{suite}{colon}{parts[0]}.{parts[-1]}" if len(parts) == 3 else id_
