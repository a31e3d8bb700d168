# SPDX-License-Identifier: GPL-2.0
"""Which tests are asked for: globs over `suite:fixture.variant.test`."""

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

from harness.errors import HarnessError
from harness.kselftest import Suite
from harness.spec import Spec


class NoTestError(HarnessError):
    """The patterns match no test."""


def check_patterns(specs: Sequence[Spec], patterns: Sequence[str]) -> None:
    """See that there is something to run, before anything is built.

    Raises:
        NoTestError: there are patterns, and none matches a test.
    """
    if patterns and not any(_matching(spec, patterns) for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise NoTestError(
            f"no test matches {' '.join(patterns)!r}",
            hint=f"ids are suite:fixture.variant.test, as in 'mmap:*'; the suites are {names}",
        )


def narrow(specs: Sequence[Spec], first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Return patterns for the tests that are asked for by both; none where both ask for all.

    Raises:
        NoTestError: one asks for a test that there is not, or no test is asked for by both.
    """
    for patterns in (first, second):
        check_patterns(specs, patterns)
    if not first or not second:
        return tuple(first or second)
    ids = [f"{spec.name}:{id_}" for spec in specs for id_ in _matching(spec, first)]
    found = tuple(id_ for id_ in ids if any(fnmatch.fnmatchcase(id_, one) for one in second))
    if not found:
        raise NoTestError(f"no test matches both {' '.join(first)!r} and {' '.join(second)!r}")
    return found


def select(suites: tuple[Suite, ...], patterns: Sequence[str]) -> tuple[Suite, ...]:
    """Return the suites with only the ids that match a pattern; those without any are left out.

    No pattern means all.
    """
    if not patterns:
        return suites
    chosen = (replace(suite, ids=_matching(suite, patterns)) for suite in suites)
    return tuple(suite for suite in chosen if suite.ids)


def _matching(suite: Suite | Spec, patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        id_
        for id_ in suite.ids
        if any(fnmatch.fnmatchcase(f"{suite.name}:{id_}", pattern) for pattern in patterns)
    )
