# SPDX-License-Identifier: GPL-2.0
"""Automatic mutants: names that last, diffs that apply, what is tried first; the survivors."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness import need
from harness.automutant import automatic
from harness.kmod import read_sources
from harness.mutant import Mutant
from harness.mutation import Mutation, apply
from harness.run import Spawner
from harness.spec import load_specs
from harness.survivors import SurvivorsError, load_survivors

CODE = b"""\
int f(int a)
{
	if (a < limit)
		g();
	return h(a);
}

int other(void)
{
	g();
	g();
	return h(2);
}
"""
CHECKOUT = Path(__file__).parent.parent


def names(code: bytes) -> set[str]:
    return {one.mutant.name for one in automatic({"a.c": code}, ())}


def test_names_tell_where_and_what() -> None:
    kinds = {name.rpartition(":")[0] for name in names(CODE)}
    assert {"a.c:f:never", "a.c:f:boundary", "a.c:f:delete", "a.c:other:constant"} <= kinds


def test_the_same_statement_twice_is_two_mutants() -> None:
    deletions = [name for name in names(CODE) if name.startswith("a.c:other:delete:")]
    assert len(deletions) == 2


@pytest.mark.parametrize(
    "old, new",
    [
        (b"int f(", b"/* a comment */\nint new(void)\n{\n\treturn g();\n}\n\nint f("),
        (b"\tif (a <", b"\tg(a);\n\tif (a <"),
        (b"if (a < limit)", b"if (a <\n\t    limit)"),
    ],
)
def test_names_survive_edits_elsewhere(old: bytes, new: bytes) -> None:
    after = names(CODE.replace(old, new))
    assert {name for name in names(CODE) if ":delete:" not in name} <= after


def test_a_name_does_not_survive_an_edit_of_its_statement() -> None:
    gone = names(CODE) - names(CODE.replace(b"limit", b"most"))
    kinds = {name.rpartition(":")[0] for name in gone}
    assert kinds == {"a.c:f:never", "a.c:f:always", "a.c:f:boundary"}


def test_a_sample_is_the_same_after_an_edit_elsewhere() -> None:
    before = [one.mutant.name for one in automatic({"a.c": CODE}, ())]
    after = [one.mutant.name for one in automatic({"a.c": CODE, "b.c": CODE}, ())]
    assert [name for name in after if name.startswith("a.c:")] == before


def test_only_the_module_is_mutated() -> None:
    sources = {"a.c": CODE, "Kbuild": b"x", "include/uapi/x.h": CODE, "examples/y.c": CODE}
    found = automatic(sources, ())
    assert {file for one in found for file in one.mutant.files} == {"a.c"}
    assert all(one.sources["include/uapi/x.h"] == CODE for one in found)


def test_the_diff_is_the_mutant(tmp_path: Path) -> None:
    sources = {"a.c": CODE}
    for one in automatic(sources, ()):
        path = tmp_path / "mutant.patch"
        path.write_text(one.mutant.text)
        written = replace(one.mutant, path=path)
        spawner = Spawner(env={"PATH": "/usr/bin:/bin"})
        again = apply(written, sources, scratch=tmp_path / "scratch", spawner=spawner)
        assert again.sources == one.sources
        # What is only taken away makes neighbours of its lines; the others are where they say.
        assert one.lines & again.lines


def listed(line: int, expect: str) -> Mutation:
    mutant = Mutant(
        name=expect[:2],
        path=Path("x.patch"),
        text="",
        bugs=("own",),
        wrong="",
        expect=(expect,),
        files=("a.c",),
    )
    return Mutation(mutant=mutant, sources={}, lines=frozenset({("a.c", line)}))


def test_what_catches_a_function_is_tried_first() -> None:
    hand = [listed(3, "mmap:*"), listed(11, "sg:*"), listed(12, "sg:*"), listed(12, "race:*")]
    expected = {
        one.mutant.name.split(":")[1]: one.mutant.expect for one in automatic({"a.c": CODE}, hand)
    }
    assert expected == {"f": ("mmap:*",), "other": ("sg:*", "race:*")}


def test_else_what_catches_a_file_else_everything() -> None:
    hand = [listed(3, "mmap:*")]
    found = automatic({"a.c": CODE, "b.c": CODE}, hand)
    expected = {":".join(one.mutant.name.split(":")[:2]): one.mutant.expect for one in found}
    assert expected["a.c:other"] == ("mmap:*",)
    assert expected["b.c:other"] == ("*",)


def test_those_of_the_driver_have_names_of_their_own() -> None:
    found = automatic(read_sources(CHECKOUT / "module"), ())
    assert len({one.mutant.name for one in found}) == len(found) > 500
    assert {file for one in found for file in one.mutant.files} >= {"pin.c", "main.c", "exporter.c"}


def survivors(folder: Path, text: str) -> Path:
    path = folder / "survivors.toml"
    path.write_text(text)
    return path


def test_survivors(tmp_path: Path) -> None:
    text = """
    [[survivors]]
    equivalent = true
    why = "It only yields."
    mutants = ["a:b:c:1", "a:b:c:2"]
    [[survivors]]
    why = "It leaks."
    needs = "<6.11 CONFIG_DEBUG_KMEMLEAK=y"
    expect = ["s:f.*"]
    mutants = ["a:b:c:3"]
    """
    names = ["a:b:c:1", "a:b:c:2", "a:b:c:3", "x"]
    found = load_survivors(survivors(tmp_path, text), names, tests=["s:f.t"])
    assert {name for name, excuse in found.items() if excuse.equivalent} == {"a:b:c:1", "a:b:c:2"}
    leak = found["a:b:c:3"]
    assert leak.needs == need.parse("<6.11 CONFIG_DEBUG_KMEMLEAK=y")
    assert found["a:b:c:1"].needs == ()


@pytest.mark.parametrize(
    "text, what",
    [
        ('why = "w"\nmutants = ["gone"]', "gone is none"),
        ('why = "w"\nmutants = ["a", "a"]', "got a again"),
        ('why = "w"\nmutants = []', "at least one"),
        ('mutants = ["a"]', "why"),
        ('why = "w"\nmutants = ["a"]\nneeds = "KASAN"', "got KASAN"),
        (
            'why = "w"\nmutants = ["a"]\nneeds = "CONFIG_X=y"\nequivalent = true',
            "not equivalent everywhere",
        ),
        ('why = "w"\nmutants = ["a"]\nexpect = ["s:*"]', "that `needs` names"),
        ('why = "w"\nmutants = ["a"]\nneeds = "CONFIG_X=y"\nexpect = ["t:*"]', "none matches t:"),
        ('why = "w"\nmutants = ["a"]\nreason = "r"', "no such key"),
    ],
)
def test_survivors_that_cannot_be_meant(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(SurvivorsError, match=what):
        load_survivors(survivors(tmp_path, f"[[survivors]]\n{text}\n"), ["a"], tests=["s:f.t"])


def test_the_list_of_the_driver_is_of_its_mutants() -> None:
    found = automatic(read_sources(CHECKOUT / "module"), ())
    specs = load_specs(CHECKOUT / "selftests/specs")
    load_survivors(
        CHECKOUT / "selftests/mutants/survivors.toml",
        [one.mutant.name for one in found],
        tests=[id_ for spec in specs for id_ in spec.full_ids],
    )
