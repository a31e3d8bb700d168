# SPDX-License-Identifier: GPL-2.0
"""splat.py: many wordings, formats and architectures, each found once and titled (cases.toml)."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.splat import scan

DATA: dict[str, Any] = tomllib.loads((Path(__file__).parent / "data/splats/cases.toml").read_text())
TRACE = (
    "CPU: 0 PID: 42 Comm: t Not tainted 6.1.0 #1\nCall Trace:\n <TASK>\n{}"
    " do_syscall_64+0x3b/0x90\n entry_SYSCALL_64_after_hwframe+0x63/0xcd\n </TASK>\n"
)
PREFIXES = ("", "[   12.345678] ", "[   12.345678][   T42] ", "<4>[   12.345678] ")


def log(case: dict[str, Any]) -> str:
    frames = "".join(f" {function}+0x10/0x100\n" for function in case.get("stack", ()))
    return f"{case['log']}\n" + (TRACE.format(frames) if frames else "")


def prefixed(text: str, prefix: str) -> str:
    return "".join(
        # Some have timestamps of their own: what comes before and behind a reboot.
        line if line.startswith("[ ") and "] " in line[:16] else prefix + line
        for line in text.splitlines(keepends=True)
    )


@pytest.mark.parametrize("case", DATA["case"], ids=lambda case: case["log"].split("\n")[0][:60])
def test_found_once_and_titled(case: dict[str, Any]) -> None:
    found = [scan(prefixed(log(case), prefix)) for prefix in PREFIXES]
    assert [[one.title for one in splats] for splats in found] == [[case["title"]]] * len(PREFIXES)
    assert len({one.fingerprint for splats in found for one in splats}) == 1


@pytest.mark.parametrize("prefix", DATA["prefixes"]["lines"])
def test_no_prefix_hides_a_stack(prefix: str) -> None:
    head = "BUG: sleeping function called from invalid context at kernel/foo.c:586\n"
    text = head + TRACE.format(" __might_sleep+0x4e/0x7a\n foo_bar+0x10/0x100\n")
    (plain,), (found,) = scan(text), scan(prefixed(text, prefix))
    assert found.title == f"{head.partition(' at ')[0]} in foo_bar"
    assert found.fingerprint == plain.fingerprint


@pytest.mark.parametrize("line", DATA["benign"]["lines"])
def test_not_flagged(line: str) -> None:
    for prefix in PREFIXES:
        assert scan(prefixed(f"{line}\n" + TRACE.format(" foo_bar+0x1/0x2\n"), prefix)) == ()
