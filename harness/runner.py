# SPDX-License-Identifier: GPL-2.0
"""One run: a kernel, the driver built for it, the tests, one VM, a folder with the verdicts."""

import fnmatch
import hashlib
import os
import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from harness.accel import Accelerator
from harness.errors import HarnessError
from harness.guestroot import Load, Plan, SuiteRun
from harness.kernel import Kernel
from harness.kernels import KernelStore
from harness.kmod import ModuleBuild, build_module
from harness.kselftest import SelftestBuild, Suite
from harness.kselftest import build as build_selftests
from harness.matrix import load_matrix
from harness.place import Place
from harness.probe import choose_accelerator
from harness.progress import Phase
from harness.results import RunResult
from harness.rundir import Manifest, new_run, rejudge, save_manifest
from harness.spec import Spec, load_specs
from harness.vm import VmConfig, VmOutcome, run_vm
from harness.watch import Deadlines

DRIVER = "udmabuf_iov"
# Built in, it holds /dev/udmabuf; blacklisted, ours can take the name (notes/udmabuf.md 0.1).
_BUILTIN_OFF = "initcall_blacklist=udmabuf_dev_init"
# Seconds of patience without KVM; an untouched guest takes five to boot.
_TCG = Deadlines(boot=180, silence=120, total=1800)
_KVM = Deadlines(boot=60, silence=60, total=900)
# TCG is some ten times slower than KVM; the tests' own timeouts are for real machines.
_TCG_PATIENCE = 4
_RESULT = re.compile(rb"^(?:not )?ok \d+ (\S+)")


class NoTestError(HarnessError):
    """The patterns match no test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """All that a run is made of, built and ready to boot."""

    kernel: Kernel
    driver: ModuleBuild
    helpers: tuple[ModuleBuild, ...]
    selftests: SelftestBuild
    accelerator: Accelerator


def kernel_store(place: Place) -> KernelStore:
    """Return the store of the kernels that this checkout's matrix names."""
    matrix = load_matrix(place.source / "kconfigs/matrix.toml")
    return KernelStore(place.cache, matrix, place.spawner, place.progress)


def default_kernel(place: Place) -> str:
    """Return the series to take when none is named."""
    return load_matrix(place.source / "kconfigs/matrix.toml").default


def prepare(place: Place, kernel_name: str) -> Ingredients:
    """Get the kernel and build the driver and the tests; what is cached costs milliseconds.

    Raises:
        HarnessError: something cannot be had or does not compile.
    """
    kernel = kernel_store(place).get(kernel_name)
    with place.progress.phase("module") as phase:
        driver = build_driver(place, kernel, place.source / "module")
        phase.done(f"{driver.ko.name} by {driver.compiler}" + _from_cache(driver.cached))
    for warning in driver.warnings:
        place.progress.console.print(warning, markup=False, highlight=False)
    with place.progress.phase("tests") as phase:
        selftests = build_selftests(
            place.source / "selftests/specs",
            source=place.source,
            cache=place.cache / "selftests",
            spawner=place.spawner,
            waiting=partial(place.progress.note, "waiting for another run to build the tests"),
        )
        wanted = dict.fromkeys(name for suite in selftests.suites for name in suite.modules)
        helpers = tuple(
            _module(place, kernel, place.source / "selftests/modules", name) for name in wanted
        )
        cached = selftests.cached == len(selftests.suites) and all(one.cached for one in helpers)
        phase.done(
            f"{len(selftests.full_ids)} in {len(selftests.suites)} suites" + _from_cache(cached)
        )
    accelerator = choose_accelerator(
        kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
    )
    return Ingredients(
        kernel=kernel,
        driver=driver,
        helpers=helpers,
        selftests=selftests,
        accelerator=accelerator,
    )


def check(place: Place, kernel_name: str, patterns: Sequence[str]) -> tuple[RunResult, Path]:
    """Build, boot, test and judge.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        patterns: globs over full ids; none means all.

    Returns:
        The verdicts, and the run folder that they are kept in.

    Raises:
        NoTestError: no test matches.
        HarnessError: the run could not be made.
    """
    # A bad specification or pattern costs no build.
    _check_patterns(load_specs(place.source / "selftests/specs"), patterns)
    ready = prepare(place, kernel_name)
    suites = _select(ready.selftests.suites, patterns)
    folder = new_run(place.runs, ready.kernel.release)
    spawner = replace(place.spawner, log=folder / "commands.log")
    config = VmConfig(
        kernel=ready.kernel,
        accelerator=ready.accelerator,
        deadlines=patience(ready.accelerator),
        cmdline=_cmdline(ready.kernel, suites),
    )
    plan = Plan(
        nonce=secrets.token_hex(16),
        loads=(Load(ko=ready.driver.ko), *(Load(ko=one.ko) for one in ready.helpers)),
        suites=tuple(_suite_run(suite, all_=not patterns) for suite in suites),
        patience=1 if ready.accelerator.kvm else _TCG_PATIENCE,
    )
    manifest = _manifest(place, ready, config, plan, suites)
    # Before the boot: a run that is killed can still be judged from its folder.
    save_manifest(folder, manifest)
    with place.progress.phase("vm") as phase:
        outcome = run_vm(
            config, plan, folder=folder, spawner=spawner, on_line=_Counter(phase, suites).line
        )
        phase.done(_vm_words(outcome, config))
    save_manifest(folder, replace(manifest, vm=outcome.end, argv=outcome.argv))
    return rejudge(folder), folder


def patience(accelerator: Accelerator) -> Deadlines:
    """Return the deadlines for a VM under this accelerator."""
    return _KVM if accelerator.kvm else _TCG


def build_driver(place: Place, kernel: Kernel, source: Path) -> ModuleBuild:
    """Build the driver from a folder of sources; raises HarnessError."""
    return _module(place, kernel, source, DRIVER)


def _module(place: Place, kernel: Kernel, source: Path, name: str) -> ModuleBuild:
    return build_module(
        source,
        kernel,
        name=name,
        cache=place.cache,
        spawner=place.spawner,
        progress=place.progress,
    )


def _from_cache(cached: bool) -> str:
    return ", cached" if cached else ""


def _matching(suite: Suite | Spec, patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        id_
        for id_ in suite.ids
        if any(fnmatch.fnmatchcase(f"{suite.name}:{id_}", pattern) for pattern in patterns)
    )


def _check_patterns(specs: Sequence[Spec], patterns: Sequence[str]) -> None:
    if patterns and not any(_matching(spec, patterns) for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise NoTestError(
            f"no test matches {' '.join(patterns)!r}",
            hint=f"ids are suite:fixture.variant.test, as in 'mmap:*'; the suites are {names}",
        )


def _select(suites: tuple[Suite, ...], patterns: Sequence[str]) -> tuple[Suite, ...]:
    """Return the suites with only the ids that match a pattern; those without any are left out."""
    if not patterns:
        return suites
    chosen = (replace(suite, ids=_matching(suite, patterns)) for suite in suites)
    return tuple(suite for suite in chosen if suite.ids)


def _suite_run(suite: Suite, *, all_: bool) -> SuiteRun:
    return SuiteRun(name=suite.name, binary=suite.binary, ids=() if all_ else suite.ids)


def _cmdline(kernel: Kernel, suites: Sequence[Suite]) -> tuple[str, ...]:
    builtin = (_BUILTIN_OFF,) if kernel.option("CONFIG_UDMABUF") == "y" else ()
    return (*builtin, *dict.fromkeys(word for suite in suites for word in suite.cmdline))


def _vm_words(outcome: VmOutcome, config: VmConfig) -> str:
    boot = outcome.end.boot_seconds
    booted = "" if boot is None else f", booted in {boot:.1f} s"
    return f"{outcome.end.describe()}, {config.accelerator.name}{booted}"


class _Counter:
    """Shows which test the guest is at."""

    def __init__(self, phase: Phase, suites: Sequence[Suite]) -> None:
        self._phase = phase
        self._total = sum(len(suite.ids) for suite in suites)
        self._done = 0
        phase.update("booting")

    def line(self, line: bytes) -> None:
        """Take one line of the results channel."""
        if match := _RESULT.match(line):
            self._done += 1
            name = match[1].decode(errors="replace")
            self._phase.update(f"{self._done}/{self._total} {name}")


def _manifest(
    place: Place, ready: Ingredients, config: VmConfig, plan: Plan, suites: Sequence[Suite]
) -> Manifest:
    kernel = ready.kernel
    return Manifest(
        kernel=kernel.name,
        release=kernel.release,
        package=kernel.package,
        kernel_sha256=kernel.sha256,
        compiler=ready.driver.compiler,
        accelerator=ready.accelerator.name,
        accelerator_why=ready.accelerator.why,
        qemu=_qemu_version(place),
        vng=metadata.version("virtme-ng"),
        host=f"{platform.release()}, {os.cpu_count()} CPUs",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        nonce=plan.nonce,
        expected=tuple(id_ for suite in suites for id_ in suite.full_ids),
        extra=(
            ("cmdline", " ".join(config.cmdline)),
            ("driver_sha256", hashlib.sha256(ready.driver.ko.read_bytes()).hexdigest()),
            ("memory_mib", str(config.memory)),
            ("cpus", str(config.cpus)),
        ),
    )


def _qemu_version(place: Place) -> str:
    """Return QEMU's own words; "" without QEMU, which the VM will complain about."""
    qemu = place.spawner.which("qemu-system-x86_64")
    if qemu is None:
        return ""
    lines = place.spawner.run([qemu, "--version"], deadline=30).output.splitlines()
    return lines[0] if lines else ""
