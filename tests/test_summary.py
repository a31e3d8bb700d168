# SPDX-License-Identifier: GPL-2.0
"""summary.py and annotations.py: what GitHub is told, whatever a guest printed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness import cli, history
from harness.annotations import annotate
from harness.cell import CellResult, save_cells
from harness.history import History
from harness.reportdata import gather
from harness.reportmodel import ReportData
from harness.results import Status, TestResult
from harness.spot import Spot
from harness.summary import LIMIT, fence, plain, span, summarize
from tests.conftest import Golden
from tests.test_report import ANY_TEXT, IDS, SPLAT, WARNED, cell, manifest, passed, run

SPECS = {
    "a:b.c": Spot(file="selftests/specs/a.toml", line=7),
    "a:b.d": Spot(file="selftests/specs/a.toml", line=9),
}
HOSTILE = "\0```\n</details><script>|*a* `b` :bug: ::error::x\r\n%0A"
# What the template itself writes of HTML.
OURS = re.compile(r"</?(?:details|summary)>|<br>")


def data_of(folder: Path, *cells: CellResult, before: History | None = None) -> ReportData:
    return gather(folder, cells, history=before or History(), specs=SPECS)


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)


def inline(found: Sequence[Token]) -> list[Token]:
    return [child for one in found for child in (one, *(one.children or ()))]


def mixed(folder: Path) -> ReportData:
    """Three cells: one passed, one warned and has a flaky test, one could not be run."""
    expected = TestResult(
        id="a:b.x.d",
        status=Status.FAIL,
        lines=("a.c:7:d:Expected 1 == 2 (3)",),
        seconds=0.5,
        vm=1,
    )
    other = {WARNED.id: WARNED, expected.id: expected}
    bad = run(*(other.get(one.id, one) for one in passed()))
    now = history.record_of("6.12", manifest(), bad)
    before = replace(
        now, run="before", not_passed={WARNED.id: Status.FAIL}, started="2026-11-01T00:00:00Z"
    )
    return data_of(
        folder,
        cell(folder, run(*passed(), kernel="5.10"), name="5.10"),
        cell(folder, bad),
        cell(folder, None, name="7.3+debug"),
        before=History(records=(before, now), lists={now.tests: frozenset(IDS)}),
    )


def test_the_summary(tmp_path: Path, golden: Golden) -> None:
    text = summarize(mixed(tmp_path))
    golden.check("summary/mixed.md", text)
    tags = [one.type for one in tokens(text)]
    assert tags.count("table_open") == 3


def test_the_summary_of_a_run_that_passed(tmp_path: Path, golden: Golden) -> None:
    golden.check("summary/passed.md", summarize(data_of(tmp_path, cell(tmp_path, run(*passed())))))


def test_the_annotations(tmp_path: Path, golden: Golden) -> None:
    lines = annotate(mixed(tmp_path), specs=SPECS)
    golden.check("summary/annotations.txt", "\n".join(lines) + "\n")


def test_a_kernel_that_breaks_the_build_is_told_on_the_line(tmp_path: Path) -> None:
    why = (
        "udmabuf_iov does not build for 7.4.1-amd64 with gcc-16: /home/me/it/module/pin.c:12:9:"
        " error: too few arguments to function 'pin_user_pages_remote'"
    )
    broken = replace(cell(tmp_path, None, name="sid"), error=why)
    (line,) = annotate(data_of(tmp_path, broken), specs=SPECS)
    told = (
        "::error file=module/pin.c,line=12,title=sid could not be run::udmabuf_iov does not build"
    )
    assert line.startswith(told)


def test_it_fits_whatever_happened(tmp_path: Path) -> None:
    tests = [
        TestResult(
            id=f"a:b{at}.{'v' * 300}.c{at}",
            status=Status.FAIL,
            reason="r" * 400,
            lines=("é" * 400,) * 60,
            vm=1,
        )
        for at in range(300)
    ]
    cells = [cell(tmp_path, run(*tests), name=f"cell{at}{'n' * 90}") for at in range(12)]
    data = data_of(tmp_path, *cells)
    sizes = [len(summarize(data, room=room).encode()) for room in (LIMIT, 200_000, 30_000, 9_000)]
    assert all(
        0 < size <= room for size, room in zip(sizes, (LIMIT, 200_000, 30_000, 9_000), strict=True)
    )
    assert sizes == sorted(sizes, reverse=True)
    assert "more causes are in report.html" in summarize(data)
    assert summarize(data, room=100) == ""


def test_what_is_told_of_a_splat(tmp_path: Path) -> None:
    bad = [one if one.id != WARNED.id else WARNED for one in passed()]
    text = summarize(data_of(tmp_path, cell(tmp_path, run(*bad))))
    assert "1. **WARNING in uiov\\_ioctl** in `module/main.c:389`" in text
    assert SPLAT[-1] in text
    assert "RAX" not in text


@settings(max_examples=50)
@given(ANY_TEXT, ANY_TEXT, st.lists(ANY_TEXT, max_size=3).map(tuple))
def test_no_text_becomes_markup(
    tmp_path_factory: pytest.TempPathFactory, id_: str, reason: str, lines: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    lost = TestResult(id=id_, status=Status.MISSING, reason=HOSTILE + reason, vm=1)
    bad = TestResult(id=HOSTILE + id_, status=Status.FAIL, lines=(HOSTILE, *lines), vm=1)
    text = summarize(
        data_of(folder, cell(folder, run(lost, bad), name=f"c{id_!r:.20}".replace("/", "")))
    )
    found = inline(tokens(text))
    for one in found:
        if one.type.startswith("html"):
            assert "<" not in OURS.sub("", one.content), one.content
        assert one.type not in ("link_open", "image", "em_open", "hr")
    assert [one.type for one in found].count("table_open") == 1
    assert [one.content for one in found if one.type == "heading_open"] == ["", ""]


@example("a\n```\nb")
@given(ANY_TEXT | st.text("`~|<\\*_ a\n"))
def test_spans_and_fences_cannot_be_left(text: str) -> None:
    (paragraph,) = [one for one in tokens(f"x {span(text)} y") if one.type == "inline"]
    assert [one.type for one in paragraph.children or ()] == ["text", "code_inline", "text"]
    (block,) = tokens(fence([text], 5))
    assert block.type == "fence"
    shown = inline(tokens(f"x {plain(text)} y"))
    assert {one.type for one in shown if not one.children} <= {
        *("paragraph_open", "paragraph_close", "inline", "text", "text_special"),
    }


def test_long_blocks_are_cut() -> None:
    assert fence(["a", "b", "c"], 2) == "```text\na\nb\n... 1 more lines\n```"
    assert fence(["````"], 1).startswith("`````text\n")


def test_ten_annotations_of_a_kind(tmp_path: Path) -> None:
    tests = [TestResult(id=f"a:b.t{at}", status=Status.FAIL, vm=1) for at in range(14)]
    lines = annotate(data_of(tmp_path, cell(tmp_path, run(*tests))), specs=SPECS)
    assert [line[:8] for line in lines[:-1]] == ["::error "] * 10
    assert lines[-1] == "4 more errors are in report.html"


@given(ANY_TEXT, ANY_TEXT)
def test_an_annotation_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, reason: str, line: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    bad = TestResult(id="a:b.x.c", status=Status.FAIL, reason=reason, lines=(line, HOSTILE), vm=1)
    (told,) = annotate(data_of(folder, cell(folder, run(bad))), specs=SPECS)
    assert not re.search("[\r\n]", told)
    found = re.fullmatch(r"::error file=([^:,]*),line=([^:,]*),title=([^:,]*)::(.*)", told)
    assert found
    assert found[1] == "selftests/specs/a.toml"
    assert not re.search("%(?!25|0A|0D|3A|2C)", told)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = replace(WARNED, reason="it said :bug: and")
    tests = [one if one.id != WARNED.id else bad for one in passed()]
    one = cell(tmp_path, run(*tests))
    (one.folder / "results.json").write_text(run(*tests).to_json())
    save_cells(tmp_path, [one], started="2026-11-22T13:20:50+00:00")
    (tmp_path / "summary.md").write_text("# of another command\n")
    kept = tmp_path / "kept"
    words = ["report", str(tmp_path), "--history", str(kept), "--annotations"]
    words += ["--summary", str(tmp_path / "summary.md")]
    assert cli.main(words) == 0
    assert cli.main(words) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"report: {tmp_path / 'report.html'}"
    assert out[1].startswith("::error file=module/main.c,line=389,title=WARNING in uiov_ioctl::")
    assert "it said :bug: and" in out[1]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("# of another command\n")
    assert summary.count("## 1 failed, 3 passed on 6.12") == 2
    assert "<!DOCTYPE html>" in (tmp_path / "report.html").read_text()
    assert len(history.load(kept).records) == 1


def test_the_command_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "no such file" in capsys.readouterr().err
    one = cell(tmp_path, run(*passed()))
    (one.folder / "results.json").write_text(run(*passed()).to_json())
    assert cli.main(["report", str(one.folder), "--summary", str(tmp_path)]) == 2
    assert "cannot write" in capsys.readouterr().err
