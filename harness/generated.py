# SPDX-License-Identifier: GPL-2.0
"""The C text of all suites, generated anew only when something that goes into it has changed.

To load Jinja2 and compile the templates takes 0.1 s, and a run that finds all else in the cache
eight seconds: it is done when it must be.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from harness.errors import HarnessError
from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text
from harness.spec import Spec

_NAME = "generated.json"
_SCHEMA = 1
_GENERATOR = Path(__file__).with_name("generate.py")


def generated(specs: Sequence[Spec], templates: Path, *, cache: Path) -> list[str]:
    """Return the C source of each suite.

    Args:
        specs: the suites.
        templates: folder of the Jinja2 templates, selftests/templates/.
        cache: folder that keeps what was generated last.

    Raises:
        TemplateError: see :func:`harness.generate.render`.
    """
    of = _digest(specs, templates)
    path = cache / _NAME
    with suppress(DocumentError):
        kept = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
        if kept.text("of") == of:
            return list(kept.texts("texts"))
    from harness.generate import render

    texts = [render(spec, templates) for spec in specs]
    # Not what was rendered of a template that is just being saved; and where nothing can be written
    # all else may be in the cache.
    if _digest(specs, templates) == of:
        with suppress(OSError, HarnessError):
            cache.mkdir(parents=True, exist_ok=True)
            write_text(path, dump({"schema": _SCHEMA, "of": of, "texts": texts}))
    return texts


def _digest(specs: Sequence[Spec], templates: Path) -> str:
    digest = hashlib.sha256()
    for part in _ingredients(specs, templates):
        digest.update(part + b"\0")
    return digest.hexdigest()


def _ingredients(specs: Sequence[Spec], templates: Path) -> Iterator[bytes]:
    yield f"{sys.version} {metadata.version('jinja2')}".encode()
    yield _GENERATOR.read_bytes()
    for spec in specs:
        # Of the path only the name is in the text: checkouts share what is kept.
        yield repr(replace(spec, path=Path(spec.path.name))).encode()
    for path in sorted(templates.glob("*.j2")):
        yield path.name.encode()
        yield path.read_bytes()
