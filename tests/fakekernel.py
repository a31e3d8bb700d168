# SPDX-License-Identifier: GPL-2.0
"""A kernel's source tree that make really builds, in milliseconds, and tools that only pretend."""

import io
import tarfile
from pathlib import Path

MAKEFILE = """\
# SPDX-License-Identifier: GPL-2.0
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 9
EXTRAVERSION =

tree := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))
O ?= .

allnoconfig:
	! [ -e $(tree)/.config ] && ! [ -e $(tree)/include/config ]
	grep -v LOST $(KCONFIG_ALLCONFIG) >$(O)/.config
	echo CONFIG_PVH=y >>$(O)/.config
	echo 'include $(tree)/Makefile' >$(O)/Makefile

olddefconfig:
	@:

modules: vmlinux
	echo "0x0 kmalloc vmlinux EXPORT_SYMBOL" >$(O)/Module.symvers

vmlinux:
	@echo "$(CC)" >>$(HOME)/builds
	mkdir -p $(O)/include/config $(O)/scripts/mod $(O)/mm
	echo 6.12.9$(LOCALVERSION) >$(O)/include/config/kernel.release
	: >$(O)/include/config/EMPTY
	@echo "  CC      mm/slub.o"
	cat $(tree)/mm/slub.c >$(O)/mm/slub.o
	! grep -q broken $(tree)/mm/slub.c
	if grep -q endless $(tree)/mm/slub.c; then sleep 600; fi
	echo modpost >$(O)/scripts/mod/modpost
	chmod 755 $(O)/scripts/mod/modpost
	: >$(O)/scripts/mod/modpost.o
	: >$(O)/System.map
	cat $(O)/.config $(O)/mm/slub.o >$(O)/vmlinux

bzImage: vmlinux
	mkdir -p $(O)/arch/x86/boot
	echo compressed >$(O)/arch/x86/boot/bzImage

where:
	@echo $(tree)
"""

MERGE = """\
#!/bin/sh
[ "$1 $2 $3" = "-Q -m -O" ] || exit 1
shift
out=$3
shift 3
cat "$@" >"$out/.config"
"""

KCONFIG = """\
config BASE
    bool "Base"
if BASE
menu "Debugging"
    depends on DEBUG_FS || \\
            TRACING
config DEBUG
    bool "Debug"
    depends on !LOST
    help
      config HIDDEN
      if you say Y here
config LOST
    bool
endmenu
endif
"""

FILES = {
    "Makefile": MAKEFILE,
    "Kbuild": "obj-y += mm/\n",
    "Kconfig": 'source "mm/Kconfig"\n',
    "mm/Kconfig": KCONFIG,
    "mm/slub.c": "int slub;\n",
    "scripts/kconfig/merge_config.sh": MERGE,
    "scripts/min-tool-version.sh": "echo 8.1.0\n",
    "include/linux/mm.h": "/* mm */\n",
    "arch/x86/include/asm/page.h": "/* page */\n",
    "arch/x86/Makefile": "# x86\n",
    "arch/x86/platform/pvh/Makefile": "obj-$(CONFIG_PVH) += enlighten.o\n",
}

# Each as what it prints, by its first argument.
TOOLS = {
    "gcc": "case $1 in -dumpversion) echo 12 ;; -dumpfullversion) echo 12.2.0 ;; esac",
    "gcc-12": 'echo "gcc (X) 12"',
    "objcopy": 'shift; cp "$1" "$2"',
    "flex": ":",
    "bison": ":",
    "bc": ":",
    "ld": ":",
}


def make_tree(folder: Path) -> Path:
    """Write the source tree."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def make_tools(folder: Path) -> Path:
    """Write the tools; the folder goes in front of PATH."""
    folder.mkdir()
    for name, text in TOOLS.items():
        set_tool(folder, name, text)
    return folder


def set_tool(folder: Path, name: str, text: str) -> None:
    """Write one tool, a line of shell."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def source_tarball(series: str) -> bytes:
    """Return what Debian's linux-source-SERIES package holds."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"linux-source-{series}/{name}")
            member.size, member.mode = len(text), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()
