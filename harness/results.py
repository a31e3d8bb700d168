# SPDX-License-Identifier: GPL-2.0
"""The result model: statuses, their precedence, tests and runs. No I/O.

A verdict is CRASHED or MISSING until a parsed line proves otherwise (kunit_parser's rule:
absence of evidence is failure).
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """How a test ended.

    FAIL and XPASS judge the driver (exit 1). CRASHED, TIMEOUT, MISSING and ERROR are what the
    harness saw instead of a judgement.
    """

    PASS = "pass"
    XFAIL = "xfail"
    SKIP = "skip"
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
        return self in (Status.PASS, Status.XFAIL, Status.SKIP, Status.FAIL, Status.TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test's verdict.

    Attributes:
        id: `suite:fixture.variant.test` (the variant is left out where there is none).
        status: how it ended.
        seconds: the guest's clock; None when the test did not tell.
        reason: one line: the SKIP reason, or why the status is what it is.
        lines: the diagnostic lines that the test printed, without prefix.
    """

    __test__ = False  # not a pytest class

    id: str
    status: Status
    seconds: float | None = None
    reason: str = ""
    lines: tuple[str, ...] = field(default=())
