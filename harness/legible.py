# SPDX-License-Identifier: GPL-2.0
"""Text from a guest, fit for a document that others open: XML, HTML, Markdown. Pure.

Colours go. What is left and no document may hold, or what would show a reader something else than
what is there, becomes visible as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`: control characters, lone
surrogates, noncharacters, and the marks that turn the direction of text (CVE-2021-42574).
"""

import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# XML 1.0 section 2.2 (Char, and what it discourages) and HTML ("preprocessing the input stream")
# forbid the same, but for U+0085. A carriage return is what their parsers make a newline of.
_PLANES = range(0x10000, 0x110000, 0x10000)
_UNFIT = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufde0-\ufffd\U00010000-\U0010ffff]"
    "|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    + "".join(f"|[{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}]" for plane in _PLANES)
)


def legible(text: str) -> str:
    """Return text with what is not fit for a document made visible; newlines and tabs stay."""
    return _UNFIT.sub(_escape, _ANSI.sub("", text))


def legible_line(text: str) -> str:
    """The same, in one line."""
    return legible(text).replace("\n", " ").replace("\t", " ").strip()


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
