# SPDX-License-Identifier: GPL-2.0
"""The VM layer, against a fake vng that replays what VMs do."""

import os
from pathlib import Path

import pytest

from harness.accel import Accelerator
from harness.guestroot import GuestRootError, Load, Plan, SuiteRun
from harness.kernel import Kernel
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.vm import VmConfig, run_vm, vng_argv
from harness.watch import BootError, Deadlines

FAKEBIN = Path(__file__).parent / "fakebin"
NONCE = "0123456789abcdef" * 2
TCG = Accelerator(kvm=False, why="test")
GENEROUS = Deadlines(boot=30, silence=30, total=60)


def fake_kernel(*, config: Path = Path("/build/.config")) -> Kernel:
    return Kernel(
        name="6.12",
        release="6.12.0-fake",
        image=Path("/boot/vmlinux"),
        moddir=None,
        build=Path("/build"),
        config=config,
        package="linux-image-6.12.0-fake 6.12.0-1",
        sha256="0" * 64,
        compiler=None,
        suite=None,
    )


def config(deadlines: Deadlines = GENEROUS, *, cmdline: tuple[str, ...] = ()) -> VmConfig:
    return VmConfig(kernel=fake_kernel(), accelerator=TCG, deadlines=deadlines, cmdline=cmdline)


def replay(scenario: str, folder: Path, deadlines: Deadlines = GENEROUS) -> VmEnd:
    """Run a VM whose vng replays a scenario; afterwards, nothing of it may be left."""
    spawner = Spawner(
        env={"PATH": f"{FAKEBIN}:{os.environ['PATH']}", "FAKE_VNG": scenario},
        log=folder / "commands.log",
    )
    plan = Plan(nonce=NONCE, suites=(SuiteRun(name="fake", binary=FAKEBIN / "vng"),))
    return run_vm(config(deadlines), plan, folder=folder, spawner=spawner).end


def test_clean(tmp_path: Path) -> None:
    end = replay("clean", tmp_path)
    assert end.exit is VmExit.CLEAN
    assert end.boot_seconds is not None
    assert (tmp_path / "results.ktap").read_text().endswith(f"@{NONCE} end 0\n")
    assert (tmp_path / "console.log").read_text().startswith("[    0.000000] Linux version")


@pytest.mark.parametrize(
    ("scenario", "exit_", "detail"),
    [
        ("panic", VmExit.PANIC, "Kernel panic - not syncing: Fatal exception"),
        ("truncated", VmExit.LOST, "status 255"),
        ("no_end", VmExit.LOST, "status 0"),
        ("killed", VmExit.LOST, "status -9"),
        ("exits_255", VmExit.NEVER_BOOTED, "Could not set up host forwarding rule"),
    ],
)
def test_end_without_end_marker(scenario: str, exit_: VmExit, detail: str, tmp_path: Path) -> None:
    end = replay(scenario, tmp_path)
    assert end.exit is exit_
    assert detail in end.detail


@pytest.mark.parametrize(
    ("scenario", "deadlines", "exit_"),
    [
        ("silent", Deadlines(boot=30, silence=0.5, total=60), VmExit.SILENT),
        ("stubborn", Deadlines(boot=30, silence=0.5, total=60), VmExit.SILENT),
        ("chatty", Deadlines(boot=30, silence=30, total=1.5), VmExit.DEADLINE),
        ("never_boots", Deadlines(boot=1.0, silence=30, total=60), VmExit.NEVER_BOOTED),
    ],
)
def test_limits_of_patience(
    scenario: str, deadlines: Deadlines, exit_: VmExit, tmp_path: Path
) -> None:
    end = replay(scenario, tmp_path, deadlines)
    assert end.exit is exit_
    assert "status -9" in (tmp_path / "commands.log").read_text() or scenario != "stubborn"


def test_never_booted_says_the_consoles_last_words(tmp_path: Path) -> None:
    end = replay("never_boots", tmp_path, Deadlines(boot=1.0, silence=30, total=60))
    assert "Unable to mount root fs" in end.detail


def test_flood_is_kept_whole_and_ends_well(tmp_path: Path) -> None:
    end = replay("flood", tmp_path)
    assert end.exit is VmExit.CLEAN
    assert (tmp_path / "results.ktap").stat().st_size > 3_100_000
    assert (tmp_path / "console.log").stat().st_size > 800_000


def test_lines_arrive_as_they_come(tmp_path: Path) -> None:
    lines: list[bytes] = []
    spawner = Spawner(env={"PATH": f"{FAKEBIN}:{os.environ['PATH']}", "FAKE_VNG": "clean"})
    plan = Plan(nonce=NONCE, suites=(SuiteRun(name="fake", binary=FAKEBIN / "vng"),))
    run_vm(config(), plan, folder=tmp_path, spawner=spawner, on_line=lines.append)
    assert b"ok 2 global.two\n" in lines


def test_missing_tools_are_named(tmp_path: Path) -> None:
    for tool in ("vng", "qemu-system-x86_64"):
        path = tmp_path / tool
        path.mkdir()
        for other in {"vng", "qemu-system-x86_64"} - {tool}:
            (path / other).symlink_to(FAKEBIN / other)
        with pytest.raises(BootError, match=f"{tool} not found") as caught:
            run_vm(
                config(),
                Plan(nonce=NONCE),
                folder=tmp_path,
                spawner=Spawner(env={"PATH": str(path)}),
            )
        assert "ci/install-deps" in str(caught.value.hint)


def test_missing_or_dynamic_busybox(tmp_path: Path) -> None:
    for tool in ("vng", "qemu-system-x86_64"):
        (tmp_path / tool).symlink_to(FAKEBIN / tool)
    spawner = Spawner(env={"PATH": str(tmp_path)})
    with pytest.raises(GuestRootError, match="busybox not found"):
        run_vm(config(), Plan(nonce=NONCE), folder=tmp_path, spawner=spawner)
    (tmp_path / "busybox").symlink_to("/bin/true")
    with pytest.raises(GuestRootError, match="is not static"):
        run_vm(config(), Plan(nonce=NONCE), folder=tmp_path, spawner=spawner)


def test_argv_is_virtme_ngs_and_carries_our_channel() -> None:
    argv = vng_argv(config(cmdline=("quiet=1",)), root=Path("/r"), results=Path("/s"))
    assert argv[:3] == ("vng", "--run", "/boot/vmlinux")
    assert "--disable-kvm" in argv
    assert argv[argv.index("quiet=1") - 1] == "--append"
    assert "path=/s" in next(word for word in argv if word.startswith("--qemu-opts="))
    assert argv[-2:] == ("--", "/harness/run-tests")


@pytest.mark.parametrize("bad", ["a b", "a;b", "a$b", "a'b"])
def test_words_that_vngs_shell_line_would_break(bad: str) -> None:
    with pytest.raises(BootError, match="virtme-ng cannot take"):
        vng_argv(config(cmdline=(bad,)), root=Path("/r"), results=Path("/s"))


def test_plan_text() -> None:
    plan = Plan(
        nonce="ab",
        loads=(Load(ko=Path("/x/drv.ko"), parameters=("a=1", "b=2")),),
        suites=(
            SuiteRun(name="mmap", binary=Path("/x/mmap")),
            SuiteRun(name="sg", binary=Path("/x/sg"), ids=("a.b", "a.c")),
        ),
    )
    assert plan.text() == "nonce ab\nmodule drv.ko a=1 b=2\nsuite mmap\nsuite sg -r a.b -r a.c\n"


def test_silence_before_userspace_is_a_failed_boot(tmp_path: Path) -> None:
    end = replay("never_boots", tmp_path, Deadlines(boot=30, silence=0.5, total=60))
    assert end.exit is VmExit.NEVER_BOOTED
    assert "Unable to mount root fs" in end.detail
