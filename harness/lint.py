# SPDX-License-Identifier: GPL-2.0
"""`harness lint`: ci/static over the tree, and the tools of clint.py over the C modules.

A tool that cannot judge is skipped with the reason, and never passes. Checkpatch reads text, which
is the same for all kernels, and its script is fetched with 150 MiB of source: unless kernels are
named, the newest one's judges for all.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.clint import CLinter, with_tools
from harness.finding import Finding, LintResult, Outcome
from harness.place import Place
from harness.run import CommandError
from harness.runner import default_kernel, kernel_store
from harness.toolchain import choose_toolchain

TREE = "ci/static"

_DEADLINE = 600.0
_PLACE = re.compile(r"^([^\s:]+:\d+(?::\d+)?): (.*)$")


def lint(place: Place, kernels: Sequence[str], *, strict: bool) -> LintResult:
    """Run everything.

    Args:
        kernels: as in `--kernel`; none means those of the matrix that are cached, and if strict,
            all of the matrix.
        strict: fetch and make what is missing, and count every skip as a failure to judge.

    Raises:
        HarnessError: a kernel cannot be had, or a module does not compile.
    """
    outcomes = [_tree(place)]
    chosen, absent = _kernels(place, kernels, strict)
    for name in chosen:
        kernel = kernel_store(place).get(name)
        if strict and kernel.buildroot is not None:
            kernel = replace(kernel, buildroot=with_tools(kernel.buildroot))
        with place.progress.phase("lint") as phase:
            toolchain = choose_toolchain(
                kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
            )
            linter = CLinter(place=place, kernel=kernel, toolchain=toolchain)
            tools = linter.tools(text=bool(kernels) or name == chosen[-1])
            for tool, judge in tools:
                phase.update(f"{name}: {tool}")
                outcomes.append(linter.outcome(tool, judge))
            phase.done(f"{name}: {', '.join(tool for tool, _ in tools)}")
    outcomes += (
        Outcome(tool="C modules", kernel=name, skipped="the kernel is not cached", mendable=True)
        for name in absent
    )
    return LintResult(outcomes=tuple(outcomes), strict=strict)


def _kernels(
    place: Place, kernels: Sequence[str], strict: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the kernels to look at, oldest first unless named, and those that are left out."""
    if kernels:
        return tuple(kernels), ()
    listing = kernel_store(place).listing()
    if strict:
        return tuple(entry.series for entry in listing), ()
    cached = tuple(entry.series for entry in listing if entry.kernel is not None)
    chosen = cached or (default_kernel(place),)
    return chosen, tuple(entry.series for entry in listing if entry.series not in chosen)


def _tree(place: Place) -> Outcome:
    """Run ci/static, which needs no kernel."""
    script = place.source / TREE
    if not script.is_file():
        return Outcome(tool=TREE, kernel=None, skipped=f"no {TREE} in this checkout")
    with place.progress.phase("lint") as phase:
        phase.update(TREE)
        completed = place.spawner.run([script], deadline=_DEADLINE, cwd=place.source, check=False)
        phase.done("ruff, mypy, shellcheck")
    lines = [line for line in completed.output.splitlines() if line.strip()]
    findings = [
        Finding(where=match[1], text=match[2]) if match else Finding(where="", text=line)
        for line in lines
        for match in [_PLACE.match(line)]
        if not line.startswith("static: ")
    ]
    failed = [line.removeprefix("static: ") for line in lines if line.startswith("static: ")]
    if completed.status not in (0, 1) and not failed:
        raise CommandError(completed)
    return Outcome(
        tool=TREE,
        kernel=None,
        findings=tuple(findings) if completed.status else (),
        skipped="; ".join(failed) or None,
        mendable=bool(failed),
    )
