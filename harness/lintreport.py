# SPDX-License-Identifier: GPL-2.0
"""What `harness lint` prints: findings first, then a table, then what was skipped and why."""

from rich.console import Console
from rich.table import Table

from harness.finding import Finding, LintResult, Outcome


def print_lint(result: LintResult, console: Console) -> None:
    """Print each finding once, with the tools and kernels that have it."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    found: dict[Finding, dict[str, list[str]]] = {}
    for outcome in result.outcomes:
        for finding in outcome.findings:
            kernels = found.setdefault(finding, {}).setdefault(outcome.tool, [])
            kernels += [outcome.kernel] if outcome.kernel else []
    for finding, tools in found.items():
        said = "; ".join(
            ": ".join([tool, *([", ".join(on)] if on else [])]) for tool, on in tools.items()
        )
        say(
            f"{finding.where}: {finding.text}  ({said})"
            if finding.where
            else f"{finding.text}  ({said})"
        )
    console.print(_table(result))
    for reason, where in _skips(result).items():
        say(f"skipped {where}: {reason}")
    skipped = sum(one.skipped is not None for one in result.outcomes)
    say(f"{len(found)} findings, {skipped} skipped")
    if result.strict and any(one.mendable for one in result.outcomes):
        say("what can be installed: ci/install-deps lint")


def _table(result: LintResult) -> Table:
    columns = tuple(dict.fromkeys(one.kernel for one in result.outcomes))
    cells = {(one.tool, one.kernel): _cell(one) for one in result.outcomes}
    table = Table("", *(column or "tree" for column in columns), box=None, pad_edge=False)
    for tool in dict.fromkeys(one.tool for one in result.outcomes):
        table.add_row(tool, *(cells.get((tool, column), "") for column in columns))
    return table


def _cell(outcome: Outcome) -> str:
    if outcome.findings:
        return str(len(outcome.findings))
    return "ok" if outcome.skipped is None else "skipped"


def _skips(result: LintResult) -> dict[str, str]:
    """Return where each reason for a skip applies."""
    where: dict[str, dict[str, list[str]]] = {}
    for one in result.outcomes:
        if one.skipped is not None:
            kernels = where.setdefault(one.skipped, {}).setdefault(one.tool, [])
            kernels += [one.kernel] if one.kernel else []
    return {
        reason: ", ".join(
            " ".join([tool, *([f"on {', '.join(on)}"] if on else [])]) for tool, on in tools.items()
        )
        for reason, tools in where.items()
    }
