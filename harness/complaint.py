# SPDX-License-Identifier: GPL-2.0
"""Which of the kernel's messages during a test are complaints. Pure.

The guest reports each warning and worse (selftests/include/kselftest_dirt.h); what good kernels
print on good days is in [benign] of data/splats.toml.
"""

import re
from collections.abc import Sequence

from harness.splattable import table

_COMM = re.compile(r"(?:<[0-9]>)?CPU: .* Comm: (.{1,15}?) (?:Tainted: |Not tainted )")
# What stands in a trace behind that line. Whatever else is among these lines is somebody else's.
_TRACE = re.compile(
    r"(?:<[0-9]>)?(?:(?:Call Trace|Tainted|Hardware name|Workqueue|RIP|Code|[CDEFGS]S|R[A-Z0-9]{2}|"
    r"CR\d|DR\d|EFLAGS|PKRU): ?| (?:</?TASK>|(?:\? )?[\w.]+\+0x[0-9a-f]+/0x))"
)
_END = re.compile(r"(?:<[0-9]>)? </TASK>")


def complaints(messages: Sequence[str], *, injected: bool = False) -> list[str]:
    """Return the messages that mean something.

    Args:
        messages: `<LEVEL>TEXT` each, in the order in which they came.
        injected: allocations failed on purpose meanwhile.
    """
    benign = table()
    excused: set[int] = set()
    for at, message in enumerate(messages):
        if benign.harmless(message, injected=injected):
            excused.add(at)
        elif (comm := benign.traced(message)) is not None:
            excused |= _trace(messages, at, comm)
    return [message for at, message in enumerate(messages) if at not in excused]


def _trace(messages: Sequence[str], at: int, comm: re.Pattern[str]) -> set[int]:
    """Return the places of a message and its trace; none unless it is whole and that task's."""
    found = {at}
    for place in range(at + 1, len(messages)):
        message = messages[place]
        if len(found) == 1:
            named = _COMM.match(message)
            if named is None or not comm.fullmatch(named[1]):
                return set()
            found.add(place)
        elif _TRACE.match(message):
            found.add(place)
        if _END.match(message):
            return found
    return set()
