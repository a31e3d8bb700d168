# SPDX-License-Identifier: GPL-2.0
"""guestmodules.py: what a guest inserts of its own kernel."""

import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guestmodules import kernel_loads
from harness.guestroot import GuestRootError, Load, Plan
from harness.kernel import Kernel
from tests.test_vm import fake_kernel


def kernel(folder: Path) -> Kernel:
    """One whose vgem needs drm_helper and drm; plain.ko is not compressed."""
    files = {"drm.ko.xz": "", "drm-helper.ko.xz": "drm.ko.xz", "plain.ko": ""}
    files["vgem.ko.xz"] = "drm-helper.ko.xz drm.ko.xz"
    for name in files:
        data = f"{name} itself".encode()
        (folder / name).write_bytes(lzma.compress(data) if name.endswith(".xz") else data)
    index = "".join(f"{name}: {needs}\n" for name, needs in files.items())
    (folder / "modules.dep").write_text(index)
    return replace(fake_kernel(), moddir=folder)


def test_modules_come_unpacked_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    loads = kernel_loads(kernel(tmp_path / "lib"), ["plain", "vgem n=2 m=1,1"], cache=tmp_path)
    assert [load.ko.name for load in loads] == ["plain.ko", "drm.ko", "drm-helper.ko", "vgem.ko"]
    assert [load.parameters for load in loads] == [(), (), (), ("n=2", "m=1,1")]
    assert [load.ko.read_text() for load in loads[:2]] == ["plain.ko itself", "drm.ko.xz itself"]


def test_modules_come_without_their_signatures(tmp_path: Path) -> None:
    """The end of Debian's drm.ko, but for the signature itself."""
    (tmp_path / "lib").mkdir()
    signed = kernel(tmp_path / "lib")
    description = bytes.fromhex("00 00 02 00 00 00 00 00") + (5).to_bytes(4, "big")
    data = b"code" + b"PKCS7" + description + b"~Module signature appended~\n"
    (tmp_path / "lib/drm.ko.xz").write_bytes(lzma.compress(data))
    (load,) = kernel_loads(signed, ["drm"], cache=tmp_path)
    assert load.ko.read_bytes() == b"code"


def test_what_was_unpacked_stays(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (first,) = kernel_loads(kernel(tmp_path / "lib"), ["drm"], cache=tmp_path)
    made = first.ko.stat().st_mtime_ns
    (second,) = kernel_loads(kernel(tmp_path / "lib"), ["drm"], cache=tmp_path)
    assert (second, second.ko.stat().st_mtime_ns) == (first, made)


def test_what_a_kernel_has_not_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    assert kernel_loads(kernel(tmp_path / "lib"), ["vivid"], cache=tmp_path) == ()
    assert kernel_loads(replace(fake_kernel(), moddir=None), ["vgem"], cache=tmp_path) == ()


def test_the_users_of_a_kernels_own_modules_are_not_watched() -> None:
    own, ours = Load(ko=Path("/a/vgem.ko"), watched=False), Load(ko=Path("/b/driver.ko"))
    text = Plan(nonce="ab", loads=(own, ours)).text()
    assert text == "nonce ab\nsupport vgem.ko\nmodule driver.ko\n"


def test_a_module_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    damaged = kernel(tmp_path / "lib")
    (tmp_path / "lib/drm.ko.xz").write_bytes(b"no xz")
    with pytest.raises(GuestRootError, match=r"drm\.ko\.xz: cannot unpack"):
        kernel_loads(damaged, ["drm"], cache=tmp_path)
