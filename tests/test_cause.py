# SPDX-License-Identifier: GPL-2.0
"""cause.py and spot.py: fifty failures are told as the few things that went wrong."""

from pathlib import Path

import pytest

from harness.cause import Cause, find_causes
from harness.results import RunResult, Status, TestResult
from harness.spec import load_specs
from harness.spot import Spot, driver_spot, spec_lines, trimmed, without_variant

SPECS = Path(__file__).parent.parent / "selftests/specs"
RIP = "[    8.7] RIP: 0010:uiov_ioctl+0x41/0x390 [udmabuf_iov] (/home/me/work/module/main.c:389)"
INLINE = "[    9.1]  buf_vmap /home/me/work/module/exporter.c:269 [inline]"
OUTER = "[    9.1]  uiov_vmap+0x44/0x80 [udmabuf_iov] (/home/me/work/module/exporter.c:288)"


def splat(id_: str, title: str, *lines: str, vm: int = 1) -> TestResult:
    where = f"vm-{vm}/console.log:37: {title}"
    return TestResult(
        id=id_, status=Status.FAIL, reason=f"it passed, but: {title}", lines=(where, *lines), vm=vm
    )


def failed(id_: str, *lines: str, status: Status = Status.FAIL, reason: str = "") -> TestResult:
    return TestResult(id=id_, status=status, reason=reason, lines=lines)


def causes(**cells: tuple[TestResult, ...]) -> tuple[Cause, ...]:
    return find_causes(
        (name, RunResult(kernel=name, release=None, accelerator="tcg", vms=(), tests=tests))
        for name, tests in cells.items()
    )


def test_one_splat_in_many_tests_and_cells_is_one_cause() -> None:
    title = "WARNING in uiov_ioctl"
    tests = (splat("a:b.c", title, RIP), splat("a:b.d", title, vm=3))
    (cause,) = causes(old=tests, new=tests)
    assert (cause.title, cause.splat, cause.status) == (title, True, Status.FAIL)
    assert cause.spot == Spot(file="module/main.c", line=389)
    assert cause.cells == ("old", "new")
    assert cause.tests == ("a:b.c", "a:b.d")


def test_the_spot_may_be_in_a_later_failure() -> None:
    (cause,) = causes(old=(splat("a:b.c", "T"),), new=(splat("a:b.c", "T", OUTER),))
    assert cause.spot == Spot(file="module/exporter.c", line=288)


def test_the_variants_of_a_test_are_one_cause() -> None:
    one = failed("a:b.x.c", "noise", "a.c:7:c:Expected 1 == 2 (3)")
    two = failed("a:b.y.c", "a.c:7:c:Expected 1 == 2 (4)")
    other = failed("a:b.y.d", "no expectation")
    first, second = causes(k=(one, two, other))
    assert (first.title, first.tests) == ("a:b.c: Expected 1 == 2 (3)", ("a:b.x.c", "a:b.y.c"))
    assert (second.title, second.spot) == ("a:b.d: no expectation", None)


def test_what_was_lost_for_one_reason_is_one_cause() -> None:
    lost = [
        failed(f"a:b.{at}", status=Status.CRASHED, reason=f"the VM died (vm 0x{at}f)")
        for at in range(3)
    ]
    (cause,) = causes(k=tuple(lost))
    assert len(cause.tests) == 3


def test_dirt_is_told_by_what_was_left() -> None:
    one = failed("a:b.c", status=Status.DIRTY, reason="pins 0 -> 4")
    two = failed("x:y.z", status=Status.DIRTY, reason="pins 0 -> 16")
    assert len(causes(k=(one, two))) == 1


def test_the_most_telling_comes_first() -> None:
    order = [
        splat("a:b.splat", "BUG in x"),
        failed("a:b.fail"),
        failed("a:b.timeout", status=Status.TIMEOUT),
        failed("a:b.dirty", status=Status.DIRTY),
        failed("a:b.error", status=Status.ERROR),
        failed("a:b.crashed", status=Status.CRASHED),
        failed("a:b.missing", status=Status.MISSING),
    ]
    found = causes(k=tuple(reversed(order)))
    assert [cause.tests for cause in found] == [(test.id,) for test in order]


def test_of_the_like_the_one_that_struck_more_comes_first() -> None:
    tests = (splat("a:b.c", "rare"), splat("a:b.d", "often"), splat("a:b.e", "often"))
    assert [cause.title for cause in causes(k=tests)] == ["often", "rare"]
    alike = (failed("a:b.first"), failed("a:b.second"))
    assert [cause.tests[0] for cause in causes(k=alike)] == ["a:b.first", "a:b.second"]


def test_all_passed() -> None:
    good = tuple(failed("a:b.c", status=status) for status in Status if status.good)
    assert causes(k=good) == ()


def test_the_innermost_line_of_the_driver() -> None:
    assert driver_spot(["...", INLINE, OUTER]) == Spot(file="module/exporter.c", line=269)
    assert str(driver_spot([RIP])) == "module/main.c:389"


@pytest.mark.parametrize(
    "line",
    [
        "(kernel/module/main.c:3000)",
        "(/usr/src/kernel/module/main.c:3000)",
        "at /root/.cache/udmabuf-harness/work/udmabuf_iov-1/src/main.c:389 uiov_ioctl+0x41/0x390",
        "(/home/me/work/selftests/modules/cpu.c:28)",
        "(/home/me/work/mymodule/main.c:28)",
        "",
    ],
)
def test_lines_that_are_not_of_the_driver(line: str) -> None:
    assert driver_spot([line]) is None


def test_a_trimmed_splat() -> None:
    kept = [
        "vm-1/console.log:37: WARNING in uiov_ioctl",
        "[    8.704996] ------------[ cut here ]------------",
        "[    8.708418] CPU: 1 UID: 0 PID: 181 Comm: compat Tainted: G           OE      6.12",
        RIP,
        "[    8.711683][ T181] Call Trace:",
        "[    8.712265]  ? vfs_read+0x245/0x370",
        OUTER,
        "[    8.717033] ---[ end trace 0000000000000000 ]---",
        "R12: what a test printed",
    ]
    left_out = [
        "[    8.707480] Modules linked in: dmabuf_importer(OE) udmabuf_iov(OE)",
        "[    8.709268] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2",
        "[    8.709813] Code: 00 00 00 48 89 44 24 68 31 c0 81 fe 43 75 08 40 74 3f",
        "[    8.710286] RSP: 0000:ffffc90000453bb8 EFLAGS: 00000287",
        "[    8.710414][ T181] RAX: 0000000000000000 RBX: 000000004119c000",
        "[    8.711117] FS:  00000000264f9380(0000) GS:ffff88803eb00000(0000)",
        "[    8.711378] CR2: 000000004119c000 CR3: 0000000004c7a000",
        "[    8.711593] PKRU: 55555554",
        "[   10.221286] PGD 5686067 P4D 5686067 PUD 60e2067 PMD 0 ",
        "[    8.715246] RIP: 0033:0x40409f",
    ]
    assert trimmed([*kept[:5], *left_out, *kept[5:]]) == tuple(kept)


def test_every_test_has_a_line_in_its_specification() -> None:
    for spec in load_specs(SPECS):
        text = spec.path.read_text()
        found = spec_lines(text)
        wanted = {f"{one.name}.{test.name}" for one in spec.fixtures for test in one.tests}
        assert found.keys() == wanted
        lines = text.splitlines()
        for id_, number in found.items():
            assert f'"{id_.partition(".")[2]}"' in lines[number - 1]


def test_ids_without_variants() -> None:
    assert without_variant("a:b.c.d") == "a:b.d"
    assert without_variant("a:b.d") == "a:b.d"
    assert without_variant("vm-1:end") == "vm-1:end"
