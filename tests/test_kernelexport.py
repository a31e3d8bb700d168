# SPDX-License-Identifier: GPL-2.0
"""A kernel as a file: what comes back is what went out, or nothing does."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.kernel import Kernel
from harness.kernelexport import KernelArchiveError
from tests.fakekernel import set_tool
from tests.test_kernelbuild import Bench, bench, snapshot
from tests.test_kernels import lab

__all__ = ("bench", "lab")

Index = dict[str, Any]


def exported(bench: Bench, folder: Path) -> Path:
    bench.get("6.12+debug")
    file = folder / "kernel.tar.zst"
    bench.lab.store().export("6.12+debug", file)
    return file


def take(bench: Bench, file: Path, cache: Path) -> Kernel:
    return bench.lab.store(cache=cache).import_file(file)


def test_there_and_back(bench: Bench, tmp_path: Path) -> None:
    file, other = exported(bench, tmp_path), tmp_path / "other"
    kernel = take(bench, file, other)
    original = bench.get("6.12+debug")
    assert (kernel.release, kernel.sha256) == (original.release, original.sha256)
    before, after = (snapshot(one.image.parent) for one in (original, kernel))
    assert set(after) - set(before) == {"imported"}
    files = [name for name, (_, _, content) in before.items() if content]
    assert [(name, after[name][0], after[name][2]) for name in files] == [
        (name, before[name][0], before[name][2]) for name in files
    ]
    # Another machine's compiler built it: that is no reason to build it again.
    set_tool(bench.tools, "gcc-12", 'echo "gcc (X) 13"')
    assert bench.lab.store(cache=other).get("6.12+debug").image == kernel.image
    assert len(bench.builds) == 1
    (found,) = bench.lab.store(cache=other).built()
    assert found.imported


def test_import_takes_the_place_of_an_earlier_one(bench: Bench, tmp_path: Path) -> None:
    file, other = exported(bench, tmp_path), tmp_path / "other"
    first = take(bench, file, other)
    first.image.write_text("spoilt")
    assert take(bench, file, other).image.read_text() != "spoilt"


def test_an_archive_that_was_cut_off(bench: Bench, tmp_path: Path) -> None:
    data = exported(bench, tmp_path).read_bytes()
    cut = tmp_path / "cut.tar.zst"
    for length in (0, 1, 10, len(data) // 2, len(data) - 5, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(KernelArchiveError, match="not a whole kernel: zstd cannot read it"):
            take(bench, cut, tmp_path / "other")
    assert not list((tmp_path / "other").glob("kernels/*/*"))


def test_an_archive_with_a_flipped_bit(bench: Bench, tmp_path: Path) -> None:
    file = exported(bench, tmp_path)
    data = bytearray(file.read_bytes())
    for at in range(0, len(data), len(data) // 9):
        data[at] ^= 1
        file.write_bytes(data)
        with pytest.raises(KernelArchiveError):
            take(bench, file, tmp_path / "other")
        data[at] ^= 1
    assert not list((tmp_path / "other").glob("kernels/*/*"))


def rewrite(file: Path, change: Callable[[Index, dict[str, tarfile.TarInfo]], None]) -> None:
    """Unpack an archive, let somebody change its index and members, pack it again."""
    plain = subprocess.run(["zstd", "-dcq", file], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = {info.name: info for info in tar}
        data = {
            name: content.read()
            for name, info in members.items()
            if info.isreg() and (content := tar.extractfile(info)) is not None
        }
    index = json.loads(data.pop("kernel.json"))
    del members["kernel.json"]
    change(index, members)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        text = json.dumps(index).encode()
        head = tarfile.TarInfo("kernel.json")
        head.size = len(text)
        tar.addfile(head, io.BytesIO(text))
        for name, info in members.items():
            tar.addfile(info, io.BytesIO(data.get(name, b"")))
    done = subprocess.run(["zstd", "-cq"], input=packed.getvalue(), check=True, capture_output=True)
    file.write_bytes(done.stdout)


def first(index: Index) -> Index:
    found: Index = next(one for one in index["files"] if one["path"] == "vmlinux")
    return found


def rename(new: str) -> Callable[[Index, dict[str, tarfile.TarInfo]], None]:
    def change(index: Index, members: dict[str, tarfile.TarInfo]) -> None:
        first(index)["path"] = new
        members["vmlinux"].name = new

    return change


def unlisted(_: Index, members: dict[str, tarfile.TarInfo]) -> None:
    members["more"] = tarfile.TarInfo("more")


def missing(_: Index, members: dict[str, tarfile.TarInfo]) -> None:
    del members["vmlinux"]


def altered(index: Index, _: dict[str, tarfile.TarInfo]) -> None:
    first(index)["sha256"] = "0" * 64


def linked(
    target: str, path: str = "build/away", **more: str
) -> Callable[[Index, dict[str, tarfile.TarInfo]], None]:
    def change(index: Index, members: dict[str, tarfile.TarInfo]) -> None:
        for name, link in {path: target, **more}.items():
            index["files"].append(
                {"path": name, "mode": 0o777, "size": 0, "sha256": "", "link": link}
            )
            members[name] = tarfile.TarInfo(name)
            members[name].type, members[name].linkname = tarfile.SYMTYPE, link

    return change


def device(_: Index, members: dict[str, tarfile.TarInfo]) -> None:
    members["vmlinux"].type = tarfile.CHRTYPE


def hard_link(_: Index, members: dict[str, tarfile.TarInfo]) -> None:
    members["vmlinux"].type = tarfile.LNKTYPE
    members["vmlinux"].linkname = "../../../../etc/passwd"


def entry(name: str) -> Callable[[Index, dict[str, tarfile.TarInfo]], None]:
    def change(index: Index, _: dict[str, tarfile.TarInfo]) -> None:
        index["entry"] = name

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rename("../vmlinux"), "leaves its folder"),
        (rename("/tmp/vmlinux"), "leaves its folder"),
        (rename("build/../../vmlinux"), "leaves its folder"),
        (linked("/etc"), "outside of its folder"),
        (linked("../../etc"), "outside of its folder"),
        (linked("x/../../../etc"), "outside of its folder"),
        # Each of these is inside as long as the other is a folder.
        (linked("..", **{"second": "build/away/../other"}), "outside of its folder"),
        (linked("build", "a", **{"b": "a/../../etc"}), "outside of its folder"),
        (linked("..", **{"build/away/x": "vmlinux"}), "'build/away/x' is below a link"),
        (linked(""), "links to nothing"),
        (unlisted, "is not in its index"),
        (missing, "files are missing, such as 'vmlinux'"),
        (altered, "'vmlinux' has changed"),
        (device, "'vmlinux' is not what the index says"),
        (hard_link, "'vmlinux' is not what the index says"),
        (entry("../x"), "no name for a folder"),
        (entry(".making-x"), "no name for a folder"),
    ],
)
def test_what_nobody_exported_is_refused(
    bench: Bench,
    tmp_path: Path,
    change: Callable[[Index, dict[str, tarfile.TarInfo]], None],
    expected: str,
) -> None:
    file = exported(bench, tmp_path)
    rewrite(file, change)
    other = tmp_path / "deep/er/other"
    with pytest.raises(KernelArchiveError, match=expected):
        take(bench, file, other)
    left = [path for path in (tmp_path / "deep").rglob("*") if path.is_file()]
    assert [path.name for path in left if not path.name.endswith(".lock")] == []


def test_a_link_inside_comes_back(bench: Bench, tmp_path: Path) -> None:
    file = exported(bench, tmp_path)

    rewrite(file, linked("../vmlinux", loop="loop"))
    kernel = take(bench, file, tmp_path / "other")
    assert (kernel.build / "away").resolve() == kernel.image


def test_a_kernel_of_other_options_is_refused(bench: Bench, tmp_path: Path) -> None:
    file = exported(bench, tmp_path)
    (tmp_path / "debug.config").write_text("CONFIG_OTHER=y\n")
    with pytest.raises(KernelArchiveError, match="other options") as caught:
        take(bench, file, tmp_path / "other")
    assert "harness kernels build 6.12+debug" in str(caught.value.hint)


def test_what_cannot_be_exported(bench: Bench, tmp_path: Path) -> None:
    store = bench.lab.store()
    with pytest.raises(KernelArchiveError, match="not built here yet"):
        store.export("6.12+debug", tmp_path / "a.tar.zst")
    with pytest.raises(KernelArchiveError, match="no profile"):
        store.export("6.12", tmp_path / "a.tar.zst")
    bench.get("6.12+debug")
    bench.get(bench.own)
    with pytest.raises(KernelArchiveError, match=r"ends in \.tar\.zst"):
        store.export("6.12+debug", tmp_path / "a.zip")
    with pytest.raises(KernelArchiveError, match="only kernels of a series"):
        store.export(bench.own, tmp_path / "a.tar.zst")
    with pytest.raises(KernelArchiveError, match="cannot write"):
        store.export("6.12+debug", tmp_path / "nowhere/a.tar.zst")
    (tmp_path / "a.tar.zst").write_text("an older one")
    set_tool(bench.tools, "zstd", "exit 1")
    with pytest.raises(KernelArchiveError, match=r"zstd failed|cannot write"):
        store.export("6.12+debug", tmp_path / "a.tar.zst")
    assert (tmp_path / "a.tar.zst").read_text() == "an older one"
    assert not list(tmp_path.glob(".a.tar.zst*"))


def test_an_export_that_fails_at_the_last_step_keeps_the_older_file(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system has no hard links, as FAT, and then refuses to rename, too."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    file = exported(bench, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_text("an older one")
    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(KernelArchiveError, match="cannot write: Operation not permitted"):
        bench.lab.store().export("6.12+debug", file)
    assert file.read_text() == "an older one"
    assert not list(tmp_path.glob(".kernel.tar.zst*"))


def test_a_file_that_is_not_there(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(KernelArchiveError, match="no such file"):
        take(bench, tmp_path / "none.tar.zst", tmp_path / "other")
