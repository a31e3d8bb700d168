# SPDX-License-Identifier: GPL-2.0
"""/proc/kallsyms -> a symbol file for gdb: an ELF file of nothing but names and addresses. Pure.

Debian's vmlinux has no symbols, and the package that has them takes a gigabyte. The kernel itself
knows the names of its functions and variables (CONFIG_KALLSYMS); what it does not know is lines and
types. The layout is that of elf(5).
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
# e_type, e_machine, sh_type and sh_flags; symbols are global functions (STB_GLOBAL << 4 | STT_FUNC)
# or objects, and absolute where they are in none of the sections.
_EXEC, _X86_64 = 2, 62
_SYMTAB, _STRTAB, _NOBITS = 2, 3, 8
_WRITE, _ALLOC, _CODE = 1, 2, 4
_FUNCTION, _OBJECT, _ABSOLUTE = 0x12, 0x11, 0xFFF1
# What gdb takes for code must be in a section that is: name, flags, first symbol, last symbol.
_PARTS = (
    (".text", _ALLOC | _CODE, "_stext", "_etext"),
    (".rodata", _ALLOC, "__start_rodata", "__end_rodata"),
    (".data", _ALLOC | _WRITE, "_sdata", "_edata"),
    (".init.text", _ALLOC | _CODE, "_sinittext", "_einittext"),
    (".bss", _ALLOC | _WRITE, "__bss_start", "__bss_stop"),
)
# Below are offsets into the area of each CPU.
_KERNEL = 1 << 63


def symbol_file(kallsyms: Iterable[str]) -> bytes:
    """Return the symbols of an x86 kernel as an ELF file; those of modules are left out.

    Args:
        kallsyms: lines of /proc/kallsyms, read by root.

    Raises:
        ValueError: there is no symbol among them.
    """
    found = [
        (int(words[0], 16), words[1], words[2])
        for words in map(str.split, kallsyms)
        # That of a module has its name behind it.
        if len(words) == 3
    ]
    found = sorted(one for one in found if one[0] >= _KERNEL)
    if not found:
        raise ValueError("no symbols: were they read by root?")
    at = {name: address for address, _, name in found}
    parts = sorted(
        (at[first], at[last] - at[first], name, flags)
        for name, flags, first, last in _PARTS
        if first in at and last in at
    )
    starts = [start for start, *_ in parts]
    names, symbols = _Strings(), bytearray(_SYMBOL.size)
    for address, kind, name in found:
        part = bisect_right(starts, address) - 1
        inside = part >= 0 and address < parts[part][0] + parts[part][1]
        info = _FUNCTION if kind in "tTwW" else _OBJECT
        section = part + 1 if inside else _ABSOLUTE
        symbols += _SYMBOL.pack(names.add(name), info, 0, section, address, 0)
    return _file(parts, bytes(symbols), names)


class _Strings:
    """A string table."""

    def __init__(self) -> None:
        self.data = bytearray(1)

    def add(self, text: str) -> int:
        """Return where it is."""
        start = len(self.data)
        self.data += text.encode() + b"\0"
        return start


def _file(parts: list[tuple[int, int, str, int]], symbols: bytes, names: _Strings) -> bytes:
    titles = _Strings()
    sections = [_SECTION.pack(*(0,) * 10)]
    for start, size, name, flags in parts:
        sections.append(_SECTION.pack(titles.add(name), _NOBITS, flags, start, 0, size, 0, 0, 1, 0))
    offset = _HEADER.size
    strings = len(sections) + 1
    # The first symbol, which is none, is the only local one.
    for name, kind, data, link, local, width in (
        (".symtab", _SYMTAB, symbols, strings, 1, _SYMBOL.size),
        (".strtab", _STRTAB, names.data, 0, 0, 0),
    ):
        sections.append(
            _SECTION.pack(titles.add(name), kind, 0, 0, offset, len(data), link, local, 8, width)
        )
        offset += len(data)
    title = titles.add(".shstrtab")
    size = len(titles.data)
    sections.append(_SECTION.pack(title, _STRTAB, 0, 0, offset, size, 0, 0, 1, 0))
    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        *(_EXEC, _X86_64, 1, 0, 0, offset + size, 0),
        *(_HEADER.size, 0, 0, _SECTION.size, len(sections), len(sections) - 1),
    )
    return b"".join((header, symbols, names.data, titles.data, *sections))
