# SPDX-License-Identifier: GPL-2.0
"""`harness mutate --auto`: what counts, what is no mutant, and the list of survivors."""

from pathlib import Path

import pytest

from harness import automutant, mutate, runner
from harness.arguments import parse
from harness.errors import HarnessError
from harness.kernel import Kernel
from harness.kmod import ModuleBuild, ModuleBuildError, read_sources
from harness.mutate import Choice
from harness.place import Place
from harness.results import Status
from tests.mutantlab import Lab, make_lab, module


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return make_lab(tmp_path, monkeypatch)


def automatic(lab: Lab, what: str = "") -> None:
    """Make the driver one that operators find something in; survivors.toml says `what`."""
    lab.mutant("one")
    for name in ("a.c", "b.c"):
        (lab.place.source / "module" / name).write_text("good\n")
    (lab.place.source / "module/c.c").write_text("int f(void)\n{\n\tg();\n\treturn a < b;\n}\n")
    (lab.place.source / mutate.SURVIVORS).write_text(what)


def kinds(monkeypatch: pytest.MonkeyPatch, lab: Lab, **words: str) -> dict[str, str]:
    """Have a module be what its mutated line says: by operator, or "good"; returns names by it."""
    sources = read_sources(lab.place.source / "module")
    found = {one.mutant.name.split(":")[2]: one for one in automutant.automatic(sources, ())}

    def build(place: Place, kernel: Kernel, source: Path, *, shelf: str) -> ModuleBuild:
        text = (source / "c.c").read_bytes()
        (kind,) = (kind for kind, one in found.items() if one.sources["c.c"] == text)
        lab.built.append(kind)
        if (why := words.get(kind)) in ("broken", "killed"):
            raise ModuleBuildError(
                "does not build", lines=(), log=source, hint="mend it", diagnosed=why == "broken"
            )
        return module(place.cache / f"{kind}.ko", words.get(kind, kind))

    monkeypatch.setattr(runner, "build", build)
    return {kind: one.mutant.name for kind, one in found.items()}


def auto(lab: Lab, **more: bool) -> int:
    return mutate.mutate(lab.place, "6.12", Choice(auto=True), **more)


def test_automatic_mutants(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic(lab)
    names = kinds(monkeypatch, lab)
    assert names.keys() == {"delete", "boundary"}
    lab.says["delete"] = {"sg:table.read": Status.FAIL}
    assert auto(lab) == 1
    said = lab.said()
    assert "module/c.c:4: no test sees this: < => <=" in said
    assert "Expect: missed" not in said, "nobody promised"
    assert "1 of 2 mutants caught (50.0 %)" in said
    lab.ran()
    assert auto(lab) == 1
    assert lab.ran() == []


def test_an_automatic_mutant_may_be_none(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic(lab)
    kinds(monkeypatch, lab, delete="broken", boundary="good")
    with pytest.raises(HarnessError, match="no mutant was judged"):
        auto(lab)
    assert "0 of 0 mutants caught, 2 do not compile or are the same code" in lab.said()
    assert sorted(lab.built) == ["boundary", "delete"]
    with pytest.raises(HarnessError, match="no mutant was judged"):
        auto(lab)
    assert len(lab.built) == 2, "which is known, too"
    with pytest.raises(HarnessError, match="no mutant was judged"):
        auto(lab, fresh=True)
    assert len(lab.built) == 4
    for shard in ((1, 1), (2, 2)):
        with pytest.raises(HarnessError, match="no mutant was judged"):
            mutate.mutate(lab.place, "6.12", Choice(auto=True, shard=shard))
    lab.ready.driver.ko.write_text("good, in other words")
    kinds(monkeypatch, lab, delete="broken", boundary="good, in other words")
    with pytest.raises(HarnessError, match="no mutant was judged"):
        auto(lab)
    assert len(lab.built) == 6, "by another compiler it may be one"
    # One that says something is enough.
    kinds(monkeypatch, lab, delete="broken")
    lab.says["boundary"] = {"sg:table.read": Status.FAIL}
    assert auto(lab, fresh=True) == 0


def test_a_build_that_failed_of_something_else_is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic(lab)
    kinds(monkeypatch, lab, delete="killed")
    lab.says["boundary"] = lab.says["delete"] = {"sg:table.read": Status.FAIL}
    assert auto(lab) == 2
    assert "1 of 1 mutants caught (100.0 %), 1 could not be judged" in lab.said()
    kinds(monkeypatch, lab)
    assert auto(lab) == 0
    assert "2 of 2 mutants caught" in lab.said()


@pytest.mark.parametrize(
    "more, status, verdict",
    [
        ("equivalent = true", 0, "1 of 1 mutants caught (100.0 %), 1 equivalent"),
        ("", 0, "1 of 2 mutants caught (50.0 %)"),
        ('needs = "CONFIG_KASAN=y"', 0, "1 of 1 mutants caught (100.0 %), 1 need another kernel"),
        ('needs = "CONFIG_SMP=y"', 1, "1 of 2 mutants caught (50.0 %)"),
    ],
)
def test_a_survivor_with_a_reason(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, more: str, status: int, verdict: str
) -> None:
    automatic(lab)
    name = kinds(monkeypatch, lab)["boundary"]
    automatic(lab, f'[[survivors]]\nwhy = "so be it"\n{more}\nmutants = ["{name}"]\n')
    lab.says["delete"] = {"sg:table.read": Status.FAIL}
    assert auto(lab) == status
    said = lab.said()
    assert verdict in said
    assert ("so be it" in said) == (status == 0)


@pytest.mark.parametrize(("value", "ran"), [("y", [("sg:table.read",)]), ("m", [])])
def test_a_survivor_is_judged_where_it_can_be_and_what_catches_it_runs_first(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, value: str, ran: list[tuple[str, ...]]
) -> None:
    automatic(lab)
    name = kinds(monkeypatch, lab)["delete"]
    automatic(
        lab,
        f'[[survivors]]\nwhy = "so be it"\nneeds = "CONFIG_SMP={value}"\n'
        f'expect = ["sg:table.read"]\nmutants = ["{name}"]\n',
    )
    lab.says["delete"] = {"sg:table.read": Status.FAIL}
    lab.says["boundary"] = {"mmap:map.content": Status.FAIL}
    assert auto(lab) == 0
    assert [ids for word, ids in lab.ran() if word == "delete"] == ran


def test_survivors_that_need_an_option(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic(lab)
    names = kinds(monkeypatch, lab)
    automatic(
        lab,
        '[[survivors]]\nwhy = "so be it"\nneeds = "CONFIG_KASAN=y"\n'
        f'mutants = ["{names["delete"]}"]\n',
    )
    for needs, kind in (("CONFIG_K*", "delete"), ("", "boundary")):
        mutate.list_mutants(lab.place, Choice(auto=True, needs=needs))
        said = lab.said()
        assert [name for name in names.values() if name in said] == [names[kind]]


def test_a_reason_in_vain(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic(lab)
    names = kinds(monkeypatch, lab)
    automatic(lab, f'[[survivors]]\nwhy = "so be it"\nmutants = {list(names.values())}\n')
    lab.says["delete"] = {"sg:table.read": Status.FAIL}
    assert auto(lab) == 1
    assert f"{names['delete']} is listed as a survivor, and was caught" in lab.said()
    automatic(lab, '[[survivors]]\nwhy = "so be it"\nmutants = ["c.c:f:delete:0000"]\n')
    with pytest.raises(HarnessError, match=r"c\.c:f:delete:0000 is none"):
        auto(lab)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--auto", "--sample", "0"], "--sample: '0' is not a number from 1 on"),
        (["--auto", "--sample", "-1"], "--sample: "),
        (["--sample", "3"], "--sample chooses among what --auto makes"),
        (["--shard", "0/3"], "--shard: '0/3' is not I/N"),
        (["--shard", "4/3"], "--shard: '4/3' is not I/N"),
        (["--shard", "2"], "--shard: '2' is not I/N"),
    ],
)
def test_a_sample_that_is_none(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse(["mutate", "--auto", "--sample", "1"], strict=False).sample == 1
    assert parse(["mutate", "--shard", "3/3"], strict=False).shard == (3, 3)
    with pytest.raises(SystemExit) as caught:
        parse(["mutate", *words], strict=False)
    assert caught.value.code == 2
    assert why in capsys.readouterr().err


def test_a_sample_and_a_choice_of_automatic_mutants(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic(lab)
    names = kinds(monkeypatch, lab)
    lab.says["boundary"] = lab.says["delete"] = {"sg:table.read": Status.FAIL}
    assert mutate.mutate(lab.place, "6.12", Choice(auto=True, sample=1)) == 0
    assert len(lab.built) == 1
    mutate.list_mutants(lab.place, Choice(auto=True, names=("*:delete:*",), only=("c.c",)))
    said = lab.said()
    assert f"{names['delete']}  auto            module/c.c:3: g(); => ;" in said
    assert said.endswith("1 mutants\n")
    with pytest.raises(HarnessError, match="no mutant is all of that"):
        mutate.list_mutants(lab.place, Choice(auto=True, quick=True))


def test_a_sample_is_one_of_what_changed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic(lab)
    names = kinds(monkeypatch, lab)
    for line, kind in ((3, "delete"), (4, "boundary")):
        lines = frozenset({("c.c", line)})
        monkeypatch.setattr(mutate, "changed_since", lambda revision, lines=lines, **_: lines)
        mutate.list_mutants(lab.place, Choice(auto=True, since="HEAD", sample=1))
        assert f"{names[kind]}  auto" in lab.said()
