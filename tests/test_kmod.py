# SPDX-License-Identifier: GPL-2.0
"""Module builds: what is built, when not, and how failures read. Against a small make of our own
that takes kbuild's place; and, where a kernel is cached, against the real one."""

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import platformdirs
import pytest
from elftools.elf.elffile import ELFFile
from rich.console import Console

from harness import kmod
from harness.cache import CacheError
from harness.coverage import objects_of
from harness.errors import HarnessError
from harness.kernels import KernelStore
from harness.kmod import ModuleBuild, ModuleBuildError, VermagicError, build_module, read_vermagic
from harness.matrix import load_matrix
from harness.progress import Progress
from harness.run import KilledError, Leash, LeashError, Spawner
from tests.kmodlab import ABSOLUTE, RELATIVE, RELEASE, Lab, fake_kernel, make_lab

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


def test_a_build_leaves_the_checkout_clean(lab: Lab) -> None:
    before = sorted(lab.source.rglob("*"))
    build = lab.build()
    assert (build.ko.name, build.vermagic, build.cached) == ("demo.ko", f"{RELEASE} SMP", False)
    assert read_vermagic(build.ko) == build.vermagic
    assert "gcc" in build.compiler
    assert build.warnings == ()
    assert build.log.is_file()
    assert sorted(lab.source.rglob("*")) == before
    assert lab.compiled() == ["first.c", "other.c", "probe.c"]


def test_nothing_changed_runs_nothing(lab: Lab) -> None:
    first = lab.build()
    log = lab.cache / "commands"
    lab.spawner = replace(lab.spawner, log=log)
    again = lab.build()
    assert again == replace(first, cached=True, seconds=again.seconds)
    assert not log.exists()


def test_an_edit_compiles_what_it_touches_and_undoing_it_nothing(lab: Lab) -> None:
    first = lab.build()
    lab.compiled()
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 2; }\n')
    edited = lab.build()
    assert lab.compiled() == ["other.c"]
    assert edited.ko.read_bytes() != first.ko.read_bytes()
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 1; }\n')
    assert lab.build().ko == first.ko
    assert lab.compiled() == []


@pytest.mark.parametrize(("age", "goes"), [(3600, True), (600, False)])
def test_the_build_that_goes_is_the_one_unused_for_longest_and_no_run_has_it(
    age: int, goes: bool, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kmod, "_KEPT", 2)
    built = []
    for number in (1, 2):
        lab.write("other.c", f'#include "demo.h"\nint other(void) {{ return {number}; }}\n')
        built.append(lab.build().ko)
        then = time.time() - age - 100 + number
        os.utime(built[-1].parent, (then, then))
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 1; }\n')
    assert lab.build().cached
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 3; }\n')
    lab.build()
    assert [ko.exists() for ko in built] == [True, not goes]


def test_what_counters_are_read_by_is_kept(lab: Lab) -> None:
    """Of files that an edit did not touch, too; and the sources as they were compiled."""
    plain = lab.build()
    first = lab.build(gcov=True)
    assert plain.gcov is None and plain.ko != first.ko and first.gcov is not None
    before = (first.gcov / "other.gcno").read_bytes()
    lab.write("first.c", '#include "demo.h"\nint first(void) { return other() + 1; }\n')
    lab.compiled()
    second = lab.build(gcov=True)
    assert lab.compiled() == ["first.c"]
    assert second.gcov is not None
    assert (second.gcov / "other.gcno").read_bytes() == before
    assert (second.gcov / "first.gcno").read_bytes() != (first.gcov / "first.gcno").read_bytes()
    assert "+ 1" in (second.gcov / "source/first.c").read_text()
    assert "+ 1" not in (first.gcov / "source/first.c").read_text()
    objects = objects_of(second.ko)
    assert objects_of(plain.ko) is None
    assert objects is not None and (objects / "first.o").is_file()


def test_a_removed_source_is_no_longer_built(lab: Lab) -> None:
    lab.write("third.c", "int third(void) { return 3; }\n")
    assert b"third" in lab.build().ko.read_bytes()
    (lab.source / "third.c").unlink()
    assert b"third" not in lab.build().ko.read_bytes()


@pytest.mark.parametrize("what", ["flags", "config", "symbols", "image"])
def test_what_else_makes_another_build(lab: Lab, what: str) -> None:
    lab.build()
    lab.compiled()
    kernel = lab.kernel
    if what == "config":
        kernel.config.write_text("CONFIG_X=y\n")
    elif what == "symbols":
        (kernel.build / "Module.symvers").write_text("0x1\tx\tvmlinux\tEXPORT_SYMBOL\n")
    elif what == "image":
        kernel = replace(kernel, sha256="1" * 64)
    build = lab.build(*(("-DX=1",) if what == "flags" else ()), kernel=kernel)
    assert not build.cached
    assert {"first.c", "other.c"} <= set(lab.compiled())


def test_what_a_make_in_the_checkout_left_is_ignored(lab: Lab) -> None:
    first = lab.build()
    for name in ("first.o", "demo.ko", ".first.o.cmd", "demo.mod.c", "Module.symvers"):
        lab.write(name, "left by make\n")
    assert lab.build().ko == first.ko


@pytest.mark.parametrize("recipe", [ABSOLUTE, RELATIVE], ids=["absolute", "relative"])
def test_errors_come_first_with_paths_of_the_checkout(
    lab: Lab, tmp_path: Path, recipe: str
) -> None:
    lab.kernel = fake_kernel(tmp_path / "linux2", RELEASE, recipe)
    lab.write("demo.h", "int other(void);\nint broken(void) { return nothing; }\n")
    lab.write("other.c", "int other(void) { return 1 }\n")
    with pytest.raises(ModuleBuildError) as caught:
        lab.build()
    error = caught.value
    assert f"demo does not build for {RELEASE} with gcc: {lab.source}/" in str(error)
    assert "\n" not in str(error)
    assert error.lines[0] in str(error)
    heads = [line for line in error.lines if " error: " in line]
    assert heads
    for line in heads:
        assert Path(line.split(":")[0]).parent == lab.source
    assert any("| " in line for line in error.lines), "the quoted source belongs to it"
    assert error.lines[0] in error.log.read_text()
    assert str(error.log) in (error.hint or "")
    assert not list((lab.cache / "modules").glob("demo-*/"))


def test_after_an_error_the_mended_module_builds(lab: Lab) -> None:
    good = (lab.source / "first.c").read_text()
    lab.write("first.c", "nonsense\n")
    with pytest.raises(ModuleBuildError):
        lab.build()
    lab.write("first.c", good)
    assert not lab.build().cached


@pytest.mark.parametrize("recipe", [ABSOLUTE, RELATIVE], ids=["absolute", "relative"])
def test_warnings_are_shown_each_time(lab: Lab, tmp_path: Path, recipe: str) -> None:
    lab.kernel = fake_kernel(tmp_path / "linux2", RELEASE, recipe)
    lab.write("first.c", "int first(void) { int unused; return 0; }\n")
    expected = f"{lab.source}/first.c:1:23: warning: unused variable"
    build = lab.build()
    assert build.warnings[0].startswith(expected)
    assert lab.build().warnings == build.warnings
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 3; }\n')
    edited = lab.build()
    assert not edited.cached
    assert edited.warnings == build.warnings


def test_objects_of_a_build_that_was_cut_short_are_not_used(lab: Lab) -> None:
    lab.build()
    (work,) = (lab.cache / "work").glob("demo-*/")
    (work / "src" / "first.o").write_bytes(b"half")
    (work / "building").touch()
    lab.write("other.c", '#include "demo.h"\nint other(void) { return 4; }\n')
    lab.build()


def recipe_of(lab: Lab, commands: str) -> None:
    """Have the fake kbuild compile with these commands."""
    path = lab.kernel.build / "Makefile"
    head, _, _ = path.read_text().rpartition("\t")
    path.write_text(f"{head}\t{commands}\n")


def half_made(lab: Lab) -> bool:
    (mark,) = (path / "building" for path in (lab.cache / "work").glob("demo-*/"))
    return mark.exists()


def test_a_build_that_is_ended_by_the_leash_is_no_failure_of_the_module(
    lab: Lab, tmp_path: Path
) -> None:
    lab.build()
    os.mkfifo(tmp_path / "here")
    recipe_of(lab, f"echo half >$@; echo >{tmp_path}/here; sleep 600")
    lab.write("other.c", "int other(void) { return 6; }\n")
    leash = Leash()
    lab.spawner = replace(lab.spawner, leash=leash)
    with ThreadPoolExecutor(1) as pool:
        build = pool.submit(lab.build)
        (tmp_path / "here").read_text()
        leash.pull()
        with pytest.raises(LeashError, match="make of demo"):
            build.result()
    assert half_made(lab)
    lab.spawner = replace(lab.spawner, leash=None)
    recipe_of(lab, ABSOLUTE)
    assert not lab.build().cached
    assert not half_made(lab)


def test_a_make_that_is_killed_is_no_failure_of_the_module(lab: Lab) -> None:
    lab.build()
    recipe_of(lab, "echo half >$@; kill -9 $$PPID")
    lab.write("other.c", "int other(void) { return 7; }\n")
    with pytest.raises(KilledError, match=r"make of demo for .*: killed by SIGKILL"):
        lab.build()
    assert half_made(lab)


def test_a_compiler_that_is_killed_names_no_error(lab: Lab) -> None:
    """As when memory runs out: the driver of the compiler and make both go on to their ends."""
    lab.build()
    recipe_of(lab, "echo half >$@; kill -9 $$$$")
    lab.write("other.c", "int other(void) { return 8; }\n")
    with pytest.raises(ModuleBuildError) as caught:
        lab.build()
    assert not caught.value.diagnosed
    assert half_made(lab)
    recipe_of(lab, ABSOLUTE)
    lab.write("other.c", "nonsense\n")
    with pytest.raises(ModuleBuildError) as caught:
        lab.build()
    assert caught.value.diagnosed
    assert not half_made(lab)


def test_a_module_without_kbuild_or_of_another_name(lab: Lab) -> None:
    lab.write("Kbuild", "obj-m := another.o\n")
    with pytest.raises(ModuleBuildError, match=r"Kbuild builds no demo\.ko"):
        lab.build()
    (lab.source / "Kbuild").unlink()
    with pytest.raises(HarnessError, match="no Kbuild there"):
        lab.build()


def test_vermagic_mismatch_is_found_before_boot(lab: Lab) -> None:
    with pytest.raises(VermagicError, match=rf"demo\.ko is built for {RELEASE}, but .* 6\.99"):
        lab.build(kernel=replace(lab.kernel, release="6.99.0"))
    assert not list((lab.cache / "modules").glob("demo-*/"))


def test_vermagic_of_what_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_text("text")
    with pytest.raises(VermagicError, match="not a kernel module"):
        read_vermagic(tmp_path / "x.ko")
    with pytest.raises(VermagicError, match="no vermagic"):
        read_vermagic(Path(sys.executable).resolve())


def test_full_disk_is_not_the_modules_fault(lab: Lab) -> None:
    lab.build()
    # The device that is always full stands for the assembler's output.
    text = (lab.kernel.build / "Makefile").read_text()
    (lab.kernel.build / "Makefile").write_text(text.replace("-c -o $@", "-c -o /dev/full"))
    lab.write("other.c", "int other(void) { return 5; }\n")
    with pytest.raises(CacheError, match="no space left in the cache"):
        lab.build()
    (lab.kernel.build / "Makefile").write_text(text)
    lab.build()


class Interrupted(Spawner):
    """Presses Ctrl-C once make has done its work for the module."""

    def run(self, argv, **options):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN201
        completed = super().run(argv, **options)
        if "W=1" in argv:
            raise KeyboardInterrupt
        return completed

    def with_env(self, **changes: str) -> "Interrupted":
        return Interrupted(env={**self.env, **changes}, log=self.log)


def test_ctrl_c_leaves_nothing_and_frees_the_locks(lab: Lab) -> None:
    spawner = lab.spawner
    lab.spawner = Interrupted(env=spawner.env)
    with pytest.raises(KeyboardInterrupt):
        lab.build()
    assert not list((lab.cache / "modules").glob("demo-*/"))
    lab.spawner = spawner
    assert not lab.build().cached


RUN = """
import pickle
import sys
print(pickle.loads(bytes.fromhex(sys.argv[1])).build().cached)
"""


def test_two_builds_at_once_compile_once(lab: Lab) -> None:
    command = [sys.executable, "-c", RUN, pickle.dumps(lab).hex()]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = sorted(run.communicate(timeout=120)[0].strip() for run in runs)
    assert outputs == ["False", "True"]
    assert [name for name in lab.compiled() if name != "probe.c"] == ["first.c", "other.c"]


def sections(ko: Path) -> dict[str, bytes]:
    """What a module consists of, less its BTF: `pahole -j` orders that as its threads happen to."""
    with ko.open("rb") as file:
        found = {section.name: section.data() for section in ELFFile(file).iter_sections()}
    assert {".text", ".modinfo", ".debug_info"} <= found.keys()
    found.pop(".BTF", None)
    return found


@pytest.mark.kernel
def test_a_real_edit_gives_what_a_full_build_gives(tmp_path: Path) -> None:
    cache = platformdirs.user_cache_path("udmabuf-harness")
    spawner = Spawner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    matrix = load_matrix(ROOT / "kconfigs" / "matrix.toml")
    progress = Progress(Console(quiet=True))
    kernel = KernelStore(cache, matrix, spawner, progress).get(matrix.default)
    source = tmp_path / "module"
    (source / "include").mkdir(parents=True)

    def build() -> ModuleBuild:
        return build_module(
            source, kernel, name="udmabuf_iov", cache=tmp_path / "c", spawner=spawner,
            progress=progress,
        )  # fmt: skip

    for path in (ROOT / "module").rglob("*"):
        target = source / path.relative_to(ROOT / "module")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    build()
    for name in ("udmabuf_iov.h", "main.c", "Kbuild"):
        comment = "# edit\n" if name == "Kbuild" else "\n/* edit */\nextern int edited;\n"
        with (source / name).open("a") as file:
            file.write(comment)
    edited = build()
    assert edited.warnings == ()
    (work,) = (tmp_path / "c/work").glob("*/")
    (work / "building").touch()
    kept = sections(edited.ko)
    edited.log.parent.rename(tmp_path / "aside")
    full = build()
    assert not full.cached
    assert sections(full.ko) == kept
