# SPDX-License-Identifier: GPL-2.0
"""The first use of a snapshot: what is well must turn out green, and what is broken red.

Two restored guests run a suite of one test each (guest/canary) and are judged like any run: from
the files that they left. One test does nothing, and passes; the guest ends as guests do. The other
has the kernel panic: a real one, as no kernel needs a module or an option for it, which goes all
the way from the kernel's console, over the harness's marks and the end of QEMU, to the verdict. A
snapshot of a guest whose console, results channel or log is stuck passes one of the two at most.

It takes two restores, 1.2 to 1.6 s under TCG, beside the boot that made the snapshot.
"""

import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import transcript
from harness.errors import HarnessError
from harness.evidence import Evidence
from harness.guestroot import Plan, SuiteRun
from harness.judge import judge
from harness.results import Status, VmEnd, VmExit
from harness.rundir import CONSOLE, RESULTS, blames_of, chunks
from harness.scratch import scratch_folder
from harness.snapshot import SnapshotError

# What the console of a guest that failed is kept as.
_KEPT = "canary.log"
_SUITE = "canary"
_PROGRAM = Path(__file__).with_name("guest") / _SUITE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canary:
    """A test of the suite, what it must come to, how its guest must end, and on what splat.

    A kernel with debug options may have more to say behind a crash; of nothing, it must not.
    """

    id: str
    status: Status
    exit: VmExit
    title: str | None


_CANARIES = (
    _Canary(id="kernel.nothing", status=Status.PASS, exit=VmExit.CLEAN, title=None),
    _Canary(
        id="kernel.crash",
        status=Status.FAIL,
        exit=VmExit.PANIC,
        title="kernel panic: sysrq triggered crash",
    ),
)


def prove(restore: Callable[[Plan, Path], VmEnd], *, release: str, logs: Path) -> None:
    """Use a new snapshot for the first time.

    Args:
        restore: lets a restored guest carry out a plan; its console and results go to the folder.
        release: of the kernel that must be in the guest.
        logs: takes `canary.log`, the guest's console, if this fails.

    Raises:
        SnapshotError: a guest was not seen for what it is.
    """
    for canary in _CANARIES:
        with scratch_folder() as folder:
            suite = SuiteRun(name=_SUITE, binary=_PROGRAM, ids=(canary.id,))
            plan = Plan(nonce=secrets.token_hex(16), suites=(suite,))
            end = restore(plan, folder)
            if why := _fault(canary, plan, end, folder, release):
                # Without the log, the reader is still to know why.
                with suppress(OSError):
                    shutil.copyfile(folder / CONSOLE, logs / _KEPT)
                    why += f" ({_KEPT})"
                raise SnapshotError(f"a fresh snapshot does not work: {why}")


def _fault(canary: _Canary, plan: Plan, end: VmEnd, folder: Path, release: str) -> str:
    """Say what is wrong with a canary's verdict; "" when nothing is."""
    if end.exit is not canary.exit:
        return f"{canary.id}: {end.describe()}"
    id_ = f"{_SUITE}:{canary.id}"
    try:
        evidence = Evidence(
            number=1,
            planned=(id_,),
            expected=(id_,),
            told=transcript.parse(b"".join(chunks(folder / RESULTS)), plan.nonce),
            vm=end,
            blames=tuple(blames_of(folder / CONSOLE, (id_,), asked=False)),
        )
    except HarnessError as error:
        return f"{canary.id}: {error}"
    tests = judge(evidence, release=release, watched=False).tests
    said = "; ".join(f"{test.id} {test.status}: {test.reason}" for test in tests)
    titles = [blame.title for blame in evidence.blames if blame.test == id_]
    if canary.title is None:
        seen = [test.status for test in tests] == [canary.status] and not titles
    else:
        seen = canary.title in titles and (id_, canary.status) in (
            (test.id, test.status) for test in tests
        )
    wanted = f"{canary.status}: {canary.title}" if canary.title else canary.status
    return "" if seen else f"{said or 'no verdict'}, instead of {wanted}"
