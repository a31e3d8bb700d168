# SPDX-License-Identifier: GPL-2.0
"""Specification and template to the C text of a suite. Pure: files in, text out."""

import textwrap
from collections import Counter
from pathlib import Path

import jinja2

from harness.errors import HarnessError
from harness.spec import Fixture, Spec, Variant

# checkpatch counts a tab as 8 columns and wants 100 at most.
_COLUMNS = 80


class TemplateError(HarnessError):
    """A template is malformed, or does not define the tests of its specification."""


def render(spec: Spec, templates: Path) -> str:
    """Return the C source of a suite.

    Args:
        spec: the suite.
        templates: folder of the Jinja2 templates, selftests/templates/.

    Raises:
        TemplateError: no such template, a name in it is undefined, or the tests that it defines
            are not exactly those of the specification.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    macros = _Macros(spec)
    try:
        text = environment.get_template(spec.template).render(
            spec=spec, header=macros.header, variants=macros.variants, test=macros.test
        )
    except jinja2.TemplateNotFound as error:
        raise TemplateError(
            f"{spec.path}: template: no {error.name} in {templates}",
            hint="selftests/specs/README.md describes the format",
        ) from None
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"{error.filename or templates / spec.template}:{error.lineno}: {error.message}"
        ) from None
    except jinja2.TemplateError as error:
        raise TemplateError(f"{templates / spec.template}: {error.message}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # What an expression in the template raises, or a template that is not UTF-8.
        raise TemplateError(f"{templates / spec.template}: {error}") from None
    macros.check(templates / spec.template)
    return text


def origin(spec: Spec) -> str:
    """The first line of a suite's head: what it was generated from."""
    return f"Generated from specs/{spec.path.name} and its template: do not edit."


class _Macros:
    """What a template calls, and the account of the tests that it has defined so far."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._fixtures = {fixture.name: fixture for fixture in spec.fixtures}
        self._defined: Counter[str] = Counter()

    def header(self) -> str:
        """The head of the file: licence, origin, what it tests."""
        spec = self._spec
        return "\n".join(
            [
                "// SPDX-License-Identifier: GPL-2.0",
                _comment(f"{origin(spec)}\n\n{spec.doc}"),
            ]
        )

    def variants(self, name: str) -> str:
        """The FIXTURE_VARIANT and FIXTURE_VARIANT_ADDs of a fixture."""
        fixture = self._fixture(name)
        members = "".join(f"\t{field.declaration};\n" for field in fixture.fields)
        parts = [f"{_comment(fixture.doc)}\nFIXTURE_VARIANT({name})\n{{\n{members}}};"]
        parts += [_variant(fixture, variant) for variant in fixture.variants]
        return "\n\n".join(parts)

    def test(self, fixture: str, name: str, timeout: int | None = None) -> str:
        """The first line of a test, under a comment that tells what the test guards."""
        found = [test for test in self._fixture(fixture).tests if test.name == name]
        if not found:
            raise jinja2.TemplateRuntimeError(f"test {fixture}.{name} is not in {self._spec.path}")
        self._defined[f"{fixture}.{name}"] += 1
        call = f"TEST_F({fixture}, {name})"
        if timeout is not None:
            call = f"TEST_F_TIMEOUT({fixture}, {name}, {timeout})"
        return f"{_comment('Guards: ' + found[0].guards)}\n{call}"

    def check(self, template: Path) -> None:
        """Raise unless every test of the specification was defined exactly once."""
        for fixture in self._spec.fixtures:
            for test in fixture.tests:
                times = self._defined[f"{fixture.name}.{test.name}"]
                if times != 1:
                    raise TemplateError(
                        f"{template}: test {fixture.name}.{test.name} of {self._spec.path}"
                        f" is defined {times} times, expected once"
                    )

    def _fixture(self, name: str) -> Fixture:
        if name not in self._fixtures:
            raise jinja2.TemplateRuntimeError(f"fixture {name} is not in {self._spec.path}")
        return self._fixtures[name]


def _variant(fixture: Fixture, variant: Variant) -> str:
    lines = [_comment("Guards: " + variant.guards)] if variant.guards else []
    lines += [f"FIXTURE_VARIANT_ADD({fixture.name}, {variant.name})", "{"]
    lines += [f"\t.{name} = {value}," for name, value in variant.values]
    return "\n".join([*lines, "};"])


def _comment(text: str) -> str:
    """A C comment in the kernel's style: one line where it fits, else a block."""
    paragraphs = [textwrap.wrap(paragraph, _COLUMNS - 3) for paragraph in text.split("\n\n")]
    if len(paragraphs) == 1 and len(paragraphs[0]) == 1 and len(paragraphs[0][0]) < _COLUMNS - 6:
        return f"/* {paragraphs[0][0]} */"
    lines = [line for paragraph in paragraphs for line in ["", *paragraph]][1:]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])
