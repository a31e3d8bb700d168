# SPDX-License-Identifier: GPL-2.0
"""What one run says that another did not. Pure."""

from harness.results import RunResult, TestResult


def changed(before: RunResult, after: RunResult) -> tuple[str, ...]:
    """Return the ids of the tests whose verdict or reason is new, in the order of ``after``.

    A test that passes as before has not changed, however long it took; one that fails with another
    explanation has.
    """
    known = {test.id: _verdict(test) for test in before.tests}
    return tuple(test.id for test in after.tests if known.get(test.id) != _verdict(test))


def _verdict(test: TestResult) -> tuple[str, ...]:
    return (test.status, test.reason, *(() if test.status.good else test.lines))
