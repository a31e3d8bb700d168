# SPDX-License-Identifier: GPL-2.0
"""kconfigs/matrix.toml: the kernels that a user can name, and where they come from."""

import fnmatch
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import HarnessError
from harness.kernelname import is_local, split_profile
from harness.tomlfile import CPUS, MORE_VMS, Table, TomlError
from harness.version import KernelVersion
from harness.vngline import UNSAFE

# Part of folder names, and of a kernel's name behind its last plus.
_PROFILE = re.compile(r"[a-z][a-z0-9-]*")


# A cell's name is that of a folder, too.
_CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# The group of cells that name none: what `harness matrix` runs.
DEFAULT_GROUP = "default"
# MiB: Debian's kernels do not boot with less, and a slip of the keyboard is no machine.
_MEMORY = range(512, 65537)


class MatrixError(TomlError):
    """The matrix file says something that cannot be meant."""

    HINT: ClassVar[str | None] = "the comments in that file tell what can be said there"


class UnknownSeriesError(HarnessError):
    """A series that the matrix does not have."""


class UnknownProfileError(HarnessError):
    """A profile that the matrix does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRootSpec:
    """A Debian root that can build modules.

    Attributes:
        suite: the suite that it is made of.
        mirror: URI of the archive that carries the suite.
        compiler: a package, and the command that it brings.
        packages: what else building a module takes.
    """

    suite: str
    mirror: str
    compiler: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A Debian suite that has kernels.

    Attributes:
        name: the directory under the mirror's `dists/`.
        mirror: URI of the archive that carries it.
        buildroot: the root in which modules for its kernels build.
    """

    name: str
    mirror: str
    buildroot: BuildRootSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A kernel series and the suites to look in, best first.

    Attributes:
        name: such as 6.12; of whatever is the newest of a suite, the suite's.
        newest: it is no series, but the newest kernel of its one suite.
    """

    name: str
    suites: tuple[Suite, ...]
    newest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kernel configuration of ours, named behind a plus: 6.12+debug.

    Attributes:
        fragments: files of kernel options, merged in this order; they exist.
        cpus: virtual CPUs that each VM has at least: such kernels see what two do at once.
    """

    name: str
    fragments: tuple[Path, ...]
    cpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to test the driver.

    Attributes:
        kernel: as in `--kernel`.
        group: what it is run with.
        builtin: test the kernel's own driver instead of ours.
        cmdline: further kernel parameters.
        memory: of a VM, MiB; None for the usual.
        cpus: virtual CPUs that each VM has at least.
        more_vms: further VMs after a crash, hang or dirt, at least.
        accelerator: "kvm" or "tcg"; None for what the host can do.
        tests: globs over ids; none means all.
    """

    name: str
    kernel: str
    group: str = DEFAULT_GROUP
    builtin: bool = False
    cmdline: tuple[str, ...] = ()
    memory: int | None = None
    cpus: int = 1
    more_vms: int = 0
    accelerator: str | None = None
    tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All that the matrix file says.

    Attributes:
        default: the series used when none is named.
        series: oldest first.
        mirrors: name and URI of each archive.
        suites: every suite, also those that no series names.
        profiles: every configuration that a kernel can be built with.
        cells: in the order of the file.
    """

    default: str
    series: tuple[Series, ...]
    mirrors: tuple[tuple[str, str], ...]
    suites: tuple[Suite, ...]
    profiles: tuple[Profile, ...]
    cells: tuple[Cell, ...]

    def find(self, name: str) -> Series:
        """Return the series of that name.

        Raises:
            UnknownSeriesError: there is none.
        """
        for series in self.series:
            if series.name == name:
                return series
        known = ", ".join(series.name for series in self.series)
        raise UnknownSeriesError(
            f"unknown kernel {name!r}: the series are {known}",
            hint="or a suite of Debian, such as sid, for the newest there; a path with a slash: a"
            " build tree, or a vmlinuz with its modules; or 'host'",
        )

    def packaged(self, name: str) -> Series:
        """Return what a kernel that Debian built is called: a series, or its suite.

        Raises:
            UnknownSeriesError: there is neither.
        """
        suite = self.suite(name)
        if suite is None:
            return self.find(name)
        return Series(name=name, suites=(suite,), newest=True)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name.

        Raises:
            UnknownProfileError: there is none.
        """
        for profile in self.profiles:
            if profile.name == name:
                return profile
        known = ", ".join(profile.name for profile in self.profiles)
        raise UnknownProfileError(
            f"unknown profile {name!r}: the profiles are {known}",
            hint="SERIES+PROFILE or PATH+PROFILE, such as 6.12+debug; see kconfigs/matrix.toml",
        )

    def least_cpus(self, kernel_name: str) -> int:
        """Return the CPUs that a VM needs for a kernel, named as in ``--kernel``."""
        wanted = kernel_name.rpartition("+")[2]
        return next((profile.cpus for profile in self.profiles if profile.name == wanted), 1)

    def suite(self, name: str) -> Suite | None:
        """Return the suite of that name, or None."""
        return next((suite for suite in self.suites if suite.name == name), None)


def load_matrix(
    path: Path,
    *,
    mirrors: Mapping[str, str] | None = None,
    tests: Collection[str] | None = None,
) -> Matrix:
    """Read and check the matrix file.

    Args:
        path: the TOML file.
        mirrors: URIs that replace those of the file, by the name that they have there.
        tests: full ids of all that there are, for the globs of cells; None leaves those unchecked.

    Raises:
        MatrixError: names the file, the key and what was expected there.
    """
    top = Table.load(path, MatrixError)
    matrix = _matrix(top, mirrors or {}, path.parent, tests)
    top.finish()
    return matrix


def _matrix(
    top: Table, overrides: Mapping[str, str], folder: Path, tests: Collection[str] | None
) -> Matrix:
    default = top.text("default")
    archives = top.table("mirrors")
    mirrors = {name: archives.text(name) for name in archives.names()}
    for name, uri in overrides.items():
        if name not in mirrors:
            raise top.fail(f"mirrors.{name}", f"one of {', '.join(mirrors)} to replace")
        mirrors[name] = uri
    roots = {
        name: _buildroot(name, table, mirrors)
        for name, table in top.subtables("buildroots").items()
    }
    suites = {
        name: _suite(name, table, mirrors, roots) for name, table in top.subtables("suites").items()
    }
    series = [_series(name, table, suites) for name, table in top.subtables("series").items()]
    if default not in (one.name for one in series):
        raise top.fail("default", f"one of the series, got {default!r}")
    profiles = [_profile(name, table, folder) for name, table in top.subtables("profiles").items()]
    named = _Named(
        packaged={*suites, *(one.name for one in series)},
        series={one.name for one in series},
        profiles=[profile.name for profile in profiles],
        tests=tests,
    )
    cells = [_cell(name, table, named) for name, table in top.subtables("cells").items()]
    return Matrix(
        default=default,
        series=tuple(sorted(series, key=lambda one: KernelVersion.parse(one.name))),
        mirrors=tuple(mirrors.items()),
        suites=tuple(suites.values()),
        profiles=tuple(profiles),
        cells=tuple(cells),
    )


def _buildroot(name: str, table: Table, mirrors: Mapping[str, str]) -> BuildRootSpec:
    spec = BuildRootSpec(
        suite=name,
        mirror=mirrors[table.choice("mirror", mirrors)],
        compiler=table.text("compiler"),
        packages=table.texts("packages", some=True),
    )
    table.finish()
    return spec


def _suite(
    name: str, table: Table, mirrors: Mapping[str, str], roots: Mapping[str, BuildRootSpec]
) -> Suite:
    mirror, root = mirrors[table.choice("mirror", mirrors)], table.choice("buildroot", roots)
    table.finish()
    return Suite(name=name, mirror=mirror, buildroot=roots[root])


def _series(name: str, table: Table, suites: Mapping[str, Suite]) -> Series:
    try:
        version = KernelVersion.parse(name)
    except ValueError:
        version = None
    if version is None or version.series != name:
        raise table.fail("", f"a series such as 6.12, got {name!r}")
    names = table.texts("suites", some=True)
    table.finish()
    for suite in names:
        if suite not in suites:
            raise table.fail("suites", f"some of {', '.join(suites)}, got {suite!r}")
    return Series(name=name, suites=tuple(suites[suite] for suite in names))


def _profile(name: str, table: Table, folder: Path) -> Profile:
    if not _PROFILE.fullmatch(name):
        raise table.fail("", f"lower-case letters, digits and dashes, got {name!r}")
    fragments = tuple(
        folder / f"{fragment}.config" for fragment in table.texts("fragments", some=True)
    )
    cpus = table.within("cpus", CPUS, "CPUs", 1)
    table.finish()
    for fragment in fragments:
        if not fragment.is_file():
            raise table.fail("fragments", f"names of files: there is no {fragment}")
    return Profile(name=name, fragments=fragments, cpus=cpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What a cell can name; see :func:`load_matrix`."""

    packaged: Collection[str]
    series: Collection[str]
    profiles: Collection[str]
    tests: Collection[str] | None

    def kernel(self, table: Table) -> str:
        """Consume a cell's kernel. Whether there is anything at its path, this host's run tells."""
        kernel = table.text("kernel")
        base, profile = split_profile(kernel) or (kernel, None)
        if profile is None:
            known = is_local(kernel) or kernel in self.packaged
        else:
            known = profile in self.profiles and (is_local(kernel) or base in self.series)
        if not known:
            profiles = ", ".join(self.profiles)
            raise table.fail(
                "kernel",
                "SERIES, SUITE or SERIES+PROFILE of this file, a path, PATH+PROFILE or host,"
                f" got {kernel!r}; the profiles are {profiles}",
            )
        return kernel

    def globs(self, table: Table) -> tuple[str, ...]:
        """Consume a cell's tests: a glob that matches none of them is a slip of the keyboard."""
        globs = table.texts("tests")
        for glob in globs:
            if self.tests is not None and not fnmatch.filter(self.tests, glob):
                raise table.fail("tests", f"globs that match a test each, got {glob!r}")
        return globs


def _cell(name: str, table: Table, named: _Named) -> Cell:
    if not _CELL.fullmatch(name):
        raise table.fail("", f"letters, digits and ._+- as in a file's name, got {name!r}")
    kernel = named.kernel(table)
    cmdline = table.texts("cmdline")
    for word in cmdline:
        if UNSAFE.search(word):
            raise table.fail("cmdline", f"words without spaces and quotes, got {word!r}")
    cell = Cell(
        name=name,
        kernel=kernel,
        group=table.text("group", DEFAULT_GROUP),
        builtin=table.choice("driver", ("ours", "builtin"), "ours") == "builtin",
        cmdline=cmdline,
        memory=table.within("memory", _MEMORY, "MiB", 0) or None,
        cpus=table.within("cpus", CPUS, "CPUs", 1),
        more_vms=table.within("more_vms", MORE_VMS, "VMs", 0),
        accelerator=table.choice("accelerator", ("kvm", "tcg"), "") or None,
        tests=named.globs(table),
    )
    table.finish()
    return cell
