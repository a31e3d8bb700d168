# SPDX-License-Identifier: GPL-2.0
"""rundir.py: run folders, and judging them again."""

import io
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
from rich.console import Console

from harness.answers import ASKED
from harness.errors import HarnessError
from harness.jsonfile import DocumentError
from harness.manifest import Manifest, VmRun, load_manifest, save_manifest, vm_folder
from harness.results import RunResult, Status, VmEnd, VmExit
from harness.rundir import blames_of, new_run, rejudge, was_asked
from harness.table import print_run

NONCE = "0123456789abcdef0123456789abcdef"
VM = VmRun(
    nonce=NONCE,
    planned=("mmap:a.one", "mmap:a.two"),
    cmdline=("quiet",),
    argv=("vng", "-r", "a file"),
    end=VmEnd(exit=VmExit.CLEAN, seconds=4.5, boot_seconds=3.5),
    notes=("a new snapshot",),
)
MANIFEST = Manifest(
    kernel="6.12",
    release="6.12.1",
    driver="udmabuf_iov",
    package=None,
    kernel_sha256="0" * 64,
    compiler="gcc-12",
    accelerator="tcg",
    accelerator_why="no /dev/kvm",
    qemu="7.2.0",
    vng="1.42",
    host="Linux 6.1, 2 x Whatever CPU",
    started="2026-08-01T12:00:00+00:00",
    expected=("mmap:a.one", "mmap:a.two"),
    vms=(VM,),
    extra=(("revision", "abc"),),
)
STREAM = f"""\
@{NONCE} hello 6.12.1 3.00 1.0
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
    said(folder, STREAM)
    return folder


def said(run: Path, stream: bytes, number: int = 1) -> None:
    """Write down what a VM said."""
    vm_folder(run, number).mkdir(exist_ok=True)
    (vm_folder(run, number) / "results.ktap").write_bytes(stream)


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


@pytest.mark.parametrize("end", [None, VM.end])
def test_the_manifest_survives_the_round_trip(run: Path, end: VmEnd | None) -> None:
    vms = (VM, replace(VM, end=end))
    manifest = replace(MANIFEST, vms=vms, package="linux-image 6.12.1-1")
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
        ("schema", 1, "schema: expected 3, found 1"),
        ("kernel", None, "kernel: expected a string"),
        ("expected", "mmap:a.one", "expected: expected a list of strings"),
        ("vms", {}, "vms: expected a list of objects"),
        ("vms", [{"nonce": "abc"}], "vms[0].planned: missing"),
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


def test_a_nonce_that_is_none_is_an_error(run: Path) -> None:
    save_manifest(run, replace(MANIFEST, vms=(VM, replace(VM, nonce="abc"))))
    with pytest.raises(DocumentError, match=r"vms\[1\]\.nonce: expected 32 hex digits"):
        load_manifest(run)


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
        "vm-1",
    ]


def test_a_harness_that_was_killed_leaves_no_green_run(run: Path) -> None:
    save_manifest(run, replace(MANIFEST, vms=(replace(VM, end=None),)))
    said(run, STREAM.replace(b"not ok", b"ok").replace(b"mmap 1", b"mmap 0"))
    result = rejudge(run)
    assert [test.status for test in result.tests] == [Status.PASS, Status.PASS, Status.CRASHED]
    assert result.exit_status == 2
    assert "the harness did not live to see its end" in result.tests[-1].reason


def test_a_vm_that_never_said_a_word(run: Path) -> None:
    (run / "vm-1/results.ktap").unlink()
    result = rejudge(run)
    assert {test.status for test in result.tests} == {Status.CRASHED}


def test_another_release_than_the_manifests_is_an_error(run: Path) -> None:
    save_manifest(run, replace(MANIFEST, release="6.12.2"))
    assert "vm-1:release" in {test.id for test in rejudge(run).tests}


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
    said(run, STREAM + b"more")
    before = contents(run)
    with (
        files_no_larger_than(room),
        pytest.raises(HarnessError, match=r"results\.json: cannot write: File too large") as error,
    ):
        rejudge(run)
    assert error.value.hint == "free some space and try again"
    assert contents(run) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


WARNING = (
    "[    5.000000] ------------[ cut here ]------------\n"
    "[    5.000001] WARNING: CPU: 0 PID: 77 at mm/gup.c:149 try_grab_folio+0x11/0x22\n"
    "[    5.000002] Call Trace:\n"
    "[    5.000003]  uiov_pin_user_range+0x1/0x2 [udmabuf_iov]\n"
    "[    5.000004] ---[ end trace 0000000000000000 ]---\n"
)


def test_what_the_kernel_complains_of_is_charged(run: Path) -> None:
    (run / "vm-1/console.log").write_text(f"[    4.900000] harness: test mmap:a.one\n{WARNING}")
    one, two = rejudge(run).tests
    assert (one.status, two.status) == (Status.FAIL, Status.FAIL)
    assert one.reason.startswith("it passed, but: WARNING in ")
    assert one.lines[0].startswith("vm-1/console.log:2: WARNING in ")
    assert one.lines[4].endswith("uiov_pin_user_range+0x1/0x2 [udmabuf_iov]")
    one, two = rejudge(run, lambda text: text.replace("0x1/0x2", "0x1/0x2 (pin.c:7)")).tests
    assert one.lines[4].endswith("uiov_pin_user_range+0x1/0x2 (pin.c:7) [udmabuf_iov]")


@pytest.mark.parametrize("id_", ["mmap:a.one", "vm-1:kernel"])
@pytest.mark.parametrize(
    ("qemu", "accelerator", "status"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "tcg", Status.CRASHED),
        ("QEMU emulator version 8.1.0", "tcg", Status.FAIL),
        ("QEMU emulator version 10.0.2", "tcg", Status.FAIL),
        ("QEMU emulator version 7.2.22", "kvm", Status.FAIL),
        ("", "tcg", Status.FAIL),
    ],
)
def test_what_an_old_emulator_broke_is_no_verdict(
    qemu: str, accelerator: str, status: Status, id_: str, run: Path
) -> None:
    end = VmEnd(exit=VmExit.PANIC, detail="Kernel panic - not syncing: Fatal exception")
    vm = replace(VM, end=end)
    save_manifest(run, replace(MANIFEST, qemu=qemu, accelerator=accelerator, vms=(vm,)))
    mark = f"test {id_}" if id_ == "mmap:a.one" else "suite mmap ended"
    said(run, STREAM[: STREAM.index(b"ok 1")] + b"#  RUN           a.one ...\n")
    trap = (Path(__file__).parent / "data/splats/int3.log").read_text()
    (run / "vm-1/console.log").write_text(f"[    4.900000] harness: {mark}\n{trap}")
    result = rejudge(run)
    (found,) = [test for test in result.tests if test.id == id_]
    assert found.status is status
    assert "int3 in udmabuf_iov_trap" in found.reason
    assert ("deba78709ae8" in found.reason) is (status is Status.CRASHED)
    assert result.exit_status == (2 if status is Status.CRASHED else result.exit_status) != 0


def test_a_leak_is_found_late_and_spoils_nothing_between(run: Path) -> None:
    found = (
        "unreferenced object 0xffff888004af2f00 (size 192):\n  backtrace (crc 0):\n    f+0x1/0x2"
    )
    console = run / "vm-1/console.log"
    lines = "".join(f"[    9.000000] {line}\n" for line in found.splitlines())
    console.write_text(f"[    8.900000] harness: test mmap:a.one\n{lines}")
    (leak,) = blames_of(console, VM.planned)
    assert (leak.test, leak.late) == ("mmap:a.one", True)
    console.write_text(f"{WARNING}[    9.000000] harness: test mmap:a.two\n")
    (early,) = blames_of(console, VM.planned)
    assert (early.test, early.late, early.before) == (None, False, "mmap:a.two")


def hung(run: Path, stream: bytes, answers: str, padding: int = 0) -> RunResult:
    """Judge a VM that hung after this much of its results, and was asked where."""
    silent = VmEnd(exit=VmExit.SILENT, detail="no result for 18 s", answered=True)
    save_manifest(run, replace(MANIFEST, vms=(replace(VM, end=silent),)))
    said(run, stream)
    (run / "vm-1/console.log").write_text("x" * padding + f"\n{answers}")
    return rejudge(run)


HUNG = STREAM[: STREAM.index(b"ok 1")] + b"#  RUN           a.one ...\n# said last\n"
BLOCKED = (Path(__file__).parent / "data/answers/blocked.log").read_text()


def test_what_the_harness_provoked_is_charged_to_nobody(run: Path) -> None:
    # The mark may lie across two of the pieces that the console is read in.
    for padding in (0, (1 << 20) - len(ASKED) // 2):
        one, _ = hung(run, HUNG, f"{ASKED}\n{WARNING}", padding).tests
        assert one.status is Status.TIMEOUT


def test_a_report_says_where_it_hung(run: Path) -> None:
    """In JUnit, results.json and the table."""
    one, two = hung(run, HUNG, BLOCKED).tests
    assert one.reason == (
        "task program:166 is blocked in hang_stuck; "
        "the VM died in mmap:a.one (silent: no result for 18 s)"
    )
    assert one.lines[0] == "vm-1/console.log:2: asked where it hangs, it said:"
    assert "  hang_stuck+0x41/0x60 [hang]" in one.lines
    assert one.lines[-1] == "said last"
    assert "hang_stuck" not in f"{two.reason}{two.lines}", "it only died with the VM"
    junit = (run / "junit.xml").read_text()
    assert junit.count("hang_stuck+0x41/0x60 [hang]") == 2, "as text and as output"
    written = json.loads((run / "results.json").read_text())["tests"][0]
    assert "  hang_stuck+0x41/0x60 [hang]" in written["lines"]
    table = io.StringIO()
    print_run(rejudge(run), run, Console(file=table, width=200))
    assert "task program:166 is blocked in hang_stuck" in table.getvalue()


def test_where_no_test_hung_the_vm_says_where(run: Path) -> None:
    for stream in (STREAM[: STREAM.index(b"@", 1)], b""):
        (end,) = (one for one in hung(run, stream, BLOCKED).tests if one.id == "vm-1:end")
        assert end.reason.startswith(
            "task program:166 is blocked in hang_stuck; the VM died before"
        )
        assert "  hang_stuck+0x41/0x60 [hang]" in end.lines


def test_a_kernel_that_names_nothing_is_no_reason(run: Path) -> None:
    idle = (Path(__file__).parent / "data/answers/idle.log").read_text()
    one, _ = hung(run, HUNG, idle).tests
    assert one.reason == "the VM died in mmap:a.one (silent: no result for 18 s)"
    assert one.lines[1] == "no task is blocked in the kernel, and every CPU is idle"


def test_answers_are_decoded(run: Path) -> None:
    hung(run, HUNG, BLOCKED)
    one, _ = rejudge(run, lambda text: text.replace("[hang]", "[hang] (hang.c:7)")).tests
    assert "  hang_stuck+0x41/0x60 [hang] (hang.c:7)" in one.lines


@pytest.mark.parametrize("exit_", [VmExit.CLEAN, VmExit.PANIC, VmExit.LOST])
def test_nobody_hides_a_splat_behind_a_forged_question(exit_: VmExit, run: Path) -> None:
    """A guest that ended so was never asked anything."""
    save_manifest(run, replace(MANIFEST, vms=(replace(VM, end=VmEnd(exit=exit_)),)))
    (run / "vm-1/console.log").write_text(
        f"[    4.800000] harness: test mmap:a.one\n[    4.900000] {ASKED} sysrq w\n{WARNING}"
    )
    one = rejudge(run).tests[0]
    assert one.status is Status.FAIL
    assert "WARNING in try_grab_folio" in one.reason


def test_who_was_asked_where_it_hung() -> None:
    asked = {exit_ for exit_ in VmExit if was_asked(VmEnd(exit=exit_))}
    assert asked == {VmExit.SILENT, VmExit.DEADLINE, VmExit.NEVER_BOOTED}
    assert was_asked(None), "the harness may have been killed when it had asked"


def test_a_second_vm_has_the_last_word_on_what_it_was_to_run(run: Path) -> None:
    nonce = "f" * 32
    second = replace(VM, nonce=nonce, planned=("mmap:a.two",), notes=("booted cold",))
    save_manifest(run, replace(MANIFEST, vms=(VM, second)))
    said(
        run,
        f"@{nonce} hello 6.12.1 3.00 1.0\n@{nonce} taint 0\n@{nonce} suite mmap\n"
        f"TAP version 13\n1..1\nok 1 a.two\n@{nonce} exit mmap 0\n@{nonce} end 0\n".encode(),
        number=2,
    )
    result = rejudge(run)
    assert [(test.status, test.vm) for test in result.tests] == [(Status.PASS, 1), (Status.PASS, 2)]
    assert result.problems == ("a new snapshot", "booted cold")


def test_the_first_of_two_vms_is_judged_by_what_it_was_left_with(run: Path) -> None:
    """It died in a.one: the second VM has a.two alone."""
    nonce = "f" * 32
    lost = replace(VM, end=VmEnd(exit=VmExit.LOST))
    save_manifest(
        run, replace(MANIFEST, vms=(lost, replace(VM, nonce=nonce, planned=("mmap:a.two",))))
    )
    said(run, STREAM[: STREAM.index(b"ok 1")] + b"#  RUN           a.one ...\n")
    assert [(test.id, test.status, test.vm) for test in rejudge(run).tests] == [
        ("mmap:a.one", Status.CRASHED, 1),
        ("mmap:a.two", Status.CRASHED, 2),
        ("vm-2:end", Status.CRASHED, 2),
    ]
