# SPDX-License-Identifier: GPL-2.0
"""The kernels that we build ourselves, by name: 6.12+debug, ~/linux+kcsan. Built once and kept.

    kernels/6.12+debug/6.12.117-1-KEY   one build: vmlinux, build/, source/, manifest.json
    kernels/6.12+debug.log              what the last build printed
    kernel-work/6.12+debug              source and objects while it is built; of a user's own tree
                                        they stay, for the next edit
    ccache/                             ccache's own

A build never changes once it is there. It is taken as long as the options and the compiler are the
same, and of a user's tree the files; newer packages of the source only when asked for.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.buildroot import open_buildroot
from harness.builtkernel import MANIFEST, SCHEMA, Built, builds_in, load_built
from harness.cache import cache_errors, digest_file, locked, making, remove_tree, tree_size
from harness.jsonfile import dump, write_text
from harness.kconfig import LostOptionError
from harness.kernel import Kernel
from harness.kernelbuild import (
    Compiler,
    KernelBuild,
    KernelBuildError,
    Recipe,
    check_tools,
    host_compiler,
    too_old,
)
from harness.kernelname import is_local
from harness.kernelpack import pack
from harness.kernelsource import SourcePackage, source_package
from harness.matrix import Matrix
from harness.owntree import OwnTree, tree_version
from harness.progress import Phase, Progress
from harness.run import Spawner

# Of each name: the newest, and the one before, which a run may have booted.
_KEPT = 2
_DIRTY = "building"
# What compiling a kernel takes in a build root, beside what modules take.
_IN_ROOT = ("flex", "bison", "bc", "libelf-dev", "libc6-dev", "binutils")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKernels:
    """Finds and builds kernels of ours.

    Attributes:
        cache: the user's cache folder of this project.
        matrix: series and profiles.
        spawner: the one door for processes.
        progress: each build is one phase.
        keyring: as for :class:`harness.archive.Archive`.
    """

    cache: Path
    matrix: Matrix
    spawner: Spawner
    progress: Progress
    keyring: Path | None

    def get(self, base: str, profile: str, *, newest: bool = False) -> Kernel:
        """Return a kernel of ours, building it if it is not there.

        Args:
            base: a series, or the path of a source tree.
            profile: a profile of the matrix.
            newest: of a series, look for a newer source package.

        Raises:
            HarnessError: no such series, tree or profile; or it does not build.
        """
        job = self._job(base, profile)
        with self.progress.phase("kernel") as phase:
            built = None if newest and job.tree is None else job.find()
            if built is not None:
                phase.done(f"{job.name}: {built.kernel.release}, built before")
            else:
                built = self._build(job, phase, newest=newest)
        suite = self.matrix.suite(built.kernel.suite or "")
        root = suite.buildroot if suite else None
        return replace(built.kernel, name=job.name, buildroot=root)

    def key(self, base: str, profile: str) -> str:
        """Return what a build from the newest source is kept by; builds nothing.

        The host's compiler is part of it, though a build root's may have to be taken: which one
        that is follows from the source.

        Raises:
            HarnessError: no such series, tree or profile, no network, or no compiler.
        """
        job = self._job(base, profile)
        compiler = job.compiler or host_compiler(self.spawner)
        if job.tree is not None:
            return f"{job.folder.name}-{job.entry(tree_version(job.tree.path), compiler).name}"
        with (
            self.progress.phase("key") as phase,
            source_package(
                self.matrix.find(base),
                cache=self.cache,
                spawner=self.spawner,
                phase=phase,
                keyring=self.keyring,
            ) as source,
        ):
            job = replace(job, source=source.package.sha256, package=source)
            phase.done(f"{source.package.name} {source.package.version}")
        return f"{job.name}-{job.entry('', compiler).name}"

    def listing(self) -> tuple[Built, ...]:
        """Return the newest build of each name, sorted by name."""
        found = (self.newest(folder) for folder in sorted(self._kernels.glob("*+*/")))
        return tuple(built for built in found if built is not None)

    def newest(self, folder: Path) -> Built | None:
        """Return the newest of the builds in a folder of one name."""
        return next(iter(builds_in(folder)), None)

    @property
    def _kernels(self) -> Path:
        return self.cache / "kernels"

    def _job(self, base: str, profile: str) -> "_Job":
        chosen = self.matrix.profile(profile)
        recipe = Recipe.of(chosen.name, chosen.fragments)
        compiler: Compiler | None = None
        # Without a compiler a kernel that came from elsewhere can still be had.
        with suppress(KernelBuildError):
            compiler = host_compiler(self.spawner)
        if not is_local(base):
            name = f"{self.matrix.find(base).name}+{profile}"
            return _Job(
                name=name,
                base=base,
                recipe=recipe,
                compiler=compiler,
                folder=self._kernels / name,
                work=self.cache / "kernel-work" / name,
            )
        tree = OwnTree.at(Path(base).expanduser().resolve(), self.spawner)
        where = hashlib.sha256(str(tree.path).encode()).hexdigest()[:8]
        name = f"{re.sub('[^A-Za-z0-9._-]', '-', tree.path.name)}-{where}+{profile}"
        return _Job(
            name=f"{base}+{profile}",
            base=base,
            recipe=recipe,
            compiler=compiler,
            folder=self._kernels / name,
            work=self.cache / "kernel-work" / name,
            tree=tree,
            source=tree.fingerprint(),
        )

    def _build(self, job: "_Job", phase: Phase, *, newest: bool) -> Built:
        waiting = partial(phase.update, "another run is building it")
        with locked(job.folder, waiting=waiting), cache_errors(self.cache):
            built = None if newest and job.tree is None else job.find()
            if built is None:
                with job.workplace() as out:
                    if job.tree is None:
                        job = self._unpack(job, out.parent / "tree", phase)
                        built = job.find()
                    built = built or self._make(job, out, phase)
                for old in builds_in(job.folder)[_KEPT:]:
                    remove_tree(old.folder)
        phase.done(f"{job.name}: {built.kernel.release}, {built.size >> 20} MiB")
        return built

    def _unpack(self, job: "_Job", tree: Path, phase: Phase) -> "_Job":
        """Say which package a series is built from, and unpack it unless that was built before."""
        with source_package(
            self.matrix.find(job.base),
            cache=self.cache,
            spawner=self.spawner,
            phase=phase,
            keyring=self.keyring,
        ) as source:
            job = replace(job, source=source.package.sha256, package=source)
            if job.find() is None:
                check_tools(self.spawner)
                tree.mkdir()
                source.unpack(tree, spawner=self.spawner, phase=phase)
        return job

    def _make(self, job: "_Job", out: Path, phase: Phase) -> Built:
        start = time.monotonic()
        check_tools(self.spawner)
        tree = out.parent / "tree"
        if job.tree is not None:
            phase.update(f"reading {job.tree.path}")
            tree = job.tree.source(tree)
        compiler = self._compiler(job, tree)
        build = KernelBuild(
            tree=tree,
            out=out,
            log=job.folder.with_name(f"{job.folder.name}.log"),
            recipe=job.recipe,
            compiler=compiler,
            cache=self.cache,
        )
        build.run(self.spawner, phase)
        entry = job.entry(tree_version(tree), compiler)
        with making(entry) as temp:
            phase.update("keeping what boots and builds modules")
            pack(tree=tree, out=out, target=temp, spawner=self.spawner)
            self._write_manifest(temp, job, compiler, time.monotonic() - start)
        built = load_built(entry)
        if built is None:
            raise KernelBuildError(f"{entry}: not whole after it was built", hint="try again")
        return built

    def _compiler(self, job: "_Job", tree: Path) -> Compiler:
        """Return the host's compiler, or that of a build root where the host's is too old."""
        host = job.compiler or host_compiler(self.spawner)
        why = too_old(tree, self.spawner)
        if why is None:
            return host
        if job.package is None:
            raise KernelBuildError(f"{tree}: {why}", hint="install a newer gcc")
        spec = job.package.archive.suite.buildroot
        packages = dict.fromkeys((*spec.packages, *_IN_ROOT))
        root = open_buildroot(
            replace(spec, packages=tuple(packages)),
            cache=self.cache,
            spawner=self.spawner,
            progress=self.progress,
        )
        argv = root.command((spec.compiler, "--version"), visible=())
        version = self.spawner.run(argv, deadline=60).output.partition("\n")[0]
        return Compiler(command=spec.compiler, version=version, root=root)

    def _write_manifest(
        self, folder: Path, job: "_Job", compiler: Compiler, seconds: float
    ) -> None:
        package = None if job.package is None else job.package.package
        document: dict[str, object] = {
            "schema": SCHEMA,
            "name": job.name,
            "profile": job.recipe.profile,
            "release": (folder / "build/include/config/kernel.release").read_text().strip(),
            "package": None if package is None else f"{package.name} {package.version}",
            "suite": None if job.package is None else job.package.archive.suite.name,
            "source": job.source,
            "config": job.recipe.digest,
            "command": compiler.command,
            "compiler": compiler.version,
            "in_root": compiler.root is not None,
            "sha256": digest_file(folder / "vmlinux"),
            "size": tree_size(folder),
            "seconds": round(seconds, 1),
        }
        write_text(folder / MANIFEST, dump(document))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A kernel that was asked for.

    Attributes:
        name: as the user says it.
        base: the part before the plus.
        folder: where its builds are kept.
        work: where it is built.
        tree: the user's own source tree; None for a series.
        source: hash of what it is built from; None while any package of the series will do.
        package: of a series, once it is known.
    """

    name: str
    base: str
    recipe: Recipe
    compiler: Compiler | None
    folder: Path
    work: Path
    tree: OwnTree | None = None
    source: str | None = None
    package: SourcePackage | None = None

    def find(self) -> Built | None:
        """Return the newest build that is what was asked for."""
        for built in builds_in(self.folder):
            same = self.compiler is not None and built.compiler == self.compiler.version
            if (
                built.config == self.recipe.digest
                and self.source in (None, built.source)
                and (same or built.in_root or built.imported)
            ):
                return built
        return None

    def entry(self, version: str, compiler: Compiler) -> Path:
        """Return the folder for a build."""
        parts = (self.source or "", self.recipe.digest, compiler.version)
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
        package = None if self.package is None else self.package.package.version
        return self.folder / f"{package or version}-{key}"

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """Give the folder for the objects, and clean up: an own tree's stay for the next edit.

        They go when the last build was cut short: an object, or a copied file, may be half-written.
        """
        dirty, out = self.work / _DIRTY, self.work / "out"
        if self.tree is None or dirty.exists():
            remove_tree(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        dirty.touch()
        try:
            yield out
        except (KernelBuildError, LostOptionError):
            # make came to its end: an error in a file is mended and built again from there.
            if self.tree is not None:
                dirty.unlink()
            raise
        except BaseException:
            remove_tree(self.work)
            raise
        else:
            dirty.unlink()
        finally:
            if self.tree is None:
                remove_tree(self.work)
