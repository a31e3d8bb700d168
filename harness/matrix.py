# SPDX-License-Identifier: GPL-2.0
"""kconfigs/matrix.toml: the kernels that a user can name, and where they come from."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.version import KernelVersion

# Part of folder names, and of a kernel's name behind its last plus.
_PROFILE = re.compile(r"[a-z][a-z0-9-]*")


class MatrixError(HarnessError):
    """The matrix file says something that cannot be meant."""


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
    """A kernel series and the suites to look in, best first."""

    name: str
    suites: tuple[Suite, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kernel configuration of ours, named behind a plus: 6.12+debug.

    Attributes:
        fragments: files of kernel options, merged in this order; they exist.
    """

    name: str
    fragments: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All that the matrix file says.

    Attributes:
        default: the series used when none is named.
        series: oldest first.
        mirrors: name and URI of each archive.
        suites: every suite, also those that no series names.
        profiles: every configuration that a kernel can be built with.
    """

    default: str
    series: tuple[Series, ...]
    mirrors: tuple[tuple[str, str], ...]
    suites: tuple[Suite, ...]
    profiles: tuple[Profile, ...]

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
            hint="or a path with a slash: a build tree, or a vmlinuz with its modules; or 'host'",
        )

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

    def suite(self, name: str) -> Suite | None:
        """Return the suite of that name, or None."""
        return next((suite for suite in self.suites if suite.name == name), None)


def load_matrix(path: Path, *, mirrors: Mapping[str, str] | None = None) -> Matrix:
    """Read and check the matrix file.

    Args:
        path: the TOML file.
        mirrors: URIs that replace those of the file, by the name that they have there.

    Raises:
        MatrixError: names the file, the key and what was expected there.
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise MatrixError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MatrixError(f"{path}: expected UTF-8 text: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{path}: expected TOML: {error}") from error
    top = _Table(path, "", data)
    matrix = _matrix(top, mirrors or {}, path.parent)
    top.finish()
    return matrix


class _Table:
    """A TOML table whose keys are taken one by one, each checked; none may be left over."""

    def __init__(self, path: Path, name: str, data: Mapping[str, Any]) -> None:
        self._path = path
        self._name = name
        self._left = dict(data)
        self._known: list[str] = []

    def error(self, key: str, expected: str) -> MatrixError:
        where = f"{self._name}.{key}" if self._name else key
        return MatrixError(f"{self._path}: {where}: expected {expected}")

    def string(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"a non-empty string, got {_shown(value)}")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, f"a non-empty list of strings, got {_shown(value)}")
        for item in value:
            if not isinstance(item, str) or not item:
                raise self.error(key, f"non-empty strings only, got {_shown(item)}")
        return tuple(value)

    def tables(self, key: str) -> "dict[str, _Table]":
        value = self._take(key)
        if not isinstance(value, dict) or not value:
            raise self.error(key, f"a table with at least one entry, got {_shown(value)}")
        return {name: self._child(f"{key}.{name}", item) for name, item in value.items()}

    def string_table(self, key: str) -> dict[str, str]:
        value = self._take(key)
        table = self._child(key, value)
        return {name: table.string(name) for name in value}

    def mirror(self, mirrors: Mapping[str, str]) -> str:
        name = self.string("mirror")
        if name not in mirrors:
            raise self.error("mirror", f"one of {', '.join(mirrors)}, got {name!r}")
        return mirrors[name]

    def finish(self) -> None:
        """Refuse what nobody took: a misspelled key must not pass for an absent one."""
        for key in self._left:
            raise self.error(key, f"no such key; known here: {', '.join(self._known)}")

    def _child(self, name: str, value: Any) -> "_Table":
        full = f"{self._name}.{name}" if self._name else name
        if not isinstance(value, dict):
            raise self.error(name, f"a table, got {_shown(value)}")
        return _Table(self._path, full, value)

    def _take(self, key: str) -> Any:
        self._known.append(key)
        return self._left.pop(key, None)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _matrix(top: _Table, overrides: Mapping[str, str], folder: Path) -> Matrix:
    default = top.string("default")
    mirrors = top.string_table("mirrors")
    for name, uri in overrides.items():
        if name not in mirrors:
            raise top.error(f"mirrors.{name}", f"one of {', '.join(mirrors)} to replace")
        mirrors[name] = uri
    roots = {
        name: _buildroot(name, table, mirrors) for name, table in top.tables("buildroots").items()
    }
    suites = {
        name: _suite(name, table, mirrors, roots) for name, table in top.tables("suites").items()
    }
    series = [_series(name, table, suites) for name, table in top.tables("series").items()]
    if default not in (one.name for one in series):
        raise top.error("default", f"one of the series, got {default!r}")
    profiles = [_profile(name, table, folder) for name, table in top.tables("profiles").items()]
    return Matrix(
        default=default,
        series=tuple(sorted(series, key=lambda one: KernelVersion.parse(one.name))),
        mirrors=tuple(mirrors.items()),
        suites=tuple(suites.values()),
        profiles=tuple(profiles),
    )


def _buildroot(name: str, table: _Table, mirrors: Mapping[str, str]) -> BuildRootSpec:
    spec = BuildRootSpec(
        suite=name,
        mirror=table.mirror(mirrors),
        compiler=table.string("compiler"),
        packages=table.strings("packages"),
    )
    table.finish()
    return spec


def _suite(
    name: str, table: _Table, mirrors: Mapping[str, str], roots: Mapping[str, BuildRootSpec]
) -> Suite:
    mirror, root = table.mirror(mirrors), table.string("buildroot")
    table.finish()
    if root not in roots:
        raise table.error("buildroot", f"one of {', '.join(roots)}, got {root!r}")
    return Suite(name=name, mirror=mirror, buildroot=roots[root])


def _series(name: str, table: _Table, suites: Mapping[str, Suite]) -> Series:
    try:
        version = KernelVersion.parse(name)
    except ValueError:
        version = None
    if version is None or version.series != name:
        raise table.error("(name)", f"a series such as 6.12, got {name!r}")
    names = table.strings("suites")
    table.finish()
    for suite in names:
        if suite not in suites:
            raise table.error("suites", f"some of {', '.join(suites)}, got {suite!r}")
    return Series(name=name, suites=tuple(suites[suite] for suite in names))


def _profile(name: str, table: _Table, folder: Path) -> Profile:
    if not _PROFILE.fullmatch(name):
        raise table.error("(name)", f"lower-case letters, digits and dashes, got {name!r}")
    fragments = tuple(folder / f"{fragment}.config" for fragment in table.strings("fragments"))
    table.finish()
    for fragment in fragments:
        if not fragment.is_file():
            raise table.error("fragments", f"names of files: there is no {fragment}")
    return Profile(name=name, fragments=fragments)
