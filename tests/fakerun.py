# SPDX-License-Identifier: GPL-2.0
"""The harness's command line with everything real but kernel, builds and VM.

As a program: `python -m tests.fakerun SCENARIO RUNS ARGS...`, so that tests can send it signals.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from harness import cli, runner
from harness.accel import Accelerator
from harness.kmod import ModuleBuild
from harness.kselftest import SelftestBuild, Suite
from harness.spec import Spec
from harness.vm import VmConfig
from harness.watch import Deadlines
from tests.test_vm import FAKEBIN, fake_kernel

# A suite of so many tests, and VMs that are restored: for the drills.
TESTS = int(os.environ.get("FAKE_TESTS", "2"))
WARM = "FAKE_WARM" in os.environ
# A guest that says nothing is given up soon; drills keep a whole machine busy and need patience.
SHORT = Deadlines(boot=5, silence=2, total=20)
PATIENT = Deadlines(boot=300, silence=300, total=600)
DEADLINES = PATIENT if "FAKE_PATIENT" in os.environ else SHORT


def ingredients(folder: Path) -> runner.Ingredients:
    """A kernel and builds that only the fake vng can boot."""
    config = folder / "config"
    config.write_text("CONFIG_UDMABUF=y\n")
    ko = folder / "udmabuf_iov.ko"
    ko.write_bytes(b"not really a module")
    kernel = fake_kernel(config=config)
    suite = Suite(
        name="fake",
        binary=FAKEBIN / "vng",
        source=folder / "fake.c",
        ids=("global.one", "global.two", *(f"global.t{at}" for at in range(2, TESTS))),
        modules=(),
        cmdline=(),
    )
    return runner.Ingredients(
        kernel=kernel,
        driver=ModuleBuild(
            ko=ko,
            vermagic=kernel.release,
            compiler="gcc-12",
            cached=True,
            seconds=0.0,
            warnings=(),
            log=folder / "log",
        ),
        helpers=(),
        selftests=SelftestBuild(suites=(suite,), cached=1),
        accelerator=Accelerator(kvm=False, why="a test"),
    )


def install(scenario: str, folder: Path) -> None:
    """Make the harness of this process a fake one whose vng replays a scenario."""
    monkey = pytest.MonkeyPatch()
    monkey.setattr(runner, "prepare", lambda *_: ingredients(folder))
    # Suites have what is asked of a specification here: name and ids.
    suites = cast(tuple[Spec, ...], ingredients(folder).selftests.suites)
    monkey.setattr(runner, "load_specs", lambda specs: suites)
    monkey.setattr(runner, "VmConfig", partial(VmConfig, deadlines=DEADLINES))
    os.environ["PATH"] = f"{FAKEBIN}:{os.environ['PATH']}"
    original = cli._child_environment
    cli._child_environment = lambda environ: (
        {**original(environ), "FAKE_VNG": scenario, "FAKE_FILE": environ.get("FAKE_FILE", "")}
        | {"PATH": f"{FAKEBIN / 'warm' if WARM else FAKEBIN}:{original(environ)['PATH']}"}
    )


if __name__ == "__main__":
    install(sys.argv[1], Path(sys.argv[2]))
    cold = ["--jobs=1"] if {"check", "watch"} & set(sys.argv) else []
    cold += [] if WARM or not cold else ["--cold"]
    sys.exit(cli.main(["--runs", f"{sys.argv[2]}/runs", *sys.argv[3:], *cold]))
