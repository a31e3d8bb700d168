# SPDX-License-Identifier: GPL-2.0
"""The kernel cache: whole or not there, whatever happens; and kernels named by path."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from harness.archive import ArchiveError
from harness.cache import CacheError
from harness.errors import HarnessError
from harness.kernels import KernelStore
from harness.kernelunpack import KernelUnpackError
from harness.localkernel import LocalKernelError, named_compiler
from harness.matrix import Matrix, UnknownSeriesError, load_matrix
from harness.progress import Progress
from harness.run import Spawner
from tests.fakearchive import VMLINUX, FakeArchive, bzimage, fill_disk, serve, small_disk
from tests.smallmatrix import ONE_SUITE

RELEASE = "6.12.9+deb12-amd64"
MATRIX = f"""{ONE_SUITE}
[series."6.12"]
suites = ["empty", "stable"]
[series."6.1"]
suites = ["stable"]
[suites.empty]
mirror = "debian"
buildroot = "stable"
[profiles.debug]
fragments = ["base", "debug"]
[profiles.plain]
fragments = ["base"]
[cells.one]
kernel = "6.12"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A store, the archive that it fetches from, and its cache."""

    fake: FakeArchive
    cache: Path
    matrix: Matrix
    spawner: Spawner

    def store(self, *, cache: Path | None = None, uri: str | None = None) -> KernelStore:
        mirrors = {"debian": uri or self.fake.uri}
        matrix = load_matrix(self.cache.parent / "matrix.toml", mirrors=mirrors)
        progress = Progress(Console(quiet=True))
        return KernelStore(cache or self.cache, matrix, self.spawner, progress, keyring=None)

    def left(self) -> list[str]:
        """Names in the series' folder, half-made ones included."""
        folder = self.cache / "kernels/6.12"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "matrix.toml").write_text(MATRIX)
    for fragment in ("base", "debug"):
        (tmp_path / f"{fragment}.config").write_text(f"CONFIG_{fragment.upper()}=y\n")
    with serve(tmp_path / "served") as fake:
        fake.publish("empty")
        fake.add_kernel(RELEASE, "6.12.9-1")
        fake.publish("stable")
        yield Lab(
            fake=fake,
            cache=tmp_path / "cache",
            matrix=load_matrix(tmp_path / "matrix.toml"),
            spawner=Spawner(env={"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": str(tmp_path)}),
        )


def test_a_fetched_kernel_is_complete(lab: Lab) -> None:
    kernel = lab.store().get("6.12")
    assert kernel.release == RELEASE
    assert kernel.image.read_bytes() == VMLINUX
    assert kernel.package == f"linux-image-{RELEASE} 6.12.9-1"
    assert (kernel.compiler, kernel.suite) == ("gcc-12", "stable")
    assert kernel.buildroot is not None
    assert kernel.option("CONFIG_UDMABUF") == "y"
    assert kernel.option("CONFIG_UDMA") is None
    assert kernel.moddir is not None
    assert (kernel.moddir / "modules.dep").is_file()
    # What the guest's initramfs loads is not left for the guest to decompress.
    assert [path.name for path in kernel.moddir.glob("kernel/fs/*")] == ["9p.ko"]
    assert (kernel.moddir / "kernel/fs/9p.ko").read_bytes() == b"9p"
    assert (kernel.moddir / "build").resolve() == kernel.build
    assert (kernel.moddir / "source/Makefile").is_file()
    # make finds what the Makefile includes, also after the cache has moved.
    subprocess.run(["make", "-C", kernel.build, "all"], check=True, capture_output=True)
    moved = lab.cache.rename(lab.cache.with_name("moved"))
    build = moved / kernel.build.relative_to(lab.cache)
    subprocess.run(["make", "-C", build, "all"], check=True, capture_output=True)
    moved.rename(lab.cache)
    assert lab.left() == ["6.12.9-1", "current"]
    assert not list(lab.cache.rglob("*.deb"))


def test_a_cached_kernel_needs_neither_network_nor_programs(lab: Lab) -> None:
    fetched = lab.store().get("6.12")
    lab.fake.requests.clear()
    offline = Lab(
        fake=lab.fake, cache=lab.cache, matrix=lab.matrix, spawner=Spawner(env={"PATH": "/none"})
    )
    assert offline.store().get("6.12") == fetched
    assert lab.fake.requests == []


def test_listing_shows_what_is_cached(lab: Lab) -> None:
    assert [entry.kernel for entry in lab.store().listing()] == [None, None]
    kernel = lab.store().get("6.12")
    old, new = lab.store().listing()
    assert (old.series, old.kernel, old.size) == ("6.1", None, 0)
    assert (new.series, new.kernel, new.suites) == ("6.12", kernel, ("empty", "stable"))
    assert new.size > len(VMLINUX)


def test_fetch_switches_to_the_newest_and_keeps_the_last(lab: Lab) -> None:
    store = lab.store()
    first = store.get("6.12")
    for patch in (10, 11):
        lab.fake.add_kernel(f"6.12.{patch}+deb12-amd64", f"6.12.{patch}-1")
        lab.fake.publish("stable")
        assert store.get("6.12").release != f"6.12.{patch}+deb12-amd64"
        assert store.fetch("6.12").release == f"6.12.{patch}+deb12-amd64"
        if patch == 10:
            assert first.image.is_file()
    assert lab.left() == ["6.12.10-1", "6.12.11-1", "current"]
    lab.fake.requests.clear()
    store.fetch("6.12")
    assert not [path for path in lab.fake.requests if path.endswith(".deb")]


def test_kernels_may_lie_behind_a_link(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    lab.cache.mkdir()
    (lab.cache / "kernels").symlink_to(tmp_path / "elsewhere")
    assert lab.store().get("6.12").image.is_file()


def test_the_key_is_of_the_newest_and_costs_no_package(lab: Lab) -> None:
    store = lab.store()
    before = store.key("6.12")
    assert store.key("6.12") == before
    lab.fake.add_kernel("6.12.10+deb12-amd64", "6.12.10-1")
    lab.fake.publish("stable")
    assert store.key("6.12") != before
    assert store.key("6.12").startswith("6.12-6.12.10-1")
    assert store.listing()[1].kernel is None
    assert not [path for path in lab.fake.requests if path.endswith(".deb")]
    with pytest.raises(UnknownSeriesError):
        store.key("6.99")


def test_unknown_series_names_the_known_ones(lab: Lab) -> None:
    with pytest.raises(UnknownSeriesError, match=r"unknown kernel '6\.99': .* 6\.1, 6\.12"):
        lab.store().get("6.99")
    with pytest.raises(UnknownSeriesError):
        lab.store().fetch("latest")


def test_the_newest_kernel_of_a_suite_is_of_any_series(lab: Lab) -> None:
    store = lab.store()
    assert store.get("stable").release == RELEASE
    release = "6.13.2+deb12-amd64"
    lab.fake.add_kernel(release, "6.13.2-1")
    lab.fake.publish("stable")
    assert store.key("stable").startswith("stable-6.13.2-1")
    assert store.get("stable").release == RELEASE, "what is cached is not looked for"
    kernel = store.fetch("stable")
    assert (kernel.release, kernel.name, kernel.suite) == (release, "stable", "stable")
    assert kernel.buildroot is not None
    with pytest.raises(ArchiveError, match="no kernel with headers in empty"):
        store.get("empty")
    with pytest.raises(UnknownSeriesError, match=r"unknown kernel 'stable'"):
        store.get("stable+debug")


def test_series_that_no_suite_has(lab: Lab) -> None:
    with pytest.raises(ArchiveError, match=r"no kernel 6\.1 with headers in stable"):
        lab.store().get("6.1")


def test_no_network_names_what_is_cached(lab: Lab) -> None:
    with pytest.raises(ArchiveError) as caught:
        lab.store(uri="http://127.0.0.1:9").get("6.12")
    assert "cached and usable without a network: no kernel" in (caught.value.hint or "")
    lab.store().get("6.12")
    with pytest.raises(ArchiveError) as caught:
        lab.store(uri="http://127.0.0.1:9").get("6.1")
    assert "cached and usable without a network: 6.12" in (caught.value.hint or "")


def test_an_altered_deb_leaves_nothing(lab: Lab) -> None:
    (deb,) = lab.fake.folder.glob("pool/linux-image-*")
    deb.write_bytes(deb.read_bytes()[:-10])
    with pytest.raises(ArchiveError, match="apt refused it"):
        lab.store().get("6.12")
    assert lab.left() == []


def test_a_damaged_image_leaves_nothing(lab: Lab) -> None:
    release = "6.12.10+deb12-amd64"
    lab.fake.add_kernel(release, "6.12.10-1", image=bzimage(release, b"\x1f\x8bnothing"))
    lab.fake.publish("stable")
    with pytest.raises(HarnessError, match="damaged"):
        lab.store().get("6.12")
    assert lab.left() == []


def test_packages_without_headers_inside_are_refused(lab: Lab) -> None:
    release = "6.12.10+deb12-amd64"
    lab.fake.add_kernel(release, "6.12.10-1", headers=False)
    lab.fake.add(f"linux-headers-{release}", "6.12.10-1", {"usr/share/doc/x": b""})
    lab.fake.publish("stable")
    with pytest.raises(KernelUnpackError, match=r"usr/src/linux-headers-.* in none of its pack"):
        lab.store().get("6.12")
    assert lab.left() == []


class Interrupting(Spawner):
    """Presses Ctrl-C when a program of that name is about to run."""

    program = ""

    def run(self, argv, **options):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN201
        if argv[0] == self.program:
            raise KeyboardInterrupt
        return super().run(argv, **options)

    def with_env(self, **changes: str) -> "Interrupting":
        return type(self)(env={**self.env, **changes}, log=self.log)


def test_ctrl_c_while_unpacking_leaves_nothing_and_frees_the_lock(lab: Lab) -> None:
    interrupting = type("Interrupting", (Interrupting,), {"program": "dpkg-deb"})
    spawner = interrupting(env=lab.spawner.env)
    with pytest.raises(KeyboardInterrupt):
        Lab(fake=lab.fake, cache=lab.cache, matrix=lab.matrix, spawner=spawner).store().get("6.12")
    assert lab.left() == []
    lab.fake.requests.clear()
    assert lab.store().get("6.12").release == RELEASE
    assert not [path for path in lab.fake.requests if path.endswith(".deb")], "went on from there"


def test_what_a_killed_run_left_half_made_is_removed(lab: Lab) -> None:
    stale = lab.cache / "kernels/6.12/.making-6.12.9-1@abc"
    (stale / "usr").mkdir(parents=True)
    (stale / "usr").chmod(0o500)
    lab.store().get("6.12")
    assert lab.left() == ["6.12.9-1", "current"]


def test_a_cache_entry_that_lost_its_image_is_fetched_again(lab: Lab) -> None:
    kernel = lab.store().get("6.12")
    kernel.image.unlink()
    assert lab.store().get("6.12").image.is_file()


RUN = """
import sys
from pathlib import Path
from rich.console import Console
from harness.kernels import KernelStore
from harness.matrix import load_matrix
from harness.progress import Progress
from harness.run import Spawner
matrix = load_matrix(Path(sys.argv[1]), mirrors={"debian": sys.argv[2]})
spawner = Spawner(env={"PATH": sys.argv[4], "HOME": "/"})
store = KernelStore(Path(sys.argv[3]), matrix, spawner, Progress(Console()), keyring=None)
print(store.get("6.12").image.read_bytes() == bytes.fromhex(sys.argv[5]))
"""


def start(lab: Lab) -> subprocess.Popen[str]:
    matrix, path = lab.cache.parent / "matrix.toml", lab.spawner.env["PATH"]
    command = [sys.executable, "-c", RUN, str(matrix), lab.fake.uri, str(lab.cache), path]
    return subprocess.Popen(
        [*command, VMLINUX.hex()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_two_runs_at_once_share_one_download(lab: Lab) -> None:
    runs = [start(lab), start(lab)]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert all("True" in output for output in outputs)
    debs = [path for path in lab.fake.requests if path.endswith(".deb")]
    assert len(debs) == len(set(debs)) == 4


def test_sigkill_in_the_middle_is_recovered_from(lab: Lab) -> None:
    lab.fake.hold.clear()
    run = start(lab)
    assert lab.fake.held.wait(60)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    lab.fake.hold.set()
    assert lab.store().get("6.12").release == RELEASE
    assert lab.left() == ["6.12.9-1", "current"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_full_disk_while_unpacking_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    release = "6.12.10+deb12-amd64"
    lab.fake.add_kernel(release, "6.12.10-1", filler=bytes(8 << 20))
    lab.fake.publish("stable")
    with small_disk(tmp_path / "small", kib=96 << 10) as small:
        lab.store(cache=small / "c").get("6.12")
        shutil.rmtree(small / "c/kernels")
        fill_disk(small, leave_kib=4 << 10)
        with pytest.raises(CacheError, match="no space left in the cache") as caught:
            lab.store(cache=small / "c").get("6.12")
        assert "\n" not in str(caught.value)
        assert [path.name for path in (small / "c/kernels/6.12").iterdir()] == []


def test_a_cache_that_cannot_be_written_is_one_clear_line(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"file.*: Not a directory"):
        lab.store(cache=tmp_path / "file" / "c").get("6.12")


def test_a_cache_path_that_make_cannot_take_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="a folder whose path has ' '"):
        lab.store(cache=tmp_path / "my cache")


def build_tree(folder: Path, *, image: str = "vmlinux") -> Path:
    for name, text in {
        ".config": 'CONFIG_PVH=y\nCONFIG_CC_VERSION_TEXT="gcc (Debian 12.2.0-14) 12.2.0"\n',
        "Module.symvers": "",
        "Makefile": "",
        "include/config/kernel.release": "6.12.0-custom\n",
        image: "kernel",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_build_tree(lab: Lab, tmp_path: Path) -> None:
    tree = build_tree(tmp_path / "linux")
    kernel = lab.store().get(str(tree))
    assert (kernel.release, kernel.image) == ("6.12.0-custom", tree / "vmlinux")
    assert (kernel.compiler, kernel.moddir, kernel.build) == ("gcc-12", None, tree)
    (tree / "Module.symvers").unlink()
    with pytest.raises(LocalKernelError, match=r"no Module\.symvers"):
        lab.store().get(str(tree))


def test_a_tree_without_pvh_boots_its_bzimage(lab: Lab, tmp_path: Path) -> None:
    tree = build_tree(tmp_path / "linux", image="arch/x86/boot/bzImage")
    (tree / "vmlinux").write_text("elf")
    (tree / ".config").write_text("# CONFIG_PVH is not set\n")
    kernel = lab.store().get(str(tree))
    assert (kernel.image, kernel.vmlinux) == (tree / "arch/x86/boot/bzImage", tree / "vmlinux")


def test_so_does_one_whose_pvh_entry_dies_of_kasan(lab: Lab, tmp_path: Path) -> None:
    tree = build_tree(tmp_path / "linux", image="arch/x86/boot/bzImage")
    (tree / "vmlinux").write_text("elf")
    (tree / ".config").write_text("CONFIG_PVH=y\nCONFIG_KASAN=y\n")
    assert lab.store().get(str(tree)).image == tree / "vmlinux"
    makefile = tree / "source/arch/x86/platform/pvh/Makefile"
    makefile.parent.mkdir(parents=True)
    makefile.write_text("obj-$(CONFIG_PVH) += head.o\n")
    assert lab.store().get(str(tree)).image == tree / "arch/x86/boot/bzImage"
    makefile.write_text("KASAN_SANITIZE := n\n")
    assert lab.store().get(str(tree)).image == tree / "vmlinux"


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("image", ["boot/vmlinuz-6.9.1", "usr/lib/modules/6.9.1/vmlinuz"])
def test_a_vmlinuz_with_its_modules(lab: Lab, tmp_path: Path, image: str, absolute: bool) -> None:
    root = tmp_path / "root"
    build = build_tree(root / "usr/src/linux-headers-6.9.1")
    moddir = root / "usr/lib/modules/6.9.1"
    moddir.mkdir(parents=True)
    link = "/usr/src/linux-headers-6.9.1" if absolute else "../../../src/linux-headers-6.9.1"
    (moddir / "build").symlink_to(link)
    (root / "boot").mkdir()
    (root / image).write_bytes(bzimage("6.9.1", b""))
    kernel = lab.store().get(str(root / image))
    assert (kernel.release, kernel.moddir, kernel.build) == ("6.9.1", moddir, build)
    (build / "Makefile").write_text("include /usr/src/nowhere/Makefile\n")
    with pytest.raises(LocalKernelError, match="includes /usr/src/nowhere/Makefile, which is not"):
        lab.store().get(str(root / image))
    shutil.rmtree(build)
    with pytest.raises(LocalKernelError, match=r"no headers for 6\.9\.1"):
        lab.store().get(str(root / image))


def test_a_path_that_is_no_kernel(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LocalKernelError, match="no such kernel"):
        lab.store().get("./nothing")
    (tmp_path / "text").write_text("x" * 8192)
    with pytest.raises(HarnessError, match="not an x86 kernel image"):
        lab.store().get(str(tmp_path / "text"))
    (tmp_path / "vmlinuz").write_bytes(bzimage("6.9.1", b""))
    with pytest.raises(LocalKernelError, match=r"lib/modules/6\.9\.1 is neither beside"):
        lab.store().get(str(tmp_path / "vmlinuz"))


@pytest.mark.parametrize(
    ("file", "text", "compiler"),
    [
        (".kernelvariables", "CCACHE = ccache\nCC = $(if $(X),$(CCACHE)) $(C)gcc-14\n", "gcc-14"),
        (".config", 'CONFIG_CC_VERSION_TEXT="gcc-10 (Debian 10.2.1-6) 10.2.1"\n', "gcc-10"),
        (".config", 'CONFIG_CC_VERSION_TEXT="Debian clang version 16.0.6"\n', "clang-16"),
        (".config", "", None),
    ],
)
def test_named_compiler(tmp_path: Path, file: str, text: str, compiler: str | None) -> None:
    (tmp_path / ".config").write_text("")
    (tmp_path / file).write_text(text)
    assert named_compiler(tmp_path) == compiler
