# SPDX-License-Identifier: GPL-2.0
"""Failures as GitHub's workflow commands, which show them on the lines that they are about. Pure.

GitHub shows ten errors and ten warnings of a step, the first ones: so one for each cause, the most
telling first. On a line of the driver where the kernel complained of one, else on the line of the
test's specification.
"""

from collections.abc import Iterator, Mapping

from harness.legible import legible, legible_line
from harness.reportmodel import Detail, Group, ReportData
from harness.spot import Spot, driver_spot, trimmed, without_variant

# Of each kind and step (GitHub docs, "Workflow commands": limits of annotations).
MOST = 10
# Lines of a failure, and characters of any text.
_LINES, _WIDTH = 12, 300


def annotate(data: ReportData, *, specs: Mapping[str, Spot]) -> list[str]:
    """Return the lines to print in a workflow's step.

    Args:
        data: what the report shows.
        specs: where each test is specified, by its id without variant.
    """
    errors = [*_not_run(data), *map(_failure, data.groups)]
    warnings = list(_flaky(data, specs))
    lines = [*errors[:MOST], *warnings[:MOST]]
    for kind, found in (("errors", errors), ("warnings", warnings)):
        if len(found) > MOST:
            lines.append(f"{len(found) - MOST} more {kind} are in report.html")
    return lines


def _not_run(data: ReportData) -> Iterator[str]:
    for cell in data.cells:
        if cell.result is None:
            # A new kernel that breaks the build is told on the line that it breaks.
            spot = driver_spot([cell.error])
            yield _command("error", f"{cell.name} could not be run", [cell.error], spot)


def _failure(group: Group) -> str:
    cause, first = group.cause, group.details[0]
    where = f" on {', '.join(cause.cells)}"
    tests = list(cause.tests[:3])
    more = len(cause.tests) - len(tests)
    names = ", ".join(tests) + (f" and {more} more tests" if more else "")
    lines = [f"{names}{where}"]
    if first.test.reason and first.test.reason != cause.title:
        lines.append(first.test.reason)
    if first.told:
        lines.append(f"earlier runs: {first.told}")
    lines += _told(first)
    lines.append(f"again: {first.again}")
    return _command("error", cause.title, lines, cause.spot or first.spec)


def _told(first: Detail) -> list[str]:
    lines = list(trimmed(first.test.lines))
    left_out = [f"... {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return [*lines[:_LINES], *left_out]


def _flaky(data: ReportData, specs: Mapping[str, Spot]) -> Iterator[str]:
    for one in data.flakes:
        words = f"failed in {one.rate.failed} of {one.rate.runs} runs of the same inputs"
        lines = [f"{one.test} on {one.cell} {words} ({one.rate.percent})"]
        yield _command("warning", f"flaky: {one.test}", lines, specs.get(without_variant(one.test)))


def _command(kind: str, title: str, lines: list[str], spot: Spot | None) -> str:
    """Return one command, escaped as GitHub's toolkit does (actions/toolkit, command.ts)."""
    place = {"file": spot.file, "line": str(spot.line)} if spot else {}
    properties = {**place, "title": _clip(legible_line(title))}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = "\n".join(_clip(legible(line)) for line in lines)
    return f"::{kind} {told}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _clip(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
