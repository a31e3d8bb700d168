# SPDX-License-Identifier: GPL-2.0
"""`--seed N`, from the command line to the test programs, and back out of a run's manifest."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness import optionvalue
from harness.accel import Accelerator
from harness.cli import main
from harness.guestroot import Plan
from harness.lanes import Lane
from harness.run import Leash
from harness.session import Session
from harness.vm import VmConfig
from tests.test_cli import run
from tests.test_e2e import ROOT, check, statuses
from tests.test_lanes import suite
from tests.test_rundir import MANIFEST
from tests.test_session import Guest
from tests.test_vm import fake_kernel


@pytest.mark.parametrize("text", ["0", "7", "007", "4294967295"])
def test_seeds(text: str) -> None:
    assert optionvalue.seed(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "0x7", " 7", "7\n", "x", "4294967296", "\u0663"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 4294967295"):
        optionvalue.seed(text)


def test_what_is_not_within_is_told_in_one_line() -> None:
    take = optionvalue.within(range(1, 65))
    assert [take("1"), take("64")] == [1, 64]
    for text in ("0", "65", "-1", "2x"):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            take(text)
        assert str(caught.value) == f"{text!r} is not a number from 1 to 64"


@pytest.mark.parametrize("verb", ["check", "watch"])
def test_a_wrong_seed_is_an_error(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--runs", str(tmp_path), verb, "--seed", "soon"])
    assert info.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("--seed: 'soon' is not a number from 0 to 4294967295")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seed", "lines"), [(7, ["seed 7"]), (0, ["seed 0"]), (None, [])])
def test_every_vm_starts_from_the_seed(seed: int | None, lines: list[str], tmp_path: Path) -> None:
    plans: list[str] = []
    tests = suite("a", 3)

    class Keeper(Guest):
        def ready(self, plan: Plan) -> None:
            plans.append(plan.text())

    Session(
        tmp_path,
        replace(MANIFEST, expected=tests.full_ids, vms=()),
        config=VmConfig(kernel=fake_kernel(), accelerator=Accelerator(kvm=False, why="a test")),
        loads=(),
        boot=Keeper(tmp_path, {"a:a.t1": "die"}),
        leash=Leash(),
        seed=seed,
    ).run([Lane(cmdline=(), suites=(tests,))], jobs=1)
    assert len(plans) == 2
    for plan in plans:
        assert [line for line in plan.splitlines() if line.startswith("seed")] == lines


def recorded(run: Path) -> str:
    """Return the seed that a run's manifest tells."""
    seed: str = json.loads((run / "manifest.json").read_text())["extra"]["seed"]
    return seed


def test_a_run_tells_its_seed(tmp_path: Path) -> None:
    latest = tmp_path / "runs/latest"
    run("clean", tmp_path, "check", "--seed", "4294967295")
    assert recorded(latest) == "4294967295"
    by_itself = set()
    for _ in range(2):
        run("clean", tmp_path)
        by_itself.add(int(recorded(latest)))
    assert len(by_itself) == 2
    assert all(0 <= seed <= optionvalue.MAX_SEED for seed in by_itself)


@pytest.mark.vm
@pytest.mark.parametrize("how", [(), ("--cold",)])
def test_the_tests_start_from_it(how: tuple[str, ...], tmp_path: Path) -> None:
    name = "race:seal.shmem.never_both"
    done = check(ROOT, tmp_path, name, "--seed", "7", *how)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(tmp_path) == {name: "pass"}
    assert recorded(tmp_path / "latest") == "7"
    assert "KSFT_SEED=7\n" in (tmp_path / "latest/vm-1/results.ktap").read_text()
