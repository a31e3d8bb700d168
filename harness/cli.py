# SPDX-License-Identifier: GPL-2.0
"""The command line: the only place that reads the environment, and the only one that exits.

Exit status: 0 all passed, 1 a test failed, 2 the harness could not judge, 130 interrupted.
"""

import argparse
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import platformdirs
from rich.console import Console

from harness import commands
from harness.cache import check_folder
from harness.errors import HarnessError
from harness.place import Place
from harness.progress import Progress
from harness.run import Spawner

_SOURCE = Path(__file__).resolve().parent.parent

# What commands get to see of the user's environment; the rest could change results unseen.
_PASSED_ON = (
    *("HOME", "USER", "LOGNAME", "TMPDIR"),
    *("http_proxy", "https_proxy", "ftp_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SOURCE_DATE_EPOCH"),
)

_OS_HINTS = {
    errno.ENOSPC: "free some space, or choose other folders with --cache and --runs",
    errno.EDQUOT: "free some space, or choose other folders with --cache and --runs",
    errno.EACCES: "choose folders that you can write to with --cache and --runs",
}

_EPILOG = """\
exit status:
  0  all passed      1  a test failed      2  the harness could not judge
  130  Ctrl-C        143  SIGTERM or SIGHUP

examples:
  harness check                            the default kernel, all tests
  harness check --kernel 6.1 'mmap:*'      one family on Debian 12's kernel
  harness check --kernel ~/linux           your own built tree
  harness parse build/runs/latest          judge a run again, without a VM
  harness kernels fetch 6.12               fill the cache while there is a network
"""


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: unwinds like Ctrl-C, so that everything is cleaned up."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Build the driver, boot it in a VM on a real kernel, test and judge it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="log every command to stderr")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep kernels and builds here (default: XDG cache)",
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
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    check = verbs.add_parser("check", help="build, boot, test, judge")
    _kernel_option(check)
    check.add_argument(
        "tests",
        nargs="*",
        metavar="TEST",
        help="run only these: globs over suite:fixture.variant.test, such as 'mmap:*'",
    )
    check.add_argument("--verbose", action="store_true", help="a row for every test that passed")
    check.add_argument(
        "--cold", action="store_true", help="boot each VM instead of restoring a snapshot"
    )
    check.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 65),
        metavar="N",
        help="VMs at a time (default: one a core, as far as memory goes, at most 4)",
    )
    check.set_defaults(run=commands.check)

    kernels = verbs.add_parser("kernels", help="list the kernels that can be named, or fetch one")
    what = kernels.add_subparsers(dest="what", metavar="fetch")
    fetch = what.add_parser("fetch", help="fetch a series from Debian's archive into the cache")
    fetch.add_argument("series", nargs="+", metavar="SERIES", help="such as 6.12")
    fetch.set_defaults(run=commands.fetch_kernels)
    kernels.set_defaults(run=commands.list_kernels)

    parse = verbs.add_parser("parse", help="judge a run folder again, without a VM")
    parse.add_argument("folder", type=Path, metavar="RUN", help="such as build/runs/latest")
    parse.add_argument("--verbose", action="store_true", help="a row for every test that passed")
    parse.set_defaults(run=commands.parse)

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
        default=os.environ.get("CI") == "true",
        help="all kernels; a tool that could be installed and is not is an error"
        " (default where CI=true)",
    )
    lint.set_defaults(run=commands.lint)

    doctor = verbs.add_parser("doctor", help="what this host offers; proves KVM again by a boot")
    _kernel_option(doctor)
    doctor.set_defaults(run=commands.doctor)

    bench = verbs.add_parser("bench", help="time each path, as ratios to stock virtme-ng")
    _kernel_option(bench)
    bench.add_argument(
        "--rounds", type=int, choices=range(1, 101), default=3, metavar="N", help="1 to 100 (3)"
    )
    bench.set_defaults(run=commands.bench)
    return parser


def _kernel_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        metavar="K",
        help="a series (see `harness kernels`), a built kernel tree, a vmlinuz with its modules"
        " folder, or 'host' (default: the matrix's)",
    )


def _child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What commands are given: this, and nothing else."""
    # This interpreter's bin folder has vng; depmod and others are in sbin, not on every PATH.
    path = [str(Path(sys.executable).parent), environ.get("PATH", os.defpath), "/usr/sbin:/sbin"]
    passed = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {"PATH": os.pathsep.join(path), "LANG": "C.UTF-8", **passed}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Terminated(signal.Signals(number).name)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, return its exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.WARNING,
        format="%(relativeCreated)7.0f ms  %(message)s",
    )
    logging.getLogger("filelock").setLevel(logging.WARNING)
    # Ctrl-C is the shell's to block: nohup and background jobs of scripts keep it ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(soft_wrap=True)
    try:
        place = Place(
            source=arguments.source.absolute(),
            cache=check_folder(arguments.cache or platformdirs.user_cache_path("udmabuf-harness")),
            runs=(arguments.runs or arguments.source / "build/runs").absolute(),
            spawner=Spawner(env=_child_environment(os.environ)),
            progress=Progress(console),
        )
        return int(arguments.run(arguments, place))
    except HarnessError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt as interrupt:
        print("harness: interrupted, nothing is left running", file=sys.stderr)
        return 143 if isinstance(interrupt, _Terminated) else 130
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:
        _complain(HarnessError(str(error), hint=_OS_HINTS.get(error.errno or 0)))
        return 2
    except Exception as error:
        # Never 1, Python's own status for this: that would be a verdict.
        logging.debug("traceback", exc_info=True)
        where = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"
        _complain(HarnessError(f"a bug of the harness: {words}", hint="--debug has the traceback"))
        return 2


def _complain(error: HarnessError) -> None:
    for line in error.lines:
        print(line, file=sys.stderr)
    print(f"harness: {error}", file=sys.stderr)
    if error.hint:
        print(f"harness: {error.hint}", file=sys.stderr)
