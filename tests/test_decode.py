# SPDX-License-Identifier: GPL-2.0
"""decode.py against objects that the host's compiler makes: relocatable like a module, and linked
like a vmlinux."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest
from rich.console import Console

from harness import decode, runner
from harness.decode import DebugObject, Decoder
from harness.kernels import KernelStore
from harness.kmod import build_module
from harness.matrix import load_matrix
from harness.place import Place
from harness.progress import Progress
from harness.run import Completed, Spawner
from harness.rundir import keep_modules
from harness.splat import scan

ROOT = Path(__file__).parents[1]

# Lines are counted: `poke` writes in line 6, is inlined in `outer` in line 11.
SOURCE = """\
volatile int *where;
__attribute__((noinline)) void leaf(void) { asm volatile(""); }

static inline __attribute__((always_inline)) void poke(int value)
{
	*where = value;
}

__attribute__((noinline, section("SECTION"))) void outer(int value)
{
	poke(value);
	leaf();
	leaf();
}

__attribute__((cold)) void cold(void) { leaf(); where = 0; }

int main(void) { outer(1); cold(); return 0; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was compiled, and where in `outer` things are."""

    source: Path
    path: Path
    poke: int
    first_return: int
    second_return: int
    size: int

    def decoder(self, module: str, *, source: bool = True, path: str = "/usr/bin") -> Decoder:
        known = DebugObject(
            module=module, path=self.path, source=self.source.parent if source else None
        )
        return Decoder([known], spawner=Spawner(env={"PATH": path}))


def build(folder: Path, *flags: str, section: str = ".text.other") -> Built:
    source = folder / "checkout" / "sub" / "demo.c"
    copy = folder / "work" / "src" / "sub" / "demo.c"
    for path in (source, copy):
        path.parent.mkdir(parents=True)
        path.write_text(SOURCE.replace("SECTION", section))
    target = folder / "demo"
    always = ("-O2", "-fno-optimize-sibling-calls", "-fno-pie", "-no-pie")
    subprocess.run(["cc", *always, *flags, copy, "-o", target], check=True)
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", target], check=True, capture_output=True, text=True
    ).stdout
    body = listing.partition("<outer>:\n")[2].partition("\n\n")[0].splitlines()
    addresses = [int(line.partition(":")[0], 16) for line in body]
    start = addresses[0]
    behind = [addresses[n + 1] - start for n, line in enumerate(body[:-1]) if "call" in line]
    poke = next(at for at, line in zip(addresses, body, strict=True) if "(%r" in line)
    return Built(
        source=source.parent,
        path=target,
        poke=poke - start,
        first_return=behind[0],
        second_return=behind[1],
        size=addresses[-1] - start + 16,
    )


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("ko"), "-g", "-c")


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("vmlinux"), "-g", section=".text")


def test_a_module_and_what_was_inlined(module: Built) -> None:
    prefix, size = "[    1.000000][  T7] ", f"0x{module.size:x}"
    file = f"{module.source}/demo.c"
    head = f"{prefix}BUG: KASAN: use-after-free in outer+0x{module.poke + 1:x}/{size} [demo]"
    here = f"{prefix}RIP: 0010:outer+0x{module.first_return:x}/{size} [demo]"
    first = f"{prefix} outer+0x{module.first_return:x}/{size} [demo]"
    second = f"{prefix} ? outer+0x{module.second_return:x}/{size} [demo]"
    poke = f"{prefix} outer+0x{module.poke + 1:x}/{size} [demo(OE)]"
    text = "\n".join([head, here, first, f"{second}\r", poke])
    assert module.decoder("demo").decode(text).split("\n") == [
        f"{head} (poke {file}:6 [inline], {file}:11)",
        f"{here} ({file}:13)",
        f"{first} ({file}:12)",
        f"{second} ({file}:13)",
        f"{prefix} poke {file}:6 [inline]",
        f"{poke} ({file}:11)",
    ]


def test_where_a_warning_is(module: Built) -> None:
    where = f"outer+0x{module.first_return:x}/0x{module.size:x} [demo]"
    old = f"[    1.000000] WARNING: CPU: 1 PID: 181 at /root/demo.c:13 {where}"
    new = f"[    1.000000] WARNING: /root/demo.c:13 at {where}, CPU#1: sg/181"
    file = f"{module.source}/demo.c"
    assert module.decoder("demo").decode(old) == f"{old} ({file}:13)"
    assert module.decoder("demo").decode(new) == f"{new} ({file}:13)"
    bug = f"[    1.000000] Kernel BUG at {where} [verbose debug info unavailable]"
    assert module.decoder("demo").decode(bug) == f"{bug} ({file}:13)"


def test_a_kernel(vmlinux: Built) -> None:
    text = f" outer+0x{vmlinux.first_return:x}/0x{vmlinux.size:x}"
    decoder = vmlinux.decoder("")
    assert decoder.decode(text) == f"{text} ({vmlinux.source}/demo.c:12)"
    assert decoder.decode(f"{text} [other]") == f"{text} [other]"


def test_a_run_knows_its_kernel(vmlinux: Built, tmp_path: Path) -> None:
    keep_modules(tmp_path, (), vmlinux.path)
    place = Place(
        source=tmp_path,
        cache=tmp_path,
        runs=tmp_path,
        spawner=Spawner(env={"PATH": "/usr/bin"}),
        progress=Progress(Console(quiet=True)),
    )
    text = f" outer+0x{vmlinux.first_return:x}/0x{vmlinux.size:x}"
    assert re.fullmatch(
        rf"{re.escape(text)} \(.*demo\.c:12\)", runner.decoder(place, tmp_path)(text)
    )
    # One that has gone from the cache meanwhile.
    (tmp_path / "modules/vmlinux.path").write_text(f"{tmp_path}/gone\n")
    assert runner.decoder(place, tmp_path)(text) == text
    (tmp_path / "modules/vmlinux.path").unlink()
    assert runner.decoder(place, tmp_path)(text) == text


def test_the_first_place(module: Built) -> None:
    decoder = module.decoder("demo")
    text = f"nothing\n schedule+0x1/0x20\n outer+0x{module.poke + 1:x}/0x{module.size:x} [demo]"
    assert [(place.function, place.line) for place in decoder.places(text)] == [
        ("poke", 6),
        ("outer", 11),
    ]
    assert decoder.places("schedule+0x1/0x20\nnothing") == ()


@pytest.mark.parametrize(
    "frame",
    [
        "outer+0x4/{size} [another]",
        "outer+0x4/{size}",
        "outer+0x4/0x2 [demo]",
        "outer+0x4/0x8 [demo]",
        "inner+0x4/{size} [demo]",
        "outer+0x7fffffff/0xffffffff [demo]",
        "0xffffffffc0123456",
        "outer",
    ],
)
def test_what_is_not_known_stays_as_it_is(module: Built, frame: str) -> None:
    text = f"[    1.0]  {frame.format(size=hex(module.size))}"
    assert module.decoder("demo").decode(text) == text


def test_without_its_sources_or_its_tools(module: Built, tmp_path: Path) -> None:
    text = f" outer+0x{module.first_return:x}/0x{module.size:x} [demo]"
    decoded = module.decoder("demo", source=False).decode(text)
    assert decoded.endswith("work/src/sub/demo.c:12)")
    assert module.decoder("demo", path=str(tmp_path)).decode(text) == text
    gone = DebugObject(module="demo", path=tmp_path / "gone.ko")
    spawner = Spawner(env={"PATH": "/usr/bin"})
    assert Decoder([gone], spawner=spawner).decode(text) == text
    (tmp_path / "not.ko").write_text("no ELF")
    no_elf = DebugObject(module="demo", path=tmp_path / "not.ko")
    assert Decoder([no_elf], spawner=spawner).decode(text) == text


def test_an_addr2line_that_fails(module: Built, tmp_path: Path) -> None:
    tool = tmp_path / "addr2line"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    text = f" outer+0x{module.first_return:x}/0x{module.size:x} [demo]"
    assert module.decoder("demo", path=f"{tmp_path}:/usr/bin").decode(text) == text


def test_asked_once(module: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    run = Spawner.run

    def counting(self: Spawner, argv: list[str], *, deadline: float) -> Completed:
        asked.append(len(argv))
        return run(self, argv, deadline=deadline)

    monkeypatch.setattr(Spawner, "run", counting)
    decoder = module.decoder("demo")
    text = "\n".join(f" outer+0x{n:x}/0x{module.size:x} [demo]" for n in range(1, module.size))
    first = decoder.decode(text)
    assert decoder.decode(text) == first
    assert len(asked) == 1


def test_no_debug_info_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = build(tmp_path, "-c")
    monkeypatch.delattr(Spawner, "run")
    text = f" outer+0x{plain.first_return:x}/0x{plain.size:x} [demo]"
    assert plain.decoder("demo").decode(text) == text


@pytest.mark.kernel
def test_a_real_splat_and_the_module_it_comes_from(tmp_path: Path) -> None:
    cache = platformdirs.user_cache_path("udmabuf-harness")
    spawner = Spawner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    progress = Progress(Console(quiet=True))
    matrix = load_matrix(ROOT / "kconfigs" / "matrix.toml")
    source = ROOT / "selftests/canaries/module"
    built = build_module(
        source,
        KernelStore(cache, matrix, spawner, progress).get("6.12"),
        name="canary",
        cache=cache,
        spawner=spawner,
        progress=progress,
    )
    (splat,) = scan((ROOT / "tests/data/splats/real/6.12-warn.log").read_bytes())
    decoder = Decoder([DebugObject(module="canary", path=built.ko, source=source)], spawner=spawner)
    # The lines are those of today's source at the offsets of the recorded one.
    (place,) = decoder.places(splat.text)
    assert (place.function, place.file) == ("canary_warn", str(source / "canary.c"))
    decoded = [line for line in decoder.decode(splat.text).split("\n") if "canary.c:" in line]
    assert [name for line in decoded for name in re.findall(r"\b(\w+)\+0x", line)] == [
        "canary_warn",
        "canary_warn",
        "provoke",
    ]


def test_names_that_several_functions_have(tmp_path: Path) -> None:
    parts = []
    for name, work in (("one", "x = 1;"), ("two", "x = 1; x = 2; x = 3; x = 4; x = 5;")):
        source = tmp_path / f"{name}.c"
        source.write_text(
            f"volatile int x;\nstatic void same(void)\n{{\n{work}\n}}\nvoid *{name} = same;\n"
        )
        subprocess.run(
            ["cc", "-g", "-c", "-fcommon", source, "-o", source.with_suffix(".o")], check=True
        )
        parts.append(source.with_suffix(".o"))
    path = tmp_path / "both.ko"
    subprocess.run(["ld", "-r", *parts, "-o", path], check=True)
    sizes = sorted(symbol.size for symbol in decode._functions(path)["same"])
    decoder = Decoder(
        [DebugObject(module="both", path=path, source=tmp_path)],
        spawner=Spawner(env=dict(os.environ)),
    )
    # The kernel's sizes reach to the next symbol.
    for size, name in zip(sizes, ("one", "two"), strict=True):
        assert f"{name}.c" in decoder.decode(f"same+0x4/0x{size + 3:x} [both]")
