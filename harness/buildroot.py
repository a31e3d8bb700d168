# SPDX-License-Identifier: GPL-2.0
"""A Debian root with a compiler, for kernels whose modules nothing on the host can build."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.archive import DEBIAN_KEYRING, host_settings
from harness.cache import locked, making
from harness.errors import HarnessError
from harness.matrix import BuildRootSpec
from harness.progress import Phase, Progress
from harness.run import CommandError, Spawner

_SCRIPT = Path(__file__).parent / "data" / "in-buildroot"
_MAKE_DEADLINE = 1800.0
_UNPACK_DEADLINE = 300.0
_PACKAGE = {"unshare": "util-linux"}


class BuildRootError(HarnessError):
    """The build root cannot be made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRoot:
    """A root that lies ready in the cache."""

    path: Path
    spec: BuildRootSpec

    def command(
        self, argv: Sequence[str | os.PathLike[str]], *, visible: Sequence[Path]
    ) -> tuple[str | os.PathLike[str], ...]:
        """Return the command that runs `argv` in the root.

        Args:
            visible: folders of the host that are there at the same paths, writable.
        """
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        flags = ("--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child")
        return ("unshare", *user, *flags, _SCRIPT, self.path, *visible, "--", *argv)


def open_buildroot(
    spec: BuildRootSpec, *, cache: Path, spawner: Spawner, progress: Progress
) -> BuildRoot:
    """Return the build root, made with mmdebstrap if it is not cached.

    Needs root or unprivileged user namespaces, both to make it and to run commands in it.

    Args:
        cache: the user's cache folder of this project.

    Raises:
        BuildRootError: it cannot be made; the hint names the compiler that would do instead.
        CacheError: no space.
    """
    path = _path(spec, cache)
    root = BuildRoot(path=path, spec=spec)
    if path.is_dir():
        return root
    with progress.phase("buildroot") as phase:
        waiting = f"another run is making {path.name}"
        with locked(path, waiting=lambda: phase.update(waiting)):
            if not path.is_dir():
                _check_host(spec, spawner)
                with making(path) as temp:
                    _debootstrap(spec, temp, spawner.with_env(LC_ALL="C.UTF-8"), phase)
        phase.done(f"Debian {spec.suite} with {spec.compiler}")
    return root


def find_buildroot(spec: BuildRootSpec, *, cache: Path) -> BuildRoot | None:
    """Return the build root if it is cached."""
    path = _path(spec, cache)
    return BuildRoot(path=path, spec=spec) if path.is_dir() else None


def _path(spec: BuildRootSpec, cache: Path) -> Path:
    what = "\0".join((spec.suite, spec.mirror, spec.compiler, *spec.packages))
    return cache / "roots" / f"{spec.suite}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def _check_host(spec: BuildRootSpec, spawner: Spawner) -> None:
    for program in ("mmdebstrap", "unshare", "tar"):
        if spawner.which(program) is None:
            raise BuildRootError(
                f"{program} not found: without {spec.compiler} on the host, modules of this "
                "kernel are built in a Debian root",
                hint=f"install {spec.compiler}, or the package {_PACKAGE.get(program, program)}",
            )


def _debootstrap(spec: BuildRootSpec, temp: Path, spawner: Spawner, phase: Phase) -> None:
    """Fill `temp` with the root.

    By way of a tar file whose owners are dropped: mmdebstrap's folders would belong to a range of
    subordinate users, and an ordinary user could not even remove them.
    """
    phase.update(f"mmdebstrap {spec.suite}")
    archive = temp / "root.tar"
    aptopts = tuple(f"--aptopt={line.rstrip(';')}" for line in host_settings(spawner))
    argv: tuple[str | Path, ...] = (
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--keyring={DEBIAN_KEYRING}", *aptopts),
        f"--include={','.join((spec.compiler, *spec.packages))}",
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"),
        *(spec.suite, archive, spec.mirror),
    )
    hint = f"install {spec.compiler}; or run as root, or install uidmap, for a build root"
    try:
        spawner.run(argv, deadline=_MAKE_DEADLINE)
    except CommandError as error:
        said = [line for line in error.completed.output.splitlines() if line.startswith("E: ")]
        if not said:
            raise
        raise BuildRootError(f"mmdebstrap {spec.suite}: {said[0][3:]}", hint=hint) from error
    phase.update("unpacking")
    # Devices are bound from the host; an ordinary user could not make them either.
    unpack = ("tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", temp, "-f", archive)
    spawner.run(unpack, deadline=_UNPACK_DEADLINE)
    archive.unlink()
