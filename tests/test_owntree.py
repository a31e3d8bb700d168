# SPDX-License-Identifier: GPL-2.0
"""owntree.py: what a tree says of itself; test_kernelbuild.py builds from some."""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.owntree import OwnTree, tree_version
from tests.fakekernel import make_tree


def test_the_fingerprint_of_a_tree_sees_every_kind_of_edit(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux")
    seen = {OwnTree(path=tree, files=None).fingerprint()}

    def changed() -> Iterator[None]:
        (tree / "mm/slub.c").write_text("int slob;\n")
        yield
        os.utime(tree / "mm/slub.c", (0, 0))
        yield
        (tree / "new").touch()
        yield
        (tree / "new").rename(tree / "newer")
        yield
        (tree / "newer").unlink()
        (tree / "Kbuild").unlink()
        yield

    for count, _ in enumerate(changed(), 2):
        seen.add(OwnTree(path=tree, files=None).fingerprint())
        assert len(seen) == count


def test_versions_of_trees(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux")
    assert tree_version(tree) == "6.12.9"
    text = (tree / "Makefile").read_text().replace("EXTRAVERSION =", "EXTRAVERSION = -rc3")
    (tree / "Makefile").write_text(text)
    assert tree_version(tree) == "6.12.9-rc3"
