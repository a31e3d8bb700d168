# SPDX-License-Identifier: GPL-2.0
"""results.py: the exit status, and JSON that survives the round trip or says what is wrong."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.jsonfile import DocumentError
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit

CLEAN = VmEnd(exit=VmExit.CLEAN, seconds=4.5, boot_seconds=3.0)


def run(*statuses: Status, vm: VmEnd = CLEAN) -> RunResult:
    tests = tuple(TestResult(id=f"s:f.t{at}", status=one) for at, one in enumerate(statuses))
    return RunResult(kernel="6.12", release="6.12.1", accelerator="tcg", vms=(vm,), tests=tests)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.SKIP, Status.SKIP], 2),
        ([Status.PASS, Status.SKIP, Status.XFAIL], 0),
        ([Status.PASS, Status.FAIL], 1),
        ([Status.PASS, Status.TIMEOUT], 1),
        ([Status.PASS, Status.CRASHED], 2),
        ([Status.PASS, Status.MISSING], 2),
        ([Status.PASS, Status.ERROR], 2),
        ([Status.FAIL, Status.CRASHED], 2),
        ([], 2),
    ],
)
def test_exit_status(statuses: list[Status], expected: int) -> None:
    assert run(*statuses).exit_status == expected


@pytest.mark.parametrize("exit_", [one for one in VmExit if one is not VmExit.CLEAN])
def test_no_vm_that_died_passes(exit_: VmExit) -> None:
    assert run(Status.PASS, vm=VmEnd(exit=exit_)).exit_status == 2


def test_a_dead_vm_is_a_failure_only_where_a_test_of_it_is() -> None:
    dead = VmEnd(exit=VmExit.PANIC)
    tests = (
        TestResult(id="a:b.c", status=Status.FAIL, vm=1),
        TestResult(id="a:b.d", status=Status.PASS, vm=2),
    )
    result = replace(run(), tests=tests, vms=(dead, CLEAN))
    assert result.exit_status == 1
    assert replace(result, vms=(CLEAN, dead)).exit_status == 2


def test_counts_leave_out_what_did_not_occur() -> None:
    assert run(Status.FAIL, Status.PASS, Status.FAIL).counts == {Status.PASS: 1, Status.FAIL: 2}


RUNS = st.builds(
    RunResult,
    kernel=st.text(),
    release=st.none() | st.text(),
    accelerator=st.sampled_from(["kvm", "tcg"]),
    vms=st.lists(
        st.builds(
            VmEnd,
            exit=st.sampled_from(VmExit),
            detail=st.text(),
            seconds=st.floats(0, 1e6),
            boot_seconds=st.none() | st.floats(0, 1e6),
            answered=st.none() | st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    tests=st.lists(
        st.builds(
            TestResult,
            id=st.text(st.characters(exclude_categories=())),
            status=st.sampled_from(Status),
            seconds=st.none() | st.floats(0, 1e6),
            reason=st.text(),
            lines=st.lists(st.text()).map(tuple),
            line=st.none() | st.integers(0),
            vm=st.integers(0),
        )
    ).map(tuple),
    problems=st.lists(st.text()).map(tuple),
)


@given(RUNS)
def test_json_round_trip(result: RunResult) -> None:
    text = result.to_json()
    assert RunResult.from_json(text, source="x") == result
    assert RunResult.from_json(text, source="x").to_json() == text


@given(RUNS, st.data())
def test_truncated_json_is_an_error(result: RunResult, data: st.DataObject) -> None:
    text = result.to_json().rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(DocumentError, match=r"^x\.json: not a JSON document"):
        RunResult.from_json(text[:cut], source="x.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "r.json: schema: expected 2, found 99"),
        ({"schema": True}, "r.json: schema: expected a number"),
        ({"kernel": 6.12}, "r.json: kernel: expected a string"),
        ({"release": 1}, "r.json: release: expected a string"),
        ({"problems": [1]}, "r.json: problems: expected a list of strings"),
        ({"vms": {}}, "r.json: vms: expected a list of objects"),
        ({"vms": [[]]}, r"r.json: vms\[0\]: expected an object"),
        ({"vms": [{"exit": "fine"}]}, r'r.json: vms\[0\].exit: unknown value "fine"'),
        ({"tests": {}}, "r.json: tests: expected a list of objects"),
        ({"tests": [{"id": "a"}]}, r"r.json: tests\[0\].status: missing"),
        ({"exit_status": 0}, "r.json: exit_status: does not follow from the tests"),
        ({"counts": {}}, "r.json: counts: do not follow from the tests"),
        ({"surprise": 1}, "r.json: surprise: unknown key"),
    ],
)
def test_alien_json_is_an_error_that_names_the_key(change: dict[str, object], message: str) -> None:
    document = json.loads(run(Status.FAIL).to_json()) | change
    with pytest.raises(DocumentError, match=f"^{message}$"):
        RunResult.from_json(json.dumps(document), source="r.json")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seconds", -1, r"tests\[0\].seconds: expected a number of seconds"),
        ("seconds", True, r"tests\[0\].seconds: expected a number of seconds"),
        ("line", 1.5, r"tests\[0\].line: expected a whole number"),
        ("line", -1, r"tests\[0\].line: expected a whole number"),
        ("extra", 1, r"tests\[0\].extra: unknown key"),
    ],
)
def test_alien_test_entries(key: str, value: object, message: str) -> None:
    document = json.loads(run(Status.FAIL).to_json())
    document["tests"][0][key] = value
    with pytest.raises(DocumentError, match=f"^r.json: {message}$"):
        RunResult.from_json(json.dumps(document), source="r.json")


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"schema": NaN}', "{}"])
def test_what_is_no_document_of_ours(text: str) -> None:
    with pytest.raises(DocumentError, match=r"^r\.json: "):
        RunResult.from_json(text, source="r.json")


def test_numbers_that_json_does_not_have() -> None:
    text = run(Status.PASS).to_json().replace('"seconds": null', '"seconds": NaN')
    with pytest.raises(DocumentError, match=r"^r\.json: not a JSON document: NaN is not JSON$"):
        RunResult.from_json(text, source="r.json")


def test_id_parts() -> None:
    test = TestResult(id="mmap:fixture.variant.test", status=Status.PASS)
    assert (test.suite, test.name) == ("mmap", "fixture.variant.test")
    assert replace(CLEAN, detail="ok").describe() == "clean: ok"
