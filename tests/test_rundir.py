# SPDX-License-Identifier: GPL-2.0
"""rundir.py: run folders, and judging them again."""

import json
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.jsonfile import DocumentError
from harness.results import RunResult, Status, VmEnd, VmExit
from harness.rundir import Manifest, load_manifest, new_run, rejudge, save_manifest

NONCE = "0123456789abcdef0123456789abcdef"
MANIFEST = Manifest(
    kernel="6.12",
    release="6.12.1",
    package=None,
    kernel_sha256="0" * 64,
    compiler="gcc-12",
    accelerator="tcg",
    accelerator_why="no /dev/kvm",
    qemu="7.2.0",
    vng="1.42",
    host="Linux 6.1, 2 x Whatever CPU",
    started="2026-08-01T12:00:00+00:00",
    nonce=NONCE,
    expected=("mmap:a.one", "mmap:a.two"),
    argv=("vng", "-r", "a file"),
    vm=VmEnd(exit=VmExit.CLEAN, seconds=4.5, boot_seconds=3.5),
    extra=(("revision", "abc"),),
)
STREAM = f"""\
@{NONCE} hello 6.12.1 3.00
@{NONCE} taint 0
@{NONCE} suite mmap
TAP version 13
1..2
ok 1 a.one
# mmap.c:9:two:Expected \x1b[1m1\x1b[0m \\udc80
not ok 2 a.two
@{NONCE} exit mmap 1
@{NONCE} end 0
""".encode()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    save_manifest(folder, MANIFEST)
    (folder / "results.ktap").write_bytes(STREAM)
    return folder


NOON = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)


def test_ids_sort_by_time_and_name_the_kernel(tmp_path: Path) -> None:
    runs = tmp_path / "build" / "runs"
    east = timezone(timedelta(hours=9))
    first = new_run(runs, "6.12", now=(NOON - timedelta(seconds=1)).astimezone(east))
    second = new_run(runs, "/boot/vmlinuz 6.1", now=NOON)
    third = new_run(runs, "..", now=NOON + timedelta(seconds=1))
    assert [first.name, second.name, third.name] == [
        "20260801T115959Z-6.12",
        "20260801T120000Z-vmlinuz-6.1",
        "20260801T120001Z-kernel",
    ]
    assert (runs / "latest").readlink() == Path(third.name)
    assert sorted(path.name for path in runs.iterdir()) == [
        first.name,
        second.name,
        third.name,
        "latest",
    ]


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(new_run(tmp_path, "6.12", now=NOON)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8
    assert (tmp_path / "latest").resolve() in made


def test_a_run_starts_now(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    name = new_run(tmp_path, "6.12").name
    assert f"{before:%Y%m%dT%H%M%SZ}" <= name < f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}~"


def test_no_room_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(HarnessError, match="runs: cannot make a run folder: File exists"):
        new_run(tmp_path / "runs", "6.12")


@pytest.mark.parametrize("vm", [None, MANIFEST.vm])
def test_the_manifest_survives_the_round_trip(run: Path, vm: VmEnd | None) -> None:
    manifest = replace(MANIFEST, vm=vm, package="linux-image 6.12.1-1")
    save_manifest(run, manifest)
    assert load_manifest(run) == manifest


def test_a_truncated_manifest_is_an_error_that_names_it(run: Path) -> None:
    path = run / "manifest.json"
    text = path.read_text().rstrip()
    for cut in range(len(text)):
        path.write_text(text[:cut])
        with pytest.raises(DocumentError) as error:
            rejudge(run)
        assert str(error.value).startswith(f"{path}: not a JSON document: ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", 2, "schema: expected 1, found 2"),
        ("kernel", None, "kernel: expected a string"),
        ("expected", "mmap:a.one", "expected: expected a list of strings"),
        ("vm", {"exit": "clean"}, "vm.detail: missing"),
        ("nonce", "abc", "nonce: expected 32 hex digits"),
        ("extra", {"a": 1}, "extra: expected an object of strings"),
        ("new", 1, "new: unknown key"),
    ],
)
def test_an_alien_manifest_is_an_error_that_names_the_key(
    run: Path, key: str, value: object, message: str
) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DocumentError) as error:
        load_manifest(run)
    assert str(error.value) == f"{path}: {message}"


def test_each_key_of_the_manifest_is_needed(run: Path) -> None:
    path = run / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text())
    for key in document:
        path.write_text(json.dumps({one: document[one] for one in document if one != key}))
        with pytest.raises(DocumentError) as error:
            load_manifest(run)
        assert str(error.value) == f"{path}: {key}: missing"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"manifest\.json: no such file"):
        rejudge(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DocumentError, match=r"manifest\.json: not a JSON document: not UTF-8"):
        rejudge(tmp_path)


def test_judging_again_gives_the_same_bit_for_bit(run: Path) -> None:
    first = rejudge(run)
    files = {name: (run / name).read_bytes() for name in ("results.json", "junit.xml")}
    assert [test.status for test in first.tests] == [Status.PASS, Status.FAIL]
    assert first.exit_status == 1
    assert RunResult.from_json(files["results.json"].decode(), source="") == first
    for name in files:
        (run / name).unlink()
    assert rejudge(run) == first
    assert {name: (run / name).read_bytes() for name in files} == files
    assert sorted(path.name for path in run.iterdir()) == [
        "junit.xml",
        "manifest.json",
        "results.json",
        "results.ktap",
    ]


def test_a_harness_that_was_killed_leaves_no_green_run(run: Path) -> None:
    save_manifest(run, replace(MANIFEST, vm=None))
    (run / "results.ktap").write_bytes(
        STREAM.replace(b"not ok", b"ok").replace(b"mmap 1", b"mmap 0")
    )
    result = rejudge(run)
    assert [test.status for test in result.tests] == [Status.PASS, Status.PASS, Status.CRASHED]
    assert result.exit_status == 2
    assert "the harness did not live to see its end" in result.tests[-1].reason


def test_a_vm_that_never_said_a_word(run: Path) -> None:
    (run / "results.ktap").unlink()
    result = rejudge(run)
    assert {test.status for test in result.tests} == {Status.CRASHED}


def test_another_release_than_the_manifests_is_an_error(run: Path) -> None:
    save_manifest(run, replace(MANIFEST, release="6.12.2"))
    assert "vm:release" in {test.id for test in rejudge(run).tests}


def test_the_reports_know_the_environment(run: Path) -> None:
    rejudge(run)
    xml = (run / "junit.xml").read_text()
    for fact in ("no /dev/kvm", "gcc-12", "vng -r 'a file'", "revision", "abc"):
        assert fact in xml
    assert 'name="package"' not in xml


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let writing stop in mid-file, as on a full disk (the kernel says EFBIG)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [0, 300])
def test_a_full_disk_leaves_no_half_written_file(run: Path, room: int) -> None:
    rejudge(run)
    (run / "results.ktap").write_bytes(STREAM + b"more")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with (
        files_no_larger_than(room),
        pytest.raises(HarnessError, match=r"results\.json: cannot write: File too large") as error,
    ):
        rejudge(run)
    assert error.value.hint == "free some space and try again"
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_folder_that_went_away(run: Path) -> None:
    with pytest.raises(HarnessError, match=r"manifest\.json: cannot write: No such file") as error:
        save_manifest(run / "gone", MANIFEST)
    assert error.value.hint is None


def test_files_have_the_users_own_mode(run: Path) -> None:
    mask = os.umask(0o027)
    try:
        rejudge(run)
    finally:
        os.umask(mask)
    assert (run / "results.json").stat().st_mode & 0o777 == 0o640


def test_what_the_console_complains_of_is_named(tmp_path: Path) -> None:
    save_manifest(tmp_path, MANIFEST)
    (tmp_path / "results.ktap").write_bytes(STREAM)
    (tmp_path / "console.log").write_text(
        "[    5.000000] ------------[ cut here ]------------\n"
        "[    5.000001] WARNING: CPU: 0 PID: 77 at mm/gup.c:149 try_grab_folio+0x11/0x22\n"
        "[    5.000002] Call Trace:\n"
        "[    5.000003]  uiov_pin_user_range+0x1/0x2 [udmabuf_iov]\n"
        "[    5.000004] ---[ end trace 0000000000000000 ]---\n"
    )
    assert [line for line in rejudge(tmp_path).problems if line.startswith("console.log: WARNING")]
