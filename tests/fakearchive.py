# SPDX-License-Identifier: GPL-2.0
"""A small Debian archive with a kernel in it, served over HTTP on the loopback."""

import gzip
import hashlib
import http.server
import lzma
import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

VMLINUX = b"\x7fELF" + b"the kernel itself " * 64


def bzimage(
    release: str, payload: bytes, *, size: int = len(VMLINUX), protocol: int = 0x20F
) -> bytes:
    """Return a bzImage with one setup sector: header, release, compressed payload, its size."""
    setup = bytearray(2 * 512)
    packed = payload + struct.pack("<I", size)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<H", setup, 0x20E, 0x300 - 0x200)
    struct.pack_into("<II", setup, 0x248, 0, len(packed))
    name = f"{release} (someone@example) #1 SMP".encode() + b"\0"
    setup[0x300 : 0x300 + len(name)] = name
    return (bytes(setup) + packed).ljust(0x2000, b"\0")


class FakeArchive:
    """Packages that are built with dpkg-deb, and the index of one suite.

    Attributes:
        uri: where it is served.
        requests: the path of each request, in order.
        hold: while cleared, requests for .debs wait.
        held: set once a request waits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = ""
        self.requests: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.held = threading.Event()
        self._stanzas: list[str] = []

    def add(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes | str],
        *,
        depends: str = "",
        architecture: str = "amd64",
    ) -> Path:
        """Build a package. Files: content by path; a string is the target of a symlink."""
        tree = self.folder / "build" / f"{name}_{version}"
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                (tree / path).symlink_to(content)
            else:
                (tree / path).write_bytes(content)
        control = tree / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        fields += f"Depends: {depends}\n" if depends else ""
        control.write_text(f"{fields}Maintainer: T <t@example.org>\nDescription: test\n")
        deb = self.folder / f"pool/{name}_{version}_{architecture}.deb"
        deb.parent.mkdir(exist_ok=True)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, deb],
            check=True,
            capture_output=True,
        )
        data = deb.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self._stanzas.append(
            f"{control.read_text()}Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {digest}\n"
        )
        return deb

    def add_kernel(
        self,
        release: str,
        version: str,
        *,
        headers: bool = True,
        image: bytes | None = None,
        filler: bytes = b"",
    ) -> None:
        """Add a kernel of before 6.19: image, headers, their common part and kbuild."""
        series = ".".join(release.split(".")[:2])
        common = release.removesuffix("-amd64") + "-common"
        moddir = f"lib/modules/{release}"
        self.add(
            f"linux-image-{release}",
            version,
            {
                f"boot/vmlinuz-{release}": image or bzimage(release, gzip.compress(VMLINUX)),
                f"{moddir}/kernel/fs/9p.ko.xz": lzma.compress(b"9p"),
                f"{moddir}/filler": filler,
                f"{moddir}/modules.order": b"kernel/fs/9p.ko\n",
                f"{moddir}/modules.builtin": b"",
            },
            depends="kmod, initramfs-tools | linux-initramfs-tool",
        )
        if not headers:
            return
        src = f"usr/src/linux-headers-{release}"
        self.add(
            f"linux-headers-{release}",
            version,
            {
                f"{src}/Makefile": f"include /usr/src/linux-headers-{common}/Makefile\n".encode(),
                f"{src}/.config": b"CONFIG_PVH=y\nCONFIG_UDMABUF=y\n",
                f"{src}/.kernelvariables": b"CC = $(CROSS_COMPILE)gcc-12\n",
                f"{moddir}/build": f"/{src}",
                f"{moddir}/source": f"/usr/src/linux-headers-{common}",
            },
            depends=f"linux-headers-{common} (= {version}), linux-kbuild-{series}, gcc-12, "
            f"linux-image-{release} (= {version}) | linux-image-{release}-unsigned (= {version})",
        )
        self.add(
            f"linux-headers-{common}",
            version,
            {f"usr/src/linux-headers-{common}/Makefile": b"all:\n"},
            architecture="all",
        )
        self.add(f"linux-kbuild-{series}", version, {"usr/lib/linux-kbuild/modpost": b""})

    def publish(self, suite: str = "stable") -> None:
        """Write the index of the suite, with all packages added so far."""
        dist = self.folder / "dists" / suite
        packages = dist / "main/binary-amd64/Packages"
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text("\n".join(self._stanzas))
        digest = hashlib.sha256(packages.read_bytes()).hexdigest()
        release = dist / "Release"
        release.write_text(
            f"Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: amd64 all\n"
            "Date: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n"
            f" {digest} {packages.stat().st_size} main/binary-amd64/Packages\n"
        )
        # HTTP knows whole seconds: two indexes of one second would be the same to apt.
        for path in (packages, release):
            os.utime(path, (0, 1_700_000_000 + len(self._stanzas)))


class _Handler(http.server.SimpleHTTPRequestHandler):
    archive: FakeArchive

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.archive.requests.append(self.path)
        if self.path.endswith(".deb") and not self.archive.hold.is_set():
            self.archive.held.set()
            self.archive.hold.wait()
        # A client that takes this server for its proxy sends the whole URI.
        self.path = urlsplit(self.path).path
        super().do_GET()


@contextmanager
def serve(folder: Path) -> Iterator[FakeArchive]:
    """Serve an empty archive from a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = FakeArchive(folder)
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        archive.uri = f"http://127.0.0.1:{server.server_port}"
        yield archive
    finally:
        archive.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def small_disk(folder: Path, *, kib: int) -> Iterator[Path]:
    """Mount a tmpfs of that size (root only)."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(folder: Path, *, leave_kib: int) -> None:
    """Write a file that leaves only so much free."""
    free = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - (leave_kib << 10)))
