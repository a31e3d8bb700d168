# SPDX-License-Identifier: GPL-2.0
"""The harness's command line with everything real but kernel, builds and VM.

As a program: `python -m tests.fakerun SCENARIO RUNS ARGS...`, so that tests can send it signals.
"""

import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from harness import cli, known, matrixcheck, matrixrun, runner
from harness.accel import Accelerator
from harness.errors import HarnessError
from harness.kernel import Kernel
from harness.kmod import ModuleBuild
from harness.kselftest import SelftestBuild, Suite
from harness.place import Place
from harness.vm import VmConfig
from harness.watch import Deadlines
from tests.test_vm import FAKEBIN, fake_kernel

DATA = Path(__file__).parent / "data"
# For the drills: tests in all; suites, each of which wants a VM of its own kind; VMs at a time; VMs
# that are restored.
TESTS = int(os.environ.get("FAKE_TESTS", "2"))
SUITES = int(os.environ.get("FAKE_SUITES", "1"))
JOBS = int(os.environ.get("FAKE_JOBS", "1"))
WARM = "FAKE_WARM" in os.environ
# A guest that says nothing is given up soon; drills keep a whole machine busy and need patience.
SHORT = Deadlines(boot=5, silence=2, total=20)
PATIENT = Deadlines(boot=300, silence=300, total=600)
DEADLINES = PATIENT if "FAKE_PATIENT" in os.environ else SHORT


def ingredients(folder: Path, scenario: str | None = None) -> runner.Ingredients:
    """A kernel and builds that only the fake vng can boot; it replays this scenario, or any."""
    kernel = fake_kernel(config=DATA / "fakekernel/config")
    if scenario is not None:
        kernel = replace(kernel, name=scenario, image=Path(f"/boot/vmlinux-{scenario}"))
    ids = ("global.one", "global.two", *(f"global.t{at}" for at in range(2, TESTS)))
    suites = tuple(
        Suite(
            name="fake" if at == 0 else f"fake{at}",
            binary=FAKEBIN / "vng",
            source=folder / "fake.c",
            ids=ids[at::SUITES],
            modules=(),
            cmdline=() if at == 0 else (f"fake={at}",),
        )
        for at in range(SUITES)
    )
    return runner.Ingredients(
        kernel=kernel,
        driver=ModuleBuild(
            ko=DATA / "fakekernel/udmabuf_iov.ko",
            vermagic=kernel.release,
            compiler="gcc-12",
            cached=True,
            seconds=0.0,
            warnings=(),
            log=folder / "log",
        ),
        helpers=(),
        selftests=SelftestBuild(suites=suites, cached=SUITES),
        accelerator=Accelerator(kvm=False, why="a test"),
    )


def prepare(folder: Path, place: Place, kernel_name: str) -> runner.Ingredients:
    """Stands for runner.prepare.

    A kernel called `fake/NAME` has its own scenario; `fake/missing` cannot be had, and that of
    `fake/driver` is what the driver's sources say.
    """
    place.spawner.run(("true",), deadline=10)
    _, own, name = kernel_name.partition("fake/")
    if name == "missing":
        raise HarnessError("no kernel\nof that name", hint="look elsewhere")
    if name == "driver":
        name = (place.source / "module/scenario").read_text().strip()
    return ingredients(folder, name if own else None)


def inputs(place: Place, ready: runner.Ingredients, options: runner.Options) -> str:
    """Stands for inputs.hash_inputs, which wants a real module."""
    return repr((ready.kernel.image, options.patterns, options.builtin, options.cmdline))


def specs(suites: tuple[Suite, ...], folder: Path) -> tuple[Suite, ...]:
    """Stands for spec.load_specs: a checkout may have a file with the ids that it has only."""
    only = folder / "only"
    if not only.is_file():
        return suites
    return tuple(replace(suite, ids=tuple(only.read_text().split())) for suite in suites)


def cover(place: Place, kernel: Kernel, driver: ModuleBuild, run: Path) -> None:
    """Stands for coverage.cover, of a driver that counts, on a kernel called so."""
    if kernel.name == "clean":
        shutil.copytree(DATA / "coverage/stale", run / "coverage")


def install(scenario: str, folder: Path) -> None:
    """Make the harness of this process a fake one whose vng replays a scenario."""
    monkey = pytest.MonkeyPatch()
    monkey.setattr(runner, "prepare", lambda place, kernel, *_: prepare(folder, place, kernel))
    monkey.setattr(runner, "build_tests", lambda place: ingredients(folder).selftests)
    monkey.setattr(matrixrun, "hash_inputs", inputs)
    if "FAKE_STALE" in os.environ:
        monkey.setattr(runner, "cover", cover)
    # Suites have what is asked of a specification here: name and ids.
    suites = ingredients(folder).selftests.suites
    for module in (runner, matrixcheck, matrixrun, known):
        monkey.setattr(module, "load_specs", partial(specs, suites))
    monkey.setattr(runner, "VmConfig", partial(VmConfig, deadlines=DEADLINES))
    os.environ["PATH"] = f"{FAKEBIN}:{os.environ['PATH']}"
    original = cli._child_environment
    cli._child_environment = lambda environ: (
        {**original(environ), "FAKE_VNG": scenario, "FAKE_FILE": environ.get("FAKE_FILE", "")}
        | {"PATH": f"{FAKEBIN / 'warm' if WARM else FAKEBIN}:{original(environ)['PATH']}"}
    )


if __name__ == "__main__":
    install(sys.argv[1], Path(sys.argv[2]))
    cold = [f"--jobs={JOBS}"] if {"check", "watch", "matrix"} & set(sys.argv) else []
    cold += [] if WARM or not cold else ["--cold"]
    sys.exit(cli.main(["--runs", f"{sys.argv[2]}/runs", *sys.argv[3:], *cold]))
