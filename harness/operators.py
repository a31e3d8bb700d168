# SPDX-License-Identifier: GPL-2.0
"""Small changes of C source, each of which is the shape of a bug that people make. Pure.

tree-sitter with its C grammar parses what is not preprocessed, errors and all, and knows nothing of
the kernel; the operators are ours. What else there is does not fit a kernel module: mull needs the
bitcode of clang, dextool a compilation by clang and a D toolchain, and universalmutator changes
lines by regular expressions, knows no function, and most of what it makes does not compile.

No operator makes a mutant that every test kills which kills another one's (a subsumed mutant only
flatters the score): `a && b` becomes `a` and `b` but not `a || b`, a condition becomes true and
false but is not negated, and loops do not become endless.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tree_sitter_c
from tree_sitter import Language, Node, Parser

_SPACE = re.compile(rb"\s+")
_NUMBER = re.compile(rb"0[xX][0-9a-fA-F]+|[0-9]+")
_ERRNO = re.compile(rb"E[A-Z0-9]{2,}")
# No call of ours fails with it, and no test expects it.
_OTHER_ERRNO = b"EXDEV"
_SWAPS: dict[str, dict[bytes, bytes]] = {
    "boundary": {b"<": b"<=", b"<=": b"<", b">": b">=", b">=": b">"},
    "arithmetic": {
        **{b"+": b"-", b"-": b"+", b"<<": b">>", b">>": b"<<", b"*": b"/", b"%": b"/"},
        **{b"+=": b"-=", b"-=": b"+=", b"++": b"--", b"--": b"++"},
    },
}
_EXTREMES = {b"min": b"max", b"max": b"min", b"min_t": b"max_t", b"max_t": b"min_t"}
_LOOPS = ("while_statement", "for_statement")
# What an edit is seen in, for its name: nothing larger, so that a name survives other edits.
_UNITS = (
    *("expression_statement", "declaration", "return_statement", "initializer_pair"),
    *("goto_statement", "parenthesized_expression", "for_statement"),
)
# What holds definitions: of older kernels, or newer ones, too.
_TOPS = ("translation_unit", "preproc_ifdef", "preproc_else")
# Sizes and build-time checks, which have no bug that runs.
_SILENT = ("sizeof_expression", "preproc_if", "preproc_def", "preproc_function_def", "enumerator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a source.

    Attributes:
        operator: its kind.
        function: that it is in, or the variable that it initialises.
        start: offset of the first byte that is replaced.
        end: offset behind the last one.
        text: what replaces them.
        context: what surrounds it, on one line; with what is replaced and by what.
    """

    operator: str
    function: str
    start: int
    end: int
    text: bytes
    context: bytes

    def apply(self, source: bytes) -> bytes:
        """Return a source with the change."""
        return source[: self.start] + self.text + source[self.end :]


@dataclass(frozen=True, slots=True)
class _Change:
    """What an operator wants: in the place of a node, this text."""

    operator: str
    node: Node
    text: bytes


def edits(source: bytes) -> Iterator[Edit]:
    """Give every change that an operator makes of a source, in the order of the file."""
    tree = Parser(Language(tree_sitter_c.language())).parse(source)
    for node, function in _walk(tree.root_node, ""):
        for operator in _OPERATORS:
            for change in operator(node):
                where = change.node
                context = b" ".join((_unit(where), b"@", _text(where), b"=>", change.text))
                yield Edit(
                    operator=change.operator,
                    function=function,
                    start=where.start_byte,
                    end=where.end_byte,
                    text=change.text,
                    context=_SPACE.sub(b" ", context),
                )


def _walk(node: Node, function: str) -> Iterator[tuple[Node, str]]:
    """Give each node that may be changed, with the name of what it is in."""
    if node.type in _SILENT:
        return
    at_top = node.parent is not None and node.parent.type in _TOPS
    if at_top:
        function = _declared(node) or function
    if function:
        yield node, function
    for child in node.named_children:
        yield from _walk(child, function)


def _declared(node: Node) -> str:
    """Return the name that a definition gives to something; "" where it is none."""
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "identifier":
        declarator = declarator.child_by_field_name("declarator")
    return _text(declarator).decode() if declarator is not None else ""


def _unit(node: Node) -> bytes:
    at: Node | None = node
    while at is not None and at.type not in _UNITS:
        at = at.parent
    if at is None or at.type != "for_statement":
        return _text(at or node)
    body = at.child_by_field_name("body")
    assert body is not None
    return _text(at)[: body.start_byte - at.start_byte]


def _text(node: Node) -> bytes:
    return node.text or b""


def _field(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    assert found is not None, f"{node.type} without {name}"
    return found


def _is_condition(node: Node) -> bool:
    """Whether it decides alone: operators for whole conditions subsume what would be done to it."""
    parent = node.parent
    while parent is not None and parent.type == "parenthesized_expression":
        node, parent = parent, parent.parent
    if parent is None:
        return False
    if parent.type == "binary_expression":
        return _text(_field(parent, "operator")) in (b"&&", b"||")
    kinds = ("if_statement", "conditional_expression")
    return parent.type in kinds and parent.child_by_field_name("condition") == node


def _conditions(node: Node) -> Iterator[_Change]:
    """An `if` that is always or never taken, a loop that is not entered, half of a `?:`."""
    if node.type == "if_statement":
        condition = _field(node, "condition")
        # It is evaluated all the same: what is broken is that nobody looks at it.
        yield _Change("never", condition, b"(" + _text(condition) + b" && 0)")
        yield _Change("always", condition, b"(" + _text(condition) + b" || 1)")
    elif node.type in _LOOPS and (loop := node.child_by_field_name("condition")) is not None:
        yield _Change("never", loop, b"(0)" if node.type == "while_statement" else b"0")
    elif _is_macro_loop(node):
        yield _Change("never", node, b"if (0)")
    elif node.type == "conditional_expression":
        yield _Change("first", node, _text(_field(node, "consequence")))
        yield _Change("second", node, _text(_field(node, "alternative")))


def _is_macro_loop(node: Node) -> bool:
    """Whether it is the head of a list_for_each_entry(): to the grammar, a call without its `;`."""
    return node.type == "expression_statement" and any(one.is_missing for one in node.children)


def _operands(node: Node) -> Iterator[_Change]:
    """Half of what `&&`, `||` and `|` join; a mask that is not applied."""
    if node.type != "binary_expression":
        return
    sign = _text(_field(node, "operator"))
    left, right = _text(_field(node, "left")), _text(_field(node, "right"))
    if sign in (b"&&", b"||", b"|"):
        yield _Change("left", node, left)
        yield _Change("right", node, right)
    elif sign == b"&":
        yield _Change("left", node, left)


def _swaps(node: Node) -> Iterator[_Change]:
    """A bound off by one, the wrong direction, the wrong extreme."""
    sign = node.child_by_field_name("operator")
    kinds = ("binary_expression", "update_expression", "assignment_expression")
    if sign is not None and node.type in kinds:
        for operator, swap in _SWAPS.items():
            if (other := swap.get(_text(sign))) is not None:
                yield _Change(operator, sign, other)
        equal = {b"==": b"!=", b"!=": b"=="}.get(_text(sign))
        if equal is not None and not _is_condition(node):
            yield _Change("equal", sign, equal)
    elif node.type == "call_expression":
        name = _field(node, "function")
        if (other := _EXTREMES.get(_text(name))) is not None:
            yield _Change("extreme", name, other)


def _signs(node: Node) -> Iterator[_Change]:
    """A `!` or `~` that was forgotten."""
    if node.type != "unary_expression" or _is_condition(node):
        return
    if _text(_field(node, "operator")) in (b"!", b"~"):
        yield _Change("sign", node, _text(_field(node, "argument")))


def _deletions(node: Node) -> Iterator[_Change]:
    """A statement or an initialiser that was forgotten."""
    kinds = ("expression_statement", "break_statement", "continue_statement")
    if node.type in kinds and not _is_macro_loop(node):
        yield _Change("delete", node, b";")
    elif node.type == "initializer_pair":
        # What is not initialised is 0; and nothing between two commas is no C.
        yield _Change("delete", node, _text(_field(node, "designator")) + b" = 0")


def _constants(node: Node) -> Iterator[_Change]:
    """A number off by one; an errno that is another; a boolean that is the other."""
    text = _text(node)
    if node.type == "number_literal" and _NUMBER.fullmatch(text):
        if node.parent is not None and node.parent.type == "return_statement":
            yield _Change("errno", node, b"-" + _OTHER_ERRNO)
            return
        value = int(text, 8 if text.startswith(b"0") and text.isdigit() else 0)
        for other in (value + 1, value - 1):
            if other >= 0:
                yield _Change("constant", node, str(other).encode())
    elif node.type == "identifier" and _ERRNO.fullmatch(text):
        yield _Change("errno", node, _OTHER_ERRNO)
    elif node.type in ("true", "false"):
        yield _Change("constant", node, b"false" if node.type == "true" else b"true")


def _jumps(node: Node) -> Iterator[_Change]:
    """A jump to another label of the function."""
    if node.type != "goto_statement":
        return
    label = _field(node, "label")
    body = node
    while body.parent is not None and body.type != "function_definition":
        body = body.parent
    for other in _labels(body):
        if other != _text(label):
            yield _Change("jump", label, other)


def _labels(node: Node) -> Iterator[bytes]:
    if node.type == "labeled_statement":
        yield _text(_field(node, "label"))
    for child in node.named_children:
        yield from _labels(child)


_OPERATORS: tuple[Callable[[Node], Iterator[_Change]], ...] = (
    *(_conditions, _operands, _swaps, _signs, _deletions, _constants, _jumps),
)
