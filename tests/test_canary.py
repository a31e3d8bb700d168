# SPDX-License-Identifier: GPL-2.0
"""canary.py: what the harness must make of trouble, and when it has not."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.answers import ASKED
from harness.attribute import Charge
from harness.canary import load_canaries
from harness.canarycheck import hear
from harness.manifest import save_manifest, vm_folder
from harness.results import Status, TestResult, VmEnd, VmExit
from harness.rundir import CONSOLE
from harness.splat import scan
from harness.tomlfile import TomlError
from tests.test_rundir import MANIFEST, NONCE, VM, said
from tests.test_vm import fake_kernel

ROOT = Path(__file__).parent.parent
CANARIES = load_canaries(ROOT / "selftests/canaries/canaries.toml")
WARN = next(canary for canary in CANARIES if canary.test == "canary.warn")
NOTHING = next(canary for canary in CANARIES if canary.test == "canary.nothing")
ID = "canaries:canary.warn"
FAILED = TestResult(id=ID, status=Status.FAIL, vm=1)
CLEAN = VmEnd(exit=VmExit.CLEAN)


def charges(function: str, test: str | None = ID) -> tuple[Charge, ...]:
    console = (
        "[    5.000000] ------------[ cut here ]------------\n"
        f"[    5.000001] WARNING: CPU: 0 PID: 77 at canary.c:54 {function}+0x11/0x22 [canary]\n"
        "[    5.000002] Call Trace:\n"
        f"[    5.000003]  {function}+0x1/0x2 [canary]\n"
        "[    5.000004] ---[ end trace 0000000000000000 ]---\n"
    )
    return tuple(Charge(test=test, splat=splat, line=1) for splat in scan(console))


def test_seen_for_what_it_is() -> None:
    assert WARN.faults(FAILED, CLEAN, charges("canary_warn")) == []
    assert NOTHING.faults(replace(FAILED, status=Status.PASS), CLEAN, ()) == []


@pytest.mark.parametrize("heard", [(), charges("canary_oops"), charges("canary_warn", None)])
def test_not_heard_or_taken_for_something_else(heard: tuple[Charge, ...]) -> None:
    (fault,) = WARN.faults(FAILED, CLEAN, heard)
    assert "instead of warning: WARNING in canary_warn" in fault


def test_a_wrong_verdict_a_wrong_end_and_a_false_alarm() -> None:
    passed = replace(FAILED, status=Status.PASS)
    assert WARN.faults(passed, CLEAN, charges("canary_warn")) == ["pass instead of fail"]
    lost = VmEnd(exit=VmExit.LOST)
    assert WARN.faults(FAILED, lost, charges("canary_warn")) == ["the VM: lost; instead of clean"]
    assert NOTHING.faults(passed, CLEAN, charges("canary_warn")) == [
        "charged with WARNING in canary_warn"
    ]


PANIC = "[    9.000000] Kernel panic - not syncing: NMI: Not continuing\n"


@pytest.mark.parametrize(
    ("before", "after", "faults"),
    [("", PANIC, []), (PANIC, "", ["charged with kernel panic: NMI: Not continuing"])],
)
def test_what_the_harness_provoked_in_the_end_is_no_charge(
    before: str, after: str, faults: list[str], tmp_path: Path
) -> None:
    """As the real verdict has it: a guest that could not answer keys panicked by its NMI."""
    full = next(canary for canary in CANARIES if canary.test == "canary.full_channel")
    id_ = f"canaries:{full.test}"
    end = VmEnd(exit=VmExit.DEADLINE, detail="more than 16 MiB", answered=False)
    vm = replace(VM, planned=(id_,), end=end)
    save_manifest(tmp_path, replace(MANIFEST, expected=(id_,), vms=(vm,)))
    said(tmp_path, f"@{NONCE} hello 6.12.1 3.00 1.0\n@{NONCE} suite canaries\n".encode())
    mark = f"[    8.900000] harness: test {id_}\n"
    (vm_folder(tmp_path, 1) / CONSOLE).write_text(f"{mark}{before}{ASKED}: NMI\n{after}")
    heard = hear(full, id_, tmp_path)
    assert heard.test.status is Status.CRASHED
    assert list(heard.faults) == faults


def test_what_a_kernel_cannot_show(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_KFENCE=y\n")
    kernel = fake_kernel(config=config)
    reasons = {canary.kind: canary.why_not(kernel) for canary in CANARIES if canary.config}
    assert reasons["kfence"] == ""
    assert reasons["kasan"].endswith("has no CONFIG_KASAN")
    kfence = next(canary for canary in CANARIES if canary.kind == "kfence")
    old = replace(kernel, release="5.10.0-46-amd64")
    assert kfence.why_not(old).endswith("is before 5.12")


def test_every_canary_is_a_test_of_the_suite_and_the_other_way_round() -> None:
    source = (ROOT / "selftests/canaries/canaries.c").read_text()
    tests = {f"canary.{name}" for name in re.findall(r"^TEST_F\w*\(canary, (\w+)", source, re.M)}
    assert {canary.test for canary in CANARIES} == tests


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canary = 1", "canaries.toml:1: canary: expected an array of tables"),
        ("[[canary]]\nby = 'ghost'", "by: expected one of module, program, host"),
        ("[[canary]]\nby = 'host'\ntest = 'a.b'\nstatus = ['fine']", "expected a canary: 'fine'"),
        ("[[canary]]\nby = 'host'\ntest = 'a.b'\ntitle = '('", "expected a canary: "),
        ("[[canary]]\nby = 'host'\ntest = 'a.b'\nmore = 1", "more: expected no such key"),
        ("=", "not TOML: "),
    ],
)
def test_a_malformed_table(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "canaries.toml"
    path.write_text(text)
    with pytest.raises(TomlError, match=re.escape(message)):
        load_canaries(path)
