# SPDX-License-Identifier: GPL-2.0
"""The GitHub workflows: valid, pinned, thin, and their steps run from a bare Debian root."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.buildroot import BuildRoot
from harness.cache import remove_tree
from harness.cli import _child_environment
from harness.run import Spawner
from tests.rehearsal import Job, Runner, bare_root, fill, read

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
JOBS = [(path, job) for path in WORKFLOWS for job in read(path)[1]]
TOOLS = Path(sys.executable).parent
# A cell for the rehearsal: what the expressions of a job that runs for each are worth.
CELL = {
    "matrix.cell": "6.12",
    "matrix.kernel": "6.12",
    "github.run_id": "1",
    "github.run_attempt": "1",
}

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
each_job = pytest.mark.parametrize(
    ("path", "job"), JOBS, ids=[f"{path.stem}-{job.name}" for path, job in JOBS]
)


def say(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@each_workflow
def test_github_takes_it(path: Path) -> None:
    done = say(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)
    assert done.returncode == 0, done.stdout


@each_workflow
def test_it_gives_nothing_away(path: Path) -> None:
    done = say(TOOLS / "zizmor", "--offline", "--no-progress", "--pedantic", path)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="no actionlint on PATH")
@each_workflow
def test_actionlint_finds_nothing(path: Path) -> None:
    done = say("actionlint", path)
    assert done.returncode == 0, done.stdout


@each_job
def test_it_may_read_and_has_an_end(path: Path, job: Job) -> None:
    assert read(path)[0]["permissions"] == {}
    assert job.permissions == {"contents": "read"}
    assert job.minutes <= 240


@each_job
def test_a_step_is_one_command_that_runs_at_home(path: Path, job: Job) -> None:
    for step in job.steps:
        if step.run is None:
            continue
        assert "\n" not in step.run
        assert "${{" not in step.run
        words = step.run.split()
        assert words[0] == "make" or (ROOT / words[0]).is_file() or words[0] == ".venv/bin/harness"
        used = {word.strip('"$') for word in words if "$" in word}
        assert used <= set(job.env), f"{step.run}: what is it?"


@each_job
def test_actions_are_pinned(path: Path, job: Job) -> None:
    uses = re.findall(r"uses: (\S+) *(.*)", path.read_text())
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r"# v\d+\.\d+\.\d+", comment)


@each_job
def test_the_rehearsal_knows_every_expression(path: Path, job: Job) -> None:
    steps = {step.id for step in job.steps}
    for step in job.steps:
        for value in (*step.inputs.values(), *job.env.values()):
            for name in re.findall(r"\$\{\{ *(.*?) *\}\}", str(value)):
                said = re.fullmatch(r"steps\.(\w+)\.outputs\.\w+", name)
                assert (said[1] in steps) if said else fill("${{ " + name + " }}", CELL)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildRoot]:
    """Make a bare Debian with what is committed here, which is what GitHub would check out."""
    folder = tmp_path_factory.mktemp("bare")
    root = bare_root(folder / "root", spawner())
    assert say("git", "clone", "-q", "--bare", ROOT, root.path / "root/origin").returncode == 0
    yield root
    remove_tree(folder)


def spawner() -> Spawner:
    return Spawner(env=_child_environment(os.environ))


@pytest.mark.rehearsal
@each_job
def test_a_job_runs_from_a_bare_root(
    path: Path, job: Job, pristine: BuildRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = replace(pristine, path=tmp_path / "root")
    assert say("cp", "-a", pristine.path, root.path).returncode == 0
    runner = Runner(root=root, spawner=spawner())
    for done in runner.job(job, CELL, "/root/origin"):
        with capsys.disabled():
            print(done.output)
        assert done.status == 0, done.output
    if job.name == "plan":
        cells = json.loads(runner.outputs()["cells"])["include"]
        assert CELL["matrix.kernel"] in [cell["kernel"] for cell in cells]
    remove_tree(root.path)
