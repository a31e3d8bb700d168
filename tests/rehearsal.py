# SPDX-License-Identifier: GPL-2.0
"""GitHub workflows, read well enough to run their steps at home.

Only what our own workflows use is understood; anything else is an error, so that no step is left
out in silence.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.archive import DEBIAN_KEYRING, host_settings
from harness.buildroot import BuildRoot
from harness.matrix import BuildRootSpec
from harness.run import Completed, Spawner

_EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")
# What a new Debian has for a developer who cloned this: no compiler, no QEMU.
_BARE = ("ca-certificates", "git", "make", "python3", "python3-venv")
# How this machine reaches its package archives, where it needs to be told.
_REACH = (
    "etc/resolv.conf",
    "etc/pip.conf",
    "etc/ssl/certs/ca-certificates.crt",
    "etc/apt/sources.list.d/debian.sources",
)
# Seconds: no command of a job takes as long at home, however busy that is.
DEADLINE = 4 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a job: a command, or an action of somebody else."""

    name: str
    run: str | None
    uses: str | None
    id: str | None
    inputs: Mapping[str, str]
    minutes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: what it needs of others, how often it runs, its own variables, its steps."""

    name: str
    title: str
    needs: str | None
    matrix: Mapping[str, Any] | str
    env: Mapping[str, str]
    steps: tuple[Step, ...]
    permissions: Mapping[str, str]
    minutes: int


def read(path: Path) -> tuple[Mapping[str, Any], tuple[Job, ...]]:
    """Return a workflow's document and its jobs."""
    document = YAML(typ="safe", pure=True).load(path)
    jobs = tuple(
        Job(
            name=name,
            title=job["name"],
            matrix=job.get("strategy", {}).get("matrix", {}),
            needs=job.get("needs"),
            env=job.get("env", {}),
            steps=tuple(_step(step) for step in job["steps"]),
            permissions=job["permissions"],
            minutes=job["timeout-minutes"],
        )
        for name, job in document["jobs"].items()
    )
    return document, jobs


def _step(step: Mapping[str, Any]) -> Step:
    return Step(
        name=step.get("name", ""),
        run=step.get("run"),
        uses=step.get("uses"),
        id=step.get("id"),
        inputs=step.get("with", {}),
        minutes=step.get("timeout-minutes"),
    )


def fill(text: str, context: Mapping[str, str]) -> str:
    """Replace each ${{ expression }} by what the context has for it.

    Raises:
        KeyError: it has nothing.
    """
    return _EXPRESSION.sub(lambda match: context[match[1]], text)


def bare_root(folder: Path, spawner: Spawner) -> BuildRoot:
    """Make a Debian 12 that has only what a clone takes.

    Args:
        folder: does not exist yet.
    """
    aptopts = (f"--aptopt={line.rstrip(';')}" for line in host_settings(spawner))
    spec = BuildRootSpec(
        suite="bookworm", mirror="http://deb.debian.org/debian", compiler="", packages=_BARE
    )
    argv = ("mmdebstrap", "--quiet", "--variant=apt", f"--keyring={DEBIAN_KEYRING}", *aptopts)
    spawner.run(
        (*argv, f"--include={','.join(_BARE)}", spec.suite, folder, spec.mirror), deadline=DEADLINE
    )
    for name in _REACH:
        source = Path("/") / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    if (folder / _REACH[-1]).exists():
        (folder / "etc/apt/sources.list").unlink(missing_ok=True)
    return BuildRoot(path=folder, spec=spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A machine of ours in the place of GitHub's."""

    root: BuildRoot
    spawner: Spawner

    def job(self, job: Job, context: Mapping[str, str], clone: str) -> Iterator[Completed]:
        """Run the commands of a job in order, up to one that fails.

        Args:
            context: the value of each expression but `steps.*`.
            clone: the repository, as a path in the root.
        """
        known = dict(context)
        env = {name: fill(value, known) for name, value in job.env.items()}
        for step in job.steps:
            if step.uses is not None:
                self._use(step, known, clone)
                continue
            assert step.run is not None
            done = self._run(fill(step.run, known), env)
            yield done
            if done.status:
                return
            output = self.root.path / "root/output"
            for line in output.read_text().splitlines() if output.exists() else ():
                name, _, value = line.partition("=")
                known[f"steps.{step.id}.outputs.{name}"] = value

    def outputs(self) -> dict[str, str]:
        """Return what the last step that said something said."""
        lines = (self.root.path / "root/output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _use(self, step: Step, known: Mapping[str, str], clone: str) -> None:
        action = str(step.uses).partition("@")[0]
        inputs = [fill(str(value), known) for value in step.inputs.values()]
        match action:
            case "actions/checkout":
                done = self._run(f"git clone -q {clone} /root/project", {}, folder="/root")
                assert done.status == 0, done.output
            case "actions/cache" | "actions/cache/restore" | "actions/cache/save":
                assert all(inputs)
            case "actions/upload-artifact":
                first, *_ = inputs[1].splitlines()
                assert any((self.root.path / "root/project" / first).iterdir())
            case _:
                raise AssertionError(f"no rehearsal for {action}")

    def _run(
        self, command: str, env: Mapping[str, str], folder: str = "/root/project"
    ) -> Completed:
        words: Sequence[str] = (
            *("env", "-C", folder, "HOME=/root", "GITHUB_OUTPUT=/root/output"),
            *("GITHUB_STEP_SUMMARY=/root/summary", "GITHUB_ACTIONS=true", "CI=true"),
            *(f"{name}={value}" for name, value in env.items()),
            *("bash", "-eo", "pipefail", "-c", command),
        )
        argv = self.root.command(words, visible=[Path("/sys")])
        return self.spawner.run(argv, deadline=DEADLINE, check=False)
