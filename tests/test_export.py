# SPDX-License-Identifier: GPL-2.0
"""`harness export`: builds in a kernel tree, and passes there as far as mainline is right."""

import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.export import ExportError, export, exported_specs, theirs_only
from harness.spec import load_specs

ROOT = Path(__file__).parents[1]
SPECS = ROOT / "selftests" / "specs"
# What a reader upstream has never heard of.
OURS = re.compile(
    r"udmabuf_iov|UDMABUF_IOV|importer|KSFT_WATCH|\bANON\b|\b[BM]\d\d?: |\b2\.4[a-i]\b"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dma-buf")
    export(folder, source=ROOT)
    return folder


def test_nothing_of_ours_is_exported(exported: Path) -> None:
    found = [
        f"{path.name}: {line}"
        for path in sorted(exported.iterdir())
        for line in path.read_text().splitlines()
        if OURS.search(line)
    ]
    assert not found


def test_every_suite_has_a_program(exported: Path) -> None:
    programs = {f"udmabuf_{spec.name}" for spec in load_specs(SPECS) if spec.export}
    assert len(programs) > 5
    makefile = (exported / "Makefile").read_text()
    # Upstream's own program stays.
    assert set(re.findall(r"^TEST_GEN_PROGS \S+ (\S+)$", makefile, re.M)) == {"udmabuf", *programs}
    assert {path.stem for path in exported.glob("*.c")} == programs
    ignored = (exported / ".gitignore").read_text().splitlines()
    assert programs <= set(ignored)


def test_what_is_left_out_needs_what_mainline_lacks() -> None:
    """All tests that are exported are ours too; what is missing is marked or anonymous memory."""
    here = {f"{spec.name}:{id_}" for spec in load_specs(SPECS) if spec.export for id_ in spec.ids}
    there = {f"{spec.name}:{id_}" for spec in exported_specs(SPECS) for id_ in spec.ids}
    assert there < here
    assert {"ioctl:create.flag_unknown.answers", "cpu_access:threads.shmem_many.user"} <= there
    assert "ioctl:create_iov.good.answers" in here - there
    assert "mmap:map.anon_one.content" in here - there


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\n#ifdef KSFT_WATCH\nb\n#else\nc\n#endif\nd\n", "a\nc\nd\n"),
        ("#ifdef KSFT_WATCH\n#ifdef X\nb\n#endif\nc\n#endif\nd\n", "d\n"),
        (
            "#ifdef X\n#ifdef KSFT_WATCH\nb\n#endif\nc\n#else\nd\n#endif\n",
            "#ifdef X\nc\n#else\nd\n#endif\n",
        ),
        ("#ifndef KSFT_WATCH\na\n#endif\n",) * 2,
        ("#if 1\n#else\n#endif\n",) * 2,
        ('#include "importer_test.h"\n#include "other.h"\n', '#include "other.h"\n'),
        ("a\n\n#ifdef KSFT_WATCH\nb\n#endif\n\nc\n", "a\n\nc\n"),
    ],
)
def test_conditions_on_what_is_ours_are_decided(text: str, left: str) -> None:
    assert theirs_only(text) == left


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"file/folder: Not a directory"):
        export(tmp_path / "file" / "folder", source=ROOT)


def test_the_command_names_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "new")]) == 0
    assert "udmabuf_ioctl.c" in capsys.readouterr().out
    assert (tmp_path / "new" / "settings").exists()
