# SPDX-License-Identifier: GPL-2.0
"""What one run says that another did not. Pure."""

import re

from harness.cause import expectation
from harness.results import RunResult, TestResult

# Addresses, counts, process ids, the number of a VM: other in every run.
_NUMBER = re.compile(r"\b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b")


def changed(before: RunResult, after: RunResult) -> tuple[str, ...]:
    """Return the ids of the tests whose verdict or reason is new, in the order of ``after``.

    A test that passes as before has not changed, however long it took; one that fails with another
    explanation has.
    """
    known = {test.id: _verdict(test) for test in before.tests}
    return tuple(test.id for test in after.tests if known.get(test.id) != _verdict(test))


def _verdict(test: TestResult) -> tuple[str, ...]:
    return (test.status, test.reason, *(() if test.status.good else test.lines))


def new_troubles(base: RunResult, now: RunResult) -> tuple[TestResult, ...]:
    """Return what is wrong now and was not so in the base: failures, splats, dirt, lost tests.

    A test that failed in the base counts as new where it now ends otherwise, for another reason, or
    at another expectation: a new splat or failure must not hide behind an old one.
    """
    known = {_trouble(test) for test in base.tests if not test.status.good}
    return tuple(test for test in now.tests if not test.status.good and _trouble(test) not in known)


def gone(base: RunResult, now: RunResult) -> tuple[str, ...]:
    """Return the ids of the tests that the base has and this run has not."""
    left = {test.id for test in now.tests}
    return tuple(test.id for test in base.tests if "." in test.id and test.id not in left)


def _trouble(test: TestResult) -> tuple[str, ...]:
    # Ids with a dot are tests; the others name a VM by its number (results.TestResult).
    id_ = test.id if "." in test.id else _NUMBER.sub("#", test.id)
    told = (test.reason, expectation(test))
    return (id_, test.status, *(_NUMBER.sub("#", text) for text in told))
