# SPDX-License-Identifier: GPL-2.0
"""A run as JUnit XML, in the dialect that Jenkins and GitLab read (junit-xml's). Pure.

One `<testsuite>` a run, so that several runs are one document by putting theirs side by side. A
test's `classname` is `KERNEL.suite` (of a matrix `CELL.suite`) and its `name` the id within the
suite: both stay the same between runs, which is what CI compares by.
"""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import junit_xml

from harness.legible import legible, legible_line
from harness.results import RunResult, Status, TestResult

_KNOWN = "known of mainline's driver"


def to_xml(suites: Sequence[junit_xml.TestSuite]) -> str:
    """Return the text of junit.xml."""
    # junit-xml would indent it through minidom, which takes ten times as long.
    root = ElementTree.fromstring(junit_xml.to_xml_report_string(suites, prettyprint=False))
    ElementTree.indent(root, "\t")
    # A declaration that names no encoding means UTF-8, as it will be written.
    return f'<?xml version="1.0" ?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def run_suite(
    result: RunResult,
    *,
    environment: Mapping[str, str],
    started: str,
    name: str | None = None,
    as_known: bool = False,
) -> junit_xml.TestSuite:
    """Return a run as a suite.

    FAIL, TIMEOUT and DIRTY become `<failure>`, what was not judged becomes `<error>`, SKIP
    `<skipped>`; an XFAIL is a pass that says so in its output.

    Args:
        result: the run.
        environment: facts about it, as `<properties>`.
        started: its start, ISO 8601.
        name: of the cell; None for the kernel's.
        as_known: whether it is mainline's driver and did what is known of it: what failed becomes
            `<skipped>`, as CI would take a failure for one that the exit status does not tell.
    """
    name = name or result.kernel
    return junit_xml.TestSuite(
        legible_line(f"udmabuf_iov {name}"),
        test_cases=[_case(name, test, as_known) for test in result.tests],
        timestamp=legible_line(started),
        properties={legible_line(key): legible_line(value) for key, value in environment.items()},
        stdout=legible("\n".join([*_ends(result), *result.problems])),
    )


def error_suite(name: str, error: str, *, started: str) -> junit_xml.TestSuite:
    """Return a cell that could not be run as a suite with one `<error>`.

    Args:
        name: of the cell.
        error: why, one line.
        started: start of the matrix run, ISO 8601.
    """
    case = junit_xml.TestCase("run", classname=legible_line(f"{name}.matrix"))
    case.add_error_info(legible_line(error), error_type="error")
    return junit_xml.TestSuite(
        legible_line(f"udmabuf_iov {name}"), test_cases=[case], timestamp=legible_line(started)
    )


def _ends(result: RunResult) -> list[str]:
    return [f"VM {number}: {vm.describe()}" for number, vm in enumerate(result.vms, start=1)]


def _case(kernel: str, test: TestResult, as_known: bool) -> junit_xml.TestCase:
    message = legible_line(f"{test.status}: {test.reason}" if test.reason else str(test.status))
    # GitLab shows the text of a failure and Jenkins also the output: both have the lines.
    output = legible("\n".join(test.lines))
    case = junit_xml.TestCase(
        legible_line(test.name),
        classname=legible_line(f"{kernel}.{test.suite}"),
        elapsed_sec=test.seconds,
        stdout="\n".join([message, output]) if test.status is Status.XFAIL else output,
    )
    if test.status is Status.SKIP:
        case.add_skipped_info(legible_line(test.reason) or "skipped")
    elif as_known and test.status.judged and not test.status.good:
        case.add_skipped_info(_KNOWN)
    elif test.status in (Status.FAIL, Status.TIMEOUT, Status.DIRTY):
        # The first line that the test itself wrote tells more than "fail".
        told = legible_line(test.lines[0]) if test.lines and not test.reason else ""
        case.add_failure_info(told or message, output, failure_type=str(test.status))
    elif not test.status.good:
        case.add_error_info(message, output, error_type=str(test.status))
    return case
