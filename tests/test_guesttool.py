# SPDX-License-Identifier: GPL-2.0
import os
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from harness.guestroot import Load, Plan, SuiteRun, payload
from harness.guesttool import GuestToolError, guest_tool
from harness.run import CommandError, Spawner

SPAWNER = Spawner(env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})


def test_a_program_is_static_and_compiled_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spawner = Spawner(env=dict(SPAWNER.env), log=log)
    program = guest_tool("speed", folder=tmp_path, spawner=spawner)
    assert guest_tool("speed", folder=tmp_path, spawner=spawner) == program
    assert log.read_text().count("run: ") == 1
    with program.open("rb") as file:
        segments = [segment["p_type"] for segment in ELFFile(file).iter_segments()]
    assert "PT_LOAD" in segments
    assert "PT_INTERP" not in segments


def test_speed_is_a_decimal_from_1_to_1000(tmp_path: Path) -> None:
    program = guest_tool("speed", folder=tmp_path, spawner=SPAWNER)
    whole, point, fraction = SPAWNER.run([program], deadline=60).output.rstrip("\n").partition(".")
    assert (point, len(fraction)) == (".", 1)
    assert 1 <= float(f"{whole}.{fraction}") <= 1000


def test_reseed_refuses_what_is_no_seed(tmp_path: Path) -> None:
    program = guest_tool("reseed", folder=tmp_path, spawner=SPAWNER)
    for arguments in ((), ("",), ("xy",), ("00" * 65,)):
        with pytest.raises(CommandError, match="exit status 2"):
            SPAWNER.run([program, *arguments], deadline=60)


def test_no_compiler(tmp_path: Path) -> None:
    with pytest.raises(GuestToolError, match="no C compiler") as info:
        guest_tool("speed", folder=tmp_path, spawner=Spawner(env={"PATH": str(tmp_path)}))
    assert info.value.hint == "ci/install-deps installs what is missing"


def test_the_payload_is_all_that_a_plan_needs(tmp_path: Path) -> None:
    driver, binary = Path("/x/drv.ko"), Path("/y/mmap-123/mmap")
    plan = Plan(
        nonce="ab", loads=(Load(ko=driver),), suites=(SuiteRun(name="mmap", binary=binary),)
    )
    files = payload(plan, tools=tmp_path, spawner=SPAWNER)
    assert files[-2:] == (("drv.ko", driver), ("suites/mmap", binary))
    programs = dict(files[:-2])
    assert {"run-tests", "leaks", "speed"} <= programs.keys()
    assert all(os.access(program, os.X_OK) for program in programs.values())
