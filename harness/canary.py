# SPDX-License-Identifier: GPL-2.0
"""What must turn red, and how (selftests/canaries/canaries.toml). Pure but for the one file."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.attribute import Charge
from harness.kernel import Kernel
from harness.results import Status, TestResult, VmEnd, VmExit
from harness.tomlfile import Table
from harness.version import KernelVersion

_BY = ("module", "program", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One way to go wrong, and what the harness must make of it.

    Attributes:
        test: `fixture.test` in the suite.
        by: what provokes it: "module", "program" or "host".
        config: kernel options without which nothing can be seen.
        since: first kernel that shows it; None for all.
        cmdline: further kernel parameters.
        kind: class of the splat that must be charged to the test; "" when none may be.
        title: regular expression for the whole of its title.
        status: what the test may come to.
        exit: how its VM may end.
    """

    test: str
    by: str
    config: tuple[str, ...]
    since: KernelVersion | None
    cmdline: tuple[str, ...]
    kind: str
    title: str
    status: tuple[Status, ...]
    exit: tuple[VmExit, ...]

    def why_not(self, kernel: Kernel) -> str:
        """Return why this kernel cannot show it; "" when it can."""
        if lacking := [one for one in self.config if kernel.option(one) != "y"]:
            return f"{kernel.name} has no {', '.join(lacking)}"
        if self.since is not None and KernelVersion.parse(kernel.release) < self.since:
            return f"{kernel.name} is before {self.since.series}"
        return ""

    def faults(self, test: TestResult, end: VmEnd, charges: tuple[Charge, ...]) -> list[str]:
        """Say what the harness got wrong about it; nothing when it was right.

        Args:
            test: the verdict on the test.
            end: of its VM.
            charges: the splats on its VM's console.
        """
        faults = []
        if test.status not in self.status:
            faults.append(f"{test.status} instead of {' or '.join(self.status)}")
        if end.exit not in self.exit:
            faults.append(f"the VM: {end.describe()}; instead of {' or '.join(self.exit)}")
        mine = [charge.splat for charge in charges if charge.test == test.id]
        heard = [(splat.kind, splat.title) for splat in mine]
        if not self.kind and heard:
            faults.append(f"charged with {heard[0][1]}")
        if self.kind and not any(
            kind == self.kind and re.fullmatch(self.title, title) for kind, title in heard
        ):
            words = "; ".join(f"{kind}: {title}" for kind, title in heard) or "nothing"
            faults.append(f"charged with {words}, instead of {self.kind}: {self.title}")
        return faults


def load_canaries(path: Path) -> tuple[Canary, ...]:
    """Read the canaries.

    Raises:
        TomlError: names file, line, key and what was expected.
    """
    table = Table.load(path)
    canaries = tuple(_canary(entry) for entry in table.tables("canary"))
    table.finish()
    return canaries


def _canary(entry: Table) -> Canary:
    by = entry.choice("by", _BY)
    since = entry.text("since", "")
    title = entry.text("title", "")
    try:
        re.compile(title)
        canary = Canary(
            test=entry.text("test"),
            by=by,
            config=entry.texts("config"),
            since=KernelVersion.parse(since) if since else None,
            cmdline=entry.texts("cmdline"),
            kind=entry.text("kind", ""),
            title=title,
            status=tuple(map(Status, entry.texts("status"))),
            exit=tuple(map(VmExit, entry.texts("exit"))),
        )
    except (re.error, ValueError) as error:
        raise entry.fail("", f"a canary: {error}") from None
    entry.finish()
    return canary
