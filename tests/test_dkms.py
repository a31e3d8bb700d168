# SPDX-License-Identifier: GPL-2.0
"""DKMS, as module/README.md says, in a Debian 12: first with the headers of its release, where no
kernel runs, then for the kernel of its security archive, which is booted with that root.

The root is made once (a minute or more).
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
import pytest
from rich.console import Console

from harness.buildroot import BuildRoot, open_buildroot
from harness.cache import locked, remove_tree
from harness.cli import _child_environment
from harness.kernel import Kernel
from harness.matrix import load_matrix
from harness.place import Place
from harness.probe import choose_accelerator
from harness.progress import Progress
from harness.run import Completed, Spawner
from harness.runner import kernel_store
from harness.vm import VmConfig, machine_argv
from harness.watch import Deadlines

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "module/README.md").read_text()
GUEST = Path(__file__).parent / "data/dkms-guest"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
CACHE = platformdirs.user_cache_path("udmabuf-harness")
# Of what every installed Debian has: the root has little more than what it was asked for.
SYSTEM = ("systemd", "udev")
LEFT = (
    *("usr/src/udmabuf_iov-*", "var/lib/dkms/udmabuf_iov*", "lib/modules/*/updates/dkms/*"),
    "dkms-guest",
    *("etc/udev/rules.d/60-udmabuf*", "etc/modules-load.d/udmabuf*"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Debian:
    """Debian 12 with dkms, and a checkout in it."""

    root: BuildRoot
    checkout: Path
    spawner: Spawner
    release: str
    visible: tuple[Path, ...] = ()

    def run(self, command: str, *, check: bool = True) -> Completed:
        inside = ("env", "-C", str(self.checkout), *shlex.split(command))
        argv = self.root.command(inside, visible=[self.checkout, *self.visible])
        return self.spawner.run(argv, deadline=300, check=check)

    def modinfo(self) -> dict[str, str]:
        """What modinfo says of the module; empty when it finds none."""
        done = self.run(f"modinfo -k {self.release} udmabuf_iov", check=False)
        lines = done.output.splitlines() if done.status == 0 else ()
        fields = (line.partition(":") for line in lines)
        return {name: value.strip() for name, _, value in fields}

    def status(self) -> str:
        return self.run("dkms status").output

    def clean(self) -> None:
        for pattern in LEFT:
            for path in self.root.path.glob(pattern):
                remove_tree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Debian]:
    spawner = Spawner(env=_child_environment({"HOME": str(tmp_path)}))
    told = re.search(r"Debian: `apt install ([^`]+)`", README)
    assert told is not None
    spec = load_matrix(ROOT / "kconfigs/matrix.toml").find("6.1").suites[-1].buildroot
    assert (spec.suite, spec.compiler) == ("bookworm", "gcc-12")
    root = open_buildroot(
        replace(spec, packages=(*told[1].split(), *SYSTEM)),
        cache=CACHE,
        spawner=spawner,
        progress=Progress(Console()),
    )
    (headers,) = root.path.glob("usr/src/linux-headers-6.1.*-amd64")
    shutil.copytree(ROOT / "module", tmp_path / "module")
    release = headers.name.removeprefix("linux-headers-")
    with locked(root.path):
        made = Debian(root=root, checkout=tmp_path, spawner=spawner, release=release)
        made.clean()
        yield made
        made.clean()


def test_install_and_remove_as_the_readme_says(debian: Debian) -> None:
    (add, install, rules, load, modprobe), removal = (block.splitlines() for block in BLOCKS)
    debian.run(add)
    assert "udmabuf_iov/0.1.0: added" in debian.status()
    # Where the user runs the kernel, it is the default; here that is the host's.
    debian.run(f"{install} -k {debian.release}")
    assert f"udmabuf_iov/0.1.0, {debian.release}, x86_64: installed" in debian.status()
    found = debian.modinfo()
    assert found["filename"] == f"/lib/modules/{debian.release}/updates/dkms/udmabuf_iov.ko"
    assert found["vermagic"].split()[0] == debian.release
    assert found["license"] == "GPL"
    for line in (rules, load):
        debian.run(line)
        source, target = line.split()[-2:]
        copy = debian.root.path / target.lstrip("/")
        assert copy.read_text() == (ROOT / source).read_text()
    assert modprobe == "modprobe udmabuf_iov"
    would = debian.run(f"modprobe -S {debian.release} --show-depends udmabuf_iov").output
    assert would.split() == ["insmod", found["filename"]]

    assert removal.pop(0) == "modprobe -r udmabuf_iov"
    for line in removal:
        debian.run(line)
    assert debian.modinfo() == {}
    assert debian.status() == ""
    assert [path for pattern in LEFT for path in debian.root.path.glob(pattern)] == []


def test_a_new_kernel_gets_it_by_itself(debian: Debian) -> None:
    """What Debian's kernel packages run after they are installed."""
    debian.run("dkms add module/")
    debian.run(f"dkms autoinstall -k {debian.release}")
    assert debian.modinfo()["vermagic"].split()[0] == debian.release


def test_what_does_not_build_is_not_installed(debian: Debian) -> None:
    with (debian.checkout / "module/main.c").open("a") as file:
        file.write("nonsense\n")
    debian.run("dkms add module/")
    done = debian.run(f"dkms install udmabuf_iov/0.1.0 -k {debian.release}", check=False)
    assert done.status != 0
    assert debian.modinfo() == {}


@pytest.fixture
def booted(debian: Debian) -> Iterator[tuple[Debian, Kernel]]:
    """The same, with the headers of a kernel that can be booted, and where its modules will go."""
    place = Place(
        source=ROOT,
        cache=CACHE,
        runs=debian.checkout,
        spawner=debian.spawner,
        progress=Progress(Console()),
    )
    kernel = kernel_store(place).get("6.1")
    modules = debian.root.path / "lib/modules" / kernel.release
    assert kernel.release != debian.release
    modules.mkdir(exist_ok=True)
    (modules / "build").unlink(missing_ok=True)
    (modules / "build").symlink_to(kernel.build)
    yield replace(debian, release=kernel.release, visible=(kernel.build.parents[2],)), kernel
    remove_tree(modules)


def test_the_installed_driver_in_a_booted_debian(booted: tuple[Debian, Kernel]) -> None:
    debian, kernel = booted
    add, install, *files = BLOCKS[0].splitlines()[:-1]
    for line in (add, f"{install} -k {debian.release}", *files):
        debian.run(line)
    shutil.copy(GUEST, debian.root.path)
    config = VmConfig(
        kernel=kernel,
        accelerator=choose_accelerator(
            kernel, cache=CACHE, spawner=debian.spawner, progress=Progress(Console())
        ),
        deadlines=Deadlines(boot=0, silence=0, total=0),
        # One that boots cannot meet its own breakpoints (harness/emulator.py).
        cpus=1,
        cmdline=("initcall_blacklist=udmabuf_dev_init",),
    )
    argv = (*machine_argv(config, root=debian.root.path), "--", f"/{GUEST.name}")
    # A boot with udev takes some 20 s without KVM.
    output = debian.spawner.run(argv, deadline=600).output
    lines = [line.strip().partition(" ") for line in output.splitlines()]
    found = {word: what for word, _, what in lines if "." in word or word in ("taint", "end")}
    # systemd's own rules add another, "seat".
    assert "uaccess" in found.pop("boot.tags").split(":")
    node = "character special file 660 root kvm"
    assert found == {
        **{"before.loaded": "0", "before.node": "none"},
        **{"boot.loaded": "1", "boot.node": node},
        # Nobody else may open it.
        **{"boot.others": "2", "boot.kvm": "0"},
        **{"removed.loaded": "0", "removed.node": "none"},
        **{"again.loaded": "1", "again.node": node},
        **{"end.loaded": "0", "end.node": "none"},
        # Out of the tree, and signed by nobody that the kernel knows.
        **{"taint": str(1 << 12 | 1 << 13), "end": ""},
    }
