# SPDX-License-Identifier: GPL-2.0
"""The package's rules about itself: imports point one way, exits and environment only in cli."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "harness"
MODULES = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py")}

# Parsers and writers: text in, data out.
PURE = (
    "answers",
    "difference",
    "splat",
    "splatline",
    "symbols",
    "ktap",
    "ktapline",
    "transcript",
    "emulator",
    "evidence",
    "judge",
    "lanes",
    "junit",
    "legible",
    "cause",
    "complaint",
    "flake",
    "gcov",
    "spot",
    "charts",
    "summary",
    "annotations",
    "reportmodel",
    "slices",
    "results",
    "version",
    "generate",
    "mutant",
    "verdict",
    "operators",
    "automutant",
)
IMPURE_IMPORTS = {"subprocess", "socket", "tempfile", "time", "shutil"}


def imports(tree: ast.Module) -> set[str]:
    """Top-level names of imported modules; harness's own as `harness.NAME`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "harness":
                found.update(f"harness.{alias.name}" for alias in node.names)
            else:
                found.add(str(node.module))
    return found


def own(name: str) -> set[str]:
    """Which modules of the package a module imports."""
    return {one.removeprefix("harness.") for one in imports(MODULES[name]) if "harness." in one}


def test_no_cycles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in own(name) & MODULES.keys():
                visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_nothing_imports_the_cli() -> None:
    assert {name for name in MODULES if "cli" in own(name)} <= {"__main__"}


@pytest.mark.parametrize("name", PURE)
def test_parsers_are_pure(name: str) -> None:
    assert not imports(MODULES[name]) & IMPURE_IMPORTS
    assert "run" not in own(name)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"run", "lifeline"}))
def test_one_door_for_processes(name: str) -> None:
    text = (PACKAGE / f"{name}.py").read_text()
    for forbidden in ("os.system", "os.popen", "subprocess.run(", "subprocess.Popen(", "os.fork("):
        assert forbidden not in text


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"cli", "lifeline", "__main__"}))
def test_only_the_cli_exits_or_reads_the_environment(name: str) -> None:
    text = (PACKAGE / f"{name}.py").read_text()
    for forbidden in ("os.environ", "getenv", "sys.exit", "os._exit", "os.chdir", "SystemExit"):
        assert forbidden not in text
