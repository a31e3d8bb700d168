# SPDX-License-Identifier: GPL-2.0
"""The lab of module builds: sources, and a small make of our own that takes kbuild's place."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.kernel import Kernel
from harness.kmod import ModuleBuild, build_module
from harness.progress import Progress
from harness.run import Spawner

RELEASE = "6.12.1-test"

# Compiles each .c of M and links what `obj-m` names; the log counts compilations.
KBUILD = """\
include $(M)/Kbuild
name := $(obj-m:.o=)
sources := $(wildcard $(M)/*.c)
flags := -isystem $(CURDIR)/include -Wall $(KCFLAGS) $(if $(GCOV_PROFILE),--coverage)
modules: $(M)/$(name).ko
$(M)/$(name).ko: $(sources:.c=.o)
\t$(CC) -nostdlib -r -o $@ $^ $(CURDIR)/release.o
$(M)/%.o: $(M)/%.c $(wildcard $(M)/*.h)
\t@echo $(notdir $<) >> $(CURDIR)/compiled
\tCOMPILE
"""

ABSOLUTE = "$(CC) $(flags) -c -o $@ $<"

# Since Linux 6.13.
RELATIVE = "cd $(M) && $(CC) $(flags) -c -o $@ $(notdir $<)"

MODULE_H = """\
#define __init
#define __exit
#define module_init(f) int init_module(void) { return f(); }
#define module_exit(f) void cleanup_module(void) { f(); }
#define MODULE_DESCRIPTION(x)
#define MODULE_LICENSE(x)
#define PAGE_SIZE 4096
#define GFP_KERNEL 0
#define ENOMEM 12
#define NULL ((void *)0)
void *kzalloc(unsigned long size, int flags);
void kfree(void *memory);
"""


@dataclass(slots=True, kw_only=True)
class Lab:
    """A module's sources, a kernel to build it for, and a cache."""

    source: Path
    kernel: Kernel
    cache: Path
    spawner: Spawner

    def build(self, *flags: str, kernel: Kernel | None = None, gcov: bool = False) -> ModuleBuild:
        return build_module(
            self.source,
            kernel or self.kernel,
            name="demo",
            cache=self.cache,
            spawner=self.spawner,
            progress=Progress(Console(quiet=True)),
            flags=flags,
            gcov=gcov,
        )

    def compiled(self) -> list[str]:
        """Which files were compiled since the last call, the probe included."""
        log = self.kernel.build / "compiled"
        names = log.read_text().split() if log.exists() else []
        log.write_text("")
        return sorted(names)

    def write(self, name: str, text: str) -> None:
        (self.source / name).write_text(text)


def fake_kernel(folder: Path, release: str, recipe: str = ABSOLUTE) -> Kernel:
    (folder / "include/linux").mkdir(parents=True)
    (folder / "include/linux/module.h").write_text(MODULE_H)
    for name in ("mm.h", "slab.h"):
        (folder / "include/linux" / name).write_text("")
    (folder / "Makefile").write_text(KBUILD.replace("COMPILE", recipe))
    (folder / ".config").write_text("")
    modinfo = 'const char v[] __attribute__((section(".modinfo"), used))'
    subprocess.run(
        ["gcc", "-c", "-x", "c", "-", "-o", folder / "release.o"],
        input=f'{modinfo} = "license=GPL\\0vermagic={release} SMP ";',
        text=True,
        check=True,
    )
    return Kernel(
        name="6.12",
        release=release,
        image=folder / "vmlinux",
        moddir=None,
        build=folder,
        config=folder / ".config",
        package=None,
        sha256="0" * 64,
        compiler="gcc",
        suite=None,
    )


def make_lab(tmp_path: Path) -> Lab:
    """Return a module of two files, and a kernel that it can be built for."""
    source = tmp_path / "checkout" / "module"
    source.mkdir(parents=True)
    made = Lab(
        source=source,
        kernel=fake_kernel(tmp_path / "linux", RELEASE),
        cache=tmp_path / "cache",
        spawner=Spawner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}),
    )
    made.write("Kbuild", "obj-m := demo.o\n")
    made.write("demo.h", "int other(void);\n")
    made.write("first.c", '#include "demo.h"\nint first(void) { return other(); }\n')
    made.write("other.c", '#include "demo.h"\nint other(void) { return 1; }\n')
    return made


def compiler(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


WORKS = f'PATH={os.environ["PATH"]}; [ "$1" = --version ] && echo "$0 9" || exec gcc "$@"'
