# SPDX-License-Identifier: GPL-2.0
"""The one door for processes."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.run import CommandError, DeadlineError, Leash, LeashError, Spawner
from tests.awaiting import wait_for_files, wait_gone

SPAWNER = Spawner(env={"PATH": os.environ["PATH"]})


def test_output_and_status() -> None:
    done = SPAWNER.run(["sh", "-c", "echo out; echo err >&2; exit 3"], deadline=10, check=False)
    assert (done.status, done.output) == (3, "out\nerr\n")


def test_commands_start_with_no_signal_ignored() -> None:
    done = SPAWNER.run(["grep", "SigIgn", "/proc/self/status"], deadline=10)
    # Of the first 31: the C library has its own use for those above.
    assert int(done.output.split()[1], 16) & 0x7FFFFFFF == 0


def test_environment_is_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    done = SPAWNER.with_env(GIVEN="2").run(["env"], deadline=10)
    assert "GIVEN=2" in done.output.splitlines()
    assert "LEAK" not in done.output


def test_failure_names_command_and_last_line() -> None:
    with pytest.raises(CommandError, match=r"exit status 4: the reason") as caught:
        SPAWNER.run(["sh", "-c", "echo the reason; exit 4"], deadline=10, hint="do this")
    assert caught.value.hint == "do this"
    assert caught.value.completed.status == 4


def test_a_compilers_failure_names_its_first_error(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x = y;\nint z = w;\n")
    with pytest.raises(CommandError, match=r"exit status 1: x\.c:1:9: error: .y. undeclared"):
        SPAWNER.run(["gcc", "-Werror", "-c", "x.c"], deadline=60, cwd=tmp_path)


def test_death_by_signal() -> None:
    with pytest.raises(CommandError, match="killed by SIGSEGV"):
        SPAWNER.run(["sh", "-c", "kill -SEGV $$"], deadline=10)


def test_missing_command() -> None:
    with pytest.raises(CommandError, match="no-such-tool: command not found"):
        SPAWNER.run(["no-such-tool"], deadline=10)


def test_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ >>{pids}; sleep 1000 & echo $! >>{pids}; wait"
    with pytest.raises(DeadlineError, match="not done after"):
        SPAWNER.run(["sh", "-c", script], deadline=0.5)
    assert all(wait_gone(int(pid)) for pid in pids.read_text().split())


def test_leftovers_of_a_finished_command_are_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    SPAWNER.run(["sh", "-c", f"sleep 1000 >/dev/null 2>&1 & echo $! >{pid}"], deadline=10)
    assert wait_gone(int(pid.read_text()))


def test_nothing_survives_a_sigkill_of_the_harness(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait"
    code = (
        "from harness.run import Spawner; import os\n"
        f"Spawner(env=dict(os.environ)).run(['sh', '-c', {script!r}], deadline=100)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as harness:
        wait_for_files(tmp_path, pids.exists, harness)
        harness.send_signal(signal.SIGKILL)
    assert all(wait_gone(int(pid)) for pid in pids.read_text().split())


def test_a_leash_can_kill_and_go_on() -> None:
    leash = Leash()
    spawner = replace(SPAWNER, leash=leash)
    with spawner.spawn(["sleep", "1000"]) as process:
        leash.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert spawner.run(["true"], deadline=10).status == 0


def test_a_leash_ends_the_commands_of_other_threads() -> None:
    leash = Leash()
    spawner = replace(SPAWNER, leash=leash)
    with spawner.spawn(["sleep", "1000"]) as process:
        threading.Thread(target=leash.pull).start()
        assert process.wait(timeout=30) == -signal.SIGKILL
    with pytest.raises(LeashError), spawner.with_env(A="1").spawn(["sleep", "1000"]):
        pass


def test_a_longer_leash_holds_what_shorter_ones_do() -> None:
    longer = Leash()
    first, second = Leash(longer), Leash(longer)
    spawners = [replace(SPAWNER, leash=leash) for leash in (first, second)]
    with spawners[0].spawn(["sleep", "1000"]) as one, spawners[1].spawn(["sleep", "1000"]) as two:
        first.pull()
        assert one.wait(timeout=30) == -signal.SIGKILL
        assert two.poll() is None
        assert (longer.pulled, first.pulled, second.pulled) == (False, True, False)
        longer.pull()
        assert two.wait(timeout=30) == -signal.SIGKILL
    assert second.pulled


def test_log_has_the_command_line(tmp_path: Path) -> None:
    log = tmp_path / "commands.log"
    Spawner(env=SPAWNER.env, log=log).run(["echo", "two words"], deadline=10)
    assert log.read_text().startswith("run: echo 'two words'\nend: status 0")


def test_which(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("")
    spawner = Spawner(env={"PATH": str(tmp_path)})
    assert spawner.which("tool") is None, "not executable"
    tool.chmod(0o755)
    assert spawner.which("tool") == tool
