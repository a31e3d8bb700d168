# SPDX-License-Identifier: GPL-2.0
"""`harness export`: builds in a kernel tree, and passes there as far as mainline is right."""

import os
import re
import shutil
import sys
from pathlib import Path

import platformdirs
import pytest
from rich.console import Console

from harness import known, ktap, transcript
from harness.cli import main
from harness.export import PREFIX, ExportError, export, exported_specs, theirs_only
from harness.guestroot import Plan, SuiteRun
from harness.place import Place
from harness.probe import choose_accelerator
from harness.progress import Progress
from harness.results import TestResult, VmExit
from harness.run import Spawner
from harness.runner import kernel_store
from harness.spec import load_specs
from harness.vm import VmConfig
from harness.warm import run_warm
from tests.conftest import KERNEL_FILES

ROOT = Path(__file__).parents[1]
SPECS = ROOT / "selftests" / "specs"
# What a reader upstream has never heard of.
OURS = re.compile(
    r"udmabuf_iov|UDMABUF_IOV|importer|KSFT_WATCH|\b(?:ANON|THP)\b|\b[BM]\d\d?: |\b2\.4[a-i]\b"
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
    here = {id_ for spec in load_specs(SPECS) if spec.export for id_ in spec.full_ids}
    there = {id_ for spec in exported_specs(SPECS) for id_ in spec.full_ids}
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


@pytest.fixture
def place(tmp_path: Path) -> Place:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    return Place(
        source=ROOT,
        cache=platformdirs.user_cache_path("udmabuf-harness"),
        runs=tmp_path,
        spawner=Spawner(env={"PATH": path, "LANG": "C.UTF-8"}),
        progress=Progress(Console(quiet=True)),
    )


@pytest.fixture
def installed(kernel_source: Path, tmp_path: Path, place: Place) -> Path:
    """The exported tests, dropped into a kernel's tree, built and installed by its own make."""
    tree = tmp_path / "linux"
    for name in KERNEL_FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kernel_source / name, tree / name)
    selftests = tree / "tools/testing/selftests"
    export(selftests / "drivers/dma-buf", source=ROOT)
    target = tmp_path / "installed"
    place.spawner.run(
        (
            *("make", "-C", selftests, "install", "TARGETS=drivers/dma-buf", "FORCE_TARGETS=1"),
            # The guest has no libraries.
            *(f"INSTALL_PATH={target}", "USERCFLAGS=-Werror", "USERLDFLAGS=-static -s"),
        ),
        deadline=300,
    )
    return target


@pytest.mark.vm
@pytest.mark.kernel
def test_run_kselftest_finds_the_bugs_of_mainline_and_no_others(
    installed: Path, tmp_path: Path, place: Place
) -> None:
    program = tmp_path / "kselftest"
    packed = place.spawner.run(
        ("tar", "-c", "-C", installed, "-f", tmp_path / "tar", "."), deadline=60
    )
    assert packed.status == 0
    program.write_bytes(
        (ROOT / "tests/data/run-installed-kselftests").read_bytes()
        + (tmp_path / "tar").read_bytes()
    )
    program.chmod(0o755)
    kernel = kernel_store(place).get("6.12")
    accelerator = choose_accelerator(
        kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
    )
    plan = Plan(nonce="5e" * 16, suites=(SuiteRun(name="kselftest", binary=program),))
    outcome = run_warm(
        VmConfig(kernel=kernel, accelerator=accelerator),
        plan,
        folder=tmp_path,
        spawner=place.spawner,
        cache=place.cache,
    )
    assert outcome.end.exit is VmExit.CLEAN
    told = transcript.parse((tmp_path / "results.ktap").read_bytes(), plan.nonce)
    document = ktap.parse(told.sections[0].text)
    # "selftests: drivers/dma-buf: udmabuf_ioctl"; the first, which wants 2 GiB, is not ours.
    suites = {test.name.rpartition(f" {PREFIX}")[2]: test for test in document.tests[1:]}
    results = [
        TestResult(id=f"{suite}:{test.name}", status=test.status)
        for suite, program in suites.items()
        for test in program.subtests
    ]
    specs = exported_specs(SPECS)
    assert [one.id for one in results] == [id_ for spec in specs for id_ in spec.full_ids]
    comparison = known.compare(results, known.of_checkout(ROOT), kernel.release)
    assert comparison.exit_status == 0, known.words(comparison)
    assert all(one.known.bug for one in comparison.shown)
    assert {"2.4c, B14", "2.4f", "B09, M21"} == {one.known.of for one in comparison.shown}
    clean = {spec.name for spec in specs} - {"compat", "ioctl", "release"}
    assert all(suites[name].status.good for name in clean)
