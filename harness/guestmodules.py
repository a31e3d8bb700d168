# SPDX-License-Identifier: GPL-2.0
"""The modules of a guest's own kernel: which ones, in what order, and unpacked."""

import functools
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cache import cache_errors, locked, making
from harness.guestroot import GuestRootError, Load
from harness.kernel import Kernel

_SIGNED = b"~Module signature appended~\n"


def module_files(kernel: Kernel, names: Sequence[str]) -> list[Path]:
    """Return the files of these modules, each after those that it depends on.

    Args:
        kernel: whose modules.dep says what there is.
        names: with underscores. One that is built in or that the kernel lacks has no file.
    """
    index = kernel.moddir / "modules.dep" if kernel.moddir else None
    if index is None or not index.is_file():
        return []
    depends = _dependencies(index, index.stat().st_mtime_ns)
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in order or name not in depends:
            return
        file, *needs = depends[name]
        for need in needs:
            add(need)
        order[name] = _present(index.parent / file)

    for name in names:
        add(name)
    return list(order.values())


@functools.lru_cache(maxsize=4)
def _dependencies(index: Path, _mtime: int) -> Mapping[str, tuple[str, ...]]:
    """Return for each module its file and the modules it needs; each VM of a run asks twice."""
    depends = {}
    for line in index.read_text().splitlines():
        file, _, needs = line.partition(":")
        depends[_name(file)] = (file, *map(_name, needs.split()))
    return depends


def unpacked(file: Path) -> bytes:
    """Return a module as insmod takes it."""
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data


def unsigned(data: bytes) -> bytes:
    """Return a module without the signature that is appended to it.

    Under TCG a kernel takes as long to verify sixteen modules as to insert them: 0.25 s. Whether it
    trusts them is no matter here, where the driver itself is not signed.

    The end of a signed module (Documentation/admin-guide/module-signing.rst): the signature, twelve
    bytes of which the last four are its length, a mark.
    """
    if not data.endswith(_SIGNED):
        return data
    end = len(data) - len(_SIGNED)
    length = int.from_bytes(data[end - 4 : end], "big")
    return data[: max(0, end - 12 - length)]


def kernel_loads(kernel: Kernel, wanted: Sequence[str], *, cache: Path) -> tuple[Load, ...]:
    """Return what a guest has to insert of its own kernel.

    Args:
        kernel: the guest's.
        wanted: modules, each with its parameters behind it: "vivid n_devs=2".
        cache: the user's cache folder of this project; keeps what was unpacked.

    Raises:
        CacheError: the cache cannot be used.
        GuestRootError: a module cannot be unpacked.
    """
    parameters = {words[0]: tuple(words[1:]) for words in map(str.split, wanted)}
    shelf = cache / "unsigned-modules" / f"{kernel.release}-{kernel.sha256[:12]}"
    loads = []
    for file in module_files(kernel, tuple(parameters)):
        name = file.name.removesuffix(".xz")
        ko = shelf / _name(name) / name
        with locked(ko.parent), cache_errors(shelf):
            if not ko.exists():
                try:
                    data = unpacked(file)
                except (lzma.LZMAError, OSError) as error:
                    raise GuestRootError(
                        f"{file}: cannot unpack: {error}", hint="fetch the kernel again"
                    ) from None
                with making(ko.parent) as staging:
                    (staging / name).write_bytes(unsigned(data))
        loads.append(Load(ko=ko, parameters=parameters.get(_name(name), ()), watched=False))
    return tuple(loads)


def _name(file: str) -> str:
    return file.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _present(file: Path) -> Path:
    """Return the file, or its unpacked twin: the kernel store unpacks some after depmod has run."""
    twin = file.with_suffix("")
    return twin if file.suffix == ".xz" and not file.exists() and twin.exists() else file
