# SPDX-License-Identifier: GPL-2.0
from pathlib import Path

import pytest

from harness.generate import TemplateError, render
from harness.spec import Spec, load_specs
from tests.conftest import Golden

SELFTESTS = Path(__file__).parents[1] / "selftests"
SPECS = {spec.name: spec for spec in load_specs(SELFTESTS / "specs")}

SPEC = """
doc = "A suite."
template = "suite.c.j2"
[[fixture]]
name = "call"
doc = "A call."
[[fixture.test]]
name = "answers"
guards = "a wrong answer"
"""


def small_spec(folder: Path, template: str) -> Spec:
    (folder / "suite.toml").write_text(SPEC)
    (folder / "suite.c.j2").write_text(template)
    return load_specs(folder)[0]


@pytest.mark.parametrize("name", sorted(SPECS))
def test_generated_suites_are_as_reviewed(name: str, golden: Golden) -> None:
    golden.check(f"{name}.c", render(SPECS[name], SELFTESTS / "templates"))


def test_a_test_stands_under_what_it_guards(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, '{{ test("call", "answers", 60) }}\n{\n}\n')
    assert render(spec, tmp_path) == (
        "/* Guards: a wrong answer */\nTEST_F_TIMEOUT(call, answers, 60)\n{\n}\n"
    )


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("", "test call.answers of {0}/suite.toml is defined 0 times, expected once"),
        ('{{ test("call", "answers") * 2 }}{{ test("call", "answers") }}', "defined 2 times"),
        ('{{ test("call", "asks") }}', "test call.asks is not in {0}/suite.toml"),
        ('{{ test("cal", "answers") }}', "fixture cal is not in {0}/suite.toml"),
        ("{{ nothing }}", "{0}/suite.c.j2: 'nothing' is undefined"),
        ("a\n{{ test(", "{0}/suite.c.j2:2: "),
        ('{% include "other.j2" %}', "no other.j2 in {0}"),
    ],
)
def test_a_template_that_does_not_fit(tmp_path: Path, template: str, complaint: str) -> None:
    spec = small_spec(tmp_path, template)
    with pytest.raises(TemplateError) as caught:
        render(spec, tmp_path)
    assert complaint.format(tmp_path) in str(caught.value)
