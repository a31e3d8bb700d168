# SPDX-License-Identifier: GPL-2.0
"""Real kernels that hang, each in its own way, and what they answer."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from rich.console import Console

from harness import answers
from harness.accel import Accelerator
from harness.guestroot import Load, Plan, SuiteRun
from harness.kmod import build_module
from harness.place import Place
from harness.progress import Progress
from harness.results import VmExit
from harness.run import Spawner
from harness.runner import default_kernel, kernel_store
from harness.vm import VmConfig, VmOutcome, run_vm
from harness.warm import run_warm
from harness.watch import Deadlines
from tests.test_vm import NONCE

pytestmark = pytest.mark.vm

ROOT = Path(__file__).parent.parent
HOW = "/sys/module/hang/parameters/how"
# So patient with the boot as ever; and with silence as a test can be.
SLOW = Accelerator(kvm=False, why="test", slowness=10)
DEADLINES = Deadlines(boot=30, silence=0.5, total=60)


@pytest.fixture
def hang(tmp_path: Path) -> Callable[..., tuple[VmOutcome, str]]:
    """Return what runs a line of shell in a VM, and gives the kernel's answers."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    place = Place(
        source=ROOT,
        cache=platformdirs.user_cache_path("udmabuf-harness"),
        runs=tmp_path,
        spawner=Spawner(env={"PATH": path, "LANG": "C.UTF-8"}),
        progress=Progress(Console(quiet=True)),
    )
    kernel = kernel_store(place).get(default_kernel(place))
    module = build_module(
        ROOT / "tests/data/hang",
        kernel,
        name="hang",
        cache=place.cache,
        spawner=place.spawner,
        progress=place.progress,
    )
    vm = VmConfig(kernel=kernel, accelerator=SLOW, deadlines=DEADLINES)

    def run(script: str, *, cold: bool = False) -> tuple[VmOutcome, str]:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        plan = Plan(
            nonce=NONCE,
            loads=(Load(ko=module.ko),),
            suites=(SuiteRun(name="program", binary=program),),
        )
        outcome = (
            run_vm(vm, plan, folder=tmp_path, spawner=place.spawner)
            if cold
            else run_warm(vm, plan, folder=tmp_path, spawner=place.spawner, cache=place.cache)
        )
        _, _, told = (tmp_path / "console.log").read_text().partition(answers.ASKED)
        return outcome, told

    return run


@pytest.mark.parametrize(
    ("script", "where"),
    [
        (f"echo spin 0 >{HOW}", r"NMI backtrace for cpu 0\n(.*\n)*.*RIP: .*hang_spin"),
        (f"echo deaf 1 >{HOW}", r"NMI backtrace for cpu 1\n(.*\n)*.*RIP: .*hang_spin"),
        (f"echo stuck 1 >{HOW}", r"Blocked State\n.*task:program .*state:D(.*\n)*.* hang_stuck"),
        ("kill -STOP -1", r"Blocked State\n.*Show backtrace(.*\n)*.* default_idle"),
    ],
)
def test_a_kernel_that_lives_says_where_it_hangs(
    script: str, where: str, hang: Callable[..., tuple[VmOutcome, str]]
) -> None:
    outcome, answers = hang(script)
    assert (outcome.end.exit, outcome.end.answered) == (VmExit.SILENT, True)
    assert re.search(where, answers), answers
    assert "sysrq: HELP" in answers


def test_a_first_cpu_that_hears_nothing_is_hit(
    hang: Callable[..., tuple[VmOutcome, str]],
) -> None:
    outcome, answers = hang(f"echo deaf 0 >{HOW}")
    assert (outcome.end.exit, outcome.end.answered) == (VmExit.SILENT, False)
    assert re.search(r"NMI: Not continuing\n(.*\n)*.*RIP: .*hang_spin", answers), answers


def test_a_vm_that_was_booted_is_asked_too(
    hang: Callable[..., tuple[VmOutcome, str]],
) -> None:
    outcome, answers = hang(f"echo spin 0 >{HOW}", cold=True)
    assert (outcome.end.exit, outcome.end.answered) == (VmExit.SILENT, True)
    assert re.search(r"RIP: .*hang_spin", answers), answers
