# SPDX-License-Identifier: GPL-2.0
"""Mutants applied: what changes, what does not apply, and which of them a revision touches."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.kmod import ModuleBuild, read_sources
from harness.mutant import Mutant, parse
from harness.mutation import (
    MutationError,
    apply,
    build,
    changed_since,
    hash_sources,
    write_sources,
)
from harness.objcode import fingerprint
from harness.run import Spawner

ROOT = Path(__file__).parents[1]
LINES = [f"line {number}\n" for number in range(1, 21)]
SOURCES = {"pin.c": "".join(LINES).encode(), "include/uapi/x.h": b"x\n", "README.md": b"read\n"}
HEADER = "SPDX-License-Identifier: GPL-2.0\nBug: own\nWrong: it\nExpect: a:b\n\n"
CHANGE = """\
--- a/module/pin.c
+++ b/module/pin.c
@@ -4,4 +4,4 @@
 line 4
-line 5
+LINE 5
 line 6
 line 7
"""
SPAWNER = Spawner(env={"PATH": os.environ["PATH"]})


def mutant(folder: Path, patch: str = CHANGE) -> Mutant:
    path = folder / "one.patch"
    path.write_text(HEADER + patch)
    return parse(path, path.read_text())


def test_a_change(tmp_path: Path) -> None:
    mutation = apply(mutant(tmp_path), SOURCES, scratch=tmp_path / "work", spawner=SPAWNER)
    changed = SOURCES["pin.c"].replace(b"line 5\n", b"LINE 5\n")
    assert mutation.sources == SOURCES | {"pin.c": changed}
    assert mutation.lines == {("pin.c", 5)}
    assert not (tmp_path / "work").exists()


def test_lines_may_have_moved_but_not_changed(tmp_path: Path) -> None:
    moved = SOURCES | {"pin.c": b"new\nnew\n" + SOURCES["pin.c"]}
    mutation = apply(mutant(tmp_path), moved, scratch=tmp_path / "work", spawner=SPAWNER)
    assert mutation.lines == {("pin.c", 7)}
    other = SOURCES | {"pin.c": SOURCES["pin.c"].replace(b"line 6", b"line six")}
    with pytest.raises(MutationError, match=r"one\.patch: does not apply to the driver as it is"):
        apply(mutant(tmp_path), other, scratch=tmp_path / "work", spawner=SPAWNER)
    assert not (tmp_path / "work").exists()


def test_each_of_ours_applies_to_the_driver_as_it_is(tmp_path: Path) -> None:
    sources = read_sources(ROOT / "module")
    for path in (ROOT / "selftests/mutants").glob("*.patch"):
        apply(parse(path, path.read_text()), sources, scratch=tmp_path / "work", spawner=SPAWNER)


def test_in_a_repository_nothing_is_left_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    mutation = apply(mutant(tmp_path), SOURCES, scratch=tmp_path / "work", spawner=SPAWNER)
    assert mutation.lines == {("pin.c", 5)}


def test_the_users_git_settings_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("[apply]\nwhitespace = error\n")
    patch = CHANGE.replace("+LINE 5", "+LINE 5 ")
    spawner = SPAWNER.with_env(HOME=str(tmp_path))
    mutation = apply(mutant(tmp_path, patch), SOURCES, scratch=tmp_path / "work", spawner=spawner)
    assert mutation.lines == {("pin.c", 5)}


def test_added_lines_have_neighbours(tmp_path: Path) -> None:
    patch = CHANGE.replace("-line 5\n+LINE 5\n", " line 5\n+more\n").replace("4,4 +4,4", "4,4 +4,5")
    mutation = apply(mutant(tmp_path, patch), SOURCES, scratch=tmp_path / "work", spawner=SPAWNER)
    assert mutation.lines == {("pin.c", 5), ("pin.c", 6)}


def test_texts_are_no_part_of_the_driver() -> None:
    assert hash_sources(SOURCES) == hash_sources(SOURCES | {"README.md": b"other\n"})
    assert hash_sources(SOURCES) != hash_sources(SOURCES | {"include/uapi/x.h": b"y\n"})
    assert hash_sources(SOURCES) != hash_sources({**SOURCES, "more.c": b""})


def test_write_sources_leaves_nothing_else(tmp_path: Path) -> None:
    write_sources(SOURCES | {"old.c": b""}, tmp_path / "module")
    write_sources(SOURCES, tmp_path / "module")
    found = [path for path in (tmp_path / "module").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "module")) for path in found} == SOURCES.keys()


def compiled(folder: Path, code: str) -> ModuleBuild:
    ko = folder / "x.ko"
    argv = ("gcc", "-O2", "-c", "-x", "c", "-", "-o", str(ko))
    subprocess.run(argv, input=code, text=True, check=True)
    return ModuleBuild(
        ko=ko, vermagic="", compiler="", cached=False, seconds=0.0, warnings=(), log=ko
    )


def test_a_change_that_the_compiler_undoes_is_no_mutant(tmp_path: Path) -> None:
    mutation = apply(mutant(tmp_path), SOURCES, scratch=tmp_path / "work", spawner=SPAWNER)
    original = fingerprint(compiled(tmp_path, "int f(int a) { return a * 2; }").ko)
    with pytest.raises(MutationError, match="object code is the same"):
        build(mutation, original, lambda: compiled(tmp_path, "int f(int a) { return a + a; }"))
    other = build(mutation, original, lambda: compiled(tmp_path, "int f(int a) { return a; }"))
    assert fingerprint(other.ko) != original


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=tmp_path / "tree", check=True)

    write_sources(SOURCES, tmp_path / "tree/module")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    return tmp_path / "tree"


def test_since(checkout: Path) -> None:
    def since(revision: str = "HEAD") -> frozenset[tuple[str, int]]:
        return changed_since(revision, source=checkout, spawner=SPAWNER)

    assert since() == frozenset()
    lines = list(LINES)
    lines[4] = "changed\n"
    del lines[9:11]
    lines.insert(15, "new\n")
    (checkout / "module/pin.c").write_text("".join(lines))
    # What was taken away has the lines around the gap.
    assert since() == {("pin.c", 5), ("pin.c", 9), ("pin.c", 10), ("pin.c", 16)}
    with pytest.raises(HarnessError, match="--since nothing: "):
        since("nothing")
    with pytest.raises(HarnessError, match="--since --output=x: "):
        since("--output=x")


def test_a_digest_is_that_of_the_sources(tmp_path: Path) -> None:
    mutation = apply(mutant(tmp_path), SOURCES, scratch=tmp_path / "work", spawner=SPAWNER)
    assert mutation.digest == hash_sources(mutation.sources)
    assert replace(mutation, sources=SOURCES).digest != mutation.digest
