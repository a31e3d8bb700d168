# SPDX-License-Identifier: GPL-2.0
"""A parser of KTAP, the kernel's test anything protocol: text -> tree. Pure: no I/O, no printing.

The lines that it accepts are in ktapline.py. How they make a tree:

- A version, plan or result line belongs to the level of its column. A deeper level is opened by a
  version line, a plan, or a result with the number 1, and ended by a result of a lower column:
  the parent's. Nothing else ends it, least of all an unknown line in between.
- Diagnostics belong to the result that follows them.
- Whatever is out of order becomes a :class:`Problem`; it never becomes a pass. A line without
  newline is not a result, and what has no result line has not passed: so output that is cut off
  anywhere has fewer passes, never others.
"""

from dataclasses import dataclass

from harness.ktapline import Kind, Line, lines, result_in
from harness.results import Status

# A forger of indentation must not be able to exhaust Python's stack.
_MAX_DEPTH = 16

_TERMINATED = "Test terminated by timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An anomaly: the line it is on, counted from ``first_line``, and one line of text."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One result, or subtests whose own result line is missing.

    Attributes:
        name: the description; "" when it was left out.
        number: the number on the line; None when there is no result line.
        ok: what the line says; None when there is no result line.
        directive: SKIP, TODO, XFAIL, XPASS, TIMEOUT, DIRTY, ERROR, or "".
        reason: what stands behind the directive, or behind the "#" when there is no directive.
        seconds: from the DURATION line.
        lines: diagnostics since the test began, without "# " and kernel prefix.
        subtests: the nested results.
        line: where the result line is; where the output ended when there is none.
    """

    __test__ = False  # not a pytest class

    name: str
    number: int | None
    ok: bool | None
    line: int
    directive: str = ""
    reason: str = ""
    seconds: float | None = None
    lines: tuple[str, ...] = ()
    subtests: tuple["Test", ...] = ()

    @property
    def own_status(self) -> Status:
        """What the result line alone says.

        SKIP is valid with both words; TIMEOUT, DIRTY and ERROR imply "not ok"; an XFAIL may come as
        "ok" (ksft_test_result_xfail) or "not ok". XPASS is a failure: the expectation is wrong now.
        """
        if self.ok is None:
            return Status.MISSING
        by_directive = {
            "SKIP": Status.SKIP,
            "XFAIL": Status.XFAIL,
            "XPASS": Status.FAIL,
            "TIMEOUT": Status.TIMEOUT,
            "DIRTY": Status.DIRTY,
            "ERROR": Status.ERROR,
        }
        if self.directive in by_directive:
            return by_directive[self.directive]
        if self.ok:
            return Status.PASS
        return Status.XFAIL if self.directive == "TODO" else Status.FAIL

    @property
    def kernel(self) -> tuple[str, ...]:
        """What the kernel complained of meanwhile, each `<LEVEL>message`."""
        return self._labelled("KERNEL: ")

    @property
    def dirt(self) -> tuple[str, ...]:
        """What the test left other than it found it, each `what before -> after`."""
        return self._labelled("DIRTY: ")

    def _labelled(self, label: str) -> tuple[str, ...]:
        return tuple(line.removeprefix(label) for line in self.lines if line.startswith(label))

    @property
    def status(self) -> Status:
        """The verdict: a result cannot be better than its subtests, except by XFAIL."""
        own = self.own_status
        if own in (Status.PASS, Status.SKIP) and not all(t.status.good for t in self.subtests):
            return Status.FAIL
        return own


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that one program printed.

    Attributes:
        tests: the results of the outermost level, in order, duplicates included.
        plan: the number of tests announced (the sum, when several documents follow each other).
        skipped: the reason behind "1..0 # SKIP", None when the plan is another.
        bail: the reason behind "Bail out!", None when there is none.
        running: the test that has begun (RUN line) and has no result.
        running_lines: what it had printed by then.
        between: diagnostics that were printed before a test began, and are no test's.
        problems: anomalies, by line.
    """

    tests: tuple[Test, ...]
    plan: int | None
    skipped: str | None
    bail: str | None
    running: str | None
    running_lines: tuple[str, ...]
    between: tuple[str, ...]
    problems: tuple[Problem, ...]


def parse(text: bytes | str, *, first_line: int = 1) -> Document:
    """Parse KTAP.

    Args:
        text: the output; bytes that are not UTF-8 become `\\xNN`.
        first_line: the number of its first line, for problems and tests to point into a file.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    parser = _Parser(first_line)
    for number, line in lines(text, first_line):
        parser.feed(number, line)
    if not text.endswith("\n") and text:
        parser.cut_off(first_line + text.count("\n"))
    return parser.document()


class _Level:
    """One level of nesting under construction."""

    def __init__(self, column: int, name: str) -> None:
        self.column = column
        self.name = name
        self.tests: list[Test] = []
        self.children: tuple[Test, ...] = ()  # closed levels that wait for their parent's result
        self.child_name = ""
        self.pending: list[str] = []  # diagnostics that wait for a result
        self.plan: int | None = None
        # Of the document that is being read; several may follow each other on one level.
        self.planned = False
        self.number = 0

    @property
    def untouched(self) -> bool:
        return not self.tests and not self.children and self.plan is None


class _Parser:
    def __init__(self, first_line: int) -> None:
        self._at = first_line
        self._stack = [_Level(0, "")]
        self._problems: list[Problem] = []
        self._durations: dict[str, float] = {}
        self._running: str | None = None
        self._subtest = ""
        self._skipped: str | None = None
        self._bail: str | None = None
        self._between: list[str] = []

    def feed(self, number: int, line: Line) -> None:
        """Take one complete line."""
        self._at = number
        if line.kind is Kind.VERSION:
            known = self._version(line)
        elif line.kind is Kind.PLAN:
            known = self._plan(line)
        elif line.kind is Kind.RESULT:
            known = self._result(line)
        else:
            known = self._progress(line)
        if not known:
            self._unknown(line)

    def _version(self, line: Line) -> bool:
        level = self._enter(line.column, opens=True)
        if level is None:
            return False
        if not level.untouched:
            if level is self._stack[0]:
                self._problem("a second document starts here")
                self._adopt(level)
                level.number, level.planned = 0, False
            else:
                self._close()
                self._adopt(self._stack[-1])
                self._enter(line.column, opens=True)
        return True

    def _plan(self, line: Line) -> bool:
        level = self._enter(line.column, opens=True)
        if level is None:
            return False
        if level.planned:
            self._problem("second plan")
            return True
        level.planned = True
        level.plan = (level.plan or 0) + line.number
        if line.number == 0 and line.directive == "SKIP" and level is self._stack[0]:
            self._skipped = line.reason
        return True

    def _result(self, line: Line) -> bool:
        level = self._enter(line.column, opens=line.number == 1)
        if level is None:
            self._problem("result at an indentation that no plan or version line opened")
            return False
        if line.number != level.number + 1:
            self._problem(f"result number {line.number} where {level.number + 1} was due")
        self._add(level, line)
        return True

    def _add(self, level: _Level, line: Line) -> None:
        """Append a result to its level, with all that waited for it."""
        diagnostics, directive = tuple(level.pending), line.directive
        # kselftest_harness.h has no directive for it, only this diagnostic, with the bare name.
        bare = line.name.rpartition(".")[2]
        if not (line.ok or directive) and f"{bare}: {_TERMINATED}" in diagnostics:
            directive = "TIMEOUT"
        test = Test(
            name=line.name,
            number=line.number,
            ok=line.ok,
            directive=directive,
            reason=line.reason,
            seconds=self._durations.pop(line.name, None),
            lines=diagnostics,
            subtests=level.children,
            line=self._at,
        )
        if test.ok and not test.status.good and directive != "XPASS":
            cause = f"is marked {directive}" if directive else "has subtests that are not"
            self._problem(f'"{test.name}" says ok, but {cause}')
        level.number = line.number
        level.tests.append(test)
        level.children, level.child_name, level.pending = (), "", []
        if test.name == self._running:
            self._running = None

    def _progress(self, line: Line) -> bool:
        """Take the lines that tell how a test gets on; False for unknown ones."""
        level = self._stack[-1]
        if line.kind is Kind.RUN:
            self._running = line.name
            self._between += level.pending
            level.pending = []
        elif line.kind is Kind.DURATION:
            self._durations[line.name] = line.number / 1e6
        elif line.kind is Kind.BAIL:
            self._bail = line.name
            self._problem(f"bail out: {line.name}")
        elif line.kind is Kind.SUBTEST:
            # KUnit indents this line with the subtests, TAP 14 does not.
            if level.column == line.column > 0 and level.untouched:
                level.name = line.name
            else:
                self._subtest = line.name
        return line.kind is not Kind.UNKNOWN

    def _unknown(self, line: Line) -> None:
        level = self._stack[-1]
        if glued := self._glued(line.text):
            before, result = glued
            level.pending.append(before)
            self._problem(f'result of "{self._running}" glued to other text')
            self._add(level, result)
        elif line.diagnostic.strip("# \t"):
            level.pending.append(line.diagnostic)

    def _glued(self, text: str) -> tuple[str, Line] | None:
        """Find a result behind text that had no newline.

        Only the test that is running, with the number that is due, is believed: any other text
        may hold the words "ok 1" by chance.
        """
        if self._running is None:
            return None
        due = self._stack[-1].number + 1
        for word in ("not ok", "ok"):
            start = text.find(f"{word} {due} {self._running}")
            if start > 0:
                result = result_in(text[start:])
                if result is not None and result.name == self._running:
                    return text[:start], result
        return None

    def _enter(self, column: int, *, opens: bool) -> _Level | None:
        """Return the level of this column; close deeper ones, open it if the line may do so.

        Returns:
            None when there is no such level and this line cannot open one.
        """
        if not opens and all(level.column != column for level in self._stack):
            return None
        if column > self._stack[-1].column and len(self._stack) >= _MAX_DEPTH:
            self._problem("nested too deep")
            return None
        while self._stack[-1].column > column:
            self._close()
        if self._stack[-1].column < column:
            self._stack.append(_Level(column, self._subtest))
            self._subtest = ""
        return self._stack[-1]

    def _close(self) -> None:
        """End the deepest level; its tests wait for the parent's result."""
        level = self._stack.pop()
        self._adopt(level)
        self._check_plan(level)
        parent = self._stack[-1]
        parent.children += tuple(level.tests)
        parent.child_name = level.name
        parent.pending += level.pending

    def _adopt(self, level: _Level) -> None:
        """Turn subtests that never got a parent's result into a test without a verdict."""
        if level.children:
            self._problem("subtests without their parent's result")
            orphan = Test(
                name=level.child_name,
                number=None,
                ok=None,
                subtests=level.children,
                line=self._at,
            )
            level.tests.append(orphan)
            level.children, level.child_name = (), ""

    def _check_plan(self, level: _Level) -> None:
        seen = sum(test.ok is not None for test in level.tests)
        where = f' in "{level.name}"' if level.name else ""
        if level.plan is None:
            if seen:
                self._problem(f"no plan{where}")
        elif level.plan != seen:
            self._problem(f"planned {level.plan} tests{where}, saw {seen}")

    def cut_off(self, number: int) -> None:
        """Note that this line, the last, has no newline."""
        self._at = number
        self._problem("the last line is cut off")

    def document(self) -> Document:
        """Close all levels and return the tree."""
        last_words = tuple(self._stack[-1].pending) if self._running is not None else ()
        while len(self._stack) > 1:
            self._close()
        root = self._stack[0]
        self._adopt(root)
        self._check_plan(root)
        return Document(
            tests=tuple(root.tests),
            plan=root.plan,
            skipped=self._skipped,
            bail=self._bail,
            running=self._running,
            running_lines=last_words,
            between=tuple(self._between),
            problems=tuple(self._problems),
        )

    def _problem(self, text: str) -> None:
        self._problems.append(Problem(line=self._at, text=text))
