# SPDX-License-Identifier: GPL-2.0
"""What is known of one VM: what it was to run, what it said, how it ended, its splats. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import ktap
from harness.answers import Answers
from harness.results import Status, VmEnd, VmExit
from harness.transcript import Section, Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A splat and the test that it is charged to.

    Attributes:
        test: "suite:id"; None when it was no test's.
        title: one line.
        lines: what the reader is shown of it.
        excuse: why it says nothing about the kernel; "" when it does.
        late: found out later, as a leak is, and no harm to the tests between.
        before: the test that began next; None when none did.
    """

    test: str | None
    title: str
    lines: tuple[str, ...] = ()
    excuse: str = ""
    late: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one VM.

    Attributes:
        number: of the VM in its run, from 1.
        planned: the ids of the tests that it was to run.
        expected: those of them that are to be judged here; the others ran again in a later VM.
        told: what the guest said.
        vm: how the VM ended.
        blames: the splats on its console.
        answers: what its kernel said when it was asked where it hung; None when it was not.
    """

    number: int
    planned: tuple[str, ...]
    expected: tuple[str, ...]
    told: Transcript
    vm: VmEnd
    blames: tuple[Blame, ...] = ()
    answers: Answers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite's output, parsed."""

    section: Section
    document: ktap.Document

    @property
    def running(self) -> str | None:
        """The full id of the test that began and has no result."""
        name = self.document.running
        return None if name is None else f"{self.section.name}:{name}"

    def full_id(self, test: ktap.Test) -> str:
        """Return the full id of one of its results."""
        return f"{self.section.name}:{test.name or f'#{test.number}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a VM died.

    Attributes:
        words: one phrase.
        test: that was running; None when none was.
        status: of that test.
        hang: what the kernel said that hangs, one phrase; "" when it named nothing.
        lines: all that it said, with stacks.
    """

    words: str
    test: str | None
    status: Status
    hang: str = ""
    lines: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All that is known in one phrase, for what the death is charged to."""
        return f"{self.hang}; {self.words}" if self.hang else self.words


def settled(told: Transcript, blames: Sequence[Blame] = ()) -> frozenset[str]:
    """Return the full ids of the tests that a VM is done with.

    Those that reported, and the one that was running when the VM, or its suite, came to its end: a
    later VM that ran it again would meet the same end. What reported after a splat did so in a
    kernel that is no longer as it should be, and is to run again.
    """
    suites = suites_of(told)
    done = {suite.full_id(test) for suite in suites for test in suite.document.tests}
    done -= reported_after(suites, blames)
    return frozenset(done | {suite.running for suite in suites if suite.running is not None})


def reported_after(suites: Sequence["Suite"], blames: Sequence[Blame]) -> frozenset[str]:
    """Return the full ids of the tests that reported in a kernel that had complained before.

    Those behind the test that the first splat is charged to; behind the splat itself when it was
    no test's.
    """
    order = [suite.full_id(test) for suite in suites for test in suite.document.tests]
    sound = len(order)
    for blame in blames:
        if blame.late:
            continue
        if blame.test in order:
            sound = min(sound, order.index(blame.test) + 1)
        elif blame.test is None and blame.before in order:
            sound = min(sound, order.index(blame.before))
    return frozenset(order[sound:]) - frozenset(order[:sound])


def suites_of(told: Transcript) -> list[Suite]:
    """Return the suites of a transcript, parsed."""
    return [
        Suite(section=section, document=ktap.parse(section.text, first_line=section.line))
        for section in told.sections
    ]


def death_of(evidence: Evidence, suites: list[Suite]) -> Death | None:
    """Say how the VM died, and in which test; None when it lived to the end."""
    told, vm = evidence.told, evidence.vm
    if vm.exit is VmExit.CLEAN and told.ended:
        return None
    how = vm.describe() if vm.exit is not VmExit.CLEAN else "it stopped without the end marker"
    if told.release is None:
        words = f"the VM died before userspace ({how})"
        return _asked(Death(words=words, test=None, status=Status.CRASHED), evidence)
    where, test = "before the first test", None
    if suites:
        last = suites[-1]
        if last.section.status is not None:
            where = f"after suite {last.section.name}"
        elif last.running is not None:
            where, test = f"in {last.running}", last.running
        else:
            where = f"in suite {last.section.name}, between tests"
    # A kernel that answers is alive: it is the test that hangs.
    hung = test is not None and vm.exit is VmExit.SILENT and vm.answered
    status = Status.TIMEOUT if hung else Status.CRASHED
    death = Death(words=f"the VM died {where} ({how})", test=test, status=status)
    return _asked(death, evidence)


def _asked(death: Death, evidence: Evidence) -> Death:
    """Add what the kernel answered, the stacks of the running test's own program first."""
    if evidence.answers is None:
        return death
    suite = (death.test or "").partition(":")[0]
    answers = evidence.answers.about(suite)
    where = f"vm-{evidence.number}/console.log:{answers.line}: asked where it hangs, it said:"
    hang = answers.words if answers.stacks else ""
    return replace(death, hang=hang, lines=(where, *answers.lines))
