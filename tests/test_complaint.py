# SPDX-License-Identifier: GPL-2.0
"""complaint.py: what a kernel may say on a good day, and what never."""

import pytest

from harness.complaint import complaints

# Of a 6.12 on a host with ten times the load that it had CPUs for.
VIVID = (
    "<3>schedule_timeout: wrong timeout value ffffffffffffffff",
    "<4>CPU: 0 UID: 0 PID: 654 Comm: vivid-000-vid-c Tainted: G           OE      6.12.117 #1",
    "<4>Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE",
    "<4>Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-1 04/01/2014",
    "<4>Call Trace:",
    "<4> <TASK>",
    "<4> dump_stack_lvl+0x5d/0x80",
    "<4> schedule_timeout+0x123/0x160",
    "<4> vivid_thread_vid_cap+0x3a5/0x9e0 [vivid]",
    "<4> ret_from_fork_asm+0x1a/0x30",
    "<4>RIP: 0000:0x0",
    "<4> </TASK>",
)
OURS = "<4>udmabuf_iov: this should not happen"


@pytest.mark.parametrize(
    "message",
    [
        "<4>udmabuf_iov: loading out-of-tree module taints kernel.",
        "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as",
        "<3>udmabuf_iov: a device called udmabuf exists already, probably that of the",
        "<4>workqueue: drain_vmap_area_work hogged CPU for >10000us 4 times, consider",
    ],
)
def test_benign_messages(message: str) -> None:
    assert complaints([message, OURS]) == [OURS]


@pytest.mark.parametrize(
    "message",
    [
        "<4>udmabuf_iov: refused",
        "<4>WARNING: CPU: 0 PID: 1 at foo.c:1 foo+0x1/0x2",
        "<4>sysrq: BUG: soft lockup - CPU#0 stuck for 26s! [a:1]",
        "<3>INFO: task a:1 blocked for more than 120 seconds.",
        "<4>foo clocksource: ",
        "<2>harness: no results port",
        "",
    ],
)
def test_not_benign(message: str) -> None:
    assert complaints([message]) == [message]


def test_a_trace_of_a_task_that_may() -> None:
    assert complaints(VIVID) == []
    assert complaints([*VIVID, *VIVID]) == []


@pytest.mark.parametrize(
    ("value", "benign"),
    [("fffffffffffffff7", True), ("8000000000000000", False), ("ff00ffffffffffff", False)],
)
def test_a_wait_of_what_a_starved_processor_leaves(value: str, benign: bool) -> None:
    said = (VIVID[0].replace("f" * 16, value), *VIVID[1:])
    assert complaints(said) == ([] if benign else list(said))


OTHERS = (
    OURS,
    "<4> udmabuf_iov: odd",
    "<3>BUG: spinlock bad magic on CPU#0, mmap/71",
    "<1>BUG: unable to handle page fault for address: ffff888003a1b000",
    "<3>CPU: 1 has a fault",
)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("at", range(len(VIVID) + 1))
def test_what_stands_in_such_a_trace_is_another_s(at: int, other: str) -> None:
    said = [*VIVID[:at], other, *VIVID[at:]]
    # The line that says whose it is must follow at once.
    assert complaints(said) == (said if at == 1 else [other])


@pytest.mark.parametrize("count", range(1, len(VIVID)))
def test_half_a_trace_excuses_nothing(count: int) -> None:
    assert complaints(VIVID[:count]) == list(VIVID[:count])


@pytest.mark.parametrize("comm", ["mmap", "vivid-000-vid", "my-vivid-000-vid-c"])
def test_a_trace_of_any_other_task(comm: str) -> None:
    said = [line.replace("vivid-000-vid-c", comm) for line in VIVID]
    assert complaints(said) == said


def test_any_other_trace_of_that_task() -> None:
    said = ["<4>udmabuf_iov: wrong", *VIVID[1:]]
    assert complaints(said) == said
