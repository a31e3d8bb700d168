# SPDX-License-Identifier: GPL-2.0
"""The grammar of kernel console lines: bytes -> messages -> stack frames. Pure; see splat.py.

A console line holds no, one or several messages: printk does not know what else writes to the
same UART, so a message starts at every timestamp, wherever it stands. In front of a message stand
any of: a log level `<4>`, a timestamp `[   12.345678]`, the caller `[T123]` or `[C0]`
(CONFIG_PRINTK_CALLER), what syslog, Android and ChromeOS loggers add.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STAMP = re.compile(rb"(?:<[0-9]{1,3}>)?\[ *[0-9]+\.[0-9]{3,9}\]")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PREFIX = re.compile(
    r"""(?x)\A(?:\s*(?:
      <[0-9]{1,3}>
    | \[\ *[0-9]+\.[0-9]+\]
    | \[\ *(?P<context>[TC][0-9]+)\]
    | \[[0-9]:[^\]\[]{1,24}:\ *[0-9]+\]              # Samsung: [0:  swapper/0:    1]
    | \([0-9]\)\[[0-9]+:[^\]\[]{1,24}\]              # MediaTek: (0)[123:task]
    | c[0-9]\ +[0-9]+\                              # Android: c0   1234
    | [A-Z][a-z]{2}\ [\ 0-9][0-9]\ [0-9:]{8}\ \S+\ kernel:
    | [0-9]{4}-[0-9]{2}-[0-9]{2}[T\ ][0-9:.,+Z-]+(?:\ [A-Z]+)?(?:\ \S+)?\ kernel:
    | [0-9]{4}/[0-9]{2}/[0-9]{2}\ [0-9:]{8}
    ))*"""
)

_ADDRESS = r"(?:\[?\[<?(?:0x)?[0-9a-f]{6,16}>?\]\s*)"
_NAME = r"(?P<func>[A-Za-z_.$][\w.$]*)"
_FRAMES = (
    # " ? foo.isra.0+0x12/0x340 [module]", addresses and <IRQ> in front on older kernels; ppc, s390
    re.compile(
        rf"\A[(\s]*(?:</?[#\w]+>\s*)*{_ADDRESS}*(?P<maybe>\?\s*)?{_NAME}\+(?:0x)?[0-9a-f]+/"
    ),
    # "foo drivers/foo.c:12 [inline]", as decode_stacktrace.sh and symbolizers write it
    re.compile(rf"\A(?P<maybe>\?\s*)?{_NAME} (?:\./)?[\w./-]+\.[chS]:[0-9]+(?: \[inline\])?\Z"),
    # arm: "[<c0101234>] (foo) from [<c0105678>] (bar+0x10/0x14)" and "foo from bar+0x10/0x14"
    re.compile(rf"\A{_ADDRESS}\((?P<maybe>\?)?{_NAME}(?:\+[0-9a-fx/]+)?\) from "),
    re.compile(rf"\A(?P<maybe>\?)?{_NAME} from [\w.$]+\+0x"),
)
# The interrupted instruction; a code segment with privilege bits is user space, and no frame.
_WHERE = re.compile(
    rf"\A(?:RIP|E?IP(?: is at)?|NIP|PC is at|pc|epc)\b\s?:?\s*(?:(?:[0-9a-f]{{3}}[0489c])(?::\s*))?"
    rf"{_ADDRESS}*(?:[0-9a-f]{{8,16}}\s+)?{_NAME}\+0x"
)
_TAKEN = re.compile(rf"at: {_ADDRESS}?{_NAME}\+0x")

# Lines that reports have and drivers hardly print: with them a report goes on.
_STRUCTURE = re.compile(
    "|".join(
        (
            r"(?:Call [Tt]race|[Bb]acktrace|backtrace|Stack|Code|Hardware name|Workqueue)\b.*:",
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
            r".*\}, at:|.* at:$|inconsistent {|handlers:$",
            r"comm \"|hex dump|index |shift exponent|load of value|signed integer",
            r"refcount_t: |ODEBUG: |DMA-API: |kasan: |KASAN: |Oops|Internal error|preempt_count",
            r">? ?(?:0x)?[0-9a-f]{8,16}[: ]|\[<?[0-9a-f]{8,16}",
        )
    )
)
_TRACE = re.compile(r"(?:Call [Tt]race|[Bb]acktrace|stack backtrace|backtrace\b[^:]*):")
# Behind the first trace these begin another one, which tells of another place or time.
_OTHER = re.compile(
    r"(?:Allocated by|Freed by|freed by|kfence-#\d+|allocated by|Last potent|Second to last"
    r"|Uninit was|Local variable|The buggy|Object |Memory state|Kernel panic|Showing all"
    r"|NMI backtrace|Sending NMI|task:|value changed|Reported by|rcu:|unreferenced object)"
)
_LEFT = re.compile(r"</(?:IRQ|NMI|SOFTIRQ)>|<EOI>|<<EOE>>")
_COMM = re.compile(
    r"\bCPU:? ?[0-9]+.*? PID: ?(?P<pid>[0-9]+),? [Cc]omm:? ?(?P<comm>.+?) (?:Kdump: |Not t|T)ainted"
)
_TAINT = re.compile(r"\b(?:Tainted: (?P<flags>[A-Z ]*[A-Z])(?= |$)|Not tainted)")

# The harness's own lines: the guest's through /dev/kmsg (selftests/include/kselftest_harness.h,
# guest/run-tests), which only the kernel prints with a timestamp, and the host's (warm.py).
MARKED = b"harness"
RESTORED = "restored"
_MARK = re.compile(
    r"(?:<[0-9]>)?\[ *[0-9]+\.[0-9]{3,9}\](?:\[ *[TC][0-9]+\])? harness: "
    r"(?:(?P<test>test) +(?P<id>\S.*?)|suite .*?)\s*\Z"
)
_RESTORED = "[harness] restored: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message on the console.

    Attributes:
        start, end: bytes of the console that hold it; the line's end belongs to its last message.
        context: "T123" or "C0" from the caller prefix, "" without one.
        raw: its text as it stands there.
        text: the same without prefixes and outer blanks.
    """

    start: int
    end: int
    context: str
    raw: str
    text: str


def messages(line: bytes, offset: int) -> Iterator[Message]:
    """Take a console line, which begins at byte `offset`, apart; blank messages are left out."""
    cuts = sorted({0, *(found.start() for found in _STAMP.finditer(line)), *_returns(line)})
    for start, end in zip(cuts, [*cuts[1:], len(line)], strict=True):
        raw = _ANSI.sub("", line[start:end].decode("utf-8", "replace")).strip("\r\n\0")
        prefix = _PREFIX.match(raw)
        text = raw[prefix.end() :].strip() if prefix else raw.strip()
        if text:
            context = (prefix["context"] if prefix else None) or ""
            yield Message(
                start=offset + start, end=offset + end, context=context, raw=raw, text=text
            )


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
        return Mark(start=message.start + len(message.raw[:at].encode()), what=RESTORED)
    if found := _MARK.match(message.raw):
        return Mark(start=message.start, what=found["test"] or "suite", name=found["id"] or "")
    return None


def _returns(line: bytes) -> Iterator[int]:
    """Where a carriage return in mid-line starts a message, as it does on a terminal."""
    at = line.find(b"\r")
    while 0 <= at < len(line.rstrip(b"\r\n")):
        yield at + 1
        at = line.find(b"\r", at + 1)


def plain_name(function: str) -> str:
    """Return the function's name as in the source: foo.isra.0 and foo.llvm.123 are foo."""
    return function.lstrip(".").split(".", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One line of a stack: the function, and whether the unwinder only guesses ("? foo")."""

    function: str
    guess: bool = False


def frame(text: str) -> Frame | None:
    """Read a line of a stack trace, or the line that names the interrupted instruction."""
    if found := _WHERE.match(text):
        return Frame(function=plain_name(found["func"]))
    for pattern in _FRAMES:
        if found := pattern.match(text):
            return Frame(function=plain_name(found["func"]), guess=bool(found["maybe"]))
    return None


def structural(text: str) -> bool:
    """Tell whether the kernel prints such a line in reports: a frame, registers, a heading."""
    return _STRUCTURE.match(text) is not None or frame(text) is not None


def starts_trace(text: str) -> bool:
    """Tell whether a stack trace begins behind this line."""
    return _TRACE.match(text) is not None


def taken_at(texts: list[str]) -> str:
    """Return the function that takes the first lock these lines name, or ""."""
    for text, following in zip(texts, [*texts[1:], ""], strict=True):
        if found := _TAKEN.search(text):
            return plain_name(found["func"])
        if text.endswith("at:") and (one := frame(following)):
            return one.function
    return ""


def first_trace(texts: list[str], *, interrupted: bool) -> tuple[str, ...]:
    """Return the functions of the first stack trace, innermost first.

    Args:
        texts: messages of one report.
        interrupted: leave out the interrupt that found the problem, if more is known.
    """
    backtrace = [n for n, text in enumerate(texts) if text.startswith("stack backtrace:")]
    sure: list[str] = []
    guessed: list[str] = []
    for text in texts[backtrace[0] if backtrace else 0 :]:
        if (sure or guessed) and _OTHER.match(text):
            break
        if interrupted and _LEFT.search(text):
            sure, guessed = [], [*sure, *guessed]
        if one := frame(text):
            (guessed if one.guess else sure).append(one.function)
    return tuple(sure or guessed)


def task_in(texts: list[str]) -> str | None:
    """Return the task the kernel was working for, as comm:pid, if a line says so."""
    found = next(filter(None, map(_COMM.search, texts)), None)
    return f"{found['comm'].strip()}:{found['pid']}" if found else None


def taint_in(texts: list[str]) -> str | None:
    """Return the taint letters, "" when the kernel is not tainted, None when no line tells."""
    found = next(filter(None, map(_TAINT.search, texts)), None)
    return (found["flags"] or "").replace(" ", "") if found else None
