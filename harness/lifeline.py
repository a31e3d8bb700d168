# SPDX-License-Identifier: GPL-2.0
"""Run a command whose whole process group dies with the harness, even by SIGKILL.

Usage: lifeline.py FD COMMAND [ARG...]

FD is the read end of a pipe whose only write end the harness holds: end of file there means that
the harness is gone, however it went. PR_SET_PDEATHSIG would reach the direct child alone, and vng
puts a shell and two Pythons between itself and QEMU. Run by path with `-IS`, so that it starts in
a few milliseconds; it must not import anything of this package.
"""

import os
import select
import signal
import sys


def _supervise(lifeline: int, child: int) -> int:
    """Wait for the child or for the harness's death; return the child's wait status."""
    pidfd = os.pidfd_open(child)
    poller = select.poll()
    poller.register(lifeline, select.POLLIN)
    poller.register(pidfd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if pidfd in ready:
            return os.waitpid(child, 0)[1]
        if lifeline in ready:
            os.killpg(0, signal.SIGKILL)


def main(argv: list[str]) -> int:
    lifeline, command = int(argv[1]), argv[2:]
    os.set_inheritable(lifeline, False)
    child = os.fork()
    if child == 0:
        # Python ignores these two; a command would inherit that, and `x | head` complain.
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except FileNotFoundError:
            os._exit(127)
        except OSError:
            os._exit(126)
    # A handler and not SIG_IGN: an ignored signal would stay ignored in nobody's favour if this
    # process ever execs, and the group's SIGTERM is meant for the command, not for its supervisor.
    for caught in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(caught, lambda *_: None)
    status = _supervise(lifeline, child)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
