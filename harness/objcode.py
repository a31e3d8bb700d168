# SPDX-License-Identifier: GPL-2.0
"""What a module does, as a hash: code and data, without what only tells where they came from."""

import hashlib
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

from harness.errors import HarnessError

# Line numbers, hashes of the sources, addresses for tools.
_TELLS_WHERE = ("__bug_table", ".printk_index", ".modinfo", ".note", ".orc_", ".gnu.linkonce")


def fingerprint(ko: Path) -> str:
    """Return a hash that two builds of a module share if they cannot behave differently.

    The same code at other lines has the same hash, which the file has not: WARN_ON() records its
    line, and modpost and the linker hash their input. Modules that differ may behave the same.

    Args:
        ko: the module.

    Raises:
        HarnessError: not an object file.
    """
    digest = hashlib.sha256()
    try:
        with ko.open("rb") as file:
            elf = ELFFile(file)
            for section in elf.iter_sections():
                if not _counts(section):
                    continue
                digest.update(f"{section.name} {section['sh_type']} {section['sh_size']}".encode())
                if section["sh_type"] != "SHT_NOBITS":
                    digest.update(section.data())
            for section in elf.iter_sections():
                if isinstance(section, RelocationSection):
                    target = elf.get_section(section["sh_info"])
                    if _counts(target):
                        digest.update(_relocations(elf, section, target.name).encode())
    except ELFError as error:
        raise HarnessError(f"{ko}: not an object file: {error}") from error
    return digest.hexdigest()


def _counts(section: Section) -> bool:
    loaded = section["sh_flags"] & SH_FLAGS.SHF_ALLOC
    return bool(loaded) and not section.name.startswith(_TELLS_WHERE)


def _relocations(elf: ELFFile, section: RelocationSection, target: str) -> str:
    """Return what a section refers to, by name: numbers of symbols change with their order."""
    symbols = elf.get_section(section["sh_link"])
    assert isinstance(symbols, SymbolTableSection)
    lines = [target]
    for relocation in section.iter_relocations():
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        name = symbol.name
        if symbol["st_info"]["type"] == "STT_SECTION":
            name = elf.get_section(symbol["st_shndx"]).name
        lines.append(
            f"{relocation['r_offset']} {relocation['r_info_type']} {name} {relocation['r_addend']}"
        )
    return "\n".join(lines)
