# SPDX-License-Identifier: GPL-2.0
"""The suites as a folder for a kernel tree: tools/testing/selftests/drivers/dma-buf/.

What only our driver, importer or runner offers stays here: whatever is ``ours`` in a specification,
and the C that stands under ``#ifdef`` of a macro that the kernel's headers do not have.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import jinja2

from harness.errors import HarnessError
from harness.generate import origin, render
from harness.spec import Fixture, Spec, Variant, load_specs

PREFIX = "udmabuf_"
_DATA = Path(__file__).parent / "data/export"
_HEADERS = ("udmabuf_test.h", "sync_race.h")
# Our ioctl, our importer, our runner, our guest's disk.
_OURS = ("UDMABUF_IOV_CREATE", "DMABUF_IMPORTER_ATTACH", "KSFT_WATCH", "RAM_DISK")
_OUR_HEADERS = (
    "<linux/udmabuf_iov.h>",
    '"importer_test.h"',
    '"memlock_test.h"',
    '"ram_disk.h"',
)
_OUR_MEMORY = (".backing = ANON,", ".backing = THP,")
# Bugs by the numbers of our notes, which say nothing to others.
_NUMBERS = re.compile(r"(?:\b(?:[BM]\d+|2\.4[a-i])\b(?:, )?)+(?:: )?")
_CONDITION = re.compile(r"#(ifdef|if|ifndef|else|elif|endif)\b\s*(\w*)")


class ExportError(HarnessError):
    """The folder could not be made."""


def export(target: Path, *, source: Path) -> tuple[str, ...]:
    """Write the folder; files of the same names are replaced, others stay.

    Args:
        target: the folder; created.
        source: root of the repository.

    Returns:
        The names of the files.

    Raises:
        ExportError: the folder cannot be written.
        SpecError, TemplateError: a specification or template is malformed.
    """
    files = _files(source / "selftests")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text)
    except OSError as error:
        raise ExportError(f"{target}: {error.strerror}", hint="choose another folder") from None
    return tuple(files)


def exported_specs(folder: Path) -> tuple[Spec, ...]:
    """Return the specifications of a folder that go upstream, without what is ours in them."""
    return tuple(_theirs(spec) for spec in load_specs(folder) if spec.export)


def _theirs(spec: Spec) -> Spec:
    fixtures = (_part(fixture) for fixture in spec.fixtures if not fixture.ours)
    return replace(spec, fixtures=tuple(fixtures))


def _part(fixture: Fixture) -> Fixture:
    return replace(
        fixture,
        variants=tuple(
            replace(variant, guards=_plain(variant.guards))
            for variant in fixture.variants
            if not _is_ours(variant)
        ),
        tests=tuple(
            replace(test, guards=_plain(test.guards)) for test in fixture.tests if not test.ours
        ),
    )


def _is_ours(variant: Variant) -> bool:
    return variant.ours or any(
        memory in value for _, value in variant.values for memory in _OUR_MEMORY
    )


def _plain(guards: str) -> str:
    return _NUMBERS.sub("", guards)


def _files(selftests: Path) -> dict[str, str]:
    """Return the text of each file, by name."""
    specs = exported_specs(selftests / "specs")
    files = {name: theirs_only((selftests / "include" / name).read_text()) for name in _HEADERS}
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        for spec in specs:
            template = (selftests / "templates" / spec.template).read_text()
            Path(scratch, spec.template).write_text(theirs_only(template))
            text = render(spec, Path(scratch))
            # There it is source, and nothing to be generated.
            files[f"{PREFIX}{spec.name}.c"] = text.replace(f" * {origin(spec)}\n *\n", "", 1)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for path in sorted(_DATA.iterdir()):
        files[path.name.removesuffix(".j2")] = environment.from_string(path.read_text()).render(
            specs=specs,
            headers=_HEADERS,
            programs=[f"{PREFIX}{spec.name}" for spec in specs],
            count=sum(len(spec.ids) for spec in specs),
        )
    files[".gitignore"] = files.pop("gitignore")
    return files


def theirs_only(text: str) -> str:
    """Return C as the preprocessor would leave it where nothing of ours is defined.

    Only conditions on what is ours are decided; all others stay as they are.
    """
    kept: list[str] = []
    # For each condition that is open: None for one of theirs, else whether its lines are kept.
    conditions: list[bool | None] = []
    for line in text.splitlines(keepends=True):
        condition = _CONDITION.match(line)
        word = condition[1] if condition else ""
        ours = False
        if condition and word in ("if", "ifdef", "ifndef"):
            ours = word == "ifdef" and condition[2] in _OURS
            conditions.append(False if ours else None)
        elif word in ("else", "endif") and conditions[-1] is not None:
            ours = True
            conditions[-1] = word == "else"
        closed = all(keep is not False for keep in conditions)
        if word == "endif":
            conditions.pop()
        if closed and not ours and not _includes_ours(line):
            kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "".join(kept))


def _includes_ours(line: str) -> bool:
    return line.startswith("#include ") and line.split()[1] in _OUR_HEADERS
