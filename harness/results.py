# SPDX-License-Identifier: GPL-2.0
"""The result model: statuses, tests, runs, the exit status, and their JSON form. No I/O.

A verdict is CRASHED or MISSING until a parsed line proves otherwise (kunit_parser's rule:
absence of evidence is failure).
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from harness import jsonfile

# Raise it when the meaning or the form of results.json changes.
SCHEMA = 2


class Status(StrEnum):
    """How a test ended.

    FAIL, TIMEOUT and DIRTY (it passed, and left the kernel other than it found it) judge the driver
    (exit status 1). MISSING, CRASHED and ERROR are what the harness saw instead of a judgement
    (exit status 2).
    """

    PASS = "pass"
    XFAIL = "xfail"
    SKIP = "skip"
    DIRTY = "dirty"
    FAIL = "fail"
    TIMEOUT = "timeout"
    MISSING = "missing"
    CRASHED = "crashed"
    ERROR = "error"

    @property
    def good(self) -> bool:
        """Whether this status lets a run pass."""
        return self in (Status.PASS, Status.XFAIL, Status.SKIP)

    @property
    def judged(self) -> bool:
        """Whether a test came to a verdict of its own; the rest is exit status 2."""
        return self.good or self in (Status.DIRTY, Status.FAIL, Status.TIMEOUT)

    @property
    def words(self) -> str:
        """What is said of tests that ended so, behind their number."""
        return _WORDS[self]


_WORDS = {
    Status.PASS: "passed",
    Status.XFAIL: "failed as expected",
    Status.SKIP: "skipped",
    Status.DIRTY: "left dirt",
    Status.FAIL: "failed",
    Status.TIMEOUT: "timed out",
    Status.MISSING: "missing",
    Status.CRASHED: "crashed",
    Status.ERROR: "could not be judged",
}


class VmExit(StrEnum):
    """How a VM ended.

    Attributes:
        CLEAN: the guest said that it was done and powered off.
        PANIC: the kernel panicked.
        SILENT: nothing was heard for too long; killed.
        DEADLINE: still talking when its time was up; killed.
        LOST: QEMU died, was killed, or the guest rebooted.
        NEVER_BOOTED: the guest never reached userspace.
    """

    CLEAN = "clean"
    PANIC = "panic"
    SILENT = "silent"
    DEADLINE = "deadline"
    LOST = "lost"
    NEVER_BOOTED = "never booted"


@dataclass(frozen=True, slots=True, kw_only=True)
class VmEnd:
    """The end of one VM, as the host saw it.

    Attributes:
        exit: its class.
        detail: one line: the panic's own, the signal that QEMU died of, the limit that was hit.
        seconds: wall time from process start to end.
        boot_seconds: wall time from process start to the guest's hello; None without hello.
        answered: whether the kernel of a guest that hung answered the sysrq keys; None when it was
            not asked.
    """

    exit: VmExit
    detail: str = ""
    seconds: float = 0.0
    boot_seconds: float | None = None
    answered: bool | None = None

    def describe(self) -> str:
        """Return class and detail as one phrase."""
        return f"{self.exit}: {self.detail}" if self.detail else str(self.exit)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test's verdict.

    Attributes:
        id: `suite:fixture.variant.test` (the variant is left out where there is none). An id
            without a dot is not a test but something that was judged beside them: `mmap:suite`
            (the program), and of a VM `vm-1:end`, `vm-1:setup`, `vm-1:kernel` (a splat of no
            test's), `vm-1:taint`, `vm-1:release`, `vm-1:channel`.
        status: how it ended.
        seconds: the guest's clock; None when the test did not tell.
        reason: one line: the SKIP reason, or why the status is what it is.
        lines: the diagnostic lines that the test printed, without prefix.
        line: the line of results.ktap that decided; None when no line did.
        vm: the number of the VM that it ran in; 0 when it never came to that.
    """

    __test__ = False  # not a pytest class

    id: str
    status: Status
    seconds: float | None = None
    reason: str = ""
    lines: tuple[str, ...] = ()
    line: int | None = None
    vm: int = 0

    @property
    def suite(self) -> str:
        """The part of the id before the colon."""
        return self.id.partition(":")[0]

    @property
    def name(self) -> str:
        """The part of the id after the colon."""
        return self.id.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run: one kernel, all its tests, in as many VMs as it took.

    Attributes:
        kernel: what the user asked for ("6.12").
        release: the guest's `uname -r`; None when it never told.
        accelerator: "kvm" or "tcg".
        vms: how each VM ended, in the order they were started in.
        tests: expected ones in the order they were announced in, then what came unexpected.
        problems: one line each; worth reading, no verdicts by themselves.
    """

    kernel: str
    release: str | None
    accelerator: str
    vms: tuple[VmEnd, ...]
    tests: tuple[TestResult, ...]
    problems: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Status, int]:
        """How many tests ended how; statuses that did not occur are left out."""
        found = Counter(test.status for test in self.tests)
        return {status: found[status] for status in Status if found[status]}

    @property
    def exit_status(self) -> int:
        """0 all passed, 1 a test failed, 2 not everything could be judged.

        2 wins over 1: a run with failures *and* a crash has tests of which nothing is known, and
        a script that bisects on 1 must not take it for a verdict on the whole. A VM that died is a
        failure where its kernel said why in the test that was running, else 2. No tests is 2, and
        so is nothing but skipped ones: nothing was judged.
        """
        statuses = [test.status for test in self.tests]
        if all(status is Status.SKIP for status in statuses):
            return 2
        if not all(status.judged for status in statuses):
            return 2
        blamed = {test.vm for test in self.tests if not test.status.good}
        for number, vm in enumerate(self.vms, start=1):
            if vm.exit is not VmExit.CLEAN and number not in blamed:
                return 2
        return 0 if all(status.good for status in statuses) else 1

    def to_json(self) -> str:
        """Encode as the text of results.json."""
        return jsonfile.dump(self.document())

    def document(self) -> dict[str, object]:
        """Return the content of results.json."""
        tests = [
            {
                "id": test.id,
                "status": test.status,
                "seconds": test.seconds,
                "reason": test.reason,
                "lines": test.lines,
                "line": test.line,
                "vm": test.vm,
            }
            for test in self.tests
        ]
        return {
            "schema": SCHEMA,
            "kernel": self.kernel,
            "release": self.release,
            "accelerator": self.accelerator,
            "exit_status": self.exit_status,
            "vms": [vm_document(vm) for vm in self.vms],
            "counts": {status: count for status, count in self.counts.items()},
            "problems": self.problems,
            "tests": tests,
        }

    @classmethod
    def from_json(cls, text: str, *, source: str) -> "RunResult":
        """Decode :meth:`to_json`'s text.

        Args:
            text: the document.
            source: its name, for errors.

        Raises:
            DocumentError: names file and key; also when the document contradicts itself.
        """
        fields = jsonfile.Fields.parse(text, source=source, schema=SCHEMA)
        run = cls(
            kernel=fields.text("kernel"),
            release=fields.text_or_none("release"),
            accelerator=fields.text("accelerator"),
            vms=tuple(vm_from(vm) for vm in fields.objects("vms")),
            problems=fields.texts("problems"),
            tests=tuple(_test(entry) for entry in fields.objects("tests")),
        )
        if fields.take("exit_status", int, "a number") != run.exit_status:
            raise fields.error("exit_status", "does not follow from the tests")
        if fields.take("counts", dict, "an object") != run.counts:
            raise fields.error("counts", "do not follow from the tests")
        fields.end()
        return run


def _test(fields: jsonfile.Fields) -> TestResult:
    test = TestResult(
        id=fields.text("id"),
        status=fields.choice("status", Status),
        seconds=fields.seconds_or_none("seconds"),
        reason=fields.text("reason"),
        lines=fields.texts("lines"),
        line=fields.count_or_none("line"),
        vm=fields.count("vm"),
    )
    fields.end()
    return test


def vm_document(end: VmEnd) -> dict[str, object]:
    """Return the JSON form of a VM's end."""
    return {
        "exit": end.exit,
        "detail": end.detail,
        "seconds": end.seconds,
        "boot_seconds": end.boot_seconds,
        "answered": end.answered,
    }


def vm_from(fields: jsonfile.Fields) -> VmEnd:
    """Read :func:`vm_document`'s form; raises DocumentError."""
    end = VmEnd(
        exit=fields.choice("exit", VmExit),
        detail=fields.text("detail"),
        seconds=fields.seconds("seconds"),
        boot_seconds=fields.seconds_or_none("boot_seconds"),
        answered=fields.flag_or_none("answered"),
    )
    fields.end()
    return end
