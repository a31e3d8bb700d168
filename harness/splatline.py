# SPDX-License-Identifier: GPL-2.0
"""The grammar of kernel console lines: text -> messages, each with its sort. Pure; see splat.py.

A console line holds no, one or several messages: printk does not know what else writes to the
same UART, so a message starts at every timestamp, wherever it stands. In front of a message stand
any of: a log level `<4>`, a timestamp `[   12.345678]`, the caller `[T123]` or `[C0]`
(CONFIG_PRINTK_CALLER), what syslog, Android and ChromeOS loggers add.

Text is the console's bytes as Latin-1, so that an index into it counts bytes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_STAMP = re.compile(r"(?:<[0-9]{1,3}>)?\[ *[0-9]+\.[0-9]{3,9}\]")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PREFIX = re.compile(
    r"""(?xa)\A(?:\s*(?:
      <[0-9]{1,3}>
    | \[\ *[0-9]+\.[0-9]*\]
    | [0-9]{1,3},[0-9]+,[0-9]+,[-cf+][^;\n]{0,80};  # /dev/kmsg
    | \[\ *[0-9]{1,7}\](?=\ )
    | \[\ *(?P<context>[TC][0-9]+)\]
    | \[[0-9]:[^\]\[]{1,24}:\ *[0-9]+\]              # Samsung: [0:  swapper/0:    1]
    | -?\([0-9]\)\[[0-9]+:[^\]\[]{1,24}\]            # MediaTek: (0)[123:task]
    | c[0-9]\ +[0-9]+\                              # Android: c0   1234
    | [A-Z][a-z]{2}\ [\ 0-9][0-9]\ [0-9:.]{8,15}(?:\ \S+){0,2}\ kernel(?:\[[0-9]+\])?:
    | (?:1\ )?[0-9]{4}-[0-9]{2}-[0-9]{2}[T\ ][0-9:.,+Z-]+(?:\ \S+){0,2}
      \ kernel(?:(?:\[[0-9]+\])?:|(?:\ -)+)
    | \[[0-9]{4}-[0-9]{2}-[0-9]{2}[T\ ][0-9:.,+Z-]+\]
    | [0-9]{2}-[0-9]{2}\ [0-9:.]{8,15}\ +[0-9]+\ +[0-9]+\ [A-Z]\ [^:\n]{0,20}:  # logcat
    | [0-9]{4}/[0-9]{2}/[0-9]{2}\ [0-9:]{8}
    ))*"""
)

_ADDRESS = r"(?:\[?\[<?(?:0x)?[0-9a-f]{6,16}>?\][ \t]*)"
_NAME = r"(?P<func>[A-Za-z_.$][\w.$]*+)"
_MAYBE = r"(?:\?[ \t]*)?"
_DECODED = r"\((?:/|\./)?[\w./+-]+\.(?:[chS]|rs):[0-9]+"
_FRAMES = (
    # " ? foo.isra.0+0x12/0x340 [module]", addresses and <IRQ> in front on older kernels; ppc, s390
    rf"[( \t]*(?:</?[#\w]+>[ \t]*)*{_ADDRESS}*{_MAYBE}{_NAME}\+(?:0x)?[0-9a-f]+/",
    # The interrupted instruction; a code segment with privilege bits is user space, and no frame.
    rf"(?:RIP|E?IP(?: is at)?|NIP|PC is at|pc|epc|ERA)\b[ \t]*:?[ \t]*"
    rf"(?:(?:[0-9a-f]{{3}}[0489c])(?::[ \t]*))?"
    rf"{_ADDRESS}*(?:[0-9a-f]{{8,16}}[ \t]+)?{_NAME}(?:\+0x| {_DECODED})",
    # arm: "[<c0101234>] (foo) from [<c0105678>] (bar+0x10/0x14)" and "foo from bar+0x10/0x14"
    rf"{_ADDRESS}\({_MAYBE}{_NAME}(?:\+[0-9a-fx/]+)?\) from ",
    rf"{_MAYBE}{_NAME} from [\w.$]+\+0x",
    # "foo drivers/foo.c:12 [inline]" and "foo (drivers/foo.c:12 (discriminator 3)) foo", as
    # symbolizers and the kernel's decode_stacktrace.sh write them
    rf"{_MAYBE}{_NAME} (?:\./)?[\w./-]+\.[chS]:[0-9]+(?: \[inline\])?[ \t\r]*$",
    rf"{_ADDRESS}*{_MAYBE}{_NAME} {_DECODED}",
)
_TAKEN = re.compile(rf"at: {_ADDRESS}?{_NAME}\+0x", re.ASCII)

# Lines that reports have and drivers hardly print: with them a report goes on.
_STRUCTURE = (
    r"(?:Stack|Code|Hardware name|Workqueue)\b.*:",
    r"CPU: ?\d+ (?:UID|PID)|Modules linked in:|Comm: |(?:Not t|T)ainted\b|\"echo 0 > ",
    r"(?:R[A-Z0-9]{2}|E[A-Z]{2,5}|[CDEFGS]S|[CD]R\d|NIP|LR|CTR|MSR|GPR\d+|PKRU|PGD)\s?:",
    r"(?:[xrast]\d+|pc|lr|sp|fp|ip|ra|gp|tp|epc|status|pstate|psr)\s?: ",
    r"</?[#A-Z]\w*>|[=*-]{8,}|---\[|#\d+:|-> #\d+|\*\*\* |\.\.\. which became|\^",
    r"(?:irq event stamp|hardirqs last|softirqs last|possible reason|(?:Mem|Data) abort)",
    r"(?:ESR|FSC|EA|EC|SET|ISV|CM) = |(?:task|page|raw|head|flags): ?\S|lock\(",
    r"(?:Allocated|Freed|freed|allocated) by |Uninit was |Local variable |Bytes? [0-9b]",
    r"Memory state around|The buggy|which belongs|Last potent|Second to last",
    r"(?:Read|Write|Free|read|write)(?:-write)? (?:of size|to 0x|at addr|of addr)",
    r"race at |value changed|Reported by Kernel|Object |Redzone |Padding |Slab 0x",
    r"stack backtrace:|other info that|but (?:task|now in|this|there)|which \w+ lock",
    r"which (?:lock|would)|the existing dep|Possible \w+ locking|Chain exists",
    r"\S.*/\d+ (?:is (?:trying|leaving|freeing)|just changed|\[HC)|\d+ locks? held by",
    r"no locks held by|Showing all|NMI backtrace|Sending NMI|Kernel (?:panic|Offset)",
    r"Rebooting in|Mem-Info:|Tasks state|rcu: |\(detected by|in_atomic",
    r".*\}, at:|.* at:[ \t\r]*$|inconsistent {|handlers:[ \t\r]*$",
    r"comm \"|hex dump|index |shift exponent|load of value|signed integer",
    r"refcount_t: |ODEBUG: |DMA-API: |kasan: |KASAN: |Oops|Internal error|preempt_count",
    r">? ?(?:0x)?[0-9a-f]{8,16}[: ]|\[<?[0-9a-f]{8,16}",
)


# Sorts of a message.
OTHER, BLANK, SOLID, FRAME, GUESS, TRACE, END, RULE = range(8)


def _numbered(number: int, pattern: str) -> str:
    """Give a frame's groups names of their own, so that it can be one alternative of many."""
    return f"(?P<frame{number}>{pattern.replace('<func>', f'<func{number}>')})"


# One expression tells the sort of a message from its start: trying one after the other takes long.
_SORT = "|".join(
    (
        *(_numbered(number, pattern) for number, pattern in enumerate(_FRAMES)),
        r"(?P<blank>[\r\n])",
        r"(?P<trace>(?:Call [Tt]race|[Bb]acktrace|stack backtrace|backtrace\b[^:\n]*):)",
        r"(?P<end>---\[ end (?:trace|Kernel panic))",
        r"(?P<rule>={20,}[ \t\r]*$)",
        r"(?P<solid>" + "|".join(_STRUCTURE) + ")",
    )
)
_SORTED = re.compile(_SORT, re.ASCII | re.MULTILINE)
# A line that is one message behind the usual prefix: all there is, nearly always.
_PLAIN = re.compile(
    r"(?P<prefix>(?:<[0-9]{1,3}>)?\[ *[0-9]+\.[0-9]{3,9}\]"
    r"(?:\[ *(?P<context>[TC][0-9]+)\])?[ \t]*+)"
    r"(?!<[0-9]|\[(?![<0-9a-f][0-9a-f]{7})|-?\([0-9]\)\[|c[0-9] |[0-9]{4}[-/]|[A-Z][a-z]{2} [ 0-9])"
    rf"(?:(?={_SORT})|)"
    r"[^\[\r\n\x1b\0]*+(?:\[(?! *[0-9]+\.[0-9])[^\[\r\n\x1b\0]*+)*+\r?\n",
    re.ASCII | re.MULTILINE,
)
_FUNCTIONS = {f"frame{number}": f"func{number}" for number in range(len(_FRAMES))}
_SORTS = {"blank": BLANK, "trace": TRACE, "end": END, "rule": RULE, "solid": SOLID}
_BLANKS = " \t\r\n\v\f\0"
# Behind the first trace these begin another one, which tells of another place or time.
_OTHER = re.compile(
    r"(?:Allocated by|Freed by|freed by|kfence-#\d+|allocated by|Last potent|Second to last"
    r"|Uninit was|Local variable|The buggy|Object |Memory state|Kernel panic|Showing all"
    r"|NMI backtrace|Sending NMI|task:|value changed|Reported by|rcu:|unreferenced object)"
)
_LEFT = re.compile(r"</(?:IRQ|NMI|SOFTIRQ)>|<EOI>|<<EOE>>")
_COMM = re.compile(
    r"CPU:? ?[0-9]+.*? PID: ?(?P<pid>[0-9]+),? [Cc]omm:? ?(?P<comm>.+?) (?:Kdump: |Not t|T)ainted"
)
_TAINT = re.compile(
    r"ainted(?:(?<=Tainted): (?P<flags>[A-Z ]*[A-Z])(?= |$)|(?<=Not tainted))", re.M
)

# The harness's own lines: the guest's through /dev/kmsg (selftests/include/kselftest_harness.h,
# guest/run-tests), which only the kernel prints with a timestamp, and the host's (warm.py).
MARKED = "harness"
RESTORED = "restored"
_MARK = re.compile(
    r"(?:<[0-9]>)?\[ *[0-9]+\.[0-9]{3,9}\](?:\[ *[TC][0-9]+\])? harness: "
    r"(?:(?P<test>test) +(?P<id>\S.*?)|suite .*?)\s*\Z"
)
_RESTORED = "[harness] restored: "


class Message(NamedTuple):
    """One message on the console.

    Attributes:
        start, end: bytes of the console that hold it; the line's end belongs to its last message.
        context: "T123" or "C0" from the caller prefix, "" without one.
        raw: its text as it stands there.
        cut: how many characters of that are prefixes.
        sort: what lines of reports look like it, OTHER if none.
        function: of a FRAME, or a GUESS of the unwinder ("? foo"), as in the source; else "".
    """

    start: int
    end: int
    context: str
    raw: str
    cut: int
    sort: int
    function: str

    @property
    def text(self) -> str:
        """What it says, without prefixes and outer blanks."""
        return self.raw[self.cut :].strip(_BLANKS)


def plain_messages(block: str, at: int, stop: int, offset: int) -> Iterator[Message]:
    """Read lines of a block that begins at byte `offset`, as long as each is one message.

    Args:
        block: lines.
        at, stop: indices of the first line and behind the last.
        offset: where on the console the block begins.

    Returns:
        Messages, blank ones too, up to a line without a timestamp, with several, with a prefix of
        other loggers, or without an end: messages() knows more.
    """
    for found in _PLAIN.finditer(block, at, stop):
        start, end = found.span()
        if start != at:
            return
        at = end
        raw = block[start : end - 2 if block[end - 2] == "\r" else end - 1]
        cut = found.end(1) - start
        group = found.lastgroup
        if group == "frame0":
            function, sort = found["func0"], GUESS if "?" in found[group] else FRAME
            if "." in function:
                function = plain_name(function)
        else:
            sort, function = _sort(found) if group != "prefix" else (OTHER, "")
        yield Message(start + offset, end + offset, found[2] or "", raw, cut, sort, function)


def messages(line: str, offset: int) -> Iterator[Message]:
    """Take a console line, which begins at byte `offset`, apart; blank messages are left out."""
    cuts = sorted({0, *(found.start() for found in _STAMP.finditer(line)), *_returns(line)})
    for start, end in zip(cuts, [*cuts[1:], len(line)], strict=True):
        raw = _ANSI.sub("", line[start:end]).strip("\r\n\0")
        prefix = _PREFIX.match(raw)
        cut = prefix.end() if prefix else 0
        if text := raw[cut:].strip(_BLANKS):
            context = (prefix["context"] if prefix else None) or ""
            found = _SORTED.match(text)
            sort, function = _sort(found) if found else (OTHER, "")
            yield Message(offset + start, offset + end, context, raw, cut, sort, function)


def _sort(found: re.Match[str]) -> tuple[int, str]:
    group = found.lastgroup
    if group in _FUNCTIONS:
        return (GUESS if "?" in found[group] else FRAME), plain_name(found[_FUNCTIONS[group]])
    return _SORTS.get(group or "", OTHER), ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One of the harness's own lines.

    Attributes:
        start: byte of the console where it begins.
        what: "test", "suite", or RESTORED: what stands above belongs to an earlier run.
        name: the test's id; "" with the others, after which no test runs.
    """

    start: int
    what: str
    name: str = ""


def mark(message: Message) -> Mark | None:
    """Read one of the harness's own lines; None when this is none."""
    if (at := message.raw.find(_RESTORED)) >= 0:
        # What the snapshot's console said last may be without an end.
        return Mark(start=message.start + at, what=RESTORED)
    if found := _MARK.match(message.raw):
        return Mark(start=message.start, what=found["test"] or "suite", name=found["id"] or "")
    return None


def _returns(line: str) -> Iterator[int]:
    """Where a carriage return in mid-line starts a message, as it does on a terminal."""
    at = line.find("\r")
    while 0 <= at < len(line.rstrip("\r\n")):
        yield at + 1
        at = line.find("\r", at + 1)


def plain_name(function: str) -> str:
    """Return the function's name as in the source: foo.isra.0 and foo.llvm.123 are foo."""
    return function.lstrip(".").partition(".")[0] if "." in function else function


def taken_at(lines: Sequence[Message]) -> str:
    """Return the function that takes the first lock these lines name, or ""."""
    for number, line in enumerate(lines):
        if found := _TAKEN.search(line.text):
            return plain_name(found["func"])
        if line.text.endswith("at:") and number + 1 < len(lines) and lines[number + 1].function:
            return lines[number + 1].function
    return ""


def first_trace(lines: Sequence[Message], *, interrupted: bool) -> tuple[str, ...]:
    """Return the functions of the first stack trace, innermost first.

    Args:
        lines: messages of one report.
        interrupted: leave out the interrupt that found the problem, if more is known.
    """
    first = (n for n, line in enumerate(lines) if line.sort == TRACE and "stack back" in line.raw)
    sure: list[str] = []
    guessed: list[str] = []
    aside = False
    for line in lines[next(first, 0) :]:
        if aside:
            aside = False
            continue
        # The place where that was done; what happened comes later.
        aside = line.text.startswith("Preemption disabled at:")
        if interrupted and (sure or guessed) and _LEFT.search(line.text):
            sure, guessed = [], [*sure, *guessed]
        if line.function:
            (sure if line.sort == FRAME else guessed).append(line.function)
        elif (sure or guessed) and _OTHER.match(line.text):
            break
    return tuple(sure or guessed)


def task_in(text: str) -> str | None:
    """Return the task the kernel was working for, as comm:pid, if a line says so."""
    found = _COMM.search(text)
    return f"{found['comm'].strip()}:{found['pid']}" if found else None


def taint_in(text: str) -> str | None:
    """Return the taint letters, "" when the kernel is not tainted, None when no line tells."""
    found = _TAINT.search(text)
    return (found["flags"] or "").replace(" ", "") if found else None
