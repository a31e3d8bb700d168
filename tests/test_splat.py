# SPDX-License-Identifier: GPL-2.0
"""splat.py: what it finds, that cuts, prefixes and addresses make no difference, what it costs.

The logs in data/splats/ are modelled on the printk strings of kernels 6.1, 6.12 and 7.3
(kernel/locking/lockdep.c, kernel/rcu/tree_stall.h, mm/kasan/report.c, ...), not recorded.
"""

import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import splat, splatline, splattable
from harness.splat import Scanner, Splat, scan
from tests.conftest import Golden

FOLDER = Path(__file__).with_name("data") / "splats"
LOGS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.log"))}
# Told from others only by their callers, or by what came before.
TAGGED, SECOND = "interleaved", "reboot"
BENIGN = (FOLDER / "benign.txt").read_bytes()
PREFIX = re.compile(rb"(?m)^\[ *[0-9.]+\](?:\[ *[TC][0-9]+\])? ?")

every_log = pytest.mark.parametrize("name", LOGS)


def fed(*chunks: bytes) -> tuple[Splat, ...]:
    scanner = Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


def names(splats: tuple[Splat, ...]) -> list[tuple[str, str, str]]:
    return [(one.kind, one.title, one.fingerprint) for one in splats]


@every_log
def test_golden(name: str, golden: Golden) -> None:
    shown = [{**asdict(one), "text": len(one.text)} for one in scan(LOGS[name])]
    golden.check(f"splats/{name}.json", json.dumps(shown, indent=1) + "\n")


@every_log
def test_one_splat_for_each_log(name: str) -> None:
    assert len(scan(LOGS[name])) == (2 if name == TAGGED else 1)


@every_log
def test_a_driver_function_is_blamed(name: str) -> None:
    for one in scan(LOGS[name]):
        if " in " in one.title and one.kind != "workqueue-leak":
            assert "udmabuf_iov_" in one.title.split(" in ")[-1]


def test_every_wording_of_the_table_can_be_hinted() -> None:
    table = splattable.table()
    for place, wording in enumerate(table.wordings):
        assert wording.hint
        for literal in wording.lead or wording.hint:
            assert any(hint in literal and place in table.hints[hint] for hint in table.hints)


@every_log
def test_text_of_a_splat_is_what_stands_there(name: str) -> None:
    for one in scan(LOGS[name]):
        held = LOGS[name][one.start : one.end].decode()
        lines = one.text.split("\n")
        assert held.startswith(lines[0])
        assert held.endswith(lines[-1] + "\n")
        assert set(lines) <= set(held.split("\n"))


@every_log
def test_bytes_one_by_one(name: str) -> None:
    log = LOGS[name]
    assert fed(*(log[n : n + 1] for n in range(len(log)))) == scan(log)


def test_a_long_console_in_single_bytes() -> None:
    log = b"".join(LOGS.values())
    assert fed(*(log[n : n + 1] for n in range(len(log)))) == scan(log)


@pytest.mark.parametrize("name", ["kcsan", "interleaved", "oom", "memory-leak"])
def test_cut_anywhere(name: str) -> None:
    log = LOGS[name]
    whole = scan(log)
    for cut in range(len(log)):
        assert fed(log[:cut], log[cut:]) == whole


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_chunks(data: st.DataObject) -> None:
    log = b"".join(LOGS.values()) + b"user space: BUG: soft lockup " * 1000 + LOGS["kasan"]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=20)))
    chunks = [log[a:b] for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    assert fed(*chunks) == scan(log)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(LOGS)))
def test_any_bytes(noise: bytes, name: str) -> None:
    scan(noise)
    scan(noise + LOGS[name] + noise)


@every_log
def test_the_quick_reader_reads_as_the_thorough_one(name: str) -> None:
    text = LOGS[name].decode("latin-1")
    quick = list(splatline.plain_messages(text, 0, len(text), 100))
    slow: list[splatline.Message] = []
    offset = 100
    for line in text[: quick[-1].end - 100 if quick else 0].splitlines(keepends=True):
        slow += splatline.messages(line, offset)
        offset += len(line)
    quick = [one for one in quick if one.sort != splatline.BLANK]
    # The blanks behind a prefix count as the one's prefix and as the other's text.
    assert [one._replace(cut=0) for one in quick] == [one._replace(cut=0) for one in slow]
    assert [one.text for one in quick] == [one.text for one in slow]


def test_text_is_as_good_as_bytes() -> None:
    assert scan(LOGS["kasan"].decode()) == scan(LOGS["kasan"])


VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "bare": lambda log: PREFIX.sub(b"", log),
    "level": lambda log: PREFIX.sub(b"<4>[   12.345678] ", log),
    "caller": lambda log: PREFIX.sub(b"[   12.345678][   T77] ", log),
    "cpu": lambda log: PREFIX.sub(b"[   12.345678][    C0] ", log),
    "syslog": lambda log: PREFIX.sub(b"Nov 22 12:00:00 host kernel: [   12.345678] ", log),
    "chromeos": lambda log: PREFIX.sub(b"2026-11-22T12:00:00.123456Z WARNING kernel: ", log),
    "android": lambda log: PREFIX.sub(b"<6>[   12.345678] c0   1234 ", log),
    "samsung": lambda log: PREFIX.sub(b"[   12.345678]  [2:    kworker/2:1: 1608] ", log),
    "crlf": lambda log: log.replace(b"\n", b"\r\n"),
    "colours": lambda log: log.replace(b"\n", b"\x1b[0m\n\x1b[1m"),
    "no last newline": lambda log: log.rstrip(b"\n"),
    "login prompt": lambda log: b"debian login: " + log,
    "user space between": lambda log: log.replace(b"\n", b"\n# ok 1 said the test\n"),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", sorted(LOGS.keys() - {TAGGED, SECOND}))
def test_prefixes_make_no_difference(name: str, variant: str) -> None:
    if variant == "user space between" and b"][" not in LOGS[name][:40]:
        return  # Without the caller's prefix such lines cannot be told from the kernel's.
    assert names(scan(VARIANTS[variant](LOGS[name]))) == names(scan(LOGS[name]))


@pytest.mark.parametrize("name", sorted(LOGS.keys() - {TAGGED, SECOND}))
def test_glued_to_another_message(name: str) -> None:
    log = LOGS[name]
    if log.startswith(b"["):
        assert names(scan(b"[    1.000000] usb 1-1: new device" + log)) == names(scan(log))


def test_contexts_are_told_apart() -> None:
    oops, atomic = scan(LOGS[TAGGED])
    assert (oops.task, atomic.task) == ("test_a:671", "test_b:672")
    assert "T672" not in oops.text
    assert "T671" not in atomic.text


def test_a_panic_belongs_to_its_cause() -> None:
    (one,) = scan(LOGS["null-deref"])
    assert one.end == len(LOGS["null-deref"])
    assert "Kernel panic" in one.text
    (alone,) = scan("[    1.0] Kernel panic - not syncing: Fatal exception in interrupt\n")
    assert alone.title == "kernel panic: Fatal exception"


def test_a_panic_long_after_is_its_own() -> None:
    quiet = b"[   60.000000] all is well\n" * 4000
    panic = b"[  999.000000] Kernel panic - not syncing: Fatal exception\n"
    assert [one.kind for one in scan(LOGS["warning"] + quiet + panic)] == ["warning", "panic"]


def test_following_splats_are_separate() -> None:
    log = LOGS["warning"] + LOGS["kasan"] + LOGS["warning"]
    assert [one.kind for one in scan(log)] == ["warning", "kasan", "warning"]
    assert scan(log)[0].fingerprint == scan(log)[2].fingerprint


def test_a_splat_without_end_mark_ends_where_the_next_begins() -> None:
    first, second = scan(LOGS["hung-task"] * 2)
    assert first.fingerprint == second.fingerprint
    assert first.end == second.start == len(LOGS["hung-task"])


@pytest.mark.parametrize("name", sorted(LOGS.keys() - {SECOND}))
def test_a_splat_is_found_again_from_its_start_and_not_from_its_end(name: str) -> None:
    log = b"[    0.500000] before\n" + LOGS[name] + b"[  999.500000] after\n" * 40
    for one in scan(log):
        again, *_ = scan(log[one.start :])
        assert (again.title, again.fingerprint) == (one.title, one.fingerprint)
        assert one.fingerprint not in [late.fingerprint for late in scan(log[one.end :])]


SUFFIXES = ["", ".isra.0", ".constprop.0", ".part.0", ".cold", ".llvm.1234", ".isra.0.cold"]


@settings(deadline=None)
@given(st.sampled_from(sorted(LOGS)), st.data())
def test_fingerprints_do_not_depend_on_addresses_times_or_tasks(
    name: str, data: st.DataObject
) -> None:
    random = data.draw(st.randoms(use_true_random=False))
    digits: Callable[[int], str] = lambda n: f"{random.getrandbits(4 * n):0{n}x}"  # noqa: E731
    log = LOGS[name].decode()
    log = re.sub(
        r"\b([a-z_][a-z_0-9]*)(?:\.\w+)*\+0x[0-9a-f]+/0x[0-9a-f]+",
        lambda m: f"{m[1]}{random.choice(SUFFIXES)}+0x{digits(3)}/0x{digits(4)}",
        log,
    )
    log = re.sub(r"\b(0x)?[89a-f][0-9a-f]{15}\b", lambda m: f"{m[1] or ''}ffff{digits(12)}", log)
    log = re.sub(r"PID: \d+", lambda m: f"PID: {random.randrange(1, 99999)}", log)
    log = re.sub(r"CPU: \d", lambda m: f"CPU: {random.randrange(64)}", log)
    log = re.sub(r"(?m)(test_\w+)([:/])\d+", lambda m: f"{m[1]}{m[2]}{random.randrange(9)}", log)
    if name != SECOND:
        log = re.sub(r"(?m)^\[ *[0-9.]+\]", lambda m: f"[{random.uniform(2, 99999):12.6f}]", log)
    assert names(scan(log)) == names(scan(LOGS[name]))


def test_fingerprints_tell_splats_apart() -> None:
    known = {(one.title, one.fingerprint) for log in LOGS.values() for one in scan(log)}
    assert len({title for title, _ in known}) == len({mark for _, mark in known}) == len(known)


def test_nothing_benign_is_flagged() -> None:
    assert scan(BENIGN) == ()
    assert scan(VARIANTS["bare"](BENIGN)) == ()
    for line in BENIGN.splitlines(keepends=True):
        assert scan(line) == ()


def test_benign_lines_hide_nothing() -> None:
    for name, log in LOGS.items():
        assert names(scan(BENIGN + log))[:1] == names(scan(log))[:1] or name == SECOND


def test_a_first_boot_is_no_reboot() -> None:
    banner = b"[    0.000000] Linux version 6.12.90-amd64 (x@y) #1 SMP\n"
    assert scan(banner) == ()
    assert scan(b"SeaBIOS (version 1.16)\n" + banner) == ()
    assert [one.kind for one in scan(b"[    7.500000] busy\n" + banner)] == ["reboot"]
    assert [one.kind for one in scan(banner + b"BIOS\n" + banner)] == ["reboot"]


def test_what_a_splat_says_of_task_taint_and_frames() -> None:
    (kasan,) = scan(LOGS["kasan"])
    assert (kasan.task, kasan.taint) == ("test_release:602", "GOE")
    assert kasan.frames[3:5] == ("udmabuf_iov_release", "dma_buf_release")
    assert scan(LOGS["panic"])[0].taint == ""
    assert scan(LOGS["kmemleak"])[0].taint is None
    assert scan(LOGS["hung-task"])[0].task == "test_hang:1400"


@pytest.mark.parametrize(
    ("line", "function"),
    [
        (" ? foo.isra.0+0x1/0x2 [mod]", "foo"),
        (" [<ffffffff816efb87>] foo+0x31a/0x325", "foo"),
        (" <IRQ>  [<ffffffff816efb87>] foo+0x31a/0x325", "foo"),
        ("[c00000003ae5b860] [c00000000016ab98] foo+0x1cc/0x534 (unreliable)", "foo"),
        ("[<802b3ffc>] (foo) from [<802e1324>] (bar+0x6c/0x120)", "foo"),
        ("foo from bar+0x6c/0x120", "foo"),
        ("foo drivers/misc/foo.c:12 [inline]", "foo"),
        ("RIP: 0010:foo+0x1/0x2", "foo"),
        ("RIP: 0010:[<ffffffff8213c531>]  [<ffffffff8213c531>] foo.isra.6+0x111/0x470", "foo"),
        ("PC is at foo+0x184/0x2b0", "foo"),
        ("NIP [c0080000003b1a4c] foo+0x64/0x190 [mod]", "foo"),
        ("epc : foo+0x1e/0x40", "foo"),
        ("RIP: 0033:0x7fc98d0ebd99", None),
        ("RIP: 0033:main+0x1/0x2", None),
        ("Code: 90 90 0f 0b", None),
        ("lr : foo+0x80/0x350", None),
    ],
)
def test_frames(line: str, function: str | None) -> None:
    (message,) = splatline.messages(line, 0)
    assert message.function == (function or "")


def test_a_long_quiet_console_costs_no_memory_and_no_parsing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = 0

    def counting(block: str, at: int, stop: int, offset: int) -> Iterator[splatline.Message]:
        nonlocal parsed
        for message in splatline.plain_messages(block, at, stop, offset):
            parsed += 1
            yield message

    monkeypatch.setattr(splat, "plain_messages", counting)
    line = b"[   12.345678] usb 1-1: new high-speed USB device number 2 using dummy_hcd\n"
    quiet = line * ((1 << 20) // len(line))
    scanner = Scanner()
    scanner.feed(LOGS["kasan"])
    tracemalloc.start()
    for _ in range(100):
        scanner.feed(quiet)
    scanner.feed(LOGS["warning"])
    splats = scanner.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.kind for one in splats] == ["kasan", "warning"]
    assert splats[1].start == len(LOGS["kasan"]) + 100 * len(quiet)
    assert peak < 8 << 20
    assert 0 < parsed < 20_000


def test_a_flood_of_splats_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splat, "_KEPT", 100)
    monkeypatch.setattr(splat, "_TEXTS", 20_000)
    scanner = Scanner()
    scanner.feed(LOGS["warning"] * 120)
    splats = scanner.finish()
    assert (len(splats), scanner.left_off) == (100, 20)
    assert sum(len(one.text) for one in splats) == 20_000
    assert splats[99].end == 100 * len(LOGS["warning"])


def test_a_line_without_end_is_bounded() -> None:
    scanner = Scanner()
    tracemalloc.start()
    for _ in range(8):
        scanner.feed(b"BUG: " * 50_000)
    scanner.feed(b"\n" + LOGS["kasan"])
    splats = scanner.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert splats[-1].kind == "kasan"
    assert peak < 32 << 20


def test_a_splat_without_end_is_bounded() -> None:
    frames = b"[   12.345678]  udmabuf_iov_nest+0x1/0x2\n" * 20_000
    (one, *rest) = scan(LOGS["hung-task"] + frames)
    assert len(one.text) <= 64 << 10
    assert not rest
