# SPDX-License-Identifier: GPL-2.0
"""The verbs of the command line: each takes the parsed arguments, returns an exit status.

What only one verb needs is imported when that is called: else `harness check`, which is run again
and again, would spend half of its start on the other verbs.
"""

import argparse
from dataclasses import replace
from functools import partial

from rich.console import Console

from harness import runner
from harness.capacity import default_jobs
from harness.cell import is_matrix
from harness.coverage import Coverage, load_coverage
from harness.place import Place
from harness.progress import Progress
from harness.rundir import rejudge
from harness.table import print_run

# Lines of the driver that a run of some tests leaves out: not all are shown.
_MISSED = 20


def check(arguments: argparse.Namespace, place: Place) -> int:
    """`harness check`: 0 all passed, 1 a test failed, 2 not everything could be judged.

    A stale reason in selftests/uncovered.toml is an error: 2.
    Mainline's driver need not pass, but do what is known of it: 1 is a difference.
    """
    kernel = arguments.kernel or runner.default_kernel(place)
    options = replace(_options(arguments), alone=arguments.alone)
    result, folder = runner.check(place, kernel, options)
    console = place.progress.console
    print_run(result, folder, console, verbose=arguments.verbose)
    if _print_coverage(load_coverage(folder), console, verbose=arguments.verbose):
        return 2
    if arguments.driver != "builtin" or result.release is None:
        return result.exit_status
    from harness import known

    comparison = known.compare(result.tests, known.of_checkout(place.source), result.release)
    for line in known.words(comparison):
        console.print(line, markup=False, highlight=False)
    return 2 if result.exit_status == 2 else comparison.exit_status


def _print_coverage(coverage: Coverage | None, console: Console, *, verbose: bool) -> bool:
    """Print what was not run; return whether a reason for that is stale."""
    if coverage is None:
        return False
    for line in coverage.words(len(coverage.missed) if verbose else _MISSED):
        console.print(line, markup=False, highlight=False)
    return bool(coverage.stale)


def watch(arguments: argparse.Namespace, place: Place) -> int:
    """`harness watch`: ends by Ctrl-C only."""
    from harness.onsave import check_on_save

    kernel = arguments.kernel or runner.default_kernel(place)
    check_on_save(place, kernel, _options(arguments))
    return 0


def _options(arguments: argparse.Namespace) -> runner.Options:
    options = runner.Options(
        patterns=tuple(arguments.tests),
        cold=arguments.cold,
        jobs=arguments.jobs or default_jobs(),
        more=arguments.more_vms,
        builtin=arguments.driver == "builtin",
    )
    return options if arguments.seed is None else replace(options, seed=arguments.seed)


def matrix(arguments: argparse.Namespace, place: Place) -> int:
    """`harness matrix`: 0 all passed, 1 a test failed, 2 not every cell could be judged."""
    from harness import matrixcheck
    from harness.matrixrun import MatrixOptions, choose

    cells = choose(matrixcheck.whole_matrix(place), arguments.cell, arguments.group)
    if arguments.json:
        place.progress.note(matrixcheck.list_cells(cells))
        return 0
    options = MatrixOptions(
        patterns=tuple(arguments.tests),
        cold=arguments.cold,
        jobs=arguments.jobs,
        more=arguments.more_vms,
        seed=arguments.seed,
    )
    check_cells = matrixcheck.check_matrix
    if arguments.baseline is not None:
        check_cells = partial(matrixcheck.compare_matrix, revision=arguments.baseline)
    return check_cells(
        place, cells, options, changed_only=arguments.changed_only, verbose=arguments.verbose
    )


def parse(arguments: argparse.Namespace, place: Place) -> int:
    """`harness parse`: the same verdicts, and exit status, from a run's files alone."""
    if is_matrix(arguments.folder):
        from harness import matrixcheck

        return matrixcheck.parse_matrix(place, arguments.folder, verbose=arguments.verbose)
    result = rejudge(arguments.folder, runner.decoder(place, arguments.folder))
    console = place.progress.console
    print_run(result, arguments.folder, console, verbose=arguments.verbose)
    coverage = load_coverage(arguments.folder)
    if _print_coverage(coverage, console, verbose=arguments.verbose):
        return 2
    return result.exit_status


def report(arguments: argparse.Namespace, place: Place) -> int:
    """`harness report`: 0 when it is written, whatever the verdicts that it tells."""
    from harness.reporting import write_reports

    write_reports(
        place,
        arguments.folder,
        kept=arguments.history,
        summary=arguments.summary,
        annotations=arguments.annotations,
    )
    return 0


def list_kernels(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels`: what can be named, and what is cached."""
    default = runner.default_kernel(place)
    say = partial(place.progress.console.print, markup=False, highlight=False)
    say(f"{'series':<15} {'MiB':>4}  {'cached':<54} Debian suites, best first")
    store = runner.kernel_store(place)
    for entry in store.listing():
        name = entry.series + (" (default)" if entry.series == default else "")
        size = f"{entry.size >> 20}" if entry.size else ""
        cached = "-" if entry.kernel is None else entry.kernel.package or entry.kernel.release
        say(f"{name:<15} {size:>4}  {cached:<54} {', '.join(entry.suites)}")
    for built in store.built():
        kernel = built.kernel
        how = f"built in {built.seconds / 60:.0f} min" + (", imported" if built.imported else "")
        say(
            f"{kernel.name:<15} {built.size >> 20:>4}  {kernel.package or kernel.release:<54} {how}"
        )
    say(f"SERIES+PROFILE is built on first use; profiles: {', '.join(store.profiles)}")
    return 0


def fetch_kernels(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels fetch`: make the newest kernel of each series the cached one."""
    store = runner.kernel_store(place)
    for series in arguments.series:
        store.fetch(series)
    return 0


def build_kernels(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels build`: each from the newest source."""
    store = runner.kernel_store(place)
    for name in arguments.kernels:
        store.build(name)
    return 0


def export_kernel(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels export`: one that was built here, as a file."""
    runner.kernel_store(place).export(arguments.kernel, arguments.file)
    return 0


def kernel_key(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels key`: one line on stdout, what goes on elsewhere."""
    console = Console(stderr=True, soft_wrap=True)
    store = runner.kernel_store(replace(place, progress=Progress(console)))
    print(store.key(arguments.kernel))
    return 0


def import_kernel(arguments: argparse.Namespace, place: Place) -> int:
    """`harness kernels import`: what export wrote, into the cache."""
    runner.kernel_store(place).import_file(arguments.file)
    return 0


def shell(arguments: argparse.Namespace, place: Place) -> int:
    """`harness shell`: 0 when the VM ended as it was told to."""
    from harness.shell import shell as run_shell

    run_shell(place, arguments.kernel or runner.default_kernel(place), gdb=arguments.gdb)
    return 0


def canary(arguments: argparse.Namespace, place: Place) -> int:
    """`harness canary`: 0 when every kind of trouble was seen; else the harness is broken: 2."""
    from harness.canarycheck import run_canaries

    return run_canaries(
        place,
        arguments.kernel or runner.default_kernel(place),
        arguments.canaries,
        cold=arguments.cold,
        jobs=arguments.jobs or default_jobs(),
    )


def export(arguments: argparse.Namespace, place: Place) -> int:
    """`harness export`: writes the folder and says what is in it."""
    from harness.export import export as export_suites

    names = export_suites(arguments.folder, source=place.source)
    place.progress.console.print(f"{arguments.folder}: {', '.join(names)}", highlight=False)
    return 0


def doctor(arguments: argparse.Namespace, place: Place) -> int:
    """`harness doctor`: what this host offers; 2 when a VM cannot be had."""
    from harness.doctoring import doctor as run_doctor

    return run_doctor(place, arguments.kernel or runner.default_kernel(place))


def lint(arguments: argparse.Namespace, place: Place) -> int:
    """`harness lint`: 0 nothing found, 1 findings, 2 not everything could be judged."""
    from harness.lint import lint as run_lint
    from harness.lintreport import print_lint

    result = run_lint(place, arguments.kernel, strict=arguments.no_skip)
    print_lint(result, place.progress.console)
    return result.exit_status


def bench(arguments: argparse.Namespace, place: Place) -> int:
    """`harness bench`: times as ratios to stock virtme-ng in the same run."""
    from harness import benchmark

    return benchmark.bench(
        place, arguments.kernel or runner.default_kernel(place), rounds=arguments.rounds
    )


def mutate(arguments: argparse.Namespace, place: Place) -> int:
    """`harness mutate`: 0 all caught, 1 one survived, 2 one could not be judged, or none was."""
    from harness.mutate import Choice, list_mutants
    from harness.mutate import mutate as run_mutants

    choice = Choice(
        names=tuple(arguments.mutants),
        only=tuple(arguments.only),
        since=arguments.since,
        quick=arguments.quick,
        auto=arguments.auto,
        needs=arguments.needs,
        sample=arguments.sample,
        shard=arguments.shard,
    )
    if arguments.list:
        list_mutants(place, choice)
        return 0
    kernel = arguments.kernel or runner.default_kernel(place)
    return run_mutants(place, kernel, choice, all_tests=arguments.all_tests, fresh=arguments.fresh)
