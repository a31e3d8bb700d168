# SPDX-License-Identifier: GPL-2.0
"""proof.py on what two guests might leave; on real ones it is tried by test_warm.py."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.guestroot import Plan
from harness.proof import prove
from harness.results import VmEnd, VmExit
from harness.rundir import CONSOLE, RESULTS
from harness.snapshot import SnapshotError
from tests.test_rundir import WARNING

RELEASE = "6.12.1"
BEGAN = "[    4.800000] harness: test canary:{}\n"
PANIC = "[    6.000000] Kernel panic - not syncing: sysrq triggered crash\n"


@dataclass(kw_only=True)
class Guest:
    """A restored guest, and what it does otherwise than it should.

    Attributes:
        panic: what its kernel says when it crashes.
        more: what it says then, or when the test that does nothing has begun.
        only: the test in which it says that; "" for both.
        silent: it leaves no console.
        mute: it leaves no results.
    """

    panic: str = PANIC
    more: str = ""
    only: str = ""
    silent: bool = False
    mute: bool = False

    def __call__(self, plan: Plan, folder: Path) -> VmEnd:
        (suite,) = plan.suites
        (id_,) = suite.ids
        crash = id_ == "kernel.crash"
        at = f"@{plan.nonce} "
        said = (
            f"{at}hello {RELEASE} 1.00 1.0\n{at}taint 0\n{at}suite canary\nTAP version 13\n1..1\n"
        )
        said += f"#  RUN           {id_} ...\n"
        if not crash:
            said += f"ok 1 {id_}\n{at}exit canary 0\n{at}end 0\n"
        if not self.mute:
            (folder / RESULTS).write_text(said)
        if not self.silent:
            text = BEGAN.format(id_) + (self.panic if crash else "")
            text += self.more if id_.endswith(self.only) else ""
            (folder / CONSOLE).write_text(text)
        return VmEnd(exit=VmExit.PANIC if crash else VmExit.CLEAN)


def test_a_snapshot_that_works(tmp_path: Path) -> None:
    prove(Guest(), release=RELEASE, logs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_may_say_more_when_it_crashes_and_only_then(tmp_path: Path) -> None:
    """One with debug options complains of how a panic stops the CPUs, too."""
    prove(Guest(more=WARNING, only="crash"), release=RELEASE, logs=tmp_path)
    with pytest.raises(SnapshotError, match=r"kernel\.nothing fail: it passed, but: WARNING"):
        prove(Guest(more=WARNING), release=RELEASE, logs=tmp_path)


def test_another_crash_than_ours(tmp_path: Path) -> None:
    other = PANIC.replace("sysrq triggered crash", "of itself")
    for panic in (other, WARNING, ""):
        with pytest.raises(SnapshotError, match=r"does not work: canary:kernel.crash .*canary.log"):
            prove(Guest(panic=panic), release=RELEASE, logs=tmp_path)
    assert BEGAN.format("kernel.crash") in (tmp_path / "canary.log").read_text()


@pytest.mark.parametrize("silent", [True, False])
def test_why_it_does_not_work_is_said_whatever_becomes_of_the_log(
    silent: bool, tmp_path: Path
) -> None:
    """No console to keep; nowhere to keep it."""
    logs = tmp_path if silent else tmp_path / "gone"
    with pytest.raises(SnapshotError, match=r"does not work: canary:kernel.crash \w+: ") as caught:
        prove(Guest(silent=silent, panic=""), release=RELEASE, logs=logs)
    assert "canary.log" not in str(caught.value), "there is none"


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"does not work: .*canary.log"):
        prove(Guest(mute=True), release=RELEASE, logs=tmp_path)
