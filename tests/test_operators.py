# SPDX-License-Identifier: GPL-2.0
"""The operators of automatic mutants: what each makes of a line of C, and what none touches."""

import pytest

from harness.operators import edits


def made(body: str, operator: str = "") -> list[str]:
    """Return what becomes of a statement in a function."""
    source = f"static int f(int a)\n{{\n\t{body}\n}}\n".encode()
    found = [edit for edit in edits(source) if operator in ("", edit.operator)]
    assert all(edit.function == "f" for edit in found)
    return [edit.apply(source).decode().split("\n\t")[1].removesuffix("\n}\n") for edit in found]


@pytest.mark.parametrize(
    "operator, before, after",
    [
        ("never", "if (a) g();", ["if ((a) && 0) g();"]),
        ("always", "if (a) g();", ["if ((a) || 1) g();"]),
        ("never", "while (a) g();", ["while (0) g();"]),
        ("always", "while (a) g();", []),
        ("never", "for (; a; a--) g();", ["for (; 0; a--) g();"]),
        ("never", "list_for_each_entry(a, b, c) g(a);", ["if (0) g(a);"]),
        ("first", "return a ? b : c;", ["return b;"]),
        ("second", "return a ? b : c;", ["return c;"]),
        ("left", "if (a && b) g();", ["if (a) g();"]),
        ("right", "if (a || b) g();", ["if (b) g();"]),
        ("left", "a = b | c;", ["a = b;"]),
        ("left", "a = b & c;", ["a = b;"]),
        ("right", "a = b & c;", []),
        ("boundary", "a = b < c;", ["a = b <= c;"]),
        ("boundary", "a = b >= c;", ["a = b > c;"]),
        ("arithmetic", "a = b - c;", ["a = b + c;"]),
        ("arithmetic", "a = b << c;", ["a = b >> c;"]),
        ("arithmetic", "a -= b;", ["a += b;"]),
        ("arithmetic", "g(a++);", ["g(a--);"]),
        ("extreme", "a = min_t(long, b, c);", ["a = max_t(long, b, c);"]),
        ("equal", "return a == b;", ["return a != b;"]),
        ("equal", "if (a == b) g();", []),
        ("sign", "return !a;", ["return a;"]),
        ("sign", "if (!a && b) g();", []),
        ("sign", "a = ~b;", ["a = b;"]),
        ("delete", "mutex_unlock(&a->lock);", [";"]),
        ("delete", "break;", [";"]),
        (
            "delete",
            "static const struct s x = { .y = g };",
            ["static const struct s x = { .y = 0 };"],
        ),
        ("errno", "return -EINVAL;", ["return -EXDEV;"]),
        ("errno", "return 0;", ["return -EXDEV;"]),
        ("constant", "g(0600);", ["g(385);", "g(383);"]),
        ("constant", "a = 0;", ["a = 1;"]),
        ("constant", "return true;", ["return false;"]),
        ("constant", "g(1.5);", []),
        ("constant", "a = sizeof(b[2]);", []),
    ],
)
def test_operator(operator: str, before: str, after: list[str]) -> None:
    assert made(before, operator) == after


def test_jumps_go_to_every_other_label() -> None:
    source = b"int f(void)\n{\n\tgoto a;\na:\n\tg();\nb:\n\th();\nc:\n\treturn x;\n}\n"
    found = [edit for edit in edits(source) if edit.operator == "jump"]
    assert [edit.text for edit in found] == [b"b", b"c"]


def test_annotations_are_no_syntax_errors() -> None:
    source = b"static void *f(const void __user *p)\n{\n\treturn g(p) < 1 ? h() : p;\n}\n"
    found = list(edits(source))
    assert {edit.function for edit in found} == {"f"}
    assert {edit.operator for edit in found} == {"first", "second", "boundary", "constant"}
    assert all(b"__user" in edit.apply(source) for edit in found)


def test_operations_of_a_device_belong_to_their_name() -> None:
    (edit,) = edits(b"static const struct file_operations fops = {\n\t.open = f,\n};\n")
    assert (edit.function, edit.operator, edit.text) == ("fops", "delete", b".open = 0")


def test_what_is_for_other_kernels_is_changed_too() -> None:
    old = "int f(void)\n{\n\treturn 1;\n}\n"
    source = (
        f"#ifdef NEW\n{old.replace('f(', 'g(')}#else\n{old}#ifdef OLD\n#else\n{old}#endif\n#endif\n"
    )
    found = {(one.function, one.start) for one in edits(source.encode())}
    assert [name for name, _ in sorted(found, key=lambda one: one[1])] == ["g", "f", "f"]


def test_what_is_preprocessed_away_on_all_kernels_is_left() -> None:
    assert not list(edits(b'#define A (1 + 2)\n#if B > 1\n#endif\nMODULE_LICENSE("GPL");\n'))


def test_the_context_is_one_line_of_the_statement() -> None:
    source = b"int f(void)\n{\n\tg();\n\tfor (i = 0; i < n;\n\t     i++)\n\t\th();\n}\n"
    (edit,) = (edit for edit in edits(source) if edit.operator == "boundary")
    assert edit.context == b"for (i = 0; i < n; i++) @ < => <="
