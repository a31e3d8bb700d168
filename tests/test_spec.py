# SPDX-License-Identifier: GPL-2.0
from pathlib import Path

import pytest

from harness.spec import SpecError, load_specs

GOOD = """
doc = "A suite."
template = "suite.c.j2"

[[fixture]]
name = "call"
doc = "A call."
fields = { size = "u64", expected = "errno" }
variant.zero = { size = "0", expected = "EINVAL", guards = "no check" }
variant.page = { size = "PAGE_BYTES", expected = "0" }

[[fixture.test]]
name = "answers"
guards = "a wrong answer"
"""

LAYOUTS = """
[one]
backing = "anon"
pages = 4
runs = [[3, 1], [0, 2]]
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_the_ids_are_fixture_variant_test(tmp_path: Path) -> None:
    (spec,) = load_specs(write(tmp_path, suite=GOOD))
    assert spec.name == "suite"
    assert spec.ids == ("call.zero.answers", "call.page.answers")
    (fixture,) = spec.fixtures
    assert [field.declaration for field in fixture.fields] == ["__u64 size", "int expected"]
    assert fixture.variants[1].values == (("size", "PAGE_BYTES"), ("expected", "0"))


def test_defaults_are_what_a_variant_leaves_out(tmp_path: Path) -> None:
    text = GOOD.replace(', expected = "0" }', " }").replace(
        "variant.zero", 'defaults = { expected = "EPERM" }\nvariant.zero'
    )
    (spec,) = load_specs(write(tmp_path, suite=text))
    zero, page = spec.fixtures[0].variants
    assert dict(zero.values)["expected"] == "EINVAL"
    assert dict(page.values)["expected"] == "EPERM"


def test_layouts_are_variants_by_name(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("fields")] + (
        'fields = { layout = "layout" }\nlayouts = ["one"]\n' + GOOD[GOOD.index("\n[[fixture.t") :]
    )
    (spec,) = load_specs(write(tmp_path, suite=text, layouts=LAYOUTS))
    (variant,) = spec.fixtures[0].variants
    assert variant.name == "one"
    assert ".runs = { { 3, 1 }, { 0, 2 } }" in variant.values[0][1]


def test_permutations_are_variants(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("fields")] + (
        'fields = { order = "order" }\npermutations = ["fd", "map", "device"]\n'
        + GOOD[GOOD.index("\n[[fixture.t") :]
    )
    (spec,) = load_specs(write(tmp_path, suite=text))
    assert len(spec.ids) == 6
    assert spec.ids[3] == "call.map_device_fd.answers"
    assert spec.fixtures[0].variants[3].values == (("order", "{ MAP, DEVICE, FD }"),)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("doc =", "doc", "suite.toml: not TOML: "),
        ('doc = "A suite."', "", "suite.toml: doc: expected a string, but it is missing"),
        ('doc = "A suite."', "doc = 3", "suite.toml:2: doc: expected a string, got 3"),
        ('doc = "A suite."', 'doc = " "', "doc: expected a string that is not empty"),
        ('doc = "A suite."', 'doc = "x"\ndocs = 1', "suite.toml:3: docs: expected no such key"),
        ('doc = "A suite."', 'doc = "x"\nmodules = "a"', "modules: expected a list of strings"),
        ('doc = "A suite."', 'doc = "x"\nmodules = [1]', "modules: expected a list of strings"),
        (
            'doc = "A suite."',
            'doc = "x"\ncpus = 9',
            "suite.toml:3: cpus: expected 1 to 4 CPUs, got 9",
        ),
        ('name = "call"', 'name = "Call"', "fixture[Call].name: expected a lower-case C ident"),
        ('name = "call"', 'name = "call"\nx = 1', "fixture[call].x: expected no such key"),
        ('"u64"', '"u65"', "suite.toml:8: fixture[call].fields.size: expected one of bool, int"),
        ('"u64"', "64", "fixture[call].fields.size: expected a string, got 64"),
        ("size = ", '"Si-ze" = ', "fields.Si-ze: expected a lower-case C identifier"),
        ('size = "0",', "", "variant.zero.size: expected a C expression, but it is missing"),
        (
            'size = "0"',
            "size = 0",
            "suite.toml:9: fixture[call].variant.zero.size: expected a string, got 0",
        ),
        ('size = "0"', 'size = "0; exit()"', "variant.zero.size: expected a C expression"),
        ('"EINVAL"', '"EINVALID"', "variant.zero.expected: expected the name of an errno"),
        ("variant.zero", "defaults.sise = 1\nvariant.zero", "defaults.sise: expected the name of"),
        ("guards = ", "guard = ", "variant.zero.guard: expected no such key"),
        ("variant.zero", 'variant."ze ro"', "variant.ze ro: expected a lower-case C ident"),
        ('guards = "a wrong', 'guard = "a wrong', "test[answers].guards: expected a string"),
        ('"answers"', '"setup"', "test[setup].name: expected another name than data"),
        ("[[fixture.test]]", "[fixture.test]", "test: expected an array of tables"),
        ("variant.page", "variant.zero", "suite.toml: not TOML: "),
        ("[[fixture]]", "[[fixtures]]", "fixture: expected an array of tables"),
    ],
)
def test_a_malformed_spec_names_file_key_and_expectation(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        load_specs(write(tmp_path, suite=GOOD.replace(old, new, 1)))
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "suite.toml"))
    assert "\n" not in str(caught.value)


def test_a_syntax_error_tells_the_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"suite\.toml: not TOML: .*line 3"):
        load_specs(write(tmp_path, suite=GOOD.replace("template =", "template")))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            '"anon"',
            '"paper"',
            "layouts.toml:3: one.backing: expected one of anon, thp, shmem, hugetlb, got 'paper'",
        ),
        ("pages = 4", "pages = true", "one.pages: expected a number of pages, got True"),
        ("pages = 4", "pages = 0", "one.pages: expected a positive number of pages"),
        ('"anon"', '"thp"', "layouts.toml:4: one.pages: expected a multiple of 512 for thp, got 4"),
        ("[3, 1]", "[3, 2]", "one.runs: expected runs within the 4 pages, got [3, 2]"),
        ("[3, 1]", "[3]", "one.runs: expected [first page, pages], got [3]"),
        ("[[3, 1], [0, 2]]", "[]", "one.runs: expected 1 to 16 runs, got 0"),
        ("pages", "pages_", "one.pages: expected a number of pages, but it is missing"),
    ],
)
def test_a_malformed_layout(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in LAYOUTS
    with pytest.raises(SpecError) as caught:
        load_specs(write(tmp_path, suite=GOOD, layouts=LAYOUTS.replace(old, new, 1)))
    assert complaint in str(caught.value)


def test_an_unknown_layout(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("fields")] + (
        'fields = { layout = "layout" }\nlayouts = ["two"]\n' + GOOD[GOOD.index("\n[[fixture.t") :]
    )
    with pytest.raises(SpecError, match="expected names from layouts"):
        load_specs(write(tmp_path, suite=text, layouts=LAYOUTS))


def test_duplicate_tests_within_a_file(tmp_path: Path) -> None:
    again = GOOD[GOOD.index("[[fixture.test]]") :]
    with pytest.raises(SpecError, match="answers: expected one of that name, got 2"):
        load_specs(write(tmp_path, suite=GOOD + again))


def test_ids_that_are_one_c_symbol(tmp_path: Path) -> None:
    """Fixture a_b with test c and fixture a with test b_c would be the same C function."""
    template = '[[fixture]]\nname = "{}"\ndoc = "x"\n[[fixture.test]]\nname = "{}"\nguards = "x"\n'
    text = 'doc = "x"\ntemplate = "x"\n' + template.format("a_b", "c") + template.format("a", "b_c")
    with pytest.raises(SpecError, match="fixture a_b_c: expected one of that name"):
        load_specs(write(tmp_path, suite=text))


def test_duplicate_tests_across_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_specs(write(tmp_path, first=GOOD, second=GOOD))
    assert str(caught.value) == (
        f"{tmp_path}/second.toml: call.zero.answers: expected an id of its own;"
        f" {tmp_path}/first.toml has it too"
    )


def test_a_folder_without_specs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no specification"):
        load_specs(tmp_path)
