# SPDX-License-Identifier: GPL-2.0
"""What the driver's README and UAPI header promise to those who compile against them."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness.run import Spawner

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "module"
README = (MODULE / "README.md").read_text()
EXAMPLE = (MODULE / "examples/share.c").read_text()
UAPI = MODULE / "include/uapi"
SPAWNER = Spawner(env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
WARNINGS = ("-Wall", "-Wextra", "-Werror")
HEADERS = ("linux/udmabuf.h", "linux/udmabuf_iov.h")


def test_the_readme_shows_the_example() -> None:
    assert re.findall(r"^```c\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) == [EXAMPLE]


@pytest.mark.parametrize("text", [README, EXAMPLE], ids=["README.md", "share.c"])
def test_the_example_compiles_as_told(text: str, tmp_path: Path) -> None:
    told = re.search(r"(cc -I [^\n`&]+)", text)
    assert told is not None
    shutil.copytree(MODULE, tmp_path / "module")
    SPAWNER.run((*shlex.split(told[1]), *WARNINGS, "-O2"), deadline=60, cwd=tmp_path / "module")
    assert os.access(tmp_path / "module/share", os.X_OK)


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
@pytest.mark.parametrize("language", [("-xc", "-std=c11"), ("-xc++", "-std=c++11")], ids=str)
@pytest.mark.parametrize("headers", [HEADERS, HEADERS[::-1], HEADERS[1:]], ids="+".join)
def test_numbers_and_layouts(
    headers: tuple[str, ...], language: tuple[str, str], bits: str
) -> None:
    # The kernel's asm/ headers, which gcc -m32 looks for in a folder that multilib would bring.
    multiarch = SPAWNER.run(["gcc", "-print-multiarch"], deadline=60).output.strip()
    includes = (word for header in headers for word in ("-include", header))
    SPAWNER.run(
        (
            *("gcc", *language, bits, *WARNINGS, "-fsyntax-only", "-I", UAPI),
            *("-isystem", f"/usr/include/{multiarch}", *includes),
            ROOT / "tests/data/uapi_layout.c",
        ),
        deadline=60,
    )


def test_the_header_stands_alone_as_c90() -> None:
    """As the kernel compiles its own (usr/include/Makefile): nothing before it, -std=c90.

    Not -pedantic: ISO C90 has no flexible array, which mainline's header has, too.
    """
    header = UAPI / HEADERS[1]
    argv = ("gcc", "-std=c90", *WARNINGS, "-I", UAPI, "-S", "-o", "/dev/null")
    SPAWNER.run((*argv, "-xc", "/dev/null", "-include", header), deadline=60)
