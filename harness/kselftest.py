# SPDX-License-Identifier: GPL-2.0
"""Specifications to static test programs, and the ids that they will report."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.cache import NO_SPACE, cache_errors, locked, making, no_space
from harness.errors import HarnessError
from harness.generated import generated
from harness.run import Running, Spawner
from harness.spec import Spec, load_specs

_COMPILERS = ("gcc", "cc")
# -O1: what the tests do is system calls; more only makes the compiler slower.
_FLAGS = ("-static", "-O1", "-g", "-Wall", "-Wextra", "-Werror")
# Seconds: a suite compiles in about one.
_DEADLINE = 120.0


class CompileError(HarnessError):
    """A suite does not compile: ``lines`` has the compiler's own lines."""

    def __init__(self, suite: str, output: str) -> None:
        errors = [line for line in output.splitlines() if "error" in line] or [output.strip()]
        super().__init__(f"suite {suite} does not compile: {errors[0]}")
        self.lines = tuple(output.splitlines())


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One compiled suite.

    Attributes:
        name: the stem of its specification.
        binary: the static program.
        source: the generated C that it was compiled from.
        ids: `fixture.variant.test`, in the order of running.
        modules: our modules that it wants beside the driver.
        kernel_modules: those of the guest's kernel that it wants, with parameters behind them.
        cmdline: words that the guest's kernel command line needs.
        cpus: virtual CPUs that the guest needs.
    """

    name: str
    binary: Path
    source: Path
    ids: tuple[str, ...]
    modules: tuple[str, ...]
    cmdline: tuple[str, ...]
    kernel_modules: tuple[str, ...] = ()
    cpus: int = 1

    @property
    def full_ids(self) -> tuple[str, ...]:
        """`suite:id`, as in results."""
        return tuple(f"{self.name}:{id}" for id in self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestBuild:
    """All suites, by name, and how many of them were in the cache."""

    suites: tuple[Suite, ...]
    cached: int

    @property
    def sha256(self) -> str:
        """Hash of what all suites were compiled from, and by what.

        Not of the programs: their debug info has the paths of the machine that built them.
        """
        keys = "\n".join(suite.binary.parent.name for suite in self.suites)
        return hashlib.sha256(keys.encode()).hexdigest()

    @property
    def full_ids(self) -> tuple[str, ...]:
        """`suite:id` of every test, in the order of running."""
        return tuple(id for suite in self.suites for id in suite.full_ids)


def build(
    specs_dir: Path,
    *,
    source: Path,
    cache: Path,
    spawner: Spawner,
    waiting: Callable[[], None] = lambda: None,
) -> SelftestBuild:
    """Generate and compile every suite that is not in the cache.

    Args:
        specs_dir: folder of the specifications.
        source: root of the repository, for templates and headers.
        cache: folder for the programs; any number of processes may share it.
        spawner: runs the compiler.
        waiting: called when another run is compiling the same.

    Raises:
        SpecError, TemplateError: a specification or template is malformed.
        CompileError: a suite does not compile.
        HarnessError: there is no C compiler, or a program does not list the ids of its
            specification.
    """
    specs = load_specs(specs_dir)
    texts = generated(specs, source / "selftests" / "templates", cache=cache)
    compiler = _Compiler(source, spawner)
    jobs = [
        _Job(spec, text, cache / f"{spec.name}-{compiler.key(text)}")
        for spec, text in zip(specs, texts, strict=True)
    ]
    missing = [job for job in jobs if not job.folder.exists()]
    _compile(missing, compiler, waiting)
    return SelftestBuild(suites=tuple(_suite(job) for job in jobs), cached=len(jobs) - len(missing))


def build_one(path: Path, *, source: Path, cache: Path, spawner: Spawner) -> Suite:
    """Compile a suite that is written in C.

    Args:
        path: its source; the stem is the suite's name.
        source: root of the repository, for headers.
        cache: folder for the program; any number of processes may share it.
        spawner: runs the compiler.

    Raises:
        CompileError: it does not compile.
        HarnessError: there is no C compiler.
    """
    name, text = path.stem, path.read_text()
    compiler = _Compiler(source, spawner)
    folder = cache / f"{name}-{compiler.key(text)}"
    with locked(folder):
        if not folder.exists():
            with making(folder) as staging:
                (staging / path.name).write_text(text)
                with compiler.start(name, staging) as running:
                    completed = running.finish(deadline=_DEADLINE, check=False)
                if completed.status != 0:
                    raise CompileError(name, completed.output)
                compiler.list_ids(name, staging)
    return Suite(
        name=name,
        binary=folder / name,
        source=folder / path.name,
        ids=tuple((folder / f"{name}.ids").read_text().split()),
        modules=(),
        cmdline=(),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A suite, its C text, and its place in the cache."""

    spec: Spec
    text: str
    folder: Path


class _Compiler:
    """The host's compiler, with all that decides what comes out of it."""

    def __init__(self, source: Path, spawner: Spawner) -> None:
        found = [path for path in map(spawner.which, _COMPILERS) if path is not None]
        if not found:
            raise HarnessError(
                "no C compiler: none of " + ", ".join(_COMPILERS) + " is on PATH",
                hint="ci/install-deps installs what is missing",
            )
        self._spawner = spawner
        include = source / "selftests" / "include"
        modules = source / "selftests" / "modules"
        uapi = source / "module" / "include" / "uapi"
        self._argv = (
            str(found[0]),
            *_FLAGS,
            f"-fmacro-prefix-map={include}/=",
            *("-I", str(include), "-I", str(modules), "-isystem", str(uapi)),
        )
        version = spawner.run([found[0], "--version"], deadline=_DEADLINE).output
        headers = sorted(
            path for folder in (include, modules, uapi) for path in folder.rglob("*.h")
        )
        self._state = hashlib.sha256("\0".join([version, *self._argv]).encode())
        for header in headers:
            self._state.update(header.read_bytes() + b"\0")

    def key(self, text: str) -> str:
        """Return a name for what this compiler makes of this C text."""
        state = self._state.copy()
        state.update(text.encode())
        return state.hexdigest()[:16]

    def start(self, name: str, folder: Path) -> AbstractContextManager[Running]:
        """Start to compile `name`.c to `name`.

        The compiler runs in the folder: failures of tests then name the file without a path.
        """
        argv = [*self._argv, f"{name}.c", "-o", name]
        return self._spawner.start(argv, cwd=folder)

    def list_ids(self, name: str, folder: Path) -> None:
        """List a program's ids into `name`.ids."""
        listing = self._spawner.run([folder / name, "-l"], deadline=_DEADLINE)
        (folder / f"{name}.ids").write_text(listing.output)


def _compile(jobs: Sequence[_Job], compiler: _Compiler, waiting: Callable[[], None]) -> None:
    """Put suites into the cache that no other run has put there meanwhile, all at once.

    Always in the order of their names, so that two runs cannot wait for each other's locks.
    """
    errors: list[CompileError] = []
    with ExitStack() as everything:
        started: list[tuple[_Job, ExitStack, Path, Running]] = []
        for job in jobs:
            stack = everything.enter_context(ExitStack())
            stack.enter_context(locked(job.folder, waiting=waiting))
            if job.folder.exists():
                continue
            staging = stack.enter_context(making(job.folder))
            stack.enter_context(cache_errors(job.folder.parent))
            (staging / f"{job.spec.name}.c").write_text(job.text)
            running = stack.enter_context(compiler.start(job.spec.name, staging))
            started.append((job, stack, staging, running))
        for job, stack, staging, running in started:
            try:
                # Leaving it publishes the suite, or removes what there is of it.
                with stack:
                    _finish(job, compiler, staging, running)
            except CompileError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _finish(job: _Job, compiler: _Compiler, staging: Path, running: Running) -> None:
    spec = job.spec
    completed = running.finish(deadline=_DEADLINE, check=False)
    if completed.status != 0:
        if NO_SPACE in completed.output:
            raise no_space(job.folder.parent)
        raise CompileError(spec.name, completed.output)
    compiler.list_ids(spec.name, staging)
    ids = _read_ids(spec, staging)
    if ids != spec.ids:
        stray = sorted(set(ids) ^ set(spec.ids)) or ["their order"]
        raise HarnessError(
            f"{spec.path}: {spec.template} does not define the same tests: {stray[0]}"
        )


def _suite(job: _Job) -> Suite:
    spec = job.spec
    return Suite(
        name=spec.name,
        binary=job.folder / spec.name,
        source=job.folder / f"{spec.name}.c",
        ids=_read_ids(spec, job.folder),
        modules=spec.modules,
        cmdline=spec.cmdline,
        kernel_modules=spec.kernel_modules,
        cpus=spec.cpus,
    )


def _read_ids(spec: Spec, folder: Path) -> tuple[str, ...]:
    return tuple((folder / f"{spec.name}.ids").read_text().split())
