# SPDX-License-Identifier: GPL-2.0
"""The command line: the only place that reads the environment, and the only one that exits.

Exit status: 0 all passed, 1 a test failed, 2 the harness could not judge, 130 Ctrl-C, 143 SIGTERM.
"""

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

from harness.arguments import parse
from harness.cache import check_folder
from harness.errors import HarnessError
from harness.place import Place
from harness.progress import Progress
from harness.run import Spawner

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


class _Output(Console):
    """What the reader sees, as long as there is one."""

    def on_broken_pipe(self) -> None:
        """Say that there is none; rich would exit with status 1, which is a verdict."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What commands are given: this, and nothing else."""
    # This interpreter's bin folder has vng; depmod and others are in sbin, not on every PATH.
    path = [str(Path(sys.executable).parent), environ.get("PATH", os.defpath), "/usr/sbin:/sbin"]
    passed = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {"PATH": os.pathsep.join(path), "LANG": "C.UTF-8", **passed}


# Other signals than Ctrl-C's. What unwinds does not tell: watchfiles makes its own of any.
_terminated: list[str] = []


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Unwind like Ctrl-C, so that everything is cleaned up."""
    _terminated.append(signal.Signals(number).name)
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, return its exit status."""
    arguments = parse(argv, strict=os.environ.get("CI") == "true")
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.WARNING,
        format="%(relativeCreated)7.0f ms  %(message)s",
    )
    logging.getLogger("filelock").setLevel(logging.WARNING)
    # Ctrl-C is the shell's to block: nohup and background jobs of scripts keep it ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = _Output(soft_wrap=True, emoji=False)
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
    except KeyboardInterrupt:
        print("harness: interrupted, nothing is left running", file=sys.stderr)
        return 143 if _terminated else 130
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:
        _complain(HarnessError(str(error), hint=_OS_HINTS.get(error.errno or 0)))
        return 2
    except SystemExit:
        raise
    except BaseException as error:
        # Never 1, Python's own status for this: that would be a verdict. A panic of an extension
        # written in Rust is no Exception.
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
