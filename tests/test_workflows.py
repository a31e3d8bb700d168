# SPDX-License-Identifier: GPL-2.0
"""The GitHub workflows: valid, pinned, thin, and their steps run from a bare Debian root."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.cache import remove_tree
from harness.canary import load_canaries
from harness.cli import _child_environment
from harness.matrix import DEFAULT_GROUP, load_matrix
from harness.run import Spawner
from tests.rehearsal import Job, Machine, Runner, bare_machine, fill, read

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
JOBS = [(path, job) for path in WORKFLOWS for job in read(path)[1]]
TOOLS = Path(sys.executable).parent
# A rehearsal is of one of the jobs that a matrix makes: what its expressions are worth.
CELL = {
    "matrix.cell": "6.12",
    "matrix.kernel": "6.12",
    "matrix.shard": "1",
    "github.run_id": "1",
    "github.run_attempt": "1",
}
# At night one with a kernel that we build.
NIGHT = {**CELL, "matrix.cell": "6.12+debug", "matrix.kernel": "6.12+debug"}
REHEARSED = {"check": CELL, "nightly": NIGHT}
# A night's share of all mutants takes hours: a few of them.
SHARDS = {"mutants": "1/100", "automatic": "1/400"}

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


@each_workflow
def test_actionlint_finds_nothing(path: Path) -> None:
    done = say(TOOLS / "actionlint", path)
    assert done.returncode == 0, done.stdout


@each_workflow
def test_actionlint_would_find_something(path: Path, tmp_path: Path) -> None:
    """Neither the schema nor zizmor knows which outputs a job has."""
    wrong = tmp_path / path.name
    wrong.write_text(path.read_text().replace("needs.plan.outputs.cells", "needs.plan.outputs.all"))
    done = say(TOOLS / "actionlint", wrong)
    assert done.returncode == 1, done.stderr
    assert 'property "all" is not defined' in done.stdout


@pytest.fixture
def snippet() -> dict[str, Any]:
    """GitLab's, with what its job extends put into it: of a hidden job the schema asks nothing."""
    (found,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "ci/README.md").read_text(), re.DOTALL)
    said: dict[str, Any] = YAML(typ="safe").load(found)
    job = said["check"]
    said["check"] = {**said.pop(job.pop("extends")), **job}
    return said


def test_gitlab_takes_the_snippet(snippet: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "gitlab-ci.json"
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    for when, status in ((snippet["check"]["artifacts"]["when"], 0), ("ever", 1)):
        snippet["check"]["artifacts"]["when"] = when
        path.write_text(json.dumps(snippet))
        done = say(TOOLS / "check-jsonschema", *schema, path)
        assert done.returncode == status, done.stdout


def test_the_snippet_runs_what_there_is(snippet: dict[str, Any]) -> None:
    check = snippet["check"]
    cells = load_matrix(ROOT / "kconfigs/matrix.toml").cells
    (parallel,) = check["parallel"]["matrix"]
    # A cell and its kernel are called alike there.
    assert parallel["KERNEL"] == [cell.name for cell in cells if cell.group == DEFAULT_GROUP]
    for line in (*check["script"], *check["after_script"]):
        assert os.access(ROOT / line.split()[0], os.X_OK), line


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    written = (ROOT / "ci/Containerfile").read_text()
    # What it must find: an image of another day each day.
    for text, status in ((written, 0), (written.replace("debian:bookworm", "debian"), 1)):
        (tmp_path / "Containerfile").write_text(text)
        done = say(TOOLS / "hadolint", "--no-color", tmp_path / "Containerfile")
        assert done.returncode == status, done.stdout


def test_no_commit_on_main_goes_without_a_verdict() -> None:
    for path in WORKFLOWS:
        said = read(path)[0]["concurrency"]
        alone = "github.event_name == 'pull_request' && github.ref || github.sha" in said["group"]
        assert alone or not said["cancel-in-progress"], path.name


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
def test_what_others_wrote_gives_no_commands(path: Path, job: Job) -> None:
    """Commands whose output is ours alone are named here; all others are muted."""
    ours = {"ci/prepare", "ci/kernel-key", "ci/plan", "ci/report"}
    for step in job.steps:
        if step.run is not None and (words := step.run.split())[0] not in ours:
            script = [words[0], (ROOT / words[0]).read_text()]
            assert words[0] == "ci/mute" or "exec ci/mute " in script[1], step.run


def test_a_muted_command_is_what_it_is_at_home() -> None:
    github = {**os.environ, "GITHUB_ACTIONS": "true"}
    home = {name: value for name, value in github.items() if name != "GITHUB_ACTIONS"}
    said = "  ::error::no\n::stop-commands::x\n::x::\nno end of a line"
    argv = (ROOT / "ci/mute", "bash", "-c", 'printf "%s" "$1"; exit 3', "bash", said)
    run = partial(subprocess.run, argv, capture_output=True, text=True, timeout=60, check=False)
    alone = run(env=home)
    assert (alone.returncode, alone.stdout) == (3, said)
    tokens = set()
    for _ in range(2):
        muted = run(env=github)
        assert muted.returncode == 3
        first, *middle, last = muted.stdout.splitlines()
        assert middle == said.splitlines()
        command, _, token = first.rpartition("::")
        assert command == "::stop-commands"
        assert re.fullmatch("[0-9a-f]{32}", token)
        assert last == f"::{token}::"
        tokens.add(token)
    assert len(tokens) == 2


def test_a_muted_command_has_one_way_out() -> None:
    """GitHub reads both pipes, each at its own pace: in its own, stderr might come too early."""
    argv = (ROOT / "ci/mute", "bash", "-c", "echo one; echo ::error::two >&2; echo three")
    muted = subprocess.run(
        argv,
        env={**os.environ, "GITHUB_ACTIONS": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert muted.stderr == ""
    assert muted.stdout.splitlines()[1:-1] == ["one", "::error::two", "three", ""]


@pytest.mark.parametrize(
    ("before", "sudo", "after", "said"),
    [
        ("1\n", '"${@:2}"', "0\n", "no longer keeps"),
        ("1\n", "false", "1\n", "no build root without root"),
        ("0\n", "false", "0\n", ""),
        (None, "false", None, ""),
    ],
    ids=["allowed", "no-sudo", "allowed-before", "no-apparmor"],
)
def test_user_namespaces_are_had_where_apparmor_keeps_them_back(
    before: str | None, sudo: str, after: str | None, said: str, tmp_path: Path
) -> None:
    switch = tmp_path / "switch"
    if before is not None:
        switch.write_text(before)
    for name, line in (("sudo", sudo), ("id", "echo 1000")):
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{line}\n")
        program.chmod(0o755)
    done = subprocess.run(
        (ROOT / "ci/enable-userns", switch),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (switch.read_text() if switch.exists() else None) == after
    assert said in done.stdout
    assert bool(done.stdout) == bool(said)


@each_job
def test_who_makes_build_roots_may(path: Path, job: Job) -> None:
    steps = [step.run for step in job.steps if step.run is not None]
    if job.name != "plan":
        assert steps[0].startswith("ci/prepare")


def runs(job: Job, words: str) -> bool:
    return any(words in (step.run or "") for step in job.steps)


def boots(job: Job) -> bool:
    return any(runs(job, words) for words in ("ci/cell", "harness canary", "harness mutate"))


@each_job
def test_who_boots_a_kernel_keeps_it_and_what_it_said(path: Path, job: Job) -> None:
    if not boots(job):
        return
    assert runs(job, 'ci/prepare "$KERNEL"')
    uses = {(step.uses or "").partition("@")[0]: step.inputs for step in job.steps}
    cache, artifact = uses["actions/cache"], uses["actions/upload-artifact"]
    assert cache["path"] == "~/.cache/udmabuf-harness/kernels"
    assert cache["key"] == "${{ steps.kernel.outputs.key }}"
    # The link to the newest run is no second one.
    assert artifact["path"].split() == ["build/runs/", "!build/runs/**/latest"]
    assert isinstance(job.matrix, str) or set(job.matrix) == set(
        re.findall(r"matrix\.(\w+)", artifact["name"])
    ), "an artifact's name is that of one job"


@each_job
def test_mutants_are_all_judged_and_none_twice(path: Path, job: Job) -> None:
    judging = next((step for step in job.steps if "harness mutate" in (step.run or "")), None)
    if judging is None:
        return
    assert not isinstance(job.matrix, str)
    shards = job.matrix["shard"]
    assert shards == [*range(1, len(shards) + 1)]
    assert job.env["SHARD"] == f"${{{{ matrix.shard }}}}/{len(shards)}"
    assert job.title.endswith(f"${{{{ matrix.shard }}}} of {len(shards)}")
    assert (judging.minutes or job.minutes) < job.minutes, "time to keep what was judged"
    restored, saved = (
        next(step.inputs for step in job.steps if (step.uses or "").startswith(action))
        for action in ("actions/cache/restore", "actions/cache/save")
    )
    assert restored["path"] == saved["path"] == "~/.cache/udmabuf-harness/mutants/results"
    assert restored["key"] == saved["key"]
    # What another shard or kernel was said of is of no use.
    stem, run = restored["restore-keys"], "${{ github.run_id }}-${{ github.run_attempt }}"
    assert restored["key"] == stem + run
    assert set(re.findall(r"matrix\.(\w+)", stem)) == set(job.matrix)


def test_each_canary_that_needs_a_kernel_of_ours_has_it() -> None:
    jobs = {job.name: job for _, job in JOBS}
    matrix = jobs["canaries"].matrix
    assert not isinstance(matrix, str)
    profiles = {kernel.partition("+")[2] for kernel in matrix["kernel"]} - {""}
    options = {
        path.stem: set(re.findall(r"^(CONFIG_\w+)=y$", path.read_text(), re.MULTILINE))
        for path in (ROOT / "kconfigs").glob("*.config")
    }
    ours, there = set.union(*options.values()), {one for name in profiles for one in options[name]}
    for canary in load_canaries(ROOT / "selftests/canaries/canaries.toml"):
        assert not (set(canary.config) & ours) - there - options["base"], canary.test


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


@each_job
def test_the_rehearsal_is_of_a_job_that_there_is(path: Path, job: Job) -> None:
    matrix = {} if isinstance(job.matrix, str) else job.matrix
    for name, values in matrix.items():
        assert REHEARSED[path.stem][f"matrix.{name}"] in map(str, values)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, str]]:
    """Make a bare Debian with what is committed here, which is what GitHub would check out."""
    folder = tmp_path_factory.mktemp("bare")
    yield bare_machine(folder / "root", ROOT, spawner())
    remove_tree(folder)


def spawner() -> Spawner:
    return Spawner(env=_child_environment(os.environ))


@pytest.mark.rehearsal
# Each command of a job has its own; that of all tests is for those that take seconds.
@pytest.mark.timeout(0)
@each_job
def test_a_job_runs_from_a_bare_root(
    path: Path,
    job: Job,
    pristine: tuple[Machine, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare, clone = pristine
    machine = replace(bare, path=tmp_path / "root")
    assert say("cp", "-a", bare.path, machine.path).returncode == 0
    runner = Runner(machine=machine)
    context = REHEARSED[path.stem]
    if job.name in SHARDS:
        job = replace(job, env={**job.env, "SHARD": SHARDS[job.name]})
    for step, done in runner.job(job, context, clone):
        with capsys.disabled():
            print(f"== {step}", f"with {job.env}" if "$" in step else "")
            print(done if isinstance(done, str) else done.output)
        assert isinstance(done, str) or done.status == 0, step
    if job.name == "plan":
        cells = json.loads(runner.outputs()["cells"])["include"]
        assert context["matrix.kernel"] in [cell["kernel"] for cell in cells]
    remove_tree(machine.path)
