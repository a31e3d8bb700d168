# SPDX-License-Identifier: GPL-2.0
"""Build one out-of-tree module for one kernel, out of the checkout's sight, cached by content.

modules/NAME-KEY/   what was built: NAME.ko, build.json, build.log (or on another shelf);
                    gcov/ if it counts what is executed: .gcno files, source/, gcov.json
work/NAME-WHERE/    private copy of the sources with kbuild's objects, for the next edit
"""

import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from harness.cache import NO_SPACE, locked, making, no_space, remove_tree
from harness.errors import HarnessError
from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text
from harness.kernel import Kernel
from harness.progress import Progress
from harness.run import Completed, Spawner
from harness.toolchain import Toolchain, choose_toolchain, kernel_id

_SCHEMA = 1
# How many builds of a module are kept: some kernels, some last edits.
_KEPT = 32
# Seconds for which one is kept anyway: longer than any run that was given it. Of mutants more than
# those above are made while one hangs.
_IN_USE = 1800.0
# What a `make` in the checkout itself leaves there (kbuild's own clean rule).
_ARTEFACTS = (
    *("*.o", "*.ko", "*.a", "*.mod", "*.mod.c", "*.cmd", "*.dwo", "*.symversions", ".tmp_*"),
    *("*.gcno", "*.gcda"),
    *("Module.symvers", "Module.markers", "modules.order", ".module-common.*"),
)
_DIRTY = "building"
# Folder in the cache entry of a module that counts.
GCOV = "gcov"
# A function that is inlined before the counters are added has none of its own.
_GCOV_FLAGS = ("-fno-early-inlining",)
_ERROR = re.compile(r"^.+?:\d+(:\d+)?: (fatal )?error: |^ERROR: modpost: |^make.*\*\*\* No rule ")
_WARNING = re.compile(r"^.+?:\d+(:\d+)?: warning: |^WARNING: modpost: ")
# A line that belongs to the message above it: the quoted source, the caret, notes.
_CONTEXT = re.compile(r"^\s*\d* \||^.+?:\d+(:\d+)?: note: ")


class ModuleBuildError(HarnessError):
    """The module does not compile.

    Attributes:
        lines: the compiler's own, with paths of the checkout; the first error comes first.
        log: all that the build printed.
        diagnosed: the compiler, or modpost, names an error; make may fail for want of memory, too.
    """

    def __init__(
        self,
        message: str,
        *,
        lines: tuple[str, ...],
        log: Path,
        hint: str,
        diagnosed: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.lines = lines
        self.diagnosed = diagnosed
        self.log = log


class VermagicError(HarnessError):
    """The module was built for another kernel than the one to boot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleBuild:
    """A module that has been built.

    Attributes:
        ko: the module; never changes once it is there.
        vermagic: what it says it was built for.
        compiler: the compiler's first line of `--version`.
        cached: nothing was built, this was there.
        seconds: how long the build took, or the look into the cache.
        warnings: the compiler's lines (W=1), with paths of the checkout.
        log: all that the build printed.
        gcov: folder with what its counters are read by (coverage.py); None if it has none.
    """

    ko: Path
    vermagic: str
    compiler: str
    cached: bool
    seconds: float
    warnings: tuple[str, ...]
    log: Path
    gcov: Path | None = None


def build_module(
    source: Path,
    kernel: Kernel,
    *,
    name: str,
    cache: Path,
    spawner: Spawner,
    progress: Progress,
    flags: Sequence[str] = (),
    shelf: str = "modules",
    gcov: bool = False,
) -> ModuleBuild:
    """Build a module, or return it from the cache in milliseconds.

    Args:
        source: folder with Kbuild and sources; only read.
        name: of the module: NAME.ko.
        cache: the user's cache folder of this project.
        progress: making a build root is a phase of its own.
        flags: more for the compiler (KCFLAGS).
        shelf: folder of the cache for what is built; each keeps its own newest builds.
        gcov: count what is executed; takes a kernel with CONFIG_GCOV_KERNEL.

    Raises:
        ModuleBuildError: it does not compile.
        VermagicError: it is for another kernel than `kernel` boots.
        ToolchainError: nothing here can build for this kernel.
        CacheError: no space.
        LeashError, KilledError: the build did not come to its end.
    """
    start = time.monotonic()
    sources = read_sources(source)
    toolchain = choose_toolchain(kernel, cache=cache, spawner=spawner, progress=progress)
    flags = (*flags, *(_GCOV_FLAGS if gcov else ()))
    where = (kernel_id(kernel), toolchain.compiler, toolchain.version, *flags)
    entry = cache / shelf / f"{name}-{_key(*where, name, sources=sources)}"
    found = _load(entry, name)
    if found is None:
        work = cache / "work" / f"{name}-{_key(*where, str(source.absolute()))[:16]}"
        waiting = partial(progress.note, f"waiting for another run to build {name}")
        job = _Job(
            source=source, kernel=kernel, name=name, toolchain=toolchain, work=work, gcov=gcov
        )
        with locked(work, waiting=waiting), locked(entry.with_name(name), waiting=waiting):
            found = _load(entry, name)
            if found is None:
                _publish(job, entry, _compile(job, sources, flags, cache, spawner), sources)
                found = _load(entry, name)
                if found is None:
                    raise VermagicError(f"{entry}: not whole after it was built")
                found = replace(found, cached=False)
    # The ones that go first are those that nobody has used for longest.
    os.utime(entry)
    check_vermagic(found.vermagic, kernel, name)
    return replace(found, seconds=time.monotonic() - start)


def read_sources(source: Path) -> dict[str, bytes]:
    """Return what a module is built from: content by path, without what a build left there.

    Raises:
        HarnessError: no such folder, or it has no Kbuild.
    """
    if not (source / "Kbuild").is_file() and not (source / "Makefile").is_file():
        raise HarnessError(f"{source}: no Kbuild there: not the sources of a module")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    relative = ((str(path.relative_to(source)), path) for path in files)
    return {name: path.read_bytes() for name, path in relative if not _is_artefact(name)}


def read_vermagic(ko: Path) -> str:
    """Return the vermagic of a module.

    Raises:
        VermagicError: not a module, or it has none.
    """
    try:
        with ko.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".modinfo")
            entries = section.data().split(b"\0") if section is not None else []
    except ELFError as error:
        raise VermagicError(f"{ko}: not a kernel module: {error}") from error
    for entry in entries:
        if entry.startswith(b"vermagic="):
            return bytes(entry[9:]).decode(errors="replace").strip()
    raise VermagicError(f"{ko}: it has no vermagic")


def check_vermagic(vermagic: str, kernel: Kernel, name: str) -> None:
    """Compare what a module was built for with what will boot.

    Raises:
        VermagicError: they differ; insmod would refuse it.
    """
    release = vermagic.partition(" ")[0]
    if release != kernel.release:
        raise VermagicError(
            f"{name}.ko is built for {release}, but the kernel to boot is {kernel.release}",
            hint=f"{kernel.build} is not the build folder of {kernel.image}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    source: Path
    kernel: Kernel
    name: str
    toolchain: Toolchain
    work: Path
    gcov: bool

    @property
    def copy(self) -> Path:
        return self.work / "src"

    @property
    def ko(self) -> Path:
        return self.copy / f"{self.name}.ko"


def _key(*parts: str, sources: Mapping[str, bytes] | None = None) -> str:
    digest = hashlib.sha256("\0".join(parts).encode())
    for name, content in (sources or {}).items():
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def _is_artefact(name: str) -> bool:
    return any(fnmatch.fnmatch(Path(name).name, pattern) for pattern in _ARTEFACTS)


def _compile(
    job: _Job, sources: Mapping[str, bytes], flags: Sequence[str], cache: Path, spawner: Spawner
) -> str:
    """Run kbuild in the private copy; return what it printed, with paths of the checkout.

    The objects of the last build stay there, and only files that differ are written, so that kbuild
    compiles no more than an edit touched (tests/test_kmod.py compares that with a full build). They
    go when the last build was cut short, or failed without an error of the compiler's, since an
    object may be half-written, and when it had warnings, which would not be shown again.
    """
    dirty = job.work / _DIRTY
    if dirty.exists():
        remove_tree(job.copy)
    job.copy.mkdir(parents=True, exist_ok=True)
    dirty.touch()
    _sync(sources, job.copy)
    job.ko.unlink(missing_ok=True)
    variables = ["W=1"]
    if flags:
        variables.append(f"KCFLAGS={' '.join(flags)}")
    if job.gcov:
        variables.append("GCOV_PROFILE=y")
    completed = job.toolchain.make(
        job.kernel, job.copy, *variables, visible=(cache,), spawner=spawner
    )
    if NO_SPACE in completed.output:
        raise no_space(job.work)
    spawner.see_ended(completed.status, f"make of {job.name} for {job.kernel.release}")
    text = map_paths(completed.output, copy=job.copy, source=job.source)
    ended = completed.status == 0 or messages(text, _ERROR)
    if ended and not messages(text, _WARNING):
        dirty.unlink()
    if completed.status != 0 or not job.ko.is_file():
        raise _failure(job, completed, text)
    return text


def _sync(sources: Mapping[str, bytes], copy: Path) -> None:
    """Make the copy's sources those given, touching only what differs."""
    for path in copy.rglob("*"):
        name = str(path.relative_to(copy))
        if path.is_file() and name not in sources and not _is_artefact(name):
            path.unlink()
    for name, content in sources.items():
        path = copy / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _publish(job: _Job, entry: Path, log: str, sources: Mapping[str, bytes]) -> None:
    vermagic = read_vermagic(job.ko)
    check_vermagic(vermagic, job.kernel, job.name)
    with making(entry) as temp:
        (temp / job.ko.name).write_bytes(job.ko.read_bytes())
        write_text(temp / "build.log", log)
        if job.gcov:
            _keep_gcov(job, temp / GCOV, sources)
        document = {
            "schema": _SCHEMA,
            "vermagic": vermagic,
            "compiler": job.toolchain.version,
            "warnings": messages(log, _WARNING),
        }
        write_text(temp / "build.json", dump(document))
    for folder in (entry.parent, job.work.parent):
        _prune(folder, job.name)


def _prune(folder: Path, name: str) -> None:
    """Remove the oldest builds of a module, those in use excepted."""
    times = {build: build.stat().st_mtime for build in folder.glob(f"{name}-*/")}
    unused = time.time() - _IN_USE
    for old in sorted(times, key=lambda build: times[build])[:-_KEPT]:
        if times[old] < unused:
            remove_tree(old)


def _keep_gcov(job: _Job, folder: Path, sources: Mapping[str, bytes]) -> None:
    """Keep what turns counters into lines: the compiler's notes, and the sources as they were."""
    folder.mkdir()
    for notes in job.copy.glob("*.gcno"):
        (folder / notes.name).write_bytes(notes.read_bytes())
    for name, content in sources.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # The guest's kernel knows the counters by the folder in which the objects were made.
    write_text(folder / "gcov.json", dump({"schema": _SCHEMA, "objects": str(job.copy)}))


def _load(entry: Path, name: str) -> ModuleBuild | None:
    path = entry / "build.json"
    try:
        fields = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
        build = ModuleBuild(
            ko=entry / f"{name}.ko",
            vermagic=fields.text("vermagic"),
            compiler=fields.text("compiler"),
            cached=True,
            seconds=0.0,
            warnings=fields.texts("warnings"),
            log=entry / "build.log",
            gcov=entry / GCOV if (entry / GCOV).is_dir() else None,
        )
    except DocumentError:
        return None
    return build if build.ko.is_file() else None


def map_paths(text: str, *, copy: Path, source: Path) -> str:
    """Replace paths of a private copy of a module by the checkout's.

    Since Linux 6.13 kbuild compiles in the module's folder and prints paths relative to it.
    """
    text = text.replace(f"{copy}/", f"{source}/")

    def mapped(match: re.Match[str]) -> str:
        known = (copy / match[2]).is_file()
        return f"{match[1]}{source}/{match[2]}:" if known else match[0]

    return re.sub(
        r"^((?:In file included from | +from )?)([\w.][^\s:]*):(?=\d)", mapped, text, flags=re.M
    )


def messages(log: str, head: re.Pattern[str]) -> tuple[str, ...]:
    """Return the compiler's messages of one kind, each line with those that belong to it."""
    found: list[str] = []
    inside = False
    for line in log.splitlines():
        inside = bool(head.match(line)) or (inside and bool(_CONTEXT.match(line)))
        if inside:
            found.append(line)
    return tuple(found)


def _failure(job: _Job, completed: Completed, text: str) -> ModuleBuildError:
    log = job.work / "build.log"
    write_text(log, text)
    lines = messages(text, _ERROR)
    diagnosed = bool(lines)
    if not diagnosed:
        # Not the compiler's: make's own, or no NAME.ko came out of it.
        tail = [line for line in text.splitlines() if "***" in line]
        lines = tuple(tail) or (f"{job.source}/Kbuild builds no {job.ko.name}",)
    return ModuleBuildError(
        f"{job.name} does not build for {job.kernel.release} with {job.toolchain.compiler}: "
        f"{lines[0]}",
        lines=lines,
        log=log,
        hint=f"all that the build printed: {log}",
        diagnosed=diagnosed,
    )
