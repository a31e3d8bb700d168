# SPDX-License-Identifier: GPL-2.0
"""Files of a kernel's source package: fetched once, only what was asked for."""

import io
import tarfile

import pytest

from harness.archive import ArchiveError
from harness.run import CommandError
from tests.test_kernels import Lab, lab

__all__ = ("lab",)

FILES = ("scripts/check.pl", "tools/self/test.h")


def source_package(lab: Lab, *names: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name in ("Makefile", *names, "virt/last.c"):
            member = tarfile.TarInfo(f"linux-source-6.12/{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    files: dict[str, bytes | str] = {"usr/src/linux-source-6.12.tar.xz": packed.getvalue()}
    lab.fake.add("linux-source-6.12", "6.12.9-1", files, architecture="all")
    lab.fake.publish("stable")


def test_only_the_files_and_once(lab: Lab) -> None:
    source_package(lab, *FILES)
    folder = lab.store().source_files("6.12", FILES)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == set(FILES)
    assert (folder / FILES[0]).read_text() == FILES[0]
    lab.fake.requests.clear()
    assert lab.store().source_files("6.12", FILES) == folder
    assert lab.fake.requests == []
    assert lab.store().source_files("6.12", FILES[:1]) != folder
    assert not list(lab.cache.glob("apt/*/debs/*.deb"))


def test_a_suites_newest_kernel_has_the_source_of_its_series(lab: Lab) -> None:
    source_package(lab, *FILES)
    store = lab.store()
    assert store.get("stable").release.startswith("6.12.")
    folder = store.source_files("stable", FILES)
    assert (folder / FILES[0]).read_text() == FILES[0]


def test_no_such_package_or_file(lab: Lab) -> None:
    with pytest.raises(ArchiveError, match=r"no linux-source-6\.12 in empty, stable"):
        lab.store().source_files("6.12", FILES)
    source_package(lab, FILES[0])
    with pytest.raises(CommandError, match=r"tools/self/test\.h"):
        lab.store().source_files("6.12", FILES)
    assert [path.suffix for path in (lab.cache / "source").iterdir()] == [".lock"]
