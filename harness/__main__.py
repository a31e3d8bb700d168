# SPDX-License-Identifier: GPL-2.0
"""The program: `harness`, or `python -m harness`."""

import signal
import sys


def main() -> int:
    """Import the command line and run it; Ctrl-C during the import just ends the program."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if not ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from harness import cli  # noqa: PLC0415 - takes 0.3 s, in which Ctrl-C is no traceback
    except ImportError as error:
        # Python's own status for this is 1, which would be a verdict.
        print(f"harness: {error}", file=sys.stderr)
        print("harness: a package is missing or broken: run `make check`", file=sys.stderr)
        return 2

    if not ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
