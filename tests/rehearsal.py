# SPDX-License-Identifier: GPL-2.0
"""GitHub workflows, read well enough to run their steps at home.

Only what our own workflows use is understood; anything else is an error, so that no step is left
out in silence. Steps run as on GitHub's runners: not as root, but as a user who may sudo.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.archive import DEBIAN_KEYRING, host_settings
from harness.run import Completed, Spawner

_EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")
_ENTER = Path(__file__).parent / "in-machine"
# What a new Debian has for a developer who cloned this: no compiler, no QEMU.
_BARE = ("ca-certificates", "git", "make", "python3", "python3-venv", "sudo")
_SUITE, _MIRROR = "bookworm", "http://deb.debian.org/debian"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# GitHub's user, by name, number and rights.
_USER, _UID = "runner", "1001"
_HOME = Path("/home") / _USER
_PROJECT = _HOME / "project"
# How this machine reaches its package archives, where it needs to be told.
_REACH = (
    "etc/hosts",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A Debian that has only what a clone takes, and a user who may sudo.

    Attributes:
        path: its root, a folder of ours.
    """

    path: Path
    spawner: Spawner

    @property
    def home(self) -> Path:
        """The user's home, as a path of ours."""
        return self.path / _HOME.relative_to("/")

    def run(self, argv: Sequence[str], *, user: str = _USER) -> Completed:
        """Run a command there; no status is an error."""
        words: tuple[str | Path, ...] = (
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", _ENTER, self.path),
            *("runuser", "-u", user, "--", "env", "-i", f"PATH={_PATH}", "LC_ALL=C.UTF-8", *argv),
        )
        return self.spawner.run(words, deadline=DEADLINE, check=False)


def bare_machine(folder: Path, repository: Path, spawner: Spawner) -> tuple[Machine, str]:
    """Make a machine, and put a copy of a repository there.

    Args:
        folder: does not exist yet.

    Returns:
        The machine, and where it has the repository.
    """
    aptopts = (f"--aptopt={line.rstrip(';')}" for line in host_settings(spawner))
    argv = ("mmdebstrap", "--quiet", "--variant=apt", f"--keyring={DEBIAN_KEYRING}", *aptopts)
    spawner.run((*argv, f"--include={','.join(_BARE)}", _SUITE, folder, _MIRROR), deadline=DEADLINE)
    for name in _REACH:
        source = Path("/") / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    if (folder / _REACH[-1]).exists():
        (folder / "etc/apt/sources.list").unlink(missing_ok=True)
    (folder / "etc/sudoers.d" / _USER).write_text(f"{_USER} ALL=(ALL) NOPASSWD:ALL\n")
    machine = Machine(path=folder, spawner=spawner)
    clone = _HOME / "origin"
    add = ("useradd", "--create-home", "--shell", "/bin/bash", "--uid", _UID, _USER)
    assert machine.run(add, user="root").status == 0
    there = machine.home / clone.name
    spawner.run(("git", "clone", "-q", "--bare", repository, there), deadline=DEADLINE)
    assert machine.run(("chown", "-R", f"{_USER}:", str(clone)), user="root").status == 0
    return machine, str(clone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A machine of ours in the place of GitHub's."""

    machine: Machine

    def job(
        self, job: Job, context: Mapping[str, str], clone: str
    ) -> Iterator[tuple[str, Completed | str]]:
        """Run the steps of a job in order, up to a command that fails.

        Args:
            context: the value of each expression but `steps.*`.
            clone: the repository, as a path of the machine.

        Yields:
            What the step is, and how its command ended or what stood in for its action.

        Raises:
            AssertionError: what an action would keep is not there.
        """
        known = dict(context)
        env = {name: fill(value, known) for name, value in job.env.items()}
        for step in job.steps:
            if step.uses is not None:
                inputs = {name: fill(str(text), known) for name, text in step.inputs.items()}
                action = step.uses.partition("@")[0]
                yield action, self._use(action, inputs, clone)
                continue
            assert step.run is not None
            done = self._run(fill(step.run, known), env)
            yield step.run, done
            if done.status:
                return
            for name, value in self.outputs().items():
                known[f"steps.{step.id}.outputs.{name}"] = value
        for step in job.steps:
            # This one keeps its folder when all is done.
            if (step.uses or "").startswith("actions/cache@"):
                yield "actions/cache, after the job", self._keep(step.inputs["path"])

    def outputs(self) -> dict[str, str]:
        """Return what steps said so far."""
        output = self.machine.home / "output"
        lines = output.read_text().splitlines() if output.exists() else ()
        return dict(line.split("=", 1) for line in lines)

    def _use(self, action: str, inputs: Mapping[str, str], clone: str) -> str:
        match action:
            case "actions/checkout":
                done = self._run(f"git clone -q {clone} {_PROJECT}", {}, folder=_HOME)
                assert done.status == 0, done.output
                return clone
            case "actions/cache" | "actions/cache/restore":
                assert all(inputs.values())
                return f"{inputs['key']}: {self._restore(inputs['path'], inputs['key'])}"
            case "actions/cache/save":
                return f"{inputs['key']}: {self._keep(inputs['path'])}"
            case "actions/upload-artifact":
                first, *_ = inputs["path"].splitlines()
                return f"{inputs['name']}: {self._keep(first)}"
            case _:
                raise AssertionError(f"no rehearsal for {action}")

    def _restore(self, folder: str, key: str) -> str:
        """Give the root what GitHub would keep by the key, if that is a kernel that we build.

        One that this machine has built, and by the same key. All else is as on the first day: a
        kernel of Debian's is fetched.
        """
        for kernel in Path(folder).expanduser().glob("*+*/*/"):
            if f"{kernel.parent.name}-{kernel.name}" == key:
                there = self._place(folder) / kernel.parent.name / kernel.name
                shutil.copytree(kernel, there, symlinks=True)
                self._own(folder)
                return f"from {kernel}"
        return "nothing is kept by this key"

    def _keep(self, folder: str) -> str:
        """See that there is something to keep: GitHub's actions warn at most."""
        place = self._place(folder)
        files = sum(path.is_file() for path in place.rglob("*"))
        assert files, f"nothing in {folder}"
        return f"{files} files in {folder}"

    def _own(self, folder: str) -> None:
        """Give the user what was put there by us, and the folders made on the way."""
        place = self._place(folder).relative_to(self.machine.home)
        path = str(_HOME / place.parts[0])
        assert self.machine.run(("chown", "-R", f"{_USER}:", path), user="root").status == 0

    def _place(self, folder: str) -> Path:
        name = folder.removeprefix("~/")
        return self.machine.home / (Path(_PROJECT.name) / folder if name == folder else name)

    def _run(self, command: str, env: Mapping[str, str], folder: Path = _PROJECT) -> Completed:
        words: Sequence[str] = (
            *("env", "-C", str(folder), f"HOME={_HOME}", f"GITHUB_OUTPUT={_HOME}/output"),
            *(f"GITHUB_STEP_SUMMARY={_HOME}/summary", "GITHUB_ACTIONS=true", "CI=true"),
            *(f"{name}={value}" for name, value in env.items()),
            *("bash", "-eo", "pipefail", "-c", command),
        )
        return self.machine.run(words)
