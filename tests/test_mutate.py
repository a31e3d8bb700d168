# SPDX-License-Identifier: GPL-2.0
"""`harness mutate`: which mutants, which tests, what counts as caught, what is known already."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness import mutantbench, mutate
from harness.errors import HarnessError
from harness.kmod import read_sources
from harness.mutantstate import Kept, State
from harness.mutate import Choice
from harness.mutation import Mutation
from harness.place import Place
from harness.progress import Progress
from harness.results import Status, VmEnd, VmExit
from harness.run import LeashError
from tests.mutantlab import Lab, make_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return make_lab(tmp_path, monkeypatch)


@pytest.mark.parametrize("status", [Status.FAIL, Status.TIMEOUT, Status.DIRTY])
def test_caught_by_an_expected_test(lab: Lab, status: Status) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": status}
    assert lab.mutate() == 0
    mine = ("mmap:map.content", "mmap:map.past_end")
    assert lab.ran() == [("good", mine), ("one", mine)], "the rest is not run"
    said = lab.said()
    assert "mmap:map.content" in said
    assert "1 of 1 mutants caught (100.0 %)" in said


def test_caught_by_another_test_says_so(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"sg:table.read": Status.FAIL}
    assert lab.mutate() == 0
    assert [ids for _, ids in lab.ran() if "sg:table.read" in ids] == [("sg:table.read",)] * 2
    assert "Expect: missed by all of them" in lab.said()


def test_a_splat_of_no_test_counts(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"vm-1:kernel": Status.FAIL}
    assert lab.mutate() == 0


def test_a_survivor(lab: Lab) -> None:
    lab.mutant("one")
    lab.mutant("two")
    lab.says["two"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 1
    said = lab.said()
    assert "one.patch: no test sees this: it" in said
    assert "1 of 2 mutants caught (50.0 %)" in said


@pytest.mark.parametrize("status", [Status.MISSING, Status.CRASHED, Status.ERROR])
def test_a_lost_vm_proves_nothing(lab: Lab, status: Status) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": status}
    assert lab.mutate() == 2
    assert f"mmap:map.content: {status}: why" in lab.said()
    lab.ran()
    lab.says.clear()
    assert lab.mutate() == 1, "and is not kept"


def test_what_blinds_the_expected_tests_may_be_seen_by_another(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.ERROR, "sg:table.read": Status.FAIL}
    assert lab.mutate() == 0
    assert "sg:table.read" in lab.said()


def test_a_lost_vm_with_a_red_test_is_a_catch(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL, "mmap:map.past_end": Status.MISSING}
    assert lab.mutate() == 0


def test_a_mutant_that_does_not_compile_proves_nothing(lab: Lab) -> None:
    lab.mutant("broken")
    assert lab.mutate() == 2
    assert "broken.patch: does not compile" in lab.said()


def test_a_mutant_that_does_not_apply_proves_nothing(lab: Lab) -> None:
    lab.mutant("one")
    (lab.place.source / "module/a.c").write_text("other\n")
    assert lab.mutate() == 2
    assert "does not apply to the driver as it is" in lab.said()


def test_a_mutant_with_the_same_code_proves_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.mutant("one", file="b.c")
    assert lab.mutate() == 2
    assert "object code is the same" in lab.said()


def test_expected_tests_that_are_all_skipped_prove_nothing(lab: Lab) -> None:
    lab.mutant("one", expect="sg:*")
    lab.says["one"] = {"sg:table.read": Status.SKIP}
    assert lab.mutate() == 2
    assert "every test that is expected to catch it was skipped" in lab.said()


def test_the_driver_itself_must_pass(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["good"] = {"mmap:map.content": Status.FAIL}
    with pytest.raises(HarnessError, match=r"does not pass mmap:map\.content \(fail: why\)"):
        lab.mutate()


def test_what_the_driver_does_not_pass_is_told_from_what_was_not_run(lab: Lab) -> None:
    lab.mutant("one", expect="mmap:map.content sg:table.read")
    lab.says["good"] = {"mmap:map.content": Status.CRASHED, "sg:table.read": Status.FAIL}
    with pytest.raises(HarnessError, match=r"does not pass sg:table\.read"):
        lab.mutate()


def test_the_driver_itself_must_pass_the_other_tests_too(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["good"] = {"sg:table.read": Status.FAIL}
    lab.says["one"] = {"sg:table.read": Status.FAIL}
    assert lab.mutate() == 2, "what also fails without the mutant catches none"


def test_what_is_known_is_not_run_again(lab: Lab) -> None:
    lab.mutant("one")
    lab.mutant("two")
    lab.says["two"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 1
    assert lab.ran()
    assert lab.mutate() == 1
    assert lab.ran() == []
    assert lab.mutate(fresh=True) == 1
    assert len(lab.ran()) == 5, "the driver and the survivor twice, for the rest of the tests"


@pytest.mark.parametrize(
    "what", ["driver", "mutant", "suite", "kernel", "expect", "compiler", "judge"]
)
def test_what_makes_it_unknown(lab: Lab, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 0
    lab.ran()
    if what == "driver":
        (lab.place.source / "module/b.c").write_text("better\n")
    elif what == "mutant":
        path = lab.place.source / mutate.MUTANTS / "one.patch"
        path.write_text(path.read_text().replace("+one", "+one more"))
        lab.says["one more"] = lab.says["one"]
    elif what == "suite":
        lab.ready.selftests.suites[0].binary.write_text("new")
    elif what == "kernel":
        lab.ready = replace(lab.ready, kernel=replace(lab.ready.kernel, sha256="1" * 64))
    elif what == "compiler":
        lab.ready.driver.ko.write_text("good, in other words")
    elif what == "judge":
        monkeypatch.setattr(mutantbench, "judge_digest", lambda: "another one")
    else:
        lab.mutant("one", expect="mmap:map.content")
    assert lab.mutate() == 0
    assert lab.ran()


def test_another_suite_may_change(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 0
    lab.ran()
    lab.ready.selftests.suites[1].binary.write_text("new")
    assert lab.mutate() == 0
    assert lab.ran() == []


def test_all_tests(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL, "sg:table.read": Status.FAIL}
    assert lab.mutate(all_tests=True) == 0
    said = lab.said()
    assert "mmap:map.content and 1 more" in said
    assert "mmap:map.past_end: red on none of these mutants" in said
    assert "2 of 3 tests were red on a mutant" in said


def test_all_tests_are_not_known_from_a_run_that_was_stopped(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 0
    lab.says["one"]["mmap:map.past_end"] = Status.FAIL
    assert lab.mutate(all_tests=True) == 0
    assert "2 of 3 tests were red on a mutant" in lab.said()


def test_a_skipped_test_is_not_one_that_no_mutant_fails(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["good"] = {"sg:table.read": Status.SKIP}
    lab.says["one"] = {"mmap:map.content": Status.FAIL, "sg:table.read": Status.SKIP}
    assert lab.mutate(all_tests=True) == 0
    assert "1 of 2 tests were red on a mutant" in lab.said()


def test_kernels_and_options_that_a_mutant_needs(lab: Lab) -> None:
    lab.mutant("old", more="Needs: <6.12\n")
    lab.mutant("kasan", more="Needs: CONFIG_KASAN=y\n")
    lab.mutant("smp", more="Needs: CONFIG_SMP=y\n")
    lab.says["smp"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 0
    said = lab.said()
    assert "needs a kernel <6.12" in said
    assert "needs CONFIG_KASAN=y" in said
    assert "1 of 1 mutants caught (100.0 %), 2 need another kernel" in said
    with pytest.raises(HarnessError, match="no mutant was judged"):
        lab.mutate("old", "kasan", all_tests=True)
    assert "tests were red" not in lab.said()


def test_ctrl_c_ends_what_runs_and_keeps_what_is_known(lab: Lab) -> None:
    for name in ("one", "two", "xx"):
        lab.mutant(name)
        lab.says[name] = {"mmap:map.content": Status.FAIL}
    started = threading.Event()

    def during(word: str, place: Place) -> None:
        leash = place.spawner.leash
        if word in ("one", "good"):
            return
        assert leash is not None
        started.set()
        while not leash.pulled:
            threading.Event().wait(0.01)
        raise LeashError("interrupted")

    lab.during = during
    # One at a time: whichever came first would have the bench's only VM, and keep it.
    findings = mutantbench.judge_all(bench(lab), mutations(lab), jobs=1)
    assert next(findings).mutant.name == "one"
    assert started.wait(60)
    with pytest.raises(KeyboardInterrupt):
        findings.throw(KeyboardInterrupt())
    lab.during = lambda word, place: None
    lab.ran()
    assert lab.mutate() == 0
    assert "one" not in [word for word, _ in lab.ran()]


def test_two_in_one_checkout_take_turns(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    waits = threading.Event()
    monkeypatch.setattr(Progress, "note", lambda *_: waits.set())
    second = threading.Thread(target=lab.mutate)

    def during(word: str, place: Place) -> None:
        if word == "good":
            second.start()
            assert waits.wait(60)

    lab.during = during
    assert lab.mutate() == 0
    second.join()
    assert [word for word, _ in lab.ran()] == ["good", "one"]


def bench(lab: Lab) -> mutantbench.Bench:
    sources = read_sources(lab.place.source / "module")
    state = State(folder=lab.place.cache / "mutants/results")
    return mutantbench.Bench(place=lab.place, ready=lab.ready, sources=sources, state=state)


def mutations(lab: Lab) -> list[Mutation]:
    sources = read_sources(lab.place.source / "module")
    return list(mutate._applied(lab.place, mutate._load(lab.place), sources).mutations)


def test_those_that_need_an_option(lab: Lab) -> None:
    lab.mutant("one", more="Needs: CONFIG_KASAN=y CONFIG_SMP=y\n")
    lab.mutant("two", more="Needs: >=6.1\n")
    lab.mutant("six")
    for needs, names in (
        ("CONFIG_*", ["one"]),
        ("CONFIG_SMP=y", ["one"]),
        (">=*", ["two"]),
        ("", ["six"]),
        ("?*", ["one", "two"]),
        ("*", ["one", "two", "six"]),
    ):
        mutate.list_mutants(lab.place, Choice(needs=needs))
        said = lab.said()
        assert [name for name in ("one", "two", "six") if name in said] == names
    nothing = Choice(needs="CONFIG_LOCKDEP=y", since="HEAD")
    for do in (
        lambda: mutate.list_mutants(lab.place, nothing),
        lambda: mutate.mutate(lab.place, "no kernel", nothing),
    ):
        with pytest.raises(HarnessError, match="none needs 'CONFIG_LOCKDEP=y'"):
            do()


def test_choices(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.mutant("one", bug="B07 M2", more="Quick: yes\n")
    lab.mutant("two", bug="M3", file="b.c")
    mutants = mutate._load(lab.place)

    def chosen(choice: Choice) -> list[str]:
        return [mutant.name for mutant in mutate._named(mutants, choice)]

    assert chosen(Choice()) == ["one", "two"]
    assert chosen(Choice(names=("t*",))) == ["two"]
    assert chosen(Choice(only=("B*",))) == ["one"]
    assert chosen(Choice(only=("b.c", "M2"))) == ["one", "two"]
    assert chosen(Choice(quick=True)) == ["one"]
    with pytest.raises(HarnessError, match="no mutant is called 'x'"):
        chosen(Choice(names=("one", "x")))
    with pytest.raises(HarnessError, match="no mutant is all of that"):
        chosen(Choice(names=("one",), only=("b.c",)))
    monkeypatch.setattr(mutate, "changed_since", lambda revision, **_: frozenset({("b.c", 1)}))
    mutate.list_mutants(lab.place, Choice(since="HEAD"))
    said = lab.said()
    assert "two" in said
    assert "one" not in said
    assert mutate.mutate(lab.place, "6.12", Choice(names=("one",), since="HEAD")) == 0
    assert lab.ran() == []


def test_shards_are_all_and_none_is_in_two(lab: Lab) -> None:
    for name in ("one", "two", "xx", "yy", "zz"):
        lab.mutant(name, more="Needs: <6.12\n" if name in ("one", "zz") else "")
        lab.says[name] = {"mmap:map.content": Status.FAIL}
    sources = read_sources(lab.place.source / "module")
    shards = [Choice(shard=(number, 4)) for number in (1, 2, 3, 4)]
    parts = [
        [one.mutant.name for one in mutate._choose(lab.place, shard, sources).mutations]
        for shard in shards
    ]
    assert parts == [["one", "zz"], ["two"], ["xx"], ["yy"]]
    assert mutate.mutate(lab.place, "6.12", shards[0]) == 0, "others prove something"
    assert lab.ran() == []
    assert mutate.mutate(lab.place, "6.12", Choice(shard=(9, 9))) == 0, "an empty one"
    assert mutate.mutate(lab.place, "6.12", shards[1]) == 0
    assert {word for word, _ in lab.ran()} == {"good", "two"}


def test_state_survives_a_torn_file(tmp_path: Path) -> None:
    state = State(folder=tmp_path / "state")
    kept = Kept(red=("a:b",), green=1, seconds=2.0, suites=(("a", "1"),))
    state.save("key", kept, {"a": "1"})
    assert state.load("key", {"a": "1"}) == kept
    assert state.load("key", {"a": "2"}) is None
    assert state.load("other", {"a": "1"}) is None
    assert State(folder=tmp_path / "state", fresh=True).load("key", {"a": "1"}) is None
    (path,) = (tmp_path / "state").glob("*.json")
    path.write_text(path.read_text()[:20])
    assert state.load("key", {"a": "1"}) is None


@pytest.mark.parametrize("ready", [False, True])
def test_the_first_red_test_ends_the_vms(lab: Lab, ready: bool) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    lab.results = [b"ok 1 a", b"not ok 2 b # SKIP", b"# not ok 3 c", b"not ok 4 d", b"ok 5 e"]

    def after(word: str, folder: Path) -> None:
        (folder.parent / "latest").symlink_to(folder.name)
        if ready and word == "one":
            raise LeashError("the next VM was getting ready")

    lab.after = after
    assert lab.mutate() == 0
    assert [line for word, line in lab.heard if word == "one"] == lab.results[:4]


@pytest.mark.parametrize(
    ("last", "stops"),
    [
        (VmEnd(exit=VmExit.PANIC, detail="Out of memory"), True),
        (VmEnd(exit=VmExit.SILENT, answered=True), True),
        (VmEnd(exit=VmExit.SILENT, answered=False), False),
        (VmEnd(exit=VmExit.LOST), False),
    ],
)
def test_a_kernel_that_dies_or_hangs_ends_the_other_vms(lab: Lab, last: VmEnd, stops: bool) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.TIMEOUT}
    lab.ends = [VmEnd(exit=VmExit.CLEAN), last, VmEnd(exit=VmExit.CLEAN)]
    assert lab.mutate() == 0
    assert [end for word, end in lab.ended if word == "one"] == lab.ends[: 2 if stops else 3]


def test_all_tests_run_to_the_end(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    lab.results = [b"not ok 1 a", b"ok 2 b"]
    lab.ends = [VmEnd(exit=VmExit.PANIC), VmEnd(exit=VmExit.CLEAN)]
    assert lab.mutate(all_tests=True) == 0
    assert [line for word, line in lab.heard if word == "one"] == lab.results * 2
    assert [end for word, end in lab.ended if word == "one"] == lab.ends * 2
    assert lab.more["one"] > 0, "what a crash leaves over goes on in another VM"


def test_a_lost_vm_has_a_second_chance(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.MISSING}

    def during(word: str, place: Place) -> None:
        if [name for name, _ in lab.runs] == ["good", "one", "one"]:
            lab.says["one"] = {"mmap:map.content": Status.FAIL}

    lab.during = during
    assert lab.mutate() == 0
    assert len(lab.ran()) == 3
    assert len(list((lab.place.runs / "mutants/one").iterdir())) == 2, "both are kept"


def test_the_driver_itself_has_a_second_chance(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    lab.says["good"] = {"mmap:map.content": Status.MISSING}

    def during(word: str, place: Place) -> None:
        if len(lab.runs) == 2:
            lab.says["good"] = {}

    lab.during = during
    assert lab.mutate() == 0


def test_a_vm_that_cannot_be_had_has_a_second_chance(lab: Lab) -> None:
    lab.mutant("one")
    lab.errors["one"] = HarnessError("no QEMU")
    assert lab.mutate() == 2
    assert "no QEMU; and again, no QEMU; see" in lab.said()


def test_what_is_red_stays_so_when_another_suite_changes(lab: Lab) -> None:
    lab.mutant("one", expect="*")
    lab.says["one"] = {"sg:table.read": Status.FAIL}
    assert lab.mutate() == 0
    lab.ran()
    lab.ready.selftests.suites[0].binary.write_text("new")
    assert lab.mutate() == 0
    assert [word for word, _ in lab.ran()] == ["good"]
    lab.ready.selftests.suites[1].binary.write_text("new")
    assert lab.mutate() == 0
    assert "one" in [word for word, _ in lab.ran()]


def test_a_driver_that_passed_all_passed_each(lab: Lab) -> None:
    lab.mutant("one")
    lab.says["one"] = {"mmap:map.content": Status.FAIL}
    assert lab.mutate() == 0
    lab.ran()
    lab.mutant("one", expect="mmap:map.content")
    assert lab.mutate(fresh=False) == 0
    assert [word for word, _ in lab.ran()] == ["one"]


def test_as_many_vms_as_there_may_be(lab: Lab) -> None:
    for name in ("one", "two", "xx"):
        lab.mutant(name)
        lab.says[name] = {"mmap:map.content": Status.FAIL}
    alone = threading.Lock()
    together: list[str] = []

    def during(word: str, place: Place) -> None:
        if not alone.acquire(blocking=False):
            together.append(word)
            return
        threading.Event().wait(0.05)
        alone.release()

    lab.during = during
    assert len(list(mutantbench.judge_all(bench(lab), mutations(lab), jobs=3))) == 3
    assert not together
