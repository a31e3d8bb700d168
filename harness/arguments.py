# SPDX-License-Identifier: GPL-2.0
"""The verbs of the command line and their options; what they do is in commands.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import commands
from harness.optionvalue import at_least_one, seed, shard, within
from harness.session import MORE
from harness.tomlfile import MORE_VMS

if TYPE_CHECKING:
    _Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

_SOURCE = Path(__file__).resolve().parent.parent

_EPILOG = """\
exit status:
  0  all passed      1  a test failed      2  the harness could not judge
  130  Ctrl-C        143  SIGTERM or SIGHUP

examples:
  harness check                            the default kernel, all tests
  harness check --kernel 6.1 'mmap:*'      one family on Debian 12's kernel
  harness check --kernel ~/linux           your own built tree
  harness check --kernel 6.12+debug        with KASAN, lockdep, ...: built here, once
  harness watch 'mmap:*'                   again on every save, showing what changed
  harness parse build/runs/latest          judge a run again, without a VM
  harness shell --gdb                      a VM to type in, and a debugger on it
  harness canary                           provoke all kinds of trouble: is each seen?
  harness matrix                           on every kernel: see harness matrix --help
  harness kernels fetch 6.12               fill the cache while there is a network
"""


def parse(argv: Sequence[str] | None, *, strict: bool) -> argparse.Namespace:
    """Parse a command line; on a bad one, or for --help, ends the program as argparse does.

    Args:
        argv: the words; None for the program's own.
        strict: the default of options by which a check skips nothing.
    """
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Build the driver, boot it in a VM on a real kernel, test and judge it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _global_options(parser)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    _check(verbs)
    _watch(verbs)
    _kernels(verbs)
    _matrix(verbs)
    _parse(verbs)
    _report(verbs)
    _lint(verbs, strict=strict)
    _canary(verbs)
    _export(verbs)
    _shell(verbs)
    _doctor(verbs)
    _bench(verbs)
    _mutate(verbs)
    arguments = parser.parse_args(argv)
    if arguments.verb == "mutate" and arguments.sample is not None and not arguments.auto:
        parser.error("mutate: --sample chooses among what --auto makes: give both")
    return arguments


def _global_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="log every command to stderr")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep kernels, builds here (default: XDG cache)"
    )
    parser.add_argument(
        "--source", type=Path, default=_SOURCE, metavar="DIR", help="work on this checkout"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="keep run folders here (default: build/runs in the checkout)",
    )


def _check(verbs: "_Verbs") -> None:
    check = verbs.add_parser("check", help="build, boot, test, judge")
    _test_options(check)
    check.add_argument(
        "--alone", action="store_true", help="each test in a VM of its own: does it need others?"
    )
    check.add_argument("--verbose", action="store_true", help="a row for every test that passed")
    check.set_defaults(run=commands.check)


def _watch(verbs: "_Verbs") -> None:
    watch = verbs.add_parser("watch", help="check again on every save; show what changed")
    _test_options(watch)
    watch.set_defaults(run=commands.watch)


def _kernels(verbs: "_Verbs") -> None:
    kernels = verbs.add_parser(
        "kernels", help="list the kernels that can be named; fetch, build, export or import one"
    )
    what = kernels.add_subparsers(dest="what", metavar="COMMAND")
    fetch = what.add_parser("fetch", help="fetch a series from Debian's archive into the cache")
    fetch.add_argument("series", nargs="+", metavar="SERIES", help="such as 6.12")
    fetch.set_defaults(run=commands.fetch_kernels)
    build = what.add_parser("build", help="build Debian's newest source, or a tree, with a profile")
    build.add_argument("kernels", nargs="+", metavar="K", help="such as 6.12+debug, ~/linux+debug")
    build.set_defaults(run=commands.build_kernels)
    export = what.add_parser("export", help="write a kernel that was built here to one file")
    export.add_argument("kernel", metavar="K", help="such as 6.12+debug")
    export.add_argument("file", type=Path, metavar="FILE.tar.zst")
    export.set_defaults(run=commands.export_kernel)
    imported = what.add_parser("import", help="take such a file into the cache")
    imported.add_argument("file", type=Path, metavar="FILE.tar.zst")
    imported.set_defaults(run=commands.import_kernel)
    key = what.add_parser("key", help="print what the newest is kept by, for the cache of a CI")
    key.add_argument("kernel", metavar="K", help="such as 6.12 or 6.12+debug")
    key.set_defaults(run=commands.kernel_key)
    kernels.set_defaults(run=commands.list_kernels)


_MATRIX = """\
Run the cells of kconfigs/matrix.toml, each a kernel, a driver and a VM, side by side as far as
cores and memory allow, the longest first. At the end one screen: the tests that differ between
cells or do not pass, why, and a line for each cell. A cell that cannot be run is an error, exit
status 2.

--changed-only runs a cell only if something that its verdicts depend on is not as it was: the
driver's code (not its comments), the tests, the kernel, the VM, the harness. For the others the
last verdict stands, red or green, and is reported again.

--baseline REV runs driver and tests of that revision first, then those of the working tree, and
reports only what is new: failures, splats, dirt. Exit status 1 means that there is something new.
What was run of REV once is not run again.
"""

_MATRIX_EXAMPLES = """\
examples:
  harness matrix                            the default cells: Debian's kernels
  harness matrix --changed-only             after an edit
  harness matrix --baseline origin/main     what did my branch break?
  harness matrix --group debug              KASAN, lockdep, KCSAN, coverage (builds kernels)
  harness matrix --cell '7.*' 'mmap:*'      one family of tests on two kernels
  harness matrix --group newest             the newest kernel of each suite of Debian
  harness matrix --group '*' --json         every cell, as GitHub's strategy.matrix
"""


def _matrix(verbs: "_Verbs") -> None:
    matrix = verbs.add_parser(
        "matrix",
        help="check on every kernel of kconfigs/matrix.toml",
        description=_MATRIX,
        epilog=_MATRIX_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _tests(matrix)
    matrix.add_argument(
        "--cell",
        action="append",
        default=[],
        metavar="GLOB",
        help="only cells of such a name, of all groups; can be repeated",
    )
    matrix.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="GLOB",
        help="cells of such a group instead of the default one; can be repeated",
    )
    matrix.add_argument(
        "--changed-only", action="store_true", help="run only what can have another verdict"
    )
    matrix.add_argument("--baseline", metavar="REV", help="report only what is new since REV")
    matrix.add_argument(
        "--json", action="store_true", help="only say which cells, as JSON for GitHub's matrix"
    )
    matrix.add_argument("--verbose", action="store_true", help="all rows, all causes")
    _vm_options(matrix)
    _run_options(matrix)
    matrix.set_defaults(run=commands.matrix)


def _parse(verbs: "_Verbs") -> None:
    judge = verbs.add_parser("parse", help="judge a run folder again, without a VM")
    judge.add_argument("folder", type=Path, metavar="RUN", help="such as build/runs/latest")
    judge.add_argument("--verbose", action="store_true", help="a row for every test that passed")
    judge.set_defaults(run=commands.parse)


def _report(verbs: "_Verbs") -> None:
    report = verbs.add_parser(
        "report", help="a run, or a matrix, as one HTML file that opens anywhere"
    )
    report.add_argument("folder", type=Path, metavar="RUN", help="such as build/runs/latest")
    report.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help="add the run to the history kept here, and tell what is new, old, flaky",
    )
    report.add_argument(
        "--summary",
        type=Path,
        metavar="FILE",
        help="add a summary in Markdown to it, for GitHub: $GITHUB_STEP_SUMMARY",
    )
    report.add_argument(
        "--annotations",
        action="store_true",
        help="print the failures as GitHub's workflow commands",
    )
    report.set_defaults(run=commands.report)


def _lint(verbs: "_Verbs", *, strict: bool) -> None:
    lint = verbs.add_parser("lint", help="static tools over the tree, and over the C for kernels")
    lint.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="K",
        help="only this one; can be repeated (default: those that are cached)",
    )
    lint.add_argument(
        "--no-skip",
        action="store_true",
        default=strict,
        help="all kernels; a tool that cannot judge is an error (default where CI=true)",
    )
    lint.set_defaults(run=commands.lint)


def _canary(verbs: "_Verbs") -> None:
    canary = verbs.add_parser(
        "canary", help="provoke every kind of trouble, and see that the harness sees it"
    )
    _kernel_option(canary)
    canary.add_argument(
        "canaries",
        nargs="*",
        metavar="CANARY",
        help="only these: globs over fixture.test, such as '*.oops'",
    )
    _vm_options(canary)
    canary.set_defaults(run=commands.canary)


def _export(verbs: "_Verbs") -> None:
    export = verbs.add_parser(
        "export", help="the suite for tools/testing/selftests/drivers/dma-buf/ of a kernel tree"
    )
    export.add_argument(
        "folder", type=Path, metavar="DIR", help="files of the same names are replaced"
    )
    export.set_defaults(run=commands.export)


def _shell(verbs: "_Verbs") -> None:
    shell = verbs.add_parser("shell", help="a VM to type in: driver loaded, tests at hand")
    _kernel_option(shell)
    shell.add_argument(
        "--gdb",
        action="store_true",
        help="serve gdb, with symbols; the guest says what to type on the host",
    )
    shell.set_defaults(run=commands.shell)


def _doctor(verbs: "_Verbs") -> None:
    doctor = verbs.add_parser("doctor", help="what this host offers; proves KVM again by a boot")
    _kernel_option(doctor)
    doctor.set_defaults(run=commands.doctor)


def _bench(verbs: "_Verbs") -> None:
    bench = verbs.add_parser("bench", help="time each path, as ratios to stock virtme-ng")
    _kernel_option(bench)
    bench.add_argument(
        "--rounds", type=within(range(1, 101)), default=3, metavar="N", help="1 to 100 (3)"
    )
    bench.set_defaults(run=commands.bench)


def _test_options(parser: argparse.ArgumentParser) -> None:
    _kernel_option(parser)
    _tests(parser)
    parser.add_argument(
        "--driver",
        choices=("ours", "builtin"),
        default="ours",
        help="builtin: hold the kernel's own udmabuf to our tests (default: %(default)s)",
    )
    _vm_options(parser)
    _run_options(parser)


def _tests(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tests",
        nargs="*",
        metavar="TEST",
        help="run only these: globs over suite:fixture.variant.test, such as 'mmap:*'",
    )


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        type=seed,
        metavar="N",
        help="start the tests' random choices from what another run's manifest.json says",
    )
    parser.add_argument(
        "--more-vms",
        type=within(MORE_VMS),
        default=MORE,
        metavar="N",
        help="after a crash, hang or dirt go on in up to N further VMs (default: %(default)s)",
    )


def _mutate(verbs: "_Verbs") -> None:
    mutate = verbs.add_parser("mutate", help="break the driver on purpose: do the tests see it?")
    _kernel_option(mutate)
    mutate.add_argument(
        "mutants", nargs="*", metavar="MUTANT", help="globs over names (default: all)"
    )
    mutate.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="only those of a bug or a file, such as 'B*' or pin.c; can be repeated",
    )
    mutate.add_argument(
        "--since", metavar="REV", help="only those of lines of the driver that changed since then"
    )
    mutate.add_argument("--quick", action="store_true", help="only the subset for every change")
    mutate.add_argument(
        "--auto",
        action="store_true",
        help="each small change that an operator makes of the driver, not those that were written",
    )
    mutate.add_argument(
        "--needs",
        metavar="GLOB",
        help="only those that need such a kernel, as <6.11 or CONFIG_KASAN=y; '?*' is for all that "
        "need anything",
    )
    mutate.add_argument(
        "--sample",
        type=at_least_one,
        metavar="N",
        help="N of these, the same each time (default: all)",
    )
    mutate.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="of all these the Ith of N parts, for N machines: 1/4 to 4/4",
    )
    mutate.add_argument(
        "--all-tests",
        action="store_true",
        help="run every test on each, not just the expected, and tell which tests no mutant fails",
    )
    mutate.add_argument("--fresh", action="store_true", help="judge again what is known already")
    mutate.add_argument("--list", action="store_true", help="only say which they are")
    mutate.set_defaults(run=commands.mutate)


def _vm_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cold", action="store_true", help="boot each VM instead of restoring a snapshot"
    )
    parser.add_argument(
        "--jobs",
        type=within(range(1, 65)),
        metavar="N",
        help="VMs at a time (default: one a core, as far as memory goes, at most 4)",
    )


def _kernel_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        metavar="K",
        help="a series (see `harness kernels`), a suite such as sid for its newest, a built kernel"
        " tree, a vmlinuz with its modules folder, or 'host' (default: the matrix's);"
        " SERIES+PROFILE and TREE+PROFILE are built",
    )
