# SPDX-License-Identifier: GPL-2.0
"""The root of a guest that is snapshotted, read back by cpio(1)."""

import lzma
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

from harness.initramfs import Entry, make_initramfs, newc
from harness.kernel import Kernel
from harness.run import Spawner
from tests.test_vm import fake_kernel

SPAWNER = Spawner(env={"PATH": os.environ["PATH"]})


def unpacked(archive: bytes, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(
        ["busybox", "cpio", "-id"], input=archive, cwd=folder, check=True, capture_output=True
    )
    return folder


def kernel_with_modules(folder: Path) -> Kernel:
    """virtio_blk packed and needing ring, which needs virtio; virtio_console unpacked since."""
    moddir = folder / "6.12.0-fake"
    (moddir / "kernel").mkdir(parents=True)
    for name in ("virtio", "virtio_ring", "virtio_blk"):
        (moddir / f"kernel/{name}.ko.xz").write_bytes(lzma.compress(name.encode()))
    (moddir / "kernel/virtio_console.ko").write_bytes(b"virtio_console")
    (moddir / "modules.dep").write_text(
        "kernel/virtio_blk.ko.xz: kernel/virtio_ring.ko.xz kernel/virtio.ko.xz\n"
        "kernel/virtio_ring.ko.xz: kernel/virtio.ko.xz\n"
        "kernel/virtio.ko.xz:\n"
        "kernel/virtio_console.ko.xz: kernel/virtio.ko.xz kernel/virtio_ring.ko.xz\n"
        "kernel/unrelated.ko.xz:\n"
    )
    return replace(fake_kernel(), moddir=moddir)


def test_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3 + b"odd"
    archive = newc(
        [
            Entry(name="folder", mode=stat.S_IFDIR | 0o755),
            Entry(name="folder/file", mode=stat.S_IFREG | 0o640, data=data),
            Entry(name="link", mode=stat.S_IFLNK | 0o777, data=b"folder/file"),
        ]
    )
    root = unpacked(archive, tmp_path / "root")
    assert (root / "folder/file").read_bytes() == data
    assert stat.S_IMODE((root / "folder/file").stat().st_mode) == 0o640
    assert (root / "link").readlink() == Path("folder/file")


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    reseed = tmp_path / "reseed"
    reseed.write_bytes(b"program")
    archive = make_initramfs(kernel_with_modules(tmp_path), reseed=reseed, spawner=SPAWNER)
    snapshot = unpacked(archive, tmp_path / "root") / "snapshot"
    names = ["virtio.ko", "virtio_ring.ko", "virtio_blk.ko", "virtio_console.ko"]
    assert (snapshot / "modules").read_text().split() == names
    for name in names:
        assert (snapshot / name).read_bytes() == name.removesuffix(".ko").encode()
    assert not (snapshot / "unrelated.ko").exists()


def test_same_parts_same_bytes(tmp_path: Path) -> None:
    reseed = tmp_path / "reseed"
    reseed.write_bytes(b"program")
    first = make_initramfs(fake_kernel(), reseed=reseed, spawner=SPAWNER)
    os.utime(reseed, (1, 1))
    assert make_initramfs(fake_kernel(), reseed=reseed, spawner=SPAWNER) == first
    reseed.write_bytes(b"another")
    assert make_initramfs(fake_kernel(), reseed=reseed, spawner=SPAWNER) != first
