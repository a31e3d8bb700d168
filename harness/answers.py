# SPDX-License-Identifier: GPL-2.0
"""Where a guest hung: what its kernel answered when it was asked (interrogate.py). Pure.

The answers are some hundred lines: a stack for each blocked task and for each CPU, with registers,
and on the first CPU the interrupt that brought the question. What is kept is what the reader wants
to know: which task waits where, which CPU runs what.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.splatline import FRAME, GUESS, Message, messages
from harness.splattable import Wording, table

# Begins the line above the answers on the console. What follows was provoked by the harness.
ASKED = "[harness] asked:"

# Bytes of answers that are read; stacks that are shown, and frames of each; a screenful in all.
_MOST = 1 << 20
_STACKS, _FRAMES = 3, 10
# What show_state_filter(), nmi_cpu_backtrace() and panic() print first.
_TASK = re.compile(r"task:(?P<comm>.{1,16}?) +state:\S+ .*?pid:(?P<pid> *[0-9]+)")
_CPU = re.compile(r"NMI backtrace for cpu (?P<cpu>[0-9]+)(?P<idle> skipped: idling at)?")
_PANIC = "Kernel panic - not syncing: "
# Behind a name, which may have blanks: lib/dump_stack.c, print_tainted().
_COMM = re.compile(
    r"CPU: (?P<cpu>[0-9]+) .*?PID: (?P<pid>[0-9]+) "
    r"Comm: (?P<comm>.+?) (?:Not tainted|Tainted|Kdump)"
)
_RIP = re.compile(r"RIP: (?P<segment>[0-9a-f]{4}):")
# Between two answers.
_OVER = ("sysrq: ", "Sending NMI", "[harness] ")
_IDLE = re.compile(r"\w*(?:idle|safe_halt|mwait)\w*")
# A task's name has room for 15 bytes.
_COMM_LENGTH = 15
# The rules by which splats are blamed on a function hold here, too.
_WORDING = Wording(kind="hang", hint=(), match=re.compile(""), title="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What one task, or one CPU, was found at.

    Attributes:
        who: "task mmap:123" or "CPU 1".
        comm: the task's name.
        blocked: the task waits and cannot be interrupted; else it runs.
        at: the function that it is in, as in a splat's title, or words for what is not known.
        frames: its stack, innermost first, one line each.
    """

    who: str
    comm: str
    blocked: bool
    at: str
    frames: tuple[str, ...]

    @property
    def words(self) -> str:
        """What is to be known of it in one phrase."""
        if self.blocked:
            return f"{self.who} is blocked in {self.at}"
        return f"{self.who} ({self.comm}) is in {self.at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that a kernel answered.

    Attributes:
        line: of the console on which it was asked, from 1.
        stacks: blocked tasks, then CPUs that were not idle.
        idle: CPUs that were.
    """

    line: int
    stacks: tuple[Stack, ...]
    idle: int

    def about(self, suite: str) -> "Answers":
        """Return the same with what concerns a suite's own program first."""
        comm = suite[:_COMM_LENGTH]
        return replace(self, stacks=tuple(sorted(self.stacks, key=lambda one: one.comm != comm)))

    @property
    def words(self) -> str:
        """Where it hung, as one phrase."""
        if self.stacks:
            return self.stacks[0].words
        if self.idle:
            return "no task is blocked in the kernel, and every CPU is idle"
        return "the kernel did not say where it hung"

    @property
    def lines(self) -> tuple[str, ...]:
        """Where it hung, with the stacks that matter most."""
        shown = [line for one in self.stacks[:_STACKS] for line in (one.words, *one.frames)]
        left = len(self.stacks) - _STACKS
        more = (f"... {left} more tasks and CPUs that were not idle",) if left > 0 else ()
        return (*(shown or (self.words,)), *more)


def read(console: Iterable[bytes]) -> Answers | None:
    """Find the answers on a console; None where nothing was asked."""
    line, text = _behind(console)
    if not line:
        return None
    found = [_stack(block) for block in _blocks(text)]
    # The first CPU may have told of itself before it was hit by an NMI.
    told = {one.who: one for one in reversed(found) if one is not None}
    stacks = sorted(reversed(told.values()), key=lambda one: not one.blocked)
    return Answers(line=line, stacks=tuple(stacks), idle=found.count(None))


def decoded(answers: Answers, decode: Callable[[str], str]) -> Answers:
    """Return the same with source lines in the stacks; as :class:`harness.decode.Decoder` does."""
    stacks = (
        replace(one, frames=tuple(decode("\n".join(one.frames)).splitlines()[:_FRAMES]))
        for one in answers.stacks
    )
    return replace(answers, stacks=tuple(stacks))


def unasked(console: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out what the harness itself provoked when it asked a guest that hung."""
    mark = ASKED.encode()
    held = b""
    for chunk in console:
        before, found, _ = (held + chunk).partition(mark)
        if found:
            yield before
            return
        # The mark may lie across two chunks.
        yield before[: -len(mark)]
        held = before[-len(mark) :]
    yield held


def _behind(console: Iterable[bytes]) -> tuple[int, str]:
    """Return the number of the line with the mark, and what follows it; 0 without a mark."""
    mark = ASKED.encode()
    line, held, text = 1, b"", bytearray()
    found = b""
    for chunk in console:
        if found:
            text += chunk
        else:
            before, found, after = (held + chunk).partition(mark)
            # The mark may lie across two chunks. A negative end would count from the back.
            cut = len(before) if found else max(0, len(before) - len(mark))
            line += before.count(b"\n", 0, cut)
            held = before[cut:]
            text += after
        if len(text) >= _MOST:
            break
    return (line if found else 0), text[:_MOST].decode("latin-1")


def _blocks(text: str) -> Iterator[list[Message]]:
    """Yield the messages about each task and CPU, the one that names it first."""
    block: list[Message] = []
    at = 0
    for line in text.splitlines(keepends=True):
        for message in messages(line, at):
            said = message.text
            begins = _TASK.match(said) or _CPU.match(said) or said.startswith(_PANIC)
            if block and (begins or said.startswith(_OVER)):
                yield block
                block = []
            if begins or block:
                block.append(message)
        at += len(line)
    if block:
        yield block


def _stack(block: list[Message]) -> Stack | None:
    """Read what is said of a task or a CPU; None of a CPU that is idle."""
    first = block[0].text
    task, cpu = _TASK.match(first), _CPU.match(first)
    if cpu and cpu["idle"]:
        return None
    owner = task or next((found for one in block if (found := _COMM.match(one.text))), None)
    comm = owner["comm"].strip() if owner else ""
    trace, in_user = (block, False) if task else _interrupted(block)
    sure = [one for one in trace if one.sort == FRAME] or [
        one for one in trace if one.sort == GUESS
    ]
    functions = tuple(one.function for one in sure)
    at = functions[table().blame(_WORDING, functions)] if functions else ""
    if not task and comm.startswith("swapper/") and _IDLE.fullmatch(at):
        return None
    if task:
        who = f"task {comm}:{task['pid'].strip()}"
    else:
        number = cpu["cpu"] if cpu else owner["cpu"] if owner else "?"
        who = f"CPU {number}"
    return Stack(
        who=who,
        comm=comm or "no task",
        blocked=task is not None,
        at=at or ("user space" if in_user else "a place that it did not tell"),
        frames=tuple(f"  {one.text}" for one in sure[:_FRAMES]),
    )


def _interrupted(block: list[Message]) -> tuple[list[Message], bool]:
    """Return what a CPU did when the question came, not the interrupt that brought it.

    Returns:
        Messages; whether it ran a program in user space.
    """
    for number, message in enumerate(block):
        if found := _RIP.match(message.text):
            # The two lowest bits of the code segment are the privilege.
            in_user = int(found["segment"], 16) & 3 != 0
            return ([] if in_user else block[number:]), in_user
    return block, False
