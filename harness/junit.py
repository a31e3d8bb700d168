# SPDX-License-Identifier: GPL-2.0
"""A run as JUnit XML, in the dialect that Jenkins and GitLab read (junit-xml's). Pure.

One `<testsuite>` a run, so that the files of several runs merge by concatenation. A test's
`classname` is `KERNEL.suite` and its `name` the id within the suite: both stay the same between
runs, which is what CI compares by.
"""

import re
from collections.abc import Mapping

import junit_xml

from harness.results import RunResult, Status, TestResult

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# All that XML 1.0 does not allow (section 2.2, Char), what it discourages, and the carriage return,
# which a parser turns into a newline.
_PLANES = range(0x10000, 0x110000, 0x10000)
_UNFIT = re.compile(
    "[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufde0-\ufffd\U00010000-\U0010ffff]"
    + "".join(f"|[{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}]" for plane in _PLANES)
)


def to_xml(result: RunResult, *, environment: Mapping[str, str], started: str) -> str:
    """Return the text of junit.xml.

    FAIL, TIMEOUT and DIRTY become `<failure>`, what was not judged becomes `<error>`, SKIP
    `<skipped>`; an XFAIL is a pass that says so in its output.

    Args:
        result: the run.
        environment: facts about it, as `<properties>`.
        started: its start, ISO 8601.
    """
    suite = junit_xml.TestSuite(
        _line(f"udmabuf_iov {result.kernel}"),
        test_cases=[_case(result.kernel, test) for test in result.tests],
        timestamp=_line(started),
        properties={_line(key): _line(value) for key, value in environment.items()},
        stdout=_text("\n".join([*_ends(result), *result.problems])),
    )
    # Returns text whose declaration names no encoding, which means UTF-8, as it will be written.
    xml: str = junit_xml.to_xml_report_string([suite])
    return xml


def _ends(result: RunResult) -> list[str]:
    return [f"VM {number}: {vm.describe()}" for number, vm in enumerate(result.vms, start=1)]


def _case(kernel: str, test: TestResult) -> junit_xml.TestCase:
    message = _line(f"{test.status}: {test.reason}" if test.reason else str(test.status))
    # GitLab shows the text of a failure and Jenkins also the output: both have the lines.
    output = _text("\n".join(test.lines))
    case = junit_xml.TestCase(
        _line(test.name),
        classname=_line(f"{kernel}.{test.suite}"),
        elapsed_sec=test.seconds,
        stdout="\n".join([message, output]) if test.status is Status.XFAIL else output,
    )
    if test.status is Status.SKIP:
        case.add_skipped_info(_line(test.reason) or "skipped")
    elif test.status in (Status.FAIL, Status.TIMEOUT, Status.DIRTY):
        # The first line that the test itself wrote tells more than "fail".
        told = _line(test.lines[0]) if test.lines and not test.reason else ""
        case.add_failure_info(told or message, output, failure_type=str(test.status))
    elif not test.status.good:
        case.add_error_info(message, output, error_type=str(test.status))
    return case


def _text(text: str) -> str:
    """Make any text fit for XML: colours go, other control characters become `\\xNN`."""
    return _UNFIT.sub(_escape, _ANSI.sub("", text))


def _line(text: str) -> str:
    """The same, for attributes: one line."""
    return _text(text).replace("\n", " ").replace("\t", " ").strip()


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
