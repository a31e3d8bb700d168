# SPDX-License-Identifier: GPL-2.0
"""The header of a bzImage, and every way its kernel may be compressed."""

import gzip
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bzimage import BzImageError, extract_vmlinux, kernel_release
from harness.run import Spawner
from tests.fakearchive import VMLINUX, bzimage


def piped(*argv: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(argv, input=data, capture_output=True, check=True).stdout


def spawner() -> Spawner:
    return Spawner(env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize(
    ("compress", "program"),
    [
        (gzip.compress, None),
        (lzma.compress, None),
        (lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE), None),
        (piped("zstd", "-q", "-c"), "zstd"),
        (piped("lz4", "-q", "-l", "-c"), "lz4"),
    ],
    ids=["gzip", "xz", "lzma", "zstd", "lz4"],
)
def test_extracts(tmp_path: Path, compress: Callable[[bytes], bytes], program: str | None) -> None:
    if program is not None and spawner().which(program) is None:
        pytest.skip(f"no {program} on this host")
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage("6.12.1", compress(VMLINUX)))
    target = tmp_path / "vmlinux"
    extract_vmlinux(image, target, spawner=spawner())
    assert target.read_bytes() == VMLINUX
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vmlinux", "vmlinuz"]


def test_release(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage("6.12.117+deb12-amd64", b""))
    assert kernel_release(tmp_path / "vmlinuz") == "6.12.117+deb12-amd64"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not an x86 kernel image"),
        (bytes(9000), "not an x86 kernel image"),
        (bzimage("6", gzip.compress(VMLINUX), protocol=0x207), "boot protocol older"),
        (bzimage("6", gzip.compress(VMLINUX), size=7), "not a vmlinux of 7 bytes"),
        (bzimage("6", gzip.compress(VMLINUX)[:-9]), "not a vmlinux|damaged"),
        (bzimage("6", lzma.compress(VMLINUX)[:40] + b"\0" * 40), "damaged|not a vmlinux"),
        (bzimage("6", gzip.compress(b"text"), size=4), "not a vmlinux"),
        (bzimage("6", b"BZh9something"), "unknown compression"),
        (bzimage("6", os.urandom(9000))[:4200], "truncated"),
    ],
)
def test_damage_is_one_clear_line(tmp_path: Path, content: bytes, expected: str) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(content)
    with pytest.raises(BzImageError, match=expected) as caught:
        extract_vmlinux(image, tmp_path / "vmlinux", spawner=spawner())
    assert str(image) in str(caught.value)
    assert not (tmp_path / "vmlinux").exists()


def test_missing_program_names_the_package(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage("6", b"\x28\xb5\x2f\xfd rest"))
    with pytest.raises(BzImageError, match="zstd not found") as caught:
        extract_vmlinux(image, tmp_path / "vmlinux", spawner=Spawner(env={"PATH": "/none"}))
    assert caught.value.hint == "apt-get install zstd"
