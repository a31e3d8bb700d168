# SPDX-License-Identifier: GPL-2.0
"""All that a run's verdicts depend on, as one hash: with the same inputs they would not change."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

from harness.objcode import fingerprint
from harness.place import Place
from harness.preflight import qemu_version
from harness.runner import Ingredients, Options
from harness.selection import select

_PACKAGE = Path(__file__).parent


def hash_inputs(place: Place, ready: Ingredients, options: Options) -> str:
    """Return the hash of a run's inputs.

    Modules count by what they do (:func:`harness.objcode.fingerprint`): a comment in the driver
    changes no verdict. The harness counts whole, since it judges.

    Args:
        place: where.
        ready: what would be run.
        options: how.

    Raises:
        HarnessError: a module is not an object file.
    """
    kernel, accelerator = ready.kernel, ready.accelerator
    facts = {
        "kernel": [kernel.release, kernel.sha256],
        "driver": "builtin" if options.builtin else fingerprint(ready.driver.ko),
        "helpers": {one.ko.stem: fingerprint(one.ko) for one in ready.helpers},
        "suites": [
            [suite.name, suite.ids, suite.modules, suite.cmdline, suite.cpus, _digest(suite.binary)]
            for suite in select(ready.selftests.suites, options.patterns)
        ],
        "vm": [options.cmdline, options.memory, max(options.cpus, ready.cpus)],
        "run": [options.cold, options.more],
        "accelerator": accelerator.name,
        "tools": [qemu_version(place.spawner), metadata.version("virtme-ng")],
        "harness": _harness(),
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _harness() -> str:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(_PACKAGE)}\0{_digest(path)}\0".encode())
    return digest.hexdigest()
