# SPDX-License-Identifier: GPL-2.0
"""generated.py: what is kept is what would be generated."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness import generate
from harness import generated as keeper
from harness.generate import TemplateError
from harness.generated import generated
from harness.spec import load_specs

SELFTESTS = Path(__file__).parents[1] / "selftests"


@pytest.fixture
def selftests(tmp_path: Path) -> Path:
    for name in ("specs", "templates"):
        shutil.copytree(SELFTESTS / name, tmp_path / name)
    return tmp_path


def texts(selftests: Path) -> list[str]:
    return generated(
        load_specs(selftests / "specs"), selftests / "templates", cache=selftests / "cache"
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_is_kept_is_not_generated_again(
    selftests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = texts(selftests)
    monkeypatch.delattr(generate, "render")
    assert texts(selftests) == first


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1, "of": "", "texts": []}', "\0"])
def test_what_cannot_be_read_is_generated_again(selftests: Path, damage: str) -> None:
    first = texts(selftests)
    (selftests / "cache/generated.json").write_text(damage)
    assert texts(selftests) == first


def test_a_change_of_a_specification_is_seen(selftests: Path) -> None:
    texts(selftests)
    edit(selftests / "specs/fork.toml", 'doc = """', 'doc = """\nChanged here.')
    assert sum("Changed here." in text for text in texts(selftests)) == 1


def test_a_change_of_a_template_is_seen(selftests: Path) -> None:
    texts(selftests)
    edit(selftests / "templates/fork.c.j2", "#include", "#include <changed.h>\n#include")
    assert sum("changed.h" in text for text in texts(selftests)) == 1


@pytest.mark.parametrize("what", ["generator", "jinja2", "python"])
def test_a_change_of_what_generates_is_seen(
    selftests: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    texts(selftests)
    monkeypatch.setattr(generate, "render", lambda spec, templates: "anew")
    if what == "generator":
        edited = selftests / "generate.py"
        edited.write_text(Path(generate.__file__).read_text() + "# edited\n")
        monkeypatch.setattr(keeper, "_GENERATOR", edited)
    elif what == "jinja2":
        monkeypatch.setattr(metadata, "version", {"jinja2": "99"}.__getitem__)
    else:
        monkeypatch.setattr(sys, "version", "99")
    assert set(texts(selftests)) == {"anew"}


def test_a_template_that_is_broken_after_a_good_run(selftests: Path) -> None:
    texts(selftests)
    edit(selftests / "templates/fork.c.j2", "#include", "{% nonsense %}")
    with pytest.raises(TemplateError, match=r"fork\.c\.j2:\d+: "):
        texts(selftests)


def test_a_check_does_not_load_what_it_seldom_needs() -> None:
    """Half of a check's start was that."""
    code = "import sys, harness.cli; print(*(name.partition('.')[0] for name in sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"jinja2", "debian", "tarfile", "watchfiles"}.intersection(said)
