# SPDX-License-Identifier: GPL-2.0
"""Test specifications: TOML files in selftests/specs/ to frozen, validated values.

A specification names a suite's fixtures, their variants (the data of a test: layouts, limits, rows
of an errno table) and their tests, each with the driver change that it guards against. How a test
works is C, in the template that the specification names. selftests/specs/README.md is the manual.
"""

import errno
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.tomlfile import CPUS, IDENTIFIER, Table, TomlError

_EXPRESSION = re.compile(r"[^;{}\n]+")
LAYOUTS = "layouts.toml"
# The size of `runs` in selftests/include/udmabuf_test.h.
MAX_RUNS = 16
# What a source is made of, and how many small pages of 4 KiB make one page of it.
PAGES_OF = {"anon": 1, "thp": 512, "shmem": 1, "hugetlb": 512}
# A test of such a name would be the same C symbol as something of its fixture.
_TAKEN = ("data", "setup", "teardown")


class SpecError(TomlError):
    """A specification is not what it must be."""

    HINT = "selftests/specs/README.md describes the format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value that every variant of a fixture carries.

    Attributes:
        name: member of the variant's struct.
        declaration: its C declaration, without the semicolon.
        kind: how the specification writes its values (a key of KINDS).
    """

    name: str
    declaration: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One set of data: its name, and (field, C initializer) pairs in the order of the fields.

    Variants, tests and fixtures that are ``ours`` need what only our driver or importer offers.
    """

    name: str
    values: tuple[tuple[str, str], ...]
    guards: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test's name, and the one-line change of the driver that must turn it red."""

    __test__ = False  # not a pytest class

    name: str
    guards: str
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A group of tests that share a set-up, run once for each variant."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    variants: tuple[Variant, ...]
    tests: tuple[Test, ...]
    ours: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """`fixture.variant.test`, or `fixture.test` without variants, in order of running."""
        prefixes = [f"{self.name}.{variant.name}" for variant in self.variants] or [self.name]
        return tuple(f"{prefix}.{test.name}" for prefix in prefixes for test in self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One suite.

    Attributes:
        name: the suite, the stem of the file.
        path: the file that was read.
        doc: what the suite is about, one paragraph.
        template: file in selftests/templates/.
        modules: kernel modules that the suite wants beside the driver.
        kernel_modules: modules of the guest's own kernel, with parameters behind them. Where it
            has none of that name, the tests skip themselves.
        cmdline: words that the guest's kernel command line needs.
        cpus: virtual CPUs that the guest needs.
        export: whether it goes upstream, but for what is ``ours`` in it.
        fixtures: in order of running.
    """

    name: str
    path: Path
    doc: str
    template: str
    modules: tuple[str, ...]
    kernel_modules: tuple[str, ...]
    cmdline: tuple[str, ...]
    cpus: int
    export: bool
    fixtures: tuple[Fixture, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids of the suite, in order of running."""
        return tuple(id for fixture in self.fixtures for id in fixture.ids)

    @property
    def full_ids(self) -> tuple[str, ...]:
        """All ids as reports and globs have them, `suite:fixture.variant.test`."""
        return tuple(f"{self.name}:{id}" for id in self.ids)


def load_specs(folder: Path) -> tuple[Spec, ...]:
    """Read all specifications of a folder, by name.

    Raises:
        SpecError: a file is malformed, or two of them define the same test.
    """
    layouts_path = folder / LAYOUTS
    layouts = _layouts(layouts_path) if layouts_path.exists() else {}
    paths = sorted(path for path in folder.glob("*.toml") if path.name != LAYOUTS)
    if not paths:
        raise SpecError(folder, "", "no specification (*.toml) here")
    specs = tuple(load_spec(path, layouts) for path in paths)
    owners: dict[str, Path] = {}
    for spec in specs:
        for id in spec.ids:
            if id in owners:
                raise SpecError(spec.path, id, f"an id of its own; {owners[id]} has it too")
            owners[id] = spec.path
    return specs


def load_spec(path: Path, layouts: Mapping[str, str]) -> Spec:
    """Read one specification.

    Args:
        path: the file.
        layouts: C initializers of the layouts that a fixture may name.

    Raises:
        SpecError: not TOML, or not a specification.
    """
    table = Table.load(path, SpecError)
    if not IDENTIFIER.fullmatch(path.stem):
        raise SpecError(path, "file name", "a lower-case C identifier")
    spec = Spec(
        name=path.stem,
        path=path,
        doc=table.text("doc"),
        template=table.text("template"),
        modules=table.texts("modules"),
        kernel_modules=table.texts("kernel_modules"),
        cmdline=table.texts("cmdline"),
        cpus=table.within("cpus", CPUS, "CPUs", 1),
        export=table.flag("export"),
        fixtures=tuple(_fixture(fixture, layouts) for fixture in table.tables("fixture")),
    )
    table.finish()
    if not spec.fixtures:
        raise table.fail("fixture", "at least one [[fixture]]")
    _refuse_duplicates(table, "fixture", [fixture.name for fixture in spec.fixtures])
    # fixture a_b, test c and fixture a, test b_c are the same function in C.
    _refuse_duplicates(table, "fixture", [id.replace(".", "_") for id in spec.ids])
    return spec


def _refuse_duplicates(table: Table, key: str, names: list[str]) -> None:
    for name in sorted(set(names)):
        if names.count(name) > 1:
            raise table.fail(f"{key} {name}", f"one of that name, got {names.count(name)}")


def _fixture(table: Table, layouts: Mapping[str, str]) -> Fixture:
    name = table.name()
    doc = table.text("doc")
    ours = table.flag("ours")
    fields = _fields(table.table("fields"))
    variants = [*_chosen_layouts(table, fields, layouts), *_permutations(table, fields)]
    defaults = _defaults(table, fields)
    rows = table.table("variant")
    for key in rows.names():
        row = rows.table(key, defaults)
        variants.append(_variant(row, rows.identifier(key, key), fields))
    tests = []
    for row in table.tables("test"):
        tests.append(Test(name=row.name(), guards=row.text("guards"), ours=row.flag("ours")))
        if tests[-1].name in _TAKEN:
            raise row.fail("name", f"another name than {', '.join(_TAKEN)}")
        row.finish()
    table.finish()
    if not tests:
        raise table.fail("test", "at least one [[fixture.test]]")
    if fields and not variants:
        raise table.fail("variant", "at least one variant, because there are fields")
    _refuse_duplicates(table, "test", [test.name for test in tests])
    _refuse_duplicates(table, "variant", [row.name for row in variants])
    return Fixture(
        name=name,
        doc=doc,
        fields=fields,
        variants=tuple(variants),
        tests=tuple(tests),
        ours=ours,
    )


def _fields(table: Table) -> tuple[Field, ...]:
    fields = []
    for name in table.names():
        kind = table.text(name)
        if kind not in KINDS:
            raise table.fail(name, f"one of {', '.join(KINDS)}, got {kind!r}")
        declaration = KINDS[kind].declaration.format(table.identifier(name, name))
        fields.append(Field(name=name, declaration=declaration, kind=kind))
    return tuple(fields)


def _defaults(table: Table, fields: tuple[Field, ...]) -> dict[str, Any]:
    """The values of fields that a variant leaves out."""
    defaults: dict[str, Any] = table.take("defaults", dict, "a table", {})
    for name in defaults:
        if name not in [field.name for field in fields]:
            raise table.fail(f"defaults.{name}", "the name of a field")
    return defaults


def _variant(table: Table, name: str, fields: tuple[Field, ...]) -> Variant:
    guards = table.text("guards", "")
    ours = table.flag("ours")
    values = []
    for field in fields:
        if field.name not in table.names():
            raise table.fail(field.name, f"{KINDS[field.kind].expected}, but it is missing")
        values.append((field.name, KINDS[field.kind].render(table, field.name)))
    table.finish()
    return Variant(name=name, values=tuple(values), guards=guards, ours=ours)


def _chosen_layouts(
    table: Table, fields: tuple[Field, ...], layouts: Mapping[str, str]
) -> list[Variant]:
    """The variants of `layouts = [...]`, for fixtures whose one field is a layout."""
    names = table.texts("layouts")
    if names and [field.kind for field in fields] != ["layout"]:
        raise table.fail("layouts", "fields to be one layout")
    for name in names:
        if name not in layouts:
            raise table.fail("layouts", f"names from {LAYOUTS}, got {name!r}")
    return [Variant(name=name, values=((fields[0].name, layouts[name]),)) for name in names]


def _permutations(table: Table, fields: tuple[Field, ...]) -> list[Variant]:
    """The variants of `permutations = [...]`: every order of these words, as C enumerators."""
    words = table.texts("permutations")
    if not words:
        return []
    if [field.kind for field in fields] != ["order"]:
        raise table.fail("permutations", "fields to be one order")
    for word in words:
        table.identifier("permutations", word)
    return [
        Variant(
            name="_".join(order),
            values=((fields[0].name, f"{{ {', '.join(word.upper() for word in order)} }}"),),
        )
        for order in itertools.permutations(words)
    ]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of one kind are declared in C, described, and rendered as C initializers."""

    declaration: str
    expected: str
    render: Callable[[Table, str], str]


def _number(table: Table, key: str) -> str:
    return str(table.take(key, int, "a whole number"))


def _boolean(table: Table, key: str) -> str:
    return "true" if table.take(key, bool, "true or false") else "false"


def _expression(table: Table, key: str) -> str:
    value = table.text(key)
    if not _EXPRESSION.fullmatch(value):
        raise table.fail(key, f"a C expression, got {value!r}")
    return value


def _errno(table: Table, key: str) -> str:
    value = table.text(key)
    if value != "0" and not (value.startswith("E") and hasattr(errno, value)):
        raise table.fail(key, f'the name of an errno, or "0", got {value!r}')
    return value


def _order(table: Table, key: str) -> str:
    words = [table.identifier(key, word) for word in table.texts(key)]
    return f"{{ {', '.join(word.upper() for word in words)} }}"


def _layout(table: Table, key: str) -> str:
    return _render_layout(table.table(key))


def _render_layout(table: Table) -> str:
    """A layout `{ backing, pages, runs }` as a C initializer of struct layout."""
    backing = table.text("backing")
    if backing not in PAGES_OF:
        raise table.fail("backing", f"one of {', '.join(PAGES_OF)}, got {backing!r}")
    pages = table.take("pages", int, "a number of pages")
    if pages < 1:
        raise table.fail("pages", f"a positive number of pages, got {pages}")
    if pages % PAGES_OF[backing]:
        raise table.fail("pages", f"a multiple of {PAGES_OF[backing]} for {backing}, got {pages}")
    runs = table.take("runs", list, "a list of [first page, pages]")
    if not 1 <= len(runs) <= MAX_RUNS:
        raise table.fail("runs", f"1 to {MAX_RUNS} runs, got {len(runs)}")
    for run in runs:
        if not (isinstance(run, list) and len(run) == 2 and all(type(n) is int for n in run)):
            raise table.fail("runs", f"[first page, pages], got {run!r}")
        if run[0] < 0 or run[1] < 1 or sum(run) > pages:
            raise table.fail("runs", f"runs within the {pages} pages, got {run!r}")
    table.finish()
    rendered = ", ".join(f"{{ {first}, {count} }}" for first, count in runs)
    members = (
        f".backing = {backing.upper()}",
        f".pages = {pages}",
        f".nr_runs = {len(runs)}",
        f".runs = {{ {rendered} }}",
    )
    return "\n".join(["{", *(f"\t\t{member}," for member in members), "\t}"])


def _layouts(path: Path) -> dict[str, str]:
    table = Table.load(path, SpecError)
    return {
        table.identifier(name, name): _render_layout(table.table(name)) for name in table.names()
    }


KINDS: Mapping[str, _Kind] = {
    "bool": _Kind("bool {}", "true or false", _boolean),
    "int": _Kind("int {}", "a whole number", _number),
    "u32": _Kind("__u32 {}", "a C expression", _expression),
    "u64": _Kind("__u64 {}", "a C expression", _expression),
    "pages": _Kind("size_t {}", "a number of pages", _number),
    "enum": _Kind("int {}", "a C enumerator", _expression),
    "flags": _Kind("int {}", "a C expression", _expression),
    "errno": _Kind("int {}", "the name of an errno", _errno),
    "layout": _Kind("struct layout {}", "a layout", _layout),
    "order": _Kind("int {}[8]", "a list of words", _order),
}
