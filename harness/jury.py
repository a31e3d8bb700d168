# SPDX-License-Identifier: GPL-2.0
"""Who says so: a hash of what makes a verdict of what happened in a guest.

That is the judge and every module that it is made of, those that put the evidence before it, the
table of splats, and what runs in the guest. How a kernel is fetched, a VM started or a table
printed is not in it: edits there leave kept verdicts alone. (:mod:`harness.inputs` counts the whole
harness, for verdicts that a run costs.)
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
# It, and what tells whose a splat is.
_JUDGES = ("judge", "attribute")
# They say what the judge is shown: which splats, whose they are and what excuses them, how a VM
# ended and what it was asked, which tests run again. Each by itself: what they are made of is most
# of the harness.
_WITNESSES = ("rundir", "emulator", "watch", "interrogate", "session")
_DATA = ("data/splats.toml", "guest")


@cache
def judge_digest() -> str:
    """Return the hash; comments and docstrings do not count."""
    digest = hashlib.sha256()
    witnesses = {_PACKAGE / f"{name}.py" for name in _WITNESSES}
    for path in sorted(_modules(_PACKAGE) | witnesses):
        digest.update(f"{path.name}\0{_code(path.read_text())}\0".encode())
    for name in _DATA:
        where = _PACKAGE / name
        for path in sorted(where.iterdir()) if where.is_dir() else (where,):
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _modules(package: Path) -> set[Path]:
    """Return the judges' files, and those of what they import of ours, and so on."""
    found: set[Path] = set()
    left = [package / f"{name}.py" for name in _JUDGES]
    while left:
        path = left.pop()
        # `from harness.results import Status`, too, may name modules: only some are files.
        if path in found or not path.is_file():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
                left += [
                    package.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names
                ]
    return found


def _code(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.dump(tree)
