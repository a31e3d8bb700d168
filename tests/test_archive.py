# SPDX-License-Identifier: GPL-2.0
"""apt in a private root: what it resolves, what it refuses, what it goes on with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.archive import Archive, ArchiveError
from harness.cache import CacheError
from harness.matrix import BuildRootSpec, Suite
from harness.progress import Phase
from harness.run import Spawner
from tests.fakearchive import FakeArchive, fill_disk, serve, small_disk

ROOT_SPEC = BuildRootSpec(suite="stable", mirror="", compiler="gcc-12", packages=("make",))


class Recorder(Phase):
    """A phase that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__("test", lambda text: None)
        self.said: list[str] = []

    def update(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeArchive]:
    with serve(tmp_path / "served") as archive:
        yield archive


@pytest.fixture
def spawner(tmp_path: Path) -> Spawner:
    return Spawner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})


def opened(tmp_path: Path, spawner: Spawner, uri: str, **options: Path | None) -> Archive:
    suite = Suite(name="stable", mirror=uri, buildroot=ROOT_SPEC)
    return Archive(tmp_path / "apt", suite, spawner, **{"keyring": None, **options})


def test_newest_kernel_with_headers_and_all_it_needs(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner
) -> None:
    fake.add_kernel("6.12.9+deb12-amd64", "6.12.9-1")
    fake.add_kernel("6.12.10+deb12-amd64", "6.12.10-1")
    fake.add_kernel("6.12.11+deb12-amd64", "6.12.11-1", headers=False)
    fake.add_kernel("6.12.12+deb12-rt-amd64", "6.12.12-1")
    fake.add_kernel("6.1.0-9-amd64", "6.1.99-1")
    fake.add("linux-image-6.12-amd64", "6.12.99-1", {})
    fake.publish()
    archive = opened(tmp_path, spawner, fake.uri)
    archive.update(Recorder())
    found = archive.resolve("6.12")
    assert found is not None
    assert (found.release, found.image.version) == ("6.12.10+deb12-amd64", "6.12.10-1")
    assert {package.name for package in found.packages} == {
        "linux-image-6.12.10+deb12-amd64",
        "linux-headers-6.12.10+deb12-amd64",
        "linux-headers-6.12.10+deb12-common",
        "linux-kbuild-6.12",
    }
    older = archive.resolve("6.1")
    assert older is not None
    assert older.release == "6.1.0-9-amd64"
    assert archive.resolve("6.13") is None
    assert archive.resolve(None) == found, "the newest of all, but for one without headers"


def test_split_image_is_followed(fake: FakeArchive, tmp_path: Path, spawner: Spawner) -> None:
    release = "7.3.4+deb13-amd64"
    exact = "(= 7.3.4-1)"
    fake.add(
        f"linux-image-{release}",
        "7.3.4-1",
        {},
        depends=f"dracut | initramfs-tools, linux-binary-{release} {exact}, "
        f"linux-modules-{release} {exact}",
    )
    fake.add(f"linux-binary-{release}", "7.3.4-1", {}, depends=f"linux-base-{release} {exact}")
    fake.add(f"linux-modules-{release}", "7.3.4-1", {}, depends="kmod, linux-base (>= 4.12~)")
    fake.add(f"linux-base-{release}", "7.3.4-1", {})
    fake.add(f"linux-base-{release}", "7.3.4-2", {})
    fake.add(f"linux-headers-{release}", "7.3.4-1", {}, depends="gcc-14-for-host")
    fake.publish()
    archive = opened(tmp_path, spawner, fake.uri)
    archive.update(Recorder())
    found = archive.resolve("7.3")
    assert found is not None
    assert sorted((package.name.split("-")[1], package.version) for package in found.packages) == [
        ("base", "7.3.4-1"),
        ("binary", "7.3.4-1"),
        ("headers", "7.3.4-1"),
        ("image", "7.3.4-1"),
        ("modules", "7.3.4-1"),
    ]


def test_download_is_checked_named_and_shown(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner
) -> None:
    deb = fake.add("linux-kbuild-6.12", "6.12.1-1~deb12u1", {"file": os.urandom(200_000)})
    fake.publish()
    archive, phase = opened(tmp_path, spawner, fake.uri), Recorder()
    archive.update(phase)
    package = archive.find("linux-kbuild-6.12")
    assert package is not None
    (path,) = archive.download([package], phase)
    assert path.read_bytes() == deb.read_bytes()
    assert phase.said[-1].endswith("100 %")
    archive.clean()
    assert not path.exists()


@pytest.mark.parametrize("harm", ["truncated", "altered"])
def test_a_deb_that_is_not_the_signed_one_is_refused(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner, harm: str
) -> None:
    deb = fake.add("linux-kbuild-6.12", "6.12.1-1", {"file": os.urandom(50_000)})
    fake.publish()
    data = bytearray(deb.read_bytes())
    data[30_000] ^= 1
    deb.write_bytes(data if harm == "altered" else data[:30_000])
    archive = opened(tmp_path, spawner, fake.uri)
    archive.update(Recorder())
    package = archive.find("linux-kbuild-6.12")
    assert package is not None
    with pytest.raises(ArchiveError, match="altered or truncated on the way; apt refused it") as no:
        archive.download([package], Recorder())
    assert "\n" not in str(no.value)
    assert no.value.hint is not None


def test_what_an_interrupted_run_left_is_never_trusted(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner
) -> None:
    deb = fake.add("linux-kbuild-6.12", "6.12.1-1", {"file": os.urandom(50_000)})
    fake.publish()
    archive = opened(tmp_path, spawner, fake.uri)
    archive.update(Recorder())
    package = archive.find("linux-kbuild-6.12")
    assert package is not None
    for left in (deb.read_bytes()[:20_000], os.urandom(20_000), os.urandom(package.size)):
        (tmp_path / "apt/debs" / package.file_name).write_bytes(left)
        (path,) = archive.download([package], Recorder())
        assert path.read_bytes() == deb.read_bytes()


def test_an_unsigned_archive_is_refused(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner
) -> None:
    fake.add("linux-kbuild-6.12", "6.12.1-1", {})
    fake.publish()
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    archive = opened(tmp_path, spawner, fake.uri, keyring=keyring)
    with pytest.raises(ArchiveError, match="not signed by Debian"):
        archive.update(Recorder())


def test_no_network_is_one_clear_line(tmp_path: Path, spawner: Spawner) -> None:
    archive = opened(tmp_path, spawner, "http://127.0.0.1:9")
    with pytest.raises(ArchiveError, match="cannot fetch from Debian's archive") as caught:
        archive.update(Recorder())
    assert "\n" not in str(caught.value)
    assert "network" in (caught.value.hint or "")


def test_missing_keyring_and_missing_apt_name_the_package(tmp_path: Path, spawner: Spawner) -> None:
    archive = opened(tmp_path, spawner, "http://127.0.0.1:9", keyring=tmp_path / "none.gpg")
    with pytest.raises(ArchiveError) as caught:
        archive.update(Recorder())
    assert "debian-archive-keyring" in (caught.value.hint or "")
    with pytest.raises(ArchiveError, match="apt-get not found"):
        opened(tmp_path, Spawner(env={"PATH": "/none"}), "http://x").update(Recorder())


def test_the_host_settings_that_matter_are_taken_and_no_others(
    fake: FakeArchive, tmp_path: Path, spawner: Spawner
) -> None:
    settings = tmp_path / "host.conf"
    settings.write_text(
        f'Acquire::http::Proxy "{fake.uri}";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'Acquire::AllowInsecureRepositories "true";\n'
        'APT::Update::Pre-Invoke { "false"; };\n'
        'Dir::State::lists "/nowhere";\n'
    )
    fake.publish()
    with_host = spawner.with_env(APT_CONFIG=str(settings))
    archive = opened(tmp_path, with_host, "http://unreachable.invalid")
    archive.update(Recorder())
    assert any(path.startswith("http://unreachable.invalid/") for path in fake.requests)
    text = (tmp_path / "apt/apt.conf").read_text()
    assert 'Acquire::Check-Valid-Until "false"' in text
    for foreign in ("AllowInsecure", "Pre-Invoke", "nowhere"):
        assert foreign not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_full_disk_is_one_clear_line(fake: FakeArchive, tmp_path: Path, spawner: Spawner) -> None:
    fake.add("linux-kbuild-6.12", "6.12.1-1", {"file": os.urandom(3 << 20)})
    fake.publish()
    with small_disk(tmp_path / "small", kib=64 << 10) as small:
        archive = opened(small, spawner, fake.uri)
        archive.update(Recorder())
        fill_disk(small, leave_kib=1024)
        package = archive.find("linux-kbuild-6.12")
        assert package is not None
        with pytest.raises(CacheError, match="no space left in the cache") as caught:
            archive.download([package], Recorder())
    assert "--cache" in (caught.value.hint or "")
