# SPDX-License-Identifier: GPL-2.0
"""report.py and what feeds it: one file that opens anywhere, says it all, and runs nothing."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import charts, history, report
from harness.cell import CellResult
from harness.errors import HarnessError
from harness.history import History
from harness.manifest import Manifest, VmRun, save_manifest
from harness.report import render, write_report
from harness.reportdata import again, gather
from harness.reporting import spec_spots
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit
from harness.spot import Spot

SOURCE = Path(__file__).parent.parent
ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = (
    "\x1b[31m\0\x07\x85\ud800\ufdd0 </pre></style></script><script>alert(1)</script> &amp;\r\n"
)
IDS = ("a:b.x.c", "a:b.y.c", "a:b.x.d", "z:m.n")
CLEAN = VmEnd(exit=VmExit.CLEAN, seconds=4.0, boot_seconds=0.5)
SPLAT = (
    "vm-1/console.log:3: WARNING in uiov_ioctl",
    "[    2.000000] ------------[ cut here ]------------",
    "[    2.000000] RAX: 0000000000000000 RBX: 000000004119c000",
    "[    2.000000] RIP: 0010:uiov_ioctl+0x4/0x9 [udmabuf_iov] (/home/me/work/module/main.c:389)",
)
CONSOLE = b"""[    1.000000] harness: test a:b.x.c
[    2.000000] harness: test a:b.y.c
[    2.000000] ------------[ cut here ]------------
[    2.000000] RAX: 0000000000000000 RBX: 000000004119c000
[    3.000000] harness: test a:b.x.d
"""


def manifest(**changes: str) -> Manifest:
    made = Manifest(
        kernel="6.12",
        release="6.12.117",
        driver="udmabuf_iov",
        package="linux-image 6.12.117",
        kernel_sha256="aa",
        compiler="gcc-12",
        accelerator="tcg",
        accelerator_why="no KVM",
        qemu="QEMU 7.2",
        vng="1.42",
        host="h",
        started="2026-11-22T13:20:50+00:00",
        expected=IDS,
        vms=(VmRun(nonce="0" * 32, planned=IDS, argv=("vng", "--memory", "1 G")),),
        extra=(("memory_mib", "1024"),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def run(*tests: TestResult, kernel: str = "6.12", problems: tuple[str, ...] = ()) -> RunResult:
    return RunResult(
        kernel=kernel,
        release=f"{kernel}.1",
        accelerator="tcg",
        vms=(CLEAN,),
        tests=tests,
        problems=problems,
    )


def passed() -> Iterator[TestResult]:
    return (TestResult(id=id_, status=Status.PASS, seconds=0.25, vm=1) for id_ in IDS)


def cell(folder: Path, result: RunResult | None, *, name: str = "6.12", **facts: str) -> CellResult:
    """A cell with its files."""
    own = folder / "cells" / name
    (own / "vm-1").mkdir(parents=True)
    (own / "vm-1/console.log").write_bytes(CONSOLE)
    (own / "junit.xml").write_text("")
    if result is None:
        return CellResult(name=name, folder=own, result=None, error="no kernel", seconds=1.0)
    save_manifest(own, manifest(**facts))
    return CellResult(name=name, folder=own, result=result, error=None, seconds=9.0)


def text_of(folder: Path, *cells: CellResult, before: History | None = None) -> str:
    specs = {"a:b.c": Spot(file="selftests/specs/a.toml", line=7)}
    return render(gather(folder, cells, history=before or History(), specs=specs))


def parsed(text: str) -> ET.Element:
    """Parse as a browser would, but raise at the first error."""
    document: ET.Element = html5lib.HTMLParser(strict=True).parse(text.encode())
    return document


def words(text: str) -> str:
    return " ".join(" ".join(parsed(text).itertext()).split())


WARNED = TestResult(
    id="a:b.y.c",
    status=Status.FAIL,
    reason="it passed, but: WARNING in uiov_ioctl",
    lines=SPLAT,
    vm=1,
)


def test_a_run_that_passed(tmp_path: Path) -> None:
    text = text_of(tmp_path, cell(tmp_path, run(*passed())))
    assert "<h1>4 passed on 6.12</h1>" in text
    assert 'id="wrong"' not in text
    assert 'id="flaky"' not in text
    assert '<span class="id">z:m.n</span>' in text
    assert "harness matrix --cell 6.12<" in text
    assert "no KVM" in words(text)


def test_a_splat_is_told_with_its_place_and_console(tmp_path: Path) -> None:
    tests = [one if one.id != WARNED.id else WARNED for one in passed()]
    text = text_of(tmp_path, cell(tmp_path, run(*tests)))
    shown = words(text)
    assert "1 failed, 3 passed on 6.12" in shown
    assert "WARNING in uiov_ioctl module/main.c:389" in shown
    assert "Test: selftests/specs/a.toml:7" in shown
    assert "harness matrix --cell 6.12 a:b.y.c" in shown
    assert "<b>/home/me/work/module/main.c:389</b>" in text
    decoded, console = re.findall("<pre tabindex.*?</pre>", text, re.S)
    assert "RAX" not in decoded
    assert "RAX" in console
    assert "harness: test a:b.x.c" in console
    assert "from line 1" in shown


def test_what_differs_comes_first(tmp_path: Path) -> None:
    skipped = TestResult(id="a:b.x.d", status=Status.SKIP, reason="too old", vm=1)
    old = run(*(skipped if one.id == skipped.id else one for one in passed()), kernel="5.10")
    new = run(*(WARNED if one.id == WARNED.id else one for one in passed()))
    text = text_of(tmp_path, cell(tmp_path, old, name="5.10"), cell(tmp_path, new))
    table, families = text.split('<div class="families">')
    assert "<h1>1 of 2 cells did not pass: 6.12</h1>" in text
    rows = re.findall(r'<tr data-status="([^"]*)">.*?class="id">([^<]*)<', table)
    assert rows == [("pass fail", "a:b.y.c"), ("skip pass", "a:b.x.d")]
    assert "<small>too old</small>" in table
    assert re.findall(r'<tr data-status="([^"]*)">.*?class="id">([^<]*)<', families) == [
        ("pass", "a:b.x.c"),
        ("pass", "z:m.n"),
    ]


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    tests = [one if one.id != WARNED.id else WARNED for one in passed()]
    odd = "6.12 #1?"
    folder = cell(tmp_path, run(*tests), name=odd)
    (folder.folder / "coverage").mkdir()
    (folder.folder / "coverage/index.html").write_text("")
    text = text_of(tmp_path, folder)
    targets = set(re.findall(r' href="([^"]*)"', text))
    ids = set(re.findall(r' id="([^"]*)"', text))
    files = {unquote(one) for one in targets if not one.startswith("#")}
    assert {one[1:] for one in targets if one.startswith("#")} <= ids
    assert files == {
        f"cells/{odd}/{name}"
        for name in ("junit.xml", "manifest.json", "vm-1/console.log", "coverage/index.html")
    }
    assert all((tmp_path / file).is_file() for file in files)
    assert not any(re.search("[ ?]|.#", one) for one in targets)


def test_coverage_without_a_front_page(tmp_path: Path) -> None:
    one = cell(tmp_path, run(*passed()))
    (one.folder / "coverage").mkdir()
    (one.folder / "coverage/main.c.gcov").write_text("")
    text = text_of(tmp_path, one)
    assert '<a href="cells/6.12/coverage/main.c.gcov">coverage/main.c.gcov</a>' in text


def test_lines_that_were_not_run(tmp_path: Path) -> None:
    one = cell(tmp_path, run(*passed()))
    (one.folder / "coverage").mkdir()
    half, why = {"run": 1, "total": 2}, "It & that cannot happen."
    missed = [
        {"file": "pin.c", "line": 7, "function": "pin", "text": text, "reason": reason}
        for text, reason in (("return <0>;", why), ("return 1;", None))
    ]
    document = {"schema": 1, "lines": half, "branches": half, "functions": half}
    document |= {"missed": missed, "stale": [], "notes": ["vm-2 sent no counters"]}
    (one.folder / "coverage/index.html").write_text("")
    (one.folder / "coverage/coverage.json").write_text(json.dumps(document))
    text = words(text_of(tmp_path, one))
    assert "lines 50.0 % (1 of 2), functions 50.0 %" in text
    assert "vm-2 sent no counters" in text
    assert "return <0>; pin.c:7 pin It & that cannot happen." in text
    assert "return 1; pin.c:7 pin no known reason" in text


def test_a_cell_that_could_not_be_run(tmp_path: Path) -> None:
    cells = cell(tmp_path, None, name="7.3"), cell(tmp_path, run(*passed()))
    text = text_of(tmp_path, *cells)
    assert "7.3 not run no kernel" in words(text)
    assert "<h1>1 of 2 cells did not pass: 7.3</h1>" in text
    assert "<h1>7.3 could not be run</h1>" in text_of(tmp_path, cells[0])


def test_what_is_known_of_mainline_is_no_news(tmp_path: Path) -> None:
    tests = [one if one.id != WARNED.id else WARNED for one in passed()]
    ours = cell(tmp_path, run(*passed()))
    known = replace(cell(tmp_path, run(*tests), name="mainline"), as_known=True)
    text = text_of(tmp_path, ours, known)
    assert "<h1>All 2 cells passed</h1>" in text
    assert 'class="status as-known"' in text
    assert 'id="wrong"' not in text
    assert 'data-status="pass fail"' in text
    data = gather(tmp_path, [ours, known], history=History(), specs={})
    assert not data.rows[0].bad
    assert [one.record and one.record.exit_status for one in data.cells] == [0, 0]
    strange = replace(known, as_known=False)
    text = text_of(tmp_path, ours, strange)
    assert "<h1>1 of 2 cells did not pass: mainline</h1>" in text
    assert 'id="wrong"' in text


def test_no_cells(tmp_path: Path) -> None:
    parsed(text_of(tmp_path))


def test_facts_are_told_once_unless_cells_differ(tmp_path: Path) -> None:
    one = cell(tmp_path, run(*passed()), compiler="gcc-12")
    two = cell(tmp_path, run(*passed()), name="7.3", compiler="gcc-14")
    text = text_of(tmp_path, one, two)
    assert "<dt>QEMU</dt><dd>QEMU 7.2</dd>" in text
    assert "<dt>compiler</dt>" not in text
    assert re.search(r'row">6.12</th><td>gcc-12</td></tr>\s*<tr><th.*?>7.3</th><td>gcc-14', text)


def test_a_hash_leaves_the_others_room(tmp_path: Path) -> None:
    """A table with whole ones was as wide as two screens."""
    ours, other = "0123456789abcdef" * 4, "f" * 64
    one = cell(tmp_path, run(*passed()), kernel_sha256=ours)
    two = cell(tmp_path, run(*passed()), name="7.3", kernel_sha256=other)
    assert ours in text_of(tmp_path, one)
    text = text_of(tmp_path, one, two)
    assert "<td>0123456789ab</td>" in text
    assert ours not in text


def test_it_needs_no_network_and_runs_nothing_else(tmp_path: Path) -> None:
    text = text_of(tmp_path, cell(tmp_path, run(*passed())))
    for forbidden in ("http:", "https:", "@import", "url(", " src=", " style=", " onclick="):
        assert forbidden not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert f"{kind} &#39;{report._digest(content)}&#39;" in policy[1].replace("'", "&#39;")
    assert "default-src 'none'" in policy[1]


def test_what_a_guest_prints_is_text(tmp_path: Path) -> None:
    hostile = TestResult(
        id=f"a:{HOSTILE}", status=Status.FAIL, reason=HOSTILE, lines=(HOSTILE,), vm=1
    )
    text = text_of(tmp_path, cell(tmp_path, run(hostile, problems=(HOSTILE,)), qemu=HOSTILE))
    assert text.count("<script") == 1
    assert "\\x00\\x07\\x85\\ud800\\ufdd0 &lt;/pre&gt;" in text
    parsed(text)


@settings(max_examples=30)
@given(ANY_TEXT, ANY_TEXT, st.lists(ANY_TEXT).map(tuple), st.sampled_from(Status))
def test_any_text_makes_valid_html(
    tmp_path_factory: pytest.TempPathFactory,
    id_: str,
    reason: str,
    lines: tuple[str, ...],
    status: Status,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    test = TestResult(id=id_, status=status, reason=reason, lines=lines, vm=1)
    text = text_of(folder, cell(folder, run(test, problems=lines), host=reason))
    assert text.encode()
    assert text.count("<script") == text.count("<style") == 1
    parsed(text)


def test_a_flood_does_not_make_it_too_large(tmp_path: Path) -> None:
    line = "x" * 400
    tests = tuple(
        TestResult(id=f"a:b.t{at}", status=Status.FAIL, lines=(line,) * 60, vm=1)
        for at in range(1000)
    )
    text = text_of(tmp_path, cell(tmp_path, run(*tests)))
    assert len(text) < 8 << 20
    assert "No room here for its 60 lines" in text
    assert text.count('class="id">a:b.t999<') == 2


def test_history_and_flakes(tmp_path: Path) -> None:
    tests = [one if one.id != WARNED.id else WARNED for one in passed()]
    now = cell(tmp_path, run(*tests))
    records = [
        replace(
            history.record_of("6.12", manifest(), run(*passed())),
            run=str(at),
            started=f"2026-11-2{at}T00:00:00+00:00",
        )
        for at in range(2)
    ]
    newest = history.record_of("6.12", manifest(), run(*tests))
    lists = {newest.tests: frozenset(IDS)}
    before = History(records=(*records, newest), lists=lists, notes=("line 3 is torn",))
    text = text_of(tmp_path, now, before=before)
    shown = words(text)
    assert "Earlier runs: flaky: failed in 1 of 3 runs of the same inputs" in shown
    assert "a:b.y.c 6.12 1 of 3 6.1 to 79 % 1 of 3" in shown
    assert re.findall('<rect class="(run.)"', text) == ["run0", "run0", "run1", "run1"]
    assert "history: line 3 is torn" in shown
    assert "flaky" not in text_of(tmp_path, now)


@pytest.mark.parametrize(
    ("ids", "driver", "command"),
    [
        ([], "udmabuf_iov", "harness check --kernel '/home/me/a b'"),
        (["a:b.c"], "udmabuf_iov", "harness check --kernel '/home/me/a b' a:b.c"),
        (["a:suite"], "builtin", "harness check --kernel '/home/me/a b' --driver builtin 'a:*'"),
        (["vm-1:end"], "udmabuf_iov", "harness check --kernel '/home/me/a b'"),
        (["a:b.[*"], "udmabuf_iov", "harness check --kernel '/home/me/a b' 'a:b.[[][*]'"),
    ],
)
def test_the_command_that_runs_it_again(ids: list[str], driver: str, command: str) -> None:
    own = manifest(driver=driver, kernel="/home/me/a b")
    assert again(own, tests=ids) == command


@pytest.mark.parametrize(
    ("cell", "seed", "command"),
    [
        ("", "7", "harness check --kernel 6.12 --seed 7 a:b.c"),
        ("6.12+debug", "7", "harness matrix --cell 6.12+debug --seed 7 a:b.c"),
        # Such a run was made before there were seeds.
        ("6.12+debug", None, "harness matrix --cell 6.12+debug a:b.c"),
    ],
)
def test_it_makes_the_same_random_choices(cell: str, seed: str | None, command: str) -> None:
    extra = () if seed is None else (("seed", seed),)
    assert again(replace(manifest(), extra=extra), cell, ["a:b.c"]) == command


def test_the_command_for_a_cell_that_could_not_be_run() -> None:
    assert again(None, "6.12+debug") == "harness matrix --cell 6.12+debug"


def test_bars_fit_and_are_to_scale() -> None:
    chart = charts.stacks([("a", "", [("boot", "", 1.0), ("test", "", 3.0)]), ("b", "", [])])
    first, second = chart.rows
    assert first.bars[1].width == pytest.approx(3 * first.bars[0].width, abs=0.2)
    assert first.bars[1].x == pytest.approx(first.bars[0].x + first.bars[0].width, abs=0.2)
    assert first.end < chart.width
    assert second.y > first.y
    assert second.y + 20 <= chart.height
    assert charts.stacks([("a", "", [("boot", "", 0.0)])]).rows[0].bars[0].width == 0


def test_columns_show_the_newest() -> None:
    values = [("run0", str(at), float(at)) for at in range(200)]
    chart = charts.columns("6.12", values, most=199.0)
    assert chart.bars[-1].words == "199"
    assert chart.bars[-1].x + chart.bars[-1].width <= chart.width
    assert chart.bars[-1].y + chart.bars[-1].height == chart.base
    assert charts.columns("6.12", values[:1], most=0.0).bars[0].height >= 1


def test_where_tests_are_specified(tmp_path: Path) -> None:
    spots = spec_spots(SOURCE)
    assert spots["mmap:map.size"].file == "selftests/specs/mmap.toml"
    line = (SOURCE / spots["mmap:map.size"].file).read_text().splitlines()
    assert line[spots["mmap:map.size"].line - 1] == 'name = "size"'
    assert spec_spots(tmp_path) == {}


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot write"):
        write_report(tmp_path / "nowhere", gather(tmp_path, [], history=History(), specs={}))
