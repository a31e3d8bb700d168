# SPDX-License-Identifier: GPL-2.0
"""voucher.py: what was found whole is not read again, and what may have changed is."""

import os
import time
from pathlib import Path

import pytest

from harness import voucher
from harness.snapshot import Snapshot, SnapshotError, measure
from harness.vngline import Machine

HOUR = 3600.0


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is written now be an hour old when it is vouched for."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + HOUR)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    files = {what: tmp_path / f"{what}-t" for what in ("ram", "state", "initrd")}
    for what, file in files.items():
        file.write_bytes(what.encode() * 1000)
    held = ((0, 3000),)
    return Snapshot(
        folder=tmp_path,
        token="t",
        machine=Machine(argv=(), append="", memory=64),
        ingredients=(),
        extents=held,
        checksum=measure(files["ram"], held, files["state"], files["initrd"]),
    )


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    reads: list[object] = []
    whole = Snapshot.measure

    def counted(self: Snapshot, parts: tuple[tuple[int, int], ...]) -> int:
        reads.append(parts)
        return whole(self, parts)

    monkeypatch.setattr(Snapshot, "measure", counted)
    return reads


def test_what_was_found_whole_is_not_read_again(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    snapshot.verify()
    snapshot.verify()
    assert len(reads) == 1


@pytest.mark.parametrize("what", ["ram", "state", "initrd"])
def test_a_file_that_was_written_to_is_read_even_if_its_time_was_set_back(
    what: str, snapshot: Snapshot
) -> None:
    snapshot.verify()
    file = snapshot.file(what)
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_bytes(file.read_bytes()[::-1])
    file.write_bytes(b"x" + file.read_bytes()[1:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SnapshotError, match="not what was saved"):
        snapshot.verify()


def test_a_file_that_was_replaced_is_read(snapshot: Snapshot) -> None:
    snapshot.verify()
    other = snapshot.folder / "other"
    other.write_bytes(snapshot.file("state").read_bytes()[::-1])
    other.replace(snapshot.file("state"))
    with pytest.raises(SnapshotError, match="not what was saved"):
        snapshot.verify()


def test_a_file_that_is_gone_is_missed(snapshot: Snapshot) -> None:
    snapshot.verify()
    snapshot.file("initrd").unlink()
    with pytest.raises(SnapshotError, match="No such file"):
        snapshot.verify()


def test_after_a_boot_of_the_host_all_is_read_again(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    snapshot.verify()
    monkeypatch.setattr(voucher, "boot_id", lambda: "another")
    snapshot.verify()
    snapshot.verify()
    assert len(reads) == 2


def test_what_has_only_just_been_written_is_not_vouched_for(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: snapshot.file("ram").stat().st_ctime + 1)
    snapshot.verify()
    assert not snapshot.file("voucher").exists()


def test_damage_is_never_vouched_for(snapshot: Snapshot) -> None:
    snapshot.file("ram").write_bytes(b"y" * 3000)
    for _ in range(2):
        with pytest.raises(SnapshotError, match="not what was saved"):
            snapshot.verify()
    assert not snapshot.file("voucher").exists()


def test_a_voucher_for_another_checksum_does_not_count(snapshot: Snapshot) -> None:
    snapshot.verify()
    other = Snapshot(
        folder=snapshot.folder,
        token=snapshot.token,
        machine=snapshot.machine,
        ingredients=(),
        extents=snapshot.extents,
        checksum=snapshot.checksum ^ 1,
    )
    with pytest.raises(SnapshotError, match="not what was saved"):
        other.verify()


@pytest.mark.parametrize("text", [b"", b"\xff", b"half a vou"])
def test_half_a_voucher_is_none(
    text: bytes, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    snapshot.file("voucher").write_bytes(text)
    snapshot.verify()
    assert len(reads) == 1


def test_where_none_can_be_kept_all_is_read_each_time(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    # Root may write anywhere but here.
    snapshot.file("voucher").mkdir()
    snapshot.verify()
    snapshot.verify()
    assert len(reads) == 2
