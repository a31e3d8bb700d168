# SPDX-License-Identifier: GPL-2.0
"""A kernel that was built here as one file, and back: for a CI's cache, or for a colleague.

A tar archive, compressed by zstd(1). Its first member, kernel.json, says what the kernel is and
names every other member with its size, mode and hash; nothing else may be in it, and nothing of it
is used before all of it has been seen to be right. What is imported brings programs that module
builds run (modpost, objtool): import from those whom you would let build your modules.
"""

import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from subprocess import PIPE
from typing import IO, Protocol

from harness.builtkernel import IMPORTED, SCHEMA, Built, load_built
from harness.cache import digest_file, locked, making
from harness.errors import HarnessError
from harness.jsonfile import DocumentError, Fields, dump
from harness.kernelbuild import Recipe
from harness.matrix import Matrix
from harness.run import Spawner

_INDEX = "kernel.json"
_SUFFIX = ".tar.zst"
_CHUNK = 1 << 20
# Of kernel.json; a kernel has some 30,000 files.
_INDEX_LIMIT = 64 << 20


class KernelArchiveError(HarnessError):
    """The file is not a kernel that was exported, or cannot be written."""


class _Reader(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """What the index says of one file: its size and SHA-256, or where it links to."""

    mode: int
    size: int
    sha256: str
    link: str | None


def export_kernel(built: Built, file: Path, *, spawner: Spawner) -> None:
    """Write a kernel into an archive, whole or not at all.

    Args:
        file: NAME.tar.zst; replaced.

    Raises:
        KernelArchiveError: no zstd, or the file cannot be written.
    """
    if not file.name.endswith(_SUFFIX):
        raise KernelArchiveError(f"{file}: expected a name that ends in {_SUFFIX}")
    if built.kernel.profile is None or "/" in built.kernel.name:
        raise KernelArchiveError(
            f"{built.kernel.name}: only kernels of a series are exported, such as 6.12+debug",
            hint="a tree of your own is built where it lies",
        )
    _need_zstd(spawner)
    paths = sorted(path for path in built.folder.rglob("*") if path.is_symlink() or path.is_file())
    names = [str(path.relative_to(built.folder)) for path in paths]
    index = [_describe(path, name) for name, path in zip(names, paths, strict=True)]
    document = {
        "schema": SCHEMA,
        "name": built.kernel.name,
        "entry": built.folder.name,
        "config": built.config,
        "files": index,
    }
    try:
        # A folder of its own: what is moved out of it is not there to be removed.
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
            temp = Path(folder, file.name)
            argv = ("zstd", "-q", "-T0", "-9", "-c", "-")
            with temp.open("wb") as out, spawner.spawn(argv, stdin=PIPE, stdout=out) as process:
                assert process.stdin is not None
                with process.stdin, tarfile.open(fileobj=process.stdin, mode="w|") as tar:
                    _add(tar, _INDEX, dump(document).encode())
                    for name, path in zip(names, paths, strict=True):
                        tar.add(path, name, recursive=False, filter=_anonymous)
                status = process.wait()
            if status != 0:
                raise KernelArchiveError(f"{file}: zstd failed with status {status}")
            temp.chmod(0o644)
            temp.replace(file)
    except OSError as error:
        raise KernelArchiveError(
            f"{file}: cannot write: {error.strerror}",
            hint="free some space, or name another folder",
        ) from error


def import_kernel(file: Path, *, cache: Path, matrix: Matrix, spawner: Spawner) -> Built:
    """Put a kernel from an archive into the cache.

    Args:
        file: as :func:`export_kernel` wrote it.
        cache: the user's cache folder of this project.
        matrix: its profiles; the kernel must be of one, as it is here.

    Raises:
        KernelArchiveError: damaged, cut off, made by somebody else, or of other options.
        CacheError: no space.
    """
    if not file.is_file():
        raise KernelArchiveError(f"{file}: no such file")
    _need_zstd(spawner)
    with _reading(file, spawner) as (tar, finish):
        head = tar.next()
        if head is None or head.name != _INDEX or not head.isreg() or head.size > _INDEX_LIMIT:
            raise _damaged(file, f"it does not begin with {_INDEX}")
        document = tar.extractfile(head)
        assert document is not None
        text = document.read().decode(errors="replace")
        try:
            fields = Fields.parse(text, source=f"{file}:{_INDEX}", schema=SCHEMA)
            name, entry, config = fields.text("name"), fields.text("entry"), fields.text("config")
            members = {
                one.text("path"): _Member(
                    mode=one.count("mode"),
                    size=one.count("size"),
                    sha256=one.text("sha256"),
                    link=one.text_or_none("link"),
                )
                for one in fields.objects("files")
            }
        except DocumentError as error:
            raise _damaged(file, str(error)) from error
        _check_name(file, name, entry, config, matrix)
        _check_paths(file, members)
        target = cache / "kernels" / name / entry
        with locked(target.parent), making(target) as temp:
            _extract(file, tar, members, temp)
            finish()
            (temp / IMPORTED).touch()
    built = load_built(target)
    if built is None:
        raise _damaged(file, "it has no kernel")
    return built


def _describe(path: Path, name: str) -> dict[str, object]:
    if path.is_symlink():
        link = str(path.readlink())
        return {"path": name, "mode": 0o777, "size": 0, "sha256": "", "link": link}
    info = path.stat()
    return {
        "path": name,
        "mode": stat.S_IMODE(info.st_mode),
        "size": info.st_size,
        "sha256": digest_file(path),
        "link": None,
    }


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who built it and when."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 0
    return info


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _need_zstd(spawner: Spawner) -> None:
    if spawner.which("zstd") is None:
        raise KernelArchiveError("zstd not found", hint="apt-get install zstd")


@contextmanager
def _reading(file: Path, spawner: Spawner) -> Iterator[tuple[tarfile.TarFile, Callable[[], None]]]:
    """Open an archive, and give what has to be called when all of it was read.

    Raises:
        KernelArchiveError: whatever is wrong with it, in one line.
    """
    with spawner.spawn(("zstd", "-q", "-d", "-c", "--", file), stdout=PIPE) as process:
        stream = process.stdout
        assert stream is not None

        def finish() -> None:
            # The checksum over all is at the end.
            while stream.read(_CHUNK):
                pass
            if process.wait() != 0:
                raise _damaged(file, "zstd cannot read it")

        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield tar, finish
        except (tarfile.TarError, EOFError) as error:
            # Of what zstd could not read, tarfile says that it is empty.
            finish()
            raise _damaged(file, str(error)) from error


def _damaged(file: Path, why: str) -> KernelArchiveError:
    return KernelArchiveError(
        f"{file}: not a whole kernel: {why}",
        hint="copy it again, or write it anew with `harness kernels export`",
    )


def _check_name(file: Path, name: str, entry: str, config: str, matrix: Matrix) -> None:
    """Refuse a kernel that no command would take, and names that leave the cache.

    Raises:
        HarnessError: an unknown series or profile, too.
    """
    series, _, profile_name = name.rpartition("+")
    matrix.find(series)
    profile = matrix.profile(profile_name)
    if PurePosixPath(entry).name != entry or entry.startswith("."):
        raise _damaged(file, f"{entry!r} is no name for a folder")
    if Recipe.of(profile.name, profile.fragments).digest != config:
        raise KernelArchiveError(
            f"{file}: {name} was built with other options than kconfigs/ has here",
            hint=f"`harness kernels build {name}`, or check out what it was built from",
        )


def _check_paths(file: Path, members: Mapping[str, _Member]) -> None:
    """Refuse what would be written outside of the kernel's folder, or through a link."""
    links = {path for path, member in members.items() if member.link is not None}
    for path, member in members.items():
        if member.link == "":
            raise _damaged(file, f"{path!r} links to nothing")
        if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
            raise _damaged(file, f"{path!r} leaves its folder")
        if links.intersection(map(str, PurePosixPath(path).parents)):
            raise _damaged(file, f"{path!r} is below a link")


def _extract(file: Path, tar: tarfile.TarFile, members: dict[str, _Member], folder: Path) -> None:
    """Write what the index names, and see that it is all there and nothing else is.

    Links come last: nothing is ever written through one.
    """
    left = dict(members)
    for info in iter(tar.next, None):
        member = left.pop(info.name, None)
        if member is None:
            raise _damaged(file, f"{info.name!r} is not in its index, or twice there")
        if member.link is not None:
            continue
        content = tar.extractfile(info) if info.isreg() else None
        if content is None or info.size != member.size:
            raise _damaged(file, f"{info.name!r} is not what the index says")
        path = folder / info.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if _write(content, path) != member.sha256:
            raise _damaged(file, f"{info.name!r} has changed")
        path.chmod(member.mode & 0o755)
    if left:
        raise _damaged(file, f"{len(left)} files are missing, such as {min(left)!r}")
    links = {name: member.link for name, member in members.items() if member.link is not None}
    for name, target in links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    # Only now: what a link's words mean depends on the links that they go through.
    root = Path(os.path.realpath(folder))
    for name, target in links.items():
        if not Path(os.path.realpath(folder / name)).is_relative_to(root):
            raise _damaged(file, f"{name!r} links to {target!r}, outside of its folder")


def _write(content: _Reader | IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
