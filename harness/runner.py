# SPDX-License-Identifier: GPL-2.0
"""One run: a kernel, the driver built for it, the tests, VMs, a folder with the verdicts."""

import hashlib
import os
import platform
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from harness.accel import Accelerator
from harness.capacity import default_jobs
from harness.cell import load_cells
from harness.coverage import cover, objects_of
from harness.decode import DebugObject, Decoder
from harness.errors import HarnessError
from harness.guestmodules import kernel_loads
from harness.guestroot import Load, Plan
from harness.kernel import Kernel
from harness.kernels import KernelStore
from harness.kmod import ModuleBuild, build_module
from harness.kselftest import SelftestBuild, Suite
from harness.kselftest import build as build_selftests
from harness.lanes import Lane, lone_lanes, plan_lanes
from harness.manifest import BUILTIN, Manifest
from harness.matrix import Matrix, load_matrix
from harness.place import Place
from harness.preflight import preflight, qemu_version
from harness.probe import choose_accelerator
from harness.results import RunResult, VmEnd
from harness.run import Leash, Spawner
from harness.rundir import MODULES, Decode, keep_modules, kept_kernel, make_run, new_run, rejudge
from harness.selection import check_patterns, select
from harness.session import MORE, Boot, Session
from harness.spec import load_specs
from harness.tally import Counter, vm_words
from harness.vm import VmConfig, VmOutcome, run_vm
from harness.warm import run_warm

DRIVER = "udmabuf_iov"
# Built in, it holds /dev/udmabuf; blacklisted, ours can take the name (notes/udmabuf.md 0.1).
_BUILTIN_OFF = "initcall_blacklist=udmabuf_dev_init"


class NoDriverError(HarnessError):
    """The kernel lacks the driver that is to be tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """All that a run is made of, built and ready to boot; ``cpus``, what its kernel wants."""

    kernel: Kernel
    driver: ModuleBuild
    helpers: tuple[ModuleBuild, ...]
    selftests: SelftestBuild
    accelerator: Accelerator
    cpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How tests are run.

    Attributes:
        patterns: globs over full ids; none means all.
        cold: boot every VM instead of restoring a snapshot.
        jobs: how many VMs run at a time.
        more: VMs for what a crash, hang or dirt left over.
        builtin: test the kernel's own driver instead of ours.
        cmdline: further kernel parameters.
        memory: of each VM, MiB; None for the usual.
        cpus: virtual CPUs that each VM has at least; some suites want more.
        seconds: what tests took before, by id; None asks the run before.
        seed: what random choices of the tests start from, 32 bits; another each time.
        alone: whether each test gets a VM of its own.
    """

    patterns: tuple[str, ...] = ()
    cold: bool = False
    jobs: int = field(default_factory=default_jobs)
    more: int = MORE
    builtin: bool = False
    cmdline: tuple[str, ...] = ()
    memory: int | None = None
    cpus: int = 1
    seconds: Mapping[str, float] | None = None
    seed: int = field(default_factory=partial(secrets.randbits, 32))
    alone: bool = False


def matrix_of(place: Place, *, tests: Collection[str] | None = None) -> Matrix:
    """Return this checkout's matrix, checked as :func:`load_matrix` says; raises MatrixError."""
    return load_matrix(place.source / "kconfigs/matrix.toml", tests=tests)


def kernel_store(place: Place) -> KernelStore:
    """Return the store of the kernels that this checkout's matrix names."""
    return KernelStore(place.cache, matrix_of(place), place.spawner, place.progress)


def default_kernel(place: Place) -> str:
    """Return the series to take when none is named."""
    return matrix_of(place).default


def prepare(place: Place, kernel_name: str, selftests: SelftestBuild | None = None) -> Ingredients:
    """Get the kernel and build the driver and the tests; what is cached costs milliseconds.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        selftests: the tests, where they are built already: they are the same for all kernels.

    Raises:
        HarnessError: something cannot be had or does not compile.
    """
    preflight(place.spawner)
    kernel = kernel_store(place).get(kernel_name)
    selftests = selftests or build_tests(place)
    wanted = dict.fromkeys(name for suite in selftests.suites for name in suite.modules)
    with place.progress.phase("module") as phase:
        driver = build(place, kernel, place.source / "module")
        for warning in driver.warnings:
            place.progress.note(warning)
        helpers = tuple(
            build(place, kernel, place.source / "selftests/modules", name=name) for name in wanted
        )
        cached = all(one.cached for one in (driver, *helpers))
        phase.done(f"{driver.ko.name} by {driver.compiler}" + _from_cache(cached))
    accelerator = choose_accelerator(
        kernel, cache=place.cache, spawner=place.spawner, progress=place.progress
    )
    return Ingredients(
        kernel=kernel,
        driver=driver,
        helpers=helpers,
        selftests=selftests,
        accelerator=accelerator,
        cpus=matrix_of(place).least_cpus(kernel_name),
    )


def build_tests(place: Place) -> SelftestBuild:
    """Generate and compile the tests; what is cached costs milliseconds.

    Raises:
        HarnessError: a specification is malformed, or does not compile.
    """
    with place.progress.phase("tests") as phase:
        selftests = build_selftests(
            place.source / "selftests/specs",
            source=place.source,
            cache=place.cache / "selftests",
            spawner=place.spawner,
            waiting=partial(place.progress.note, "waiting for another run to build the tests"),
        )
        cached = selftests.cached == len(selftests.suites)
        phase.done(
            f"{len(selftests.full_ids)} in {len(selftests.suites)} suites" + _from_cache(cached)
        )
    return selftests


def check(place: Place, kernel_name: str, options: Options) -> tuple[RunResult, Path]:
    """Build, boot, test and judge.

    Args:
        place: where.
        kernel_name: as in `--kernel`.
        options: which tests, and how.

    Returns:
        The verdicts, and the run folder that they are kept in.

    Raises:
        NoTestError: no test matches.
        HarnessError: the run could not be made.
    """
    # A bad specification or pattern costs no build.
    check_patterns(load_specs(place.source / "selftests/specs"), options.patterns)
    ready = prepare(place, kernel_name)
    folder = trial(place, ready, options)
    return verdicts(place, ready, folder), folder


def verdicts(place: Place, ready: Ingredients, folder: Path) -> RunResult:
    """Judge a run, and tell what of a driver that counts it has run; raises HarnessError."""
    result = rejudge(folder, decoder(place, folder))
    cover(place, ready.kernel, ready.driver, folder)
    return result


def decoder(place: Place, folder: Path) -> Decode:
    """Return what adds source lines to the splats of a run, by what is kept in its folder."""
    sources = {DRIVER: place.source / "module"}
    helpers = place.source / "selftests/modules"
    objects = [
        DebugObject(module=ko.stem, path=ko, source=sources.get(ko.stem, helpers))
        for ko in sorted((folder / MODULES).glob("*.ko"))
    ]
    if kernel := kept_kernel(folder):
        objects.append(DebugObject(module="", path=kernel))
    return Decoder(objects, spawner=place.spawner).decode


def trial(
    place: Place,
    ready: Ingredients,
    options: Options,
    *,
    folder: Path | None = None,
    on_line: Callable[[bytes], None] = lambda line: None,
    on_end: Callable[[VmEnd], None] = lambda end: None,
) -> Path:
    """Run the tests that are asked for in VMs.

    Args:
        place: where; whoever pulls its spawner's leash ends the VMs.
        ready: what is run.
        options: how.
        folder: takes the run, and is made; None for a new one among the runs.
        on_line: called with each line of every results channel.
        on_end: called with each VM's end.

    Returns:
        The run's folder, not judged yet (:func:`harness.rundir.rejudge`).

    Raises:
        HarnessError: the run could not be made.
    """
    if options.builtin and not _has_builtin(ready.kernel):
        raise NoDriverError(
            f"{ready.kernel.name} has no built-in udmabuf", hint="6.12, 7.2 and 7.3 have it"
        )
    suites = select(ready.selftests.suites, options.patterns)
    # By the times of the latest run, which this one becomes next.
    lanes = _lanes(place, suites, options, cpus=max(options.cpus, ready.cpus))
    folder = make_run(folder) if folder else new_run(place.runs, ready.kernel.release)
    ours = () if options.builtin else (ready.driver.ko,)
    modules = (*ours, *(one.ko for one in ready.helpers))
    keep_modules(folder, modules, ready.kernel.vmlinux)
    leash = place.spawner.leash or Leash()
    spawner = replace(place.spawner, log=folder / "commands.log", leash=leash)
    config = _config(ready, options)
    with place.progress.phase("vm") as phase:
        counter = Counter(phase, suites)

        def hear(line: bytes) -> None:
            counter.line(line)
            on_line(line)

        session = Session(
            folder,
            _manifest(place, ready, config, suites, modules, options=options),
            config=config,
            loads=tuple(Load(ko=ko, objects=objects_of(ko)) for ko in modules),
            boot=_boot(place, spawner, cold=options.cold),
            leash=leash,
            kernel_loads=partial(kernel_loads, ready.kernel, cache=place.cache),
            on_line=hear,
            on_end=on_end,
            most=options.more,
            seed=options.seed,
        )
        done = session.run(lanes, jobs=options.jobs)
        phase.done(vm_words(done))
    return folder


def _config(ready: Ingredients, options: Options) -> VmConfig:
    config = VmConfig(
        kernel=ready.kernel,
        accelerator=ready.accelerator,
        cmdline=(*(() if options.builtin else cmdline(ready.kernel)), *options.cmdline),
    )
    return config if options.memory is None else replace(config, memory=options.memory)


def _boot(place: Place, spawner: Spawner, *, cold: bool) -> Boot:
    """Return what runs one VM: a boot, or a snapshot restored."""

    def boot(
        config: VmConfig,
        plan: Plan,
        folder: Path,
        turn: AbstractContextManager[object],
        on_line: Callable[[bytes], None],
    ) -> VmOutcome:
        if cold:
            with turn:
                return run_vm(
                    config, plan, folder=folder, spawner=spawner, cache=place.cache, on_line=on_line
                )
        return run_warm(
            config,
            plan,
            folder=folder,
            spawner=spawner,
            cache=place.cache,
            turn=turn,
            on_line=on_line,
        )

    return boot


def _lanes(
    place: Place, suites: Sequence[Suite], options: Options, *, cpus: int
) -> tuple[Lane, ...]:
    if options.alone:
        return lone_lanes(suites, cpus=cpus)
    seconds = _seconds_before(place.runs) if options.seconds is None else options.seconds
    return plan_lanes(suites, jobs=options.jobs, seconds=seconds, cpus=cpus)


def _seconds_before(runs: Path) -> dict[str, float]:
    """Return what tests took in the last run that was judged, by id; nothing where none was."""
    try:
        cells = load_cells(runs / "latest")
    except HarnessError:
        return {}
    return {id_: took for cell in cells for id_, took in cell.test_seconds.items()}


def cmdline(kernel: Kernel) -> tuple[str, ...]:
    """Return the kernel parameters that the driver needs."""
    return (_BUILTIN_OFF,) if _has_builtin(kernel) else ()


def _has_builtin(kernel: Kernel) -> bool:
    return kernel.option("CONFIG_UDMABUF") == "y"


def build(
    place: Place, kernel: Kernel, source: Path, *, name: str = DRIVER, shelf: str = "modules"
) -> ModuleBuild:
    """Build a module, the driver unless it is named, from a folder of sources.

    Raises:
        HarnessError: it does not compile, or there is no compiler.
    """
    return build_module(
        source,
        kernel,
        name=name,
        cache=place.cache,
        spawner=place.spawner,
        progress=place.progress,
        shelf=shelf,
        gcov=name == DRIVER and kernel.option("CONFIG_GCOV_KERNEL") == "y",
    )


def _from_cache(cached: bool) -> str:
    return ", cached" if cached else ""


def _manifest(
    place: Place,
    ready: Ingredients,
    config: VmConfig,
    suites: Sequence[Suite],
    modules: Sequence[Path],
    *,
    options: Options,
) -> Manifest:
    kernel = ready.kernel
    return Manifest(
        kernel=kernel.name,
        release=kernel.release,
        driver=BUILTIN if options.builtin else DRIVER,
        package=kernel.package,
        kernel_sha256=kernel.sha256,
        compiler=ready.driver.compiler,
        accelerator=ready.accelerator.name,
        accelerator_why=ready.accelerator.why,
        qemu=qemu_version(place.spawner),
        vng=metadata.version("virtme-ng"),
        host=f"{platform.release()}, {os.cpu_count()} CPUs",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        expected=tuple(id_ for suite in suites for id_ in suite.full_ids),
        extra=(
            *((f"{ko.stem}_sha256", hashlib.sha256(ko.read_bytes()).hexdigest()) for ko in modules),
            ("tests_sha256", ready.selftests.sha256),
            ("memory_mib", str(config.memory)),
            ("seed", str(options.seed)),
        ),
    )
