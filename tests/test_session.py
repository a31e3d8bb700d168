# SPDX-License-Identifier: GPL-2.0
"""session.py: no test is lost, none runs twice, and every VM is written down before it starts."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.accel import Accelerator
from harness.answers import ASKED
from harness.errors import HarnessError
from harness.guestroot import Plan
from harness.kselftest import Suite
from harness.lanes import Lane
from harness.manifest import load_manifest, vm_folder
from harness.results import Status, VmEnd, VmExit
from harness.run import Leash, LeashError
from harness.rundir import rejudge
from harness.session import Session
from harness.vm import VmConfig, VmOutcome
from harness.watch import Deadlines
from tests.test_lanes import suite
from tests.test_rundir import MANIFEST, WARNING
from tests.test_vm import fake_kernel

SHORT = Deadlines(boot=1, silence=1, total=1)


@dataclass
class Guest:
    """A boot that tells of each test what a script says: "pass", "die", "stop" or "mute"."""

    folder: Path
    script: dict[str, str] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)
    machines: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    def __call__(
        self,
        config: VmConfig,
        plan: Plan,
        folder: Path,
        turn: AbstractContextManager[object],
        on_line: Callable[[bytes], None],
    ) -> VmOutcome:
        # Whoever is killed now leaves a run that can be judged.
        assert load_manifest(self.folder).vms[-1].end is None
        self.machines.append((config.cmdline, config.cpus))
        self.ran.append([f"{one.name}:{id_}" for one in plan.suites for id_ in one.ids])
        self.ready(plan)
        with turn:
            text, exit_ = self._answer(plan)
        (folder / "results.ktap").write_text(text)
        return VmOutcome(end=VmEnd(exit=exit_), argv=("vng",))

    def ready(self, plan: Plan) -> None:
        """Wait for its turn from here on."""

    def _answer(self, plan: Plan) -> tuple[str, VmExit]:
        text = f"@{plan.nonce} hello 6.12.1 1.00 1.0\n@{plan.nonce} taint 0\n"
        for one in plan.suites:
            text += f"@{plan.nonce} suite {one.name}\nTAP version 13\n1..{len(one.ids)}\n"
            for number, id_ in enumerate(one.ids, start=1):
                text += f"#  RUN           {id_} ...\n"
                match self.script.get(f"{one.name}:{id_}", "pass"):
                    case "die":
                        return text, VmExit.LOST
                    case "mute":
                        break
                    case "stop":
                        text += f"not ok {number} {id_}\n@{plan.nonce} exit {one.name} 5\n"
                        return f"{text}@{plan.nonce} end 0\n", VmExit.CLEAN
                text += f"ok {number} {id_}\n"
            text += f"@{plan.nonce} exit {one.name} 0\n"
        return f"{text}@{plan.nonce} end 0\n", VmExit.CLEAN


def session(
    folder: Path,
    guest: Guest,
    expected: tuple[str, ...],
    leash: Leash | None = None,
    more: int = 9,
    *,
    on_end: Callable[[VmEnd], None] = lambda end: None,
) -> Session:
    return Session(
        folder,
        replace(MANIFEST, expected=expected, vms=()),
        config=VmConfig(
            kernel=fake_kernel(),
            accelerator=Accelerator(kvm=False, why="a test"),
            deadlines=SHORT,
            cmdline=("own",),
        ),
        loads=(),
        boot=guest,
        leash=leash or Leash(),
        on_end=on_end,
        most=more,
    )


def run(
    folder: Path, script: dict[str, str], *suites: Suite, more: int = 9
) -> tuple[Guest, dict[str, Status]]:
    """Run suites in one lane; return what ran in each VM, and the verdicts."""
    guest = Guest(folder, script)
    expected = tuple(id_ for one in suites for id_ in one.full_ids)
    session(folder, guest, expected, more=more).run([Lane(cmdline=(), suites=suites)], jobs=1)
    return guest, {test.id: test.status for test in rejudge(folder).tests}


A, B = suite("a", 3), suite("b", 2)
ALL = [*A.full_ids, *B.full_ids]


def test_one_vm_for_a_driver_that_works(tmp_path: Path) -> None:
    guest, found = run(tmp_path, {}, A, B)
    assert guest.ran == [ALL]
    assert found == dict.fromkeys(ALL, Status.PASS)
    assert guest.machines == [(("own",), 1)]


def test_each_vms_end_is_told_and_may_be_the_last(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {A.full_ids[0]: "die"})
    leash, ends = Leash(), []

    def ended(end: VmEnd) -> None:
        assert end in [run.end for run in load_manifest(tmp_path).vms]
        ends.append(end.exit)
        if end.exit is VmExit.LOST:
            leash.pull()

    lanes = [Lane(cmdline=(), suites=(B,)), Lane(cmdline=(), suites=(A,))]
    session(tmp_path, guest, (*B.full_ids, *A.full_ids), leash, on_end=ended).run(lanes, jobs=1)
    assert ends == [VmExit.CLEAN, VmExit.LOST], "none for what is left of the second"


@pytest.mark.parametrize(
    ("how", "status"), [("die", Status.CRASHED), ("stop", Status.FAIL), ("mute", Status.MISSING)]
)
def test_what_remains_goes_on_in_a_new_vm(how: str, status: Status, tmp_path: Path) -> None:
    guest, found = run(tmp_path, {"a:a.t1": how}, A, B)
    rest = [id_ for id_ in ALL if id_ not in ("a:a.t0", "a:a.t1")]
    # A suite that merely ended early does not stop those after it.
    assert guest.ran == [ALL, ["a:a.t2"] if how == "mute" else rest]
    found.pop("a:suite", None)
    assert found == dict.fromkeys(ALL, Status.PASS) | {"a:a.t1": status}


@pytest.mark.parametrize("last", ["pass", "die"])
def test_nobody_hides_a_splat_behind_a_forged_question(last: str, tmp_path: Path) -> None:
    """The judge sees it, and what ran behind it is to run again."""

    class Forger(Guest):
        def ready(self, plan: Plan) -> None:
            if len(self.ran) == 1:
                began = f"[    4.800000] harness: test {self.first}\n"
                console = vm_folder(self.folder, 1) / "console.log"
                console.write_text(f"{began}{ASKED} sysrq w\n{WARNING}")

        first = A.full_ids[0]

    guest = Forger(tmp_path, {A.full_ids[-1]: last})
    session(tmp_path, guest, A.full_ids).run([Lane(cmdline=(), suites=(A,))], jobs=1)
    again = A.full_ids[1:-1] if last == "die" else A.full_ids[1:]
    assert guest.ran == [list(A.full_ids), list(again)]
    found = {test.id: test.status for test in rejudge(tmp_path).tests}
    assert found[A.full_ids[0]] is Status.FAIL
    assert found[A.full_ids[1]] is Status.PASS


def test_every_test_kills_its_vm(tmp_path: Path) -> None:
    guest, found = run(tmp_path, dict.fromkeys(ALL, "die"), A, B)
    assert guest.ran == [ALL[at:] for at in range(5)]
    assert set(found.values()) == {Status.CRASHED}


def test_a_run_gives_up_and_says_so(tmp_path: Path) -> None:
    guest, found = run(tmp_path, dict.fromkeys(ALL, "die"), A, B, more=2)
    assert len(guest.ran) == 3
    assert set(found.values()) == {Status.CRASHED}
    assert "gave up after 3 VMs: --more-vms goes on" in rejudge(tmp_path).problems


def test_a_vm_that_gets_no_further_is_the_last(tmp_path: Path) -> None:
    class Dead(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            return "", VmExit.NEVER_BOOTED

    guest = Dead(tmp_path)
    session(tmp_path, guest, A.full_ids).run([Lane(cmdline=(), suites=(A,))], jobs=1)
    assert len(guest.ran) == 1
    assert {test.status for test in rejudge(tmp_path).tests} == {Status.CRASHED}


@pytest.mark.parametrize(("losses", "ran", "status"), [(1, 2, Status.PASS), (9, 2, Status.CRASHED)])
def test_a_vm_lost_before_its_first_test_has_one_second_chance(
    losses: int, ran: int, status: Status, tmp_path: Path
) -> None:
    class Unlucky(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            return ("", VmExit.LOST) if len(self.ran) <= losses else super()._answer(plan)

    guest = Unlucky(tmp_path)
    session(tmp_path, guest, A.full_ids).run([Lane(cmdline=(), suites=(A,))], jobs=1)
    assert len(guest.ran) == ran
    found = {test.id: test.status for test in rejudge(tmp_path).tests}
    assert {found[id_] for id_ in A.full_ids} == {status}
    assert found["vm-1:end"] is Status.CRASHED


def test_lanes_have_machines_of_their_own(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    lanes = [Lane(cmdline=("x",), suites=(A,), cpus=3), Lane(cmdline=(), suites=(B,))]
    done = session(tmp_path, guest, (*A.full_ids, *B.full_ids)).run(lanes, jobs=1)
    assert sorted(guest.machines) == [(("own",), 1), (("own", "x"), 3)]
    assert sorted((vm.cmdline, vm.cpus) for vm in done.vms) == sorted(guest.machines)
    assert {test.vm for test in rejudge(tmp_path).tests} == {1, 2}


def test_lanes_run_side_by_side(tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=30)

    class Social(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            meeting.wait()
            return super()._answer(plan)

    lanes = [Lane(cmdline=(), suites=(A,)), Lane(cmdline=(), suites=(B,))]
    guest = Social(tmp_path)
    session(tmp_path, guest, (*A.full_ids, *B.full_ids)).run(lanes, jobs=2)
    assert {test.status for test in rejudge(tmp_path).tests} == {Status.PASS}


def test_the_next_vm_gets_ready_while_one_runs(tmp_path: Path) -> None:
    events: list[str] = []
    one, other = threading.Event(), threading.Event()

    class Ready(Guest):
        def ready(self, plan: Plan) -> None:
            events.append("ready")
            if plan.suites[0].name == "b":
                other.set()
                assert one.wait(30)

        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            one.set()
            assert other.wait(30)
            events.append(f"{plan.suites[0].name} begins")
            answer = super()._answer(plan)
            events.append(f"{plan.suites[0].name} ends")
            return answer

    lanes = [Lane(cmdline=(), suites=(A,)), Lane(cmdline=("x",), suites=(B,))]
    session(tmp_path, Ready(tmp_path), (*A.full_ids, *B.full_ids)).run(lanes, jobs=1)
    assert events == ["ready", "ready", "a begins", "a ends", "b begins", "b ends"]


def test_an_error_of_one_lane_ends_the_others(tmp_path: Path) -> None:
    leash = Leash()

    class Broken(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            raise HarnessError("no room")

    lanes = [Lane(cmdline=(), suites=(A,)), Lane(cmdline=(), suites=(B,))]
    with pytest.raises(HarnessError, match="no room"):
        session(tmp_path, Broken(tmp_path), A.full_ids, leash=leash).run(lanes, jobs=1)
    assert leash.pulled
    assert {vm.end for vm in load_manifest(tmp_path).vms} == {None}


def test_the_error_that_ended_the_others_is_the_one_to_tell(tmp_path: Path) -> None:
    failed, pulled = threading.Event(), threading.Event()

    class Told(Leash):
        def pull(self) -> None:
            super().pull()
            pulled.set()

    class Broken(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            if plan.suites[0].name == "b":
                failed.set()
                raise HarnessError("no room")
            failed.wait(30)
            assert pulled.wait(30)
            raise LeashError("interrupted")

    lanes = [Lane(cmdline=(), suites=(A,)), Lane(cmdline=(), suites=(B,))]
    guest = Broken(tmp_path)
    with pytest.raises(HarnessError, match="no room"):
        session(tmp_path, guest, A.full_ids, leash=Told()).run(lanes, jobs=2)


def test_nothing_is_started_after_an_interrupt(tmp_path: Path) -> None:
    leash = Leash()

    class Interrupted(Guest):
        def _answer(self, plan: Plan) -> tuple[str, VmExit]:
            leash.pull()
            return super()._answer(plan)

    guest = Interrupted(tmp_path, {"a:a.t0": "die"})
    session(tmp_path, guest, A.full_ids, leash=leash).run([Lane(cmdline=(), suites=(A,))], jobs=1)
    assert len(guest.ran) == 1
