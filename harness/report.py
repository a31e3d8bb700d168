# SPDX-License-Identifier: GPL-2.0
"""A run, or a matrix of them, as one HTML file that needs no network: opens from a CI artifact.

What a guest printed is data: every value is made legible and escaped, and a content security policy
lets no script or style run but the two that are in the file.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from harness import charts
from harness.errors import HarnessError
from harness.jsonfile import write_text
from harness.legible import legible
from harness.reportmodel import Cell, ReportData
from harness.spot import trimmed

REPORT = "report.html"
_TEMPLATES = Path(__file__).with_name("data") / "report"
# What a decoded splat, or a test, says of our own files.
_PLACE = re.compile(r"(?<![\w./-])(?:[\w./-]*/)?(?:module|selftests)/[\w./-]*\.[ch]:[0-9]+")
_OUTCOMES = ("all passed", "a test failed", "not judged")


def write_report(folder: Path, data: ReportData) -> Path:
    """Write report.html.

    Returns:
        Its path.

    Raises:
        HarnessError: it cannot be written.
    """
    path = folder / REPORT
    write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """Return the text of report.html."""
    environment = _environment()
    return environment.get_template("report.html.j2").render(
        data=data,
        css=_own("report.css"),
        js=_own("report.js"),
        times=_times(data.judged),
        history=tuple(_history(data)),
        covered=tuple(cell for cell in data.judged if cell.coverage),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters["code"] = _code
    environment.filters["trimmed"] = trimmed
    environment.filters["digest"] = _digest
    return environment


def _finalize(value: object) -> object:
    """Make text legible that is not ours; ours is Markup."""
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _own(name: str) -> Markup:
    """Return a file of ours as it is: within its element nothing is escaped."""
    text = (_TEMPLATES / name).read_text()
    if "</" in text:
        raise HarnessError(f"{_TEMPLATES / name}: would end its element")
    return Markup(text)


def _digest(text: str) -> str:
    """Return what a content security policy lets an element by (CSP 3, section 8.2)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _code(lines: Iterable[str]) -> Markup:
    """Return lines of output, with the places in our own files in bold."""
    text = legible("\n".join(lines))
    parts, at = [], 0
    for found in _PLACE.finditer(text):
        parts += [escape(text[at : found.start()]), Markup("<b>{}</b>").format(found[0])]
        at = found.end()
    # A parser drops the newline that follows <pre>: this one, not the text's own.
    return Markup("\n{}").format(Markup("").join([*parts, escape(text[at:])]))


def _times(cells: Iterable[Cell]) -> charts.Stacks:
    rows = []
    for cell in cells:
        boot, tests = cell.boot_seconds, cell.test_seconds
        rest = max(0.0, cell.vm_seconds - boot - tests)
        parts = [
            ("boot", f"boot: {boot:.1f} s", boot),
            ("test", f"tests: {tests:.1f} s", tests),
            ("rest", f"rest: {rest:.1f} s", rest),
        ]
        words = f"{boot:.1f} boot, {tests:.1f} tests, {rest:.1f} rest"
        rows.append((cell.name, words, parts))
    return charts.stacks(rows)


def _history(data: ReportData) -> Iterator[charts.Columns]:
    records = data.history.records
    most = max((one.seconds for one in records), default=0.0)
    for cell in data.cells:
        values = [
            (
                f"run{min(one.exit_status, 2)}",
                f"{one.started}: {_OUTCOMES[min(one.exit_status, 2)]}, {one.seconds:.1f} s",
                one.seconds,
            )
            for one in records
            if one.cell == cell.name
        ]
        if len(values) > 1:
            yield charts.columns(cell.name, values, most=most)
