# SPDX-License-Identifier: GPL-2.0
"""lanes.py: every suite is in one lane, with its own kind, and no lane is much the longest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kselftest import Suite
from harness.lanes import Lane, lone_lanes, plan_lanes


def suite(name: str, tests: int = 1, *cmdline: str, cpus: int = 1) -> Suite:
    return Suite(
        name=name,
        binary=Path(name),
        source=Path(f"{name}.c"),
        ids=tuple(f"a.t{at}" for at in range(tests)),
        modules=(),
        cmdline=cmdline,
        cpus=cpus,
    )


def names(lanes: tuple[Lane, ...]) -> list[list[str]]:
    return [[suite.name for suite in lane.suites] for lane in lanes]


def seconds(**suites: float) -> dict[str, float]:
    return {f"{name}:a.t0": cost for name, cost in suites.items()}


def test_the_longest_suites_are_apart_and_lanes_keep_the_order() -> None:
    suites = [suite(name) for name in "abcd"]
    lanes = plan_lanes(suites, jobs=2, seconds=seconds(a=3, b=1, c=4, d=1.5))
    assert names(lanes) == [["b", "c"], ["a", "d"]]


def test_what_is_short_is_not_worth_a_second_vm() -> None:
    suites = [suite(name) for name in "abc"]
    assert names(plan_lanes(suites, jobs=4, seconds=seconds(a=0.5, b=0.5, c=0.5))) == [
        ["a", "b", "c"]
    ]


def test_what_never_ran_counts_by_its_tests() -> None:
    suites = [suite("a", 200), suite("b", 100), suite("c", 90)]
    assert names(plan_lanes(suites, jobs=2, seconds={})) == [["a"], ["b", "c"]]


def test_another_command_line_is_another_vm_and_the_longest_lane_comes_first() -> None:
    suites = [suite("a"), suite("b", 1, "swiotlb=force"), suite("c")]
    lanes = plan_lanes(suites, jobs=1, seconds=seconds(a=1, b=5, c=1))
    assert [(lane.cmdline, names((lane,))[0]) for lane in lanes] == [
        (("swiotlb=force",), ["b"]),
        ((), ["a", "c"]),
    ]


def test_what_another_kind_of_vm_does_meanwhile_needs_no_second_one() -> None:
    suites = [suite("a"), suite("b"), suite("c", 1, "swiotlb=force")]
    costs = seconds(a=2, b=2, c=4)
    assert names(plan_lanes(suites, jobs=2, seconds=costs)) == [["a", "b"], ["c"]]
    assert names(plan_lanes(suites[:2], jobs=2, seconds=costs)) == [["a"], ["b"]]


def test_a_second_vm_where_all_are_done_sooner() -> None:
    suites = [suite("a"), suite("b"), suite("c", 1, "swiotlb=force")]
    lanes = plan_lanes(suites, jobs=2, seconds=seconds(a=3, b=3, c=1))
    assert names(lanes) == [["a"], ["b"], ["c"]]


def test_races_have_a_vm_of_their_own() -> None:
    suites = [suite("a"), suite("race", cpus=2), suite("b")]
    lanes = plan_lanes(suites, jobs=1, seconds=seconds(a=1, race=1, b=1))
    assert [(lane.cpus, names((lane,))[0]) for lane in lanes] == [(1, ["a", "b"]), (2, ["race"])]


def test_the_vm_with_more_cpus_comes_last() -> None:
    suites = [suite("race", cpus=2), suite("a"), suite("b", 1, "swiotlb=force")]
    lanes = plan_lanes(suites, jobs=2, seconds=seconds(race=9, a=1, b=2))
    assert names(lanes) == [["b"], ["a"], ["race"]]


@pytest.mark.parametrize(("jobs", "lanes"), [(2, 1), (3, 1), (4, 2)])
def test_vms_of_two_cpus_beside_each_other_take_four_jobs(jobs: int, lanes: int) -> None:
    suites = [suite("race", cpus=2), suite("swiotlb", cpus=2)]
    assert len(plan_lanes(suites, jobs=jobs, seconds=seconds(race=5, swiotlb=5))) == lanes


def test_what_is_short_runs_in_the_vm_of_the_races() -> None:
    suites = [suite("a"), suite("race", cpus=2), suite("b")]
    (lane,) = plan_lanes(suites, jobs=1, seconds=seconds(a=0.4, race=1, b=0.4))
    assert (lane.cpus, names((lane,))) == (2, [["a", "race", "b"]])


def test_every_vm_has_the_cpus_that_are_asked_for() -> None:
    suites = [suite("a"), suite("race", cpus=2), suite("wide", cpus=4)]
    lanes = plan_lanes(suites, jobs=1, seconds=seconds(a=5, race=5, wide=5), cpus=2)
    assert [(lane.cpus, names((lane,))[0]) for lane in lanes] == [(2, ["a", "race"]), (4, ["wide"])]


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from(["", "x", "y"]), st.integers(1, 3)),
        max_size=20,
    ),
    st.integers(1, 8),
)
def test_nothing_is_lost(kinds: list[tuple[float, str, int]], jobs: int) -> None:
    suites = [
        suite(f"s{at}", 1, *word.split(), cpus=cpus) for at, (_, word, cpus) in enumerate(kinds)
    ]
    costs = {f"s{at}:a.t0": cost for at, (cost, *_) in enumerate(kinds)}
    lanes = plan_lanes(suites, jobs=jobs, seconds=costs)
    assert sorted(one.name for lane in lanes for one in lane.suites) == sorted(
        one.name for one in suites
    )
    for lane in lanes:
        assert lane.suites
        assert {one.cmdline for one in lane.suites} == {lane.cmdline}
        assert max(one.cpus for one in lane.suites) <= lane.cpus
        assert [one.name for one in lane.suites] == [
            one.name for one in suites if one in lane.suites
        ]


def test_each_test_alone_has_the_machine_of_its_suite() -> None:
    suites = [suite("a", 2, "swiotlb=force"), suite("b", cpus=2)]
    lanes = lone_lanes(suites)
    assert [lane.suites[0].full_ids for lane in lanes] == [("a:a.t0",), ("a:a.t1",), ("b:a.t0",)]
    assert [(lane.cmdline, lane.cpus) for lane in lanes] == [
        (("swiotlb=force",), 1),
        (("swiotlb=force",), 1),
        ((), 2),
    ]
    assert [lane.cpus for lane in lone_lanes(suites, cpus=4)] == [4, 4, 4]
