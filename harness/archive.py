# SPDX-License-Identifier: GPL-2.0
"""Debian's package archive, through an apt of our own.

apt resolves, checks the signatures and the hashes, resumes what was interrupted. It works in a
private root (apt.conf(5): Dir, APT_CONFIG), so that neither the host's package lists nor its
hooks take part, and nothing on the host changes.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.cache import NO_SPACE, cache_errors, digest_file, no_space
from harness.errors import HarnessError
from harness.matrix import Suite
from harness.progress import Phase
from harness.run import Spawner, lines_of

if TYPE_CHECKING:
    from debian.deb822 import Packages

# From the package debian-archive-keyring, which Ubuntu has too.
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_UPDATE_DEADLINE = 600.0
_DOWNLOAD_DEADLINE = 3600.0
_QUERY_DEADLINE = 60.0

# Of the host's apt settings, those without which it may not reach an archive, or not accept the
# dates of its mirror. Nothing that relaxes a signature or runs a command.
_HOST_SETTINGS = re.compile(
    r"Acquire::(https?::|ForceIPv[46] |Check-Valid-Until |Check-Date |M(ax|in)-ValidTime)",
    re.IGNORECASE,
)

_CONF = """\
Dir "{root}";
Dir::State "state";
Dir::State::status "{root}/status";
Dir::Cache "cache";
Dir::Etc "etc";
Dir::Log "log";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
Acquire::Languages "none";
Acquire::Retries "2";
// The user _apt cannot reach a cache in root's home.
APT::Sandbox::User "root";
"""

# What apt says, what that means, what to do. The first match counts.
_FAILURES = (
    (
        r"Hash Sum mismatch|unexpected size|File has unexpected|Hashes of (expected|received)",
        "altered or truncated on the way; apt refused it",
        "try again; if it stays so, the mirror or a proxy in between is broken",
    ),
    (
        r"expired \(invalid since|not valid yet",
        "the date of the suite's index is not accepted",
        "check the clock; for a mirror frozen on purpose, set Acquire::Check-Valid-Until in "
        "/etc/apt/apt.conf.d",
    ),
    (
        r"is not signed|NO_PUBKEY|EXPKEYSIG|BADSIG|NODATA|signature|Clearsigned",
        "the suite's index is not signed by Debian; apt refused it",
        "check the mirror; or update the package debian-archive-keyring",
    ),
)


class ArchiveError(HarnessError):
    """The archive cannot be reached, cannot be trusted, or has no such kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One binary package of the signed index.

    Attributes:
        size: of the .deb, in bytes.
        depends: the Depends field: for each, alternatives of (name, exact version or None).
    """

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    depends: tuple[tuple[tuple[str, str | None], ...], ...]

    @property
    def file_name(self) -> str:
        """The name that `apt-get download` gives the .deb."""
        return f"{self.name}_{quote(self.version, safe='+~')}_{self.architecture}.deb"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPackages:
    """The packages that make up a kernel and what its modules build against.

    Attributes:
        release: what `uname -r` prints there.
        image: the package that the user knows the kernel by.
        packages: all of them, `image` first.
    """

    release: str
    image: Package
    packages: tuple[Package, ...]


class Archive:
    """One suite of Debian's archive.

    Args:
        root: folder of our own for apt's state; kept between runs, so that downloads resume. The
            caller holds its lock.
        suite: what to look at.
        spawner: runs apt.
        keyring: whose signatures count; None trusts an unsigned archive (tests only).
    """

    def __init__(
        self, root: Path, suite: Suite, spawner: Spawner, *, keyring: Path | None = DEBIAN_KEYRING
    ) -> None:
        self.suite = suite
        self._root = root.resolve()
        self._debs = self._root / "debs"
        self._keyring = keyring
        self._host = spawner.with_env(LC_ALL="C.UTF-8")
        self._apt = self._host.with_env(APT_CONFIG=str(self._root / "apt.conf"))

    def update(self, phase: Phase) -> None:
        """Fetch the suite's signed index.

        Raises:
            ArchiveError: no apt, no keyring, no network, or a signature that does not hold.
        """
        if self._host.which("apt-get") is None:
            raise ArchiveError(
                "apt-get not found: kernels come from Debian's archive through apt",
                hint="on Debian or Ubuntu install apt; elsewhere give --kernel a path",
            )
        if self._keyring is not None and not self._keyring.is_file():
            raise ArchiveError(
                f"{self._keyring}: no such file", hint="apt-get install debian-archive-keyring"
            )
        self._write_root()
        self._fetch(("update", "--error-on=any"), "index", phase, _UPDATE_DEADLINE)

    def resolve(self, series: str | None) -> KernelPackages | None:
        """Find the newest kernel of a series that has headers, in the index last fetched.

        Args:
            series: such as 6.12; None for the newest of all.

        Returns:
            None when the suite has no such kernel.
        """
        stem = r"\d+\.\d+" if series is None else re.escape(series)
        names = self._cache_query("pkgnames", "linux-").split()
        from debian.debian_support import Version

        # Flavours (-rt-, -cloud-) and the metapackage linux-image-6.12-amd64 do not match.
        image = re.compile(rf"linux-image-({stem}\.\d[^-]*(?:-\d[^-]*)*-amd64)")
        family = re.compile(rf"linux-[a-z]+-{stem}(?![0-9])")
        index = self._index(name for name in names if family.match(name))
        kernels = [
            (Version(package.version), match[1], package)
            for name, packages in index.items()
            for package in packages
            if (match := image.fullmatch(name)) and f"linux-headers-{match[1]}" in index
        ]
        if not kernels:
            return None
        _, release, package = max(kernels, key=lambda kernel: kernel[0])
        headers = _pick(index, f"linux-headers-{release}", package.version)
        return KernelPackages(
            release=release, image=package, packages=_closure((package, headers), index)
        )

    def find(self, name: str) -> Package | None:
        """Return the newest package of that name in the index last fetched, or None."""
        if name not in self._cache_query("pkgnames", name).split():
            return None
        return _pick(self._index([name]), name, None)

    def download(self, packages: Sequence[Package], phase: Phase) -> tuple[Path, ...]:
        """Fetch .debs, going on with what an interrupted run left.

        Returns:
            Their paths, every one checked against the signed index. They stay until
            :meth:`clean`.

        Raises:
            ArchiveError: no network, or a .deb that is not what the index says.
        """
        for package in packages:
            self._drop_damaged(package)
        wanted = [f"{package.name}={package.version}" for package in packages]
        title = f"{self.suite.name}, {sum(package.size for package in packages) >> 20} MiB"
        self._fetch(("download", *wanted), title, phase, _DOWNLOAD_DEADLINE)
        return tuple(self._debs / package.file_name for package in packages)

    def clean(self) -> None:
        """Remove the downloaded .debs."""
        for path in self._debs.glob("*.deb"):
            path.unlink()

    def _drop_damaged(self, package: Package) -> None:
        """Remove a .deb of the right size and the wrong content that a killed run left.

        apt goes on with a shorter file and checks what comes of it, but takes one of full size
        for checked (measured with apt 2.6).
        """
        path = self._debs / package.file_name
        whole = path.is_file() and path.stat().st_size == package.size
        if whole and digest_file(path) != package.sha256:
            path.unlink()

    def _write_root(self) -> None:
        with cache_errors(self._root):
            for folder in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial"):
                (self._root / folder).mkdir(parents=True, exist_ok=True)
            for folder in ("cache/archives/partial", "debs"):
                (self._root / folder).mkdir(parents=True, exist_ok=True)
            # An empty dpkg status: nothing is installed here.
            (self._root / "status").touch()
            settings = "\n".join((_CONF.format(root=self._root), *host_settings(self._host), ""))
            (self._root / "apt.conf").write_text(settings)
            trust = "Trusted: yes" if self._keyring is None else f"Signed-By: {self._keyring}"
            (self._root / "etc/sources.list.d").mkdir(exist_ok=True)
            (self._root / "etc/sources.list.d/suite.sources").write_text(
                f"Types: deb\nURIs: {self.suite.mirror}\nSuites: {self.suite.name}\n"
                f"Components: main\n{trust}\n"
            )

    def _fetch(self, command: Sequence[str], title: str, phase: Phase, deadline: float) -> None:
        argv = ("apt-get", "-qq", "-o", "APT::Status-Fd=1", *command)
        end = time.monotonic() + deadline
        said: list[str] = []
        with self._apt.spawn(argv, cwd=self._debs, stdout=PIPE, stderr=STDOUT) as process:
            assert process.stdout is not None
            for line in lines_of(
                process.stdout.fileno(),
                until=end,
                what="apt-get",
                hint="is the network too slow?",
            ):
                if line.startswith("dlstatus:"):
                    # dlstatus:PACKAGE NUMBER:PERCENT:TEXT (apt's README.progress-reporting)
                    phase.update(f"{title}, {float(line.split(':')[2]):.0f} %")
                else:
                    said.append(line)
            status = process.wait()
        if any(NO_SPACE in line for line in said):
            raise no_space(self._root)
        if status != 0:
            raise self._failure(said)

    def _failure(self, said: Sequence[str]) -> ArchiveError:
        errors = [line[3:] for line in said if line.startswith("E: ")] or ["apt-get failed"]
        text = "\n".join(said)
        detail = errors[0].strip()
        for pattern, meaning, hint in _FAILURES:
            if re.search(pattern, text):
                return ArchiveError(f"{self.suite.name}: {meaning}: {detail}", hint=hint)
        return ArchiveError(
            f"cannot fetch from Debian's archive ({self.suite.name}): {detail}",
            hint="check the network and apt's proxy settings, ",
        )

    def _cache_query(self, *args: str) -> str:
        return self._apt.run(("apt-cache", *args), deadline=_QUERY_DEADLINE).output

    def _index(self, names: Iterable[str]) -> Mapping[str, tuple[Package, ...]]:
        """Return what the index says about packages, by name, newest version first."""
        # Slow to import, and a cached kernel needs none of it.
        from debian.deb822 import Packages
        from debian.debian_support import Version

        wanted = sorted(set(names))
        if not wanted:
            return {}
        index: dict[str, list[Package]] = {}
        text = self._cache_query("show", *wanted)
        for stanza in Packages.iter_paragraphs(text, use_apt_pkg=False):
            package = Package(
                name=stanza["Package"],
                version=stanza["Version"],
                architecture=stanza["Architecture"],
                size=int(stanza["Size"]),
                sha256=stanza["SHA256"],
                depends=_depends(stanza),
            )
            index.setdefault(package.name, []).append(package)
        return {
            name: tuple(sorted(found, key=lambda one: Version(one.version), reverse=True))
            for name, found in index.items()
        }


def host_settings(spawner: Spawner) -> tuple[str, ...]:
    """Return those of the host's apt settings that a private apt needs, as apt.conf lines."""
    dump = spawner.run(("apt-config", "dump"), deadline=_QUERY_DEADLINE).output
    return tuple(line for line in dump.splitlines() if _HOST_SETTINGS.match(line))


def _depends(stanza: "Packages") -> tuple[tuple[tuple[str, str | None], ...], ...]:
    def exact(relation: Mapping[str, tuple[str, str] | None]) -> str | None:
        constraint = relation["version"]
        return constraint[1] if constraint is not None and constraint[0] == "=" else None

    return tuple(
        tuple((relation["name"], exact(relation)) for relation in alternatives)
        for alternatives in stanza.relations["depends"] or ()
    )


def _pick(
    index: Mapping[str, tuple[Package, ...]], name: str, version: str | None
) -> Package | None:
    """Return that version of a package (the newest when None), or None if the index has none."""
    return next((one for one in index.get(name, ()) if version in (None, one.version)), None)


def _closure(
    first: Sequence[Package | None], index: Mapping[str, tuple[Package, ...]]
) -> tuple[Package, ...]:
    """Follow Depends as far as the index goes, which holds the packages of one kernel series.

    What lies outside (libc, the compiler, initramfs tools) is the host's or the build root's.
    """
    found: dict[str, Package] = {}
    queue = [package for package in first if package is not None]
    while queue:
        package = queue.pop(0)
        if package.name in found:
            continue
        found[package.name] = package
        for alternatives in package.depends:
            inside = (_pick(index, name, version) for name, version in alternatives)
            queue.extend([one for one in inside if one is not None][:1])
    return tuple(found.values())
