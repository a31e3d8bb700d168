# SPDX-License-Identifier: GPL-2.0
"""Where in the source: `foo+0x12/0x34 [module]` in a splat -> file, line and inlined functions.

The stack names a symbol and an offset; the object's symbol table tells the section and address,
binutils' addr2line reads the DWARF. A module is relocatable: an address counts from its section's
start. kbuild gives modules -g when the kernel has CONFIG_DEBUG_INFO, which Debian's have, so ours
always decode; Debian's vmlinux has no debug info, one that was built here may.
"""

import functools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from harness.errors import HarnessError
from harness.run import Spawner

# Seconds. A module takes some 20 ms, a vmlinux of half a gigabyte some seconds.
_DEADLINE = 60.0
_FRAME = re.compile(
    r"(?P<name>[A-Za-z_][\w.$]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)"
    # Taint letters since 6.4 or a build id may follow the module's name.
    r"(?: \[(?P<module>[\w-]+)(?:\([A-Z]*\))?(?: [0-9a-f]+)?\])?"
)
# The instruction itself; in other lines of a stack the one behind a call.
_EXACT = re.compile(r"\b(?:R?IP|pc) ?:|\bWARNING: |\b[Kk]ernel BUG at ")
# A line that is a frame and no more.
_STACK = re.compile(
    r"((?:(?:<[0-9]>)?\[ *[0-9]+\.[0-9]+\](?:\[ *[TC][0-9]+\])?)?\s*)(?:\? )?[A-Za-z_][\w.$]*\+0x"
)
_PLACE = re.compile(r"(?P<file>.*):(?P<line>[0-9]+)(?: \(discriminator [0-9]+\))?")
_SYMBOL = struct.Struct("<IBBHQQ")
_FUNCTION = 2
_RESERVED = 0xFF00
# What a path in a kernel's own sources begins with, before the part that is the same everywhere.
_TREE = re.compile(r".*/(?:linux-(?:headers|source|[0-9])[^/]*|source|build)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugObject:
    """A file that has symbols, and perhaps debug info.

    Attributes:
        module: the module's name; "" for the kernel itself.
        path: NAME.ko or vmlinux.
        source: the folder whose files it was built from, where readers have them; None: unknown.
    """

    module: str
    path: Path
    source: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of source code.

    Attributes:
        function: that it is in, as in the source.
        file: path, under DebugObject.source where it is there.
        line: from 1.
    """

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """What a line of a stack says; offset is that of the instruction to look up."""

    module: str
    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Symbol:
    section: str
    value: int
    size: int


class Decoder:
    """Decodes splats of one kernel; what was looked up once is not looked up again."""

    def __init__(self, objects: Iterable[DebugObject], *, spawner: Spawner) -> None:
        """Take the files that may be named.

        Args:
            objects: modules, and vmlinux if there is one with debug info. One that is not there or
                has none is as good as not given.
            spawner: runs addr2line; where that is missing nothing is decoded.
        """
        self._objects = {one.module.replace("-", "_"): one for one in objects}
        self._spawner = spawner
        self._known: dict[_Spot, tuple[Place, ...]] = {}

    def decode(self, text: str) -> str:
        """Return a splat's text with the source lines.

        Behind `foo+0x12/0x34 [module]` comes ` (file:line)`. In a stack, each function that was
        inlined there has a line of its own above, `bar file:line [inline]`, as it would have with
        a frame; in other lines it stands with the file.
        """
        lines = text.split("\n")
        self._look_up(spot for line in lines if (spot := self._spot(line)))
        return "\n".join(self._decoded(lines))

    def places(self, text: str) -> tuple[Place, ...]:
        """Return where the first decodable line of a splat's text is.

        Returns:
            The innermost inlined function first, the one with the frame last; () when unknown.
        """
        spots = [spot for line in text.split("\n") if (spot := self._spot(line))]
        self._look_up(spots)
        return next((found for spot in spots if (found := self._known[spot])), ())

    def _decoded(self, lines: Sequence[str]) -> Iterator[str]:
        for line in lines:
            spot = self._spot(line)
            *inlined, outer = (self._known[spot] if spot else ()) or (None,)
            if outer is None:
                yield line
                continue
            within = [f"{place.function} {place} [inline]" for place in inlined]
            if stack := _STACK.match(line):
                yield from (stack[1] + one for one in within)
                within = []
            yield f"{line.rstrip()} ({', '.join([*within, str(outer)])})"

    def _spot(self, line: str) -> _Spot | None:
        found = _FRAME.search(line)
        if found is None:
            return None
        module = (found["module"] or "").replace("-", "_")
        if module not in self._objects:
            return None
        offset = int(found["offset"], 16)
        if offset and not _EXACT.search(line, 0, found.start()):
            offset -= 1
        size = int(found["size"], 16)
        return _Spot(module=module, name=found["name"], offset=offset, size=size)

    def _look_up(self, spots: Iterable[_Spot]) -> None:
        """Ask addr2line once for all that is new in a section of an object."""
        wanted: dict[tuple[str, str], dict[_Spot, int]] = {}
        for spot in spots:
            if spot not in self._known:
                self._known[spot] = ()
                if symbol := self._symbol(spot):
                    addresses = wanted.setdefault((spot.module, symbol.section), {})
                    addresses[spot] = symbol.value + spot.offset
        for (module, section), addresses in wanted.items():
            found = self._ask(self._objects[module], section, sorted(set(addresses.values())))
            self._known.update((spot, found.get(at, ())) for spot, at in addresses.items())

    def _symbol(self, spot: _Spot) -> _Symbol | None:
        """Find a function; of several with one name the one whose size fits best.

        The kernel tells the distance to the next symbol, which is the size and some padding.
        """
        candidates = _functions(self._objects[spot.module].path).get(spot.name, ())
        fitting = [one for one in candidates if one.size <= spot.size and spot.offset < spot.size]
        return max(fitting, key=lambda one: one.size, default=None)

    def _ask(
        self, one: DebugObject, section: str, addresses: Sequence[int]
    ) -> dict[int, tuple[Place, ...]]:
        if self._spawner.which("addr2line") is None:
            return {}
        argv = ["addr2line", "-a", "-f", "-i", "-e", str(one.path)]
        argv += ["-j", section] if section else []
        try:
            told = self._spawner.run([*argv, *map(hex, addresses)], deadline=_DEADLINE)
        except HarnessError:
            # A splat that is not decoded is still one.
            return {}
        return _parse(told.output, one.source)


def _parse(output: str, source: Path | None) -> dict[int, tuple[Place, ...]]:
    """Read addr2line's answer: for each address its own line, then pairs of function and place."""
    found: dict[int, tuple[Place, ...]] = {}
    function = ""
    at = -1
    for line in output.splitlines():
        if line.startswith("0x"):
            at, function = int(line, 16), ""
        elif not function:
            function = line
        else:
            place = _PLACE.fullmatch(line)
            if place and place["line"] != "0":
                file = _shown(place["file"], source)
                one = Place(function=function, file=file, line=int(place["line"]))
                found[at] = (*found.get(at, ()), one)
            function = ""
    return found


@functools.lru_cache(maxsize=4096)
def _shown(file: str, source: Path | None) -> str:
    """Return the path that a reader can open: modules are built in a copy of their sources."""
    parts = Path(file).parts
    if source is not None:
        for number in range(len(parts)):
            candidate = source.joinpath(*parts[number:])
            if parts[number] not in ("/", "..") and candidate.is_file():
                return str(candidate)
    return _TREE.sub("", file)


@functools.lru_cache(maxsize=16)
def _functions(path: Path) -> dict[str, tuple[_Symbol, ...]]:
    """Return the functions of an ELF file by name; none if it has no symbols or no debug info."""
    found: dict[str, tuple[_Symbol, ...]] = {}
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            table = elf.get_section_by_name(".symtab")
            if table is None or elf.get_section_by_name(".debug_info") is None:
                return found
            relocatable = elf["e_type"] == "ET_REL"
            names = elf.get_section(table["sh_link"]).data()
            sections = [section.name for section in elf.iter_sections()]
            # pyelftools takes seconds for a vmlinux's symbols when it makes an object of each.
            for name, info, _, section, value, size in _SYMBOL.iter_unpack(table.data()):
                if info & 15 == _FUNCTION and 0 < section < _RESERVED:
                    text = names[name : names.index(b"\0", name)].decode("ascii", "replace")
                    where = sections[section] if relocatable else ""
                    symbol = _Symbol(section=where, value=value, size=size)
                    found[text] = (*found.get(text, ()), symbol)
    except (OSError, ELFError, ValueError, struct.error):
        return {}
    return found
