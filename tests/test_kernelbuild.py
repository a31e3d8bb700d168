# SPDX-License-Identifier: GPL-2.0
"""Kernels of ours: built once, from a tree that stays as it was; whole in the cache or absent."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness import kernelbuild
from harness.errors import HarnessError
from harness.kconfig import LostOptionError
from harness.kernel import Kernel
from harness.kernelbuild import KernelBuildError
from harness.kernelname import split_profile
from harness.localkernel import LocalKernelError
from harness.matrix import UnknownProfileError, UnknownSeriesError
from harness.owntree import OwnTreeError
from harness.progress import Phase
from harness.run import KilledError, Leash, LeashError
from tests.fakekernel import make_tools, make_tree, set_tool, source_tarball
from tests.test_kernels import Lab, lab

__all__ = ("lab",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A lab whose archive has a source package, and the user's own tree."""

    lab: Lab
    tools: Path
    tree: Path

    def get(self, name: str) -> Kernel:
        return self.lab.store().get(name)

    @property
    def own(self) -> str:
        return f"{self.tree}+debug"

    @property
    def builds(self) -> list[str]:
        """The compiler of each build so far."""
        path = self.tools.parent / "builds"
        return path.read_text().splitlines() if path.exists() else []

    def kept(self) -> list[str]:
        """What the cache has of built kernels, half-made ones included; empty folders are none."""
        cache = self.lab.cache
        roots = (*cache.glob("kernels/*+*/*"), *cache.glob("kernel-work/*/*"))
        return sorted(str(path.relative_to(cache)) for path in roots)

    def edit(self, text: str) -> None:
        (self.tree / "mm/slub.c").write_text(text)


@pytest.fixture
def bench(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(kernelbuild, "_LIBELF", tmp_path / "gelf.h")
    (tmp_path / "gelf.h").touch()
    tools = make_tools(tmp_path / "tools")
    path = f"{tools}:{lab.spawner.env['PATH']}"
    lab = replace(lab, spawner=lab.spawner.with_env(PATH=path))
    publish(lab, "6.12.9-1")
    return Bench(lab=lab, tools=tools, tree=make_tree(tmp_path / "linux"))


def publish(lab: Lab, version: str) -> None:
    files: dict[str, bytes | str] = {"usr/src/linux-source-6.12.tar.xz": source_tarball("6.12")}
    lab.fake.add("linux-source-6.12", version, files, architecture="all")
    lab.fake.publish("stable")


def snapshot(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(tree)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted((tree, *tree.rglob("*")))
    }


def test_a_series_is_built_once_and_then_needs_nothing(bench: Bench) -> None:
    kernel = bench.get("6.12+debug")
    assert (kernel.name, kernel.release, kernel.profile) == ("6.12+debug", "6.12.9-debug", "debug")
    assert kernel.package == "linux-source-6.12 6.12.9-1"
    assert (kernel.compiler, kernel.suite, kernel.moddir) == ("gcc-12", "stable", None)
    assert kernel.buildroot is not None
    assert kernel.option("CONFIG_DEBUG") == "y"
    assert "CONFIG_BASE=y" in kernel.image.read_text()
    assert not list(bench.lab.cache.glob("kernel-work/*/*"))
    assert not list(bench.lab.cache.glob("apt/*/debs/*.deb"))
    bench.lab.fake.requests.clear()
    shutil.rmtree(bench.lab.cache / "apt")
    assert bench.get("6.12+debug") == kernel
    assert bench.lab.fake.requests == []
    assert len(bench.builds) == 1


def test_what_is_kept_builds_modules_wherever_it_lies(bench: Bench) -> None:
    kernel = bench.get("6.12+debug")
    folder = kernel.image.parent
    for name in ("source/include/linux/mm.h", "source/arch/x86/include/asm/page.h"):
        assert (folder / name).is_file()
    assert os.access(folder / "build/scripts/mod/modpost", os.X_OK)
    assert (folder / "build/include/config/kernel.release").is_file()
    # Neither objects nor sources, nor kbuild's empty notes.
    assert not list(folder.rglob("*.o"))
    assert not list(folder.rglob("*.c"))
    assert not (folder / "build/include/config/EMPTY").exists()
    moved = bench.lab.cache.rename(bench.lab.cache.with_name("moved"))
    build = moved / kernel.build.relative_to(bench.lab.cache)
    done = subprocess.run(
        ["make", "-C", build, "where"], check=True, capture_output=True, text=True
    )
    assert str(build.parent / "source") in done.stdout.splitlines()


def test_where_kasan_kills_the_elf_entry_the_bzimage_boots(bench: Bench) -> None:
    """6.1 and before, seen on 6.1.192: the guest dies without a word."""
    fragment = bench.lab.cache.parent / "debug.config"
    fragment.write_text("CONFIG_DEBUG=y\nCONFIG_KASAN=y\n")
    kernel = bench.get(bench.own)
    assert kernel.image.read_text() == "compressed\n"
    assert "CONFIG_KASAN=y" in kernel.vmlinux.read_text()
    makefile = bench.tree / "arch/x86/platform/pvh/Makefile"
    makefile.write_text("KASAN_SANITIZE := n\n")
    kernel = bench.get(bench.own)
    assert kernel.image == kernel.vmlinux
    assert "CONFIG_KASAN=y" in kernel.image.read_text()


def test_options_and_compiler_make_another_kernel_and_comments_do_not(bench: Bench) -> None:
    bench.get("6.12+debug")
    fragment = bench.lab.cache.parent / "debug.config"
    fragment.write_text("# why\nCONFIG_DEBUG=y\n")
    bench.get("6.12+debug")
    assert len(bench.builds) == 1
    fragment.write_text("CONFIG_DEBUG=y\nCONFIG_MORE=y\n")
    assert bench.get("6.12+debug").option("CONFIG_MORE") == "y"
    assert len(bench.builds) == 2
    set_tool(bench.tools, "gcc-12", 'echo "gcc (X) 12.1"')
    bench.get("6.12+debug")
    assert len(bench.builds) == 3
    # The newest and the one before.
    assert len(list(bench.lab.cache.glob("kernels/6.12+debug/*"))) == 2


def test_a_newer_source_is_built_when_asked_for(bench: Bench) -> None:
    first = bench.get("6.12+debug")
    publish(bench.lab, "6.12.10-1")
    assert bench.get("6.12+debug") == first
    assert bench.lab.store().build("6.12+debug").package == "linux-source-6.12 6.12.10-1"
    assert bench.get("6.12+debug").package == "linux-source-6.12 6.12.10-1"
    bench.lab.store().build("6.12+debug")
    assert len(bench.builds) == 2


def test_an_own_tree_stays_as_it_was(bench: Bench) -> None:
    before = snapshot(bench.tree)
    kernel = bench.get(bench.own)
    assert kernel.name == bench.own
    assert (kernel.package, kernel.suite) == (None, None)
    assert snapshot(bench.tree) == before
    assert bench.lab.fake.requests == []


def test_a_tree_without_a_profile_is_built_plain(bench: Bench) -> None:
    kernel = bench.get(str(bench.tree))
    assert (kernel.profile, kernel.release) == ("plain", "6.12.9-plain")
    assert kernel.option("CONFIG_BASE") == "y"
    assert kernel.option("CONFIG_DEBUG") is None


def test_an_own_tree_is_built_again_after_an_edit_only(bench: Bench) -> None:
    first = bench.get(bench.own)
    bench.get(bench.own)
    assert len(bench.builds) == 1
    (bench.tree / ".git").mkdir()
    (bench.tree / ".git/index").write_text("git's own business")
    bench.get(bench.own)
    assert len(bench.builds) == 1
    objects = next(bench.lab.cache.glob("kernel-work/linux-*/out"))
    (objects / "mark").touch()
    bench.edit("int slub = 1;\n")
    assert bench.get(bench.own).image != first.image
    assert "int slub = 1;" in bench.get(bench.own).image.read_text()
    assert len(bench.builds) == 2
    # What was compiled is gone on with.
    assert (objects / "mark").exists()


def git(tree: Path, *words: str) -> None:
    subprocess.run(["git", "-C", tree, *words], check=True, capture_output=True)


def build_inside(tree: Path) -> None:
    """Leave in a tree what make leaves there; its .gitignore knows, as the kernel's does."""
    (tree / ".gitignore").write_text(".*\n*.o\n/include/config/\n!.gitignore\n")
    for name in (".config", "include/config/a", "mm/slub.o"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()


def test_a_tree_that_was_built_in_is_built_from_a_copy(bench: Bench) -> None:
    build_inside(bench.tree)
    git(bench.tree, "init", "--quiet")
    git(bench.tree, "add", ".")
    (bench.tree / "mm/new.c").touch()
    (bench.tree / "Kbuild").unlink()
    before = snapshot(bench.tree)
    kernel = bench.get(bench.own)
    assert snapshot(bench.tree) == before
    assert (kernel.name, kernel.release) == (bench.own, "6.12.9-debug")
    (work,) = bench.lab.cache.glob("kernel-work/linux-*")
    copied = {str(path.relative_to(work / "tree")) for path in (work / "tree").rglob("*.[co]")}
    assert copied == {"mm/slub.c", "mm/new.c"}
    # Building it once more is no edit.
    (bench.tree / "mm/slub.o").write_text("newer")
    (bench.tree / "mm/other.o").touch()
    assert bench.get(bench.own) == kernel
    assert len(bench.builds) == 1
    bench.edit("int slub = 1;\n")
    (bench.tree / "mm/new.c").unlink()
    (work / "out/mark").touch()
    (work / "tree/Kconfig").write_text("of another one")
    os.utime(work / "tree/Kconfig", ns=(0, (bench.tree / "Kconfig").stat().st_mtime_ns))
    assert "int slub = 1;" in bench.get(bench.own).image.read_text()
    assert len(bench.builds) == 2
    assert (work / "out/mark").exists()
    assert not (work / "tree/mm/new.c").exists()
    assert (work / "tree/Kconfig").read_text() == (bench.tree / "Kconfig").read_text()


@pytest.mark.parametrize("name", [".config", "include/config/a", "arch/x86/include/generated/a"])
@pytest.mark.parametrize("why", ["not a git repository", "git ignores it"])
def test_a_tree_that_was_built_in_and_that_git_does_not_know(
    bench: Bench, name: str, why: str
) -> None:
    (bench.tree / name).parent.mkdir(parents=True, exist_ok=True)
    (bench.tree / name).touch()
    if why == "git ignores it":
        git(bench.tree.parent, "init", "--quiet")
        (bench.tree.parent / ".gitignore").write_text("/linux/\n")
    with pytest.raises(OwnTreeError, match=f"refuses to build elsewhere.*{why}") as caught:
        bench.get(bench.own)
    assert f"make -C {bench.tree} mrproper" in str(caught.value.hint)
    assert not bench.builds


def test_a_tree_that_is_configured_and_not_built(bench: Bench) -> None:
    """It is not guessed whether its own configuration is wanted or one of ours."""
    (bench.tree / ".config").touch()
    with pytest.raises(
        LocalKernelError, match=r"not a built kernel tree: no Module\.symvers"
    ) as bad:
        bench.get(str(bench.tree))
    assert f"make -C {bench.tree} -j" in str(bad.value.hint)
    assert f"--kernel {bench.tree}+plain" in str(bad.value.hint)


def test_a_tree_whose_merge_config_does_not_know_all_options(bench: Bench) -> None:
    script = bench.tree / "scripts/kconfig/merge_config.sh"
    text = script.read_text().replace("$1 $2 $3", "$1 $2").replace("-Q -m", "-m")
    script.write_text(text.replace("shift\nout=$3\nshift 3\n", "out=$3\nshift 3\n"))
    assert bench.get(bench.own).option("CONFIG_DEBUG") == "y"


def test_no_kernel_tree(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OwnTreeError, match="not a kernel's source tree"):
        bench.get(f"{tmp_path}/empty+debug")


def test_errors_of_the_compiler_are_shown(bench: Bench) -> None:
    bench.edit("broken\n")
    with pytest.raises(KernelBuildError, match="does not build with gcc-12") as caught:
        bench.get(bench.own)
    assert any("Error 1" in line for line in caught.value.lines)
    log = Path(str(caught.value.hint).rpartition(": ")[2])
    assert "CC      mm/slub.o" in log.read_text()
    assert not list(bench.lab.cache.glob("kernels/*+*/*"))
    bench.edit("int mended;\n")
    bench.get(bench.own)


def test_a_lost_option_is_an_error_before_anything_is_compiled(bench: Bench) -> None:
    (bench.lab.cache.parent / "debug.config").write_text("CONFIG_LOST=y\n")
    with pytest.raises(LostOptionError, match=r"does not give CONFIG_LOST, which debug\.config"):
        bench.get("6.12+debug")
    assert not bench.builds
    assert bench.kept() == []


@pytest.mark.parametrize("own", [False, True])
def test_an_interrupted_build_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    real = Phase.update

    def interrupted(phase: Phase, text: str) -> None:
        real(phase, text)
        if "compiling" in text:
            raise KeyboardInterrupt

    bench.edit("endless\n")
    monkeypatch.setattr(Phase, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.get(bench.own if own else "6.12+debug")
    assert len(bench.builds) == 1
    assert bench.kept() == []
    monkeypatch.undo()
    monkeypatch.setattr(kernelbuild, "_LIBELF", bench.tools / "gcc")
    bench.edit("int slub;\n")
    bench.get(bench.own if own else "6.12+debug")


@pytest.mark.parametrize("step", ["vmlinux", "olddefconfig"])
def test_an_own_tree_s_build_that_is_ended_by_the_leash_leaves_nothing(
    bench: Bench, tmp_path: Path, step: str
) -> None:
    os.mkfifo(tmp_path / "here")
    makefile = (bench.tree / "Makefile").read_text()
    stuck = f"{step}:\n\techo >{tmp_path}/here; sleep 600\n"
    (bench.tree / "Makefile").write_text(makefile.replace(f"{step}:\n", stuck))
    leash = Leash()
    leashed = replace(bench.lab, spawner=replace(bench.lab.spawner, leash=leash))
    with ThreadPoolExecutor(1) as pool:
        build = pool.submit(leashed.store().get, bench.own)
        (tmp_path / "here").read_text()
        leash.pull()
        with pytest.raises(LeashError):
            build.result()
    assert bench.kept() == []


def test_an_own_tree_s_build_that_is_killed_leaves_nothing(bench: Bench) -> None:
    makefile = (bench.tree / "Makefile").read_text()
    stuck = "vmlinux:\n\tkill -9 $$PPID\n"
    (bench.tree / "Makefile").write_text(makefile.replace("vmlinux:\n", stuck))
    with pytest.raises(KilledError, match=r"make 6\.12\.9: killed by SIGKILL"):
        bench.get(bench.own)
    assert bench.kept() == []


def test_half_made_objects_of_a_killed_build_are_not_used(bench: Bench) -> None:
    bench.get(bench.own)
    work = next(bench.lab.cache.glob("kernel-work/linux-*"))
    (work / "out/mark").touch()
    (work / "building").touch()
    bench.edit("int slub = 2;\n")
    bench.get(bench.own)
    assert not (work / "out/mark").exists()
    assert not (work / "building").exists()


def test_missing_tools_are_all_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelbuild, "_LIBELF", bench.tools / "nowhere")
    monkeypatch.setattr(kernelbuild, "_TOOLS", {"no-flex": "flex", "make": "make"})
    with pytest.raises(KernelBuildError, match="no-flex, libelf not found") as caught:
        bench.get("6.12+debug")
    assert "apt-get install flex libelf-dev" in str(caught.value.hint)
    # Found out before 150 MiB were fetched.
    assert not [path for path in bench.lab.fake.requests if path.endswith(".deb")]


def test_a_compiler_that_is_too_old_for_an_own_tree(bench: Bench) -> None:
    (bench.tree / "scripts/min-tool-version.sh").write_text("echo 12.10.0\n")
    with pytest.raises(KernelBuildError, match=r"needs gcc 12\.10\.0, the host has 12\.2\.0"):
        bench.get(bench.own)


def test_unknown_names(bench: Bench) -> None:
    with pytest.raises(UnknownProfileError, match="'fast'"):
        bench.get("6.12+fast")
    with pytest.raises(UnknownSeriesError, match=r"'6\.99'"):
        bench.get("6.99+debug")
    with pytest.raises(UnknownProfileError, match=r"6\.12: no profile"):
        bench.lab.store().build("6.12")


def test_names_with_a_profile_and_names_with_a_plus(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    image = tmp_path / "vmlinuz-6.12.117+deb12-amd64"
    image.touch()
    assert split_profile("6.12+debug") == ("6.12", "debug")
    assert split_profile(f"{tmp_path}/linux+debug") == (f"{tmp_path}/linux", "debug")
    assert split_profile(str(image)) is None
    assert split_profile("6.12") is None
    assert split_profile("host") is None


def test_built_kernels_are_listed(bench: Bench) -> None:
    assert bench.lab.store().built() == ()
    bench.get("6.12+debug")
    bench.get(bench.own)
    found = {one.kernel.name: one.size for one in bench.lab.store().built()}
    assert set(found) == {"6.12+debug", bench.own}
    assert min(found.values()) > 0


def test_errors_are_of_the_harness() -> None:
    assert issubclass(KernelBuildError, HarnessError)
    assert issubclass(LostOptionError, HarnessError)
