# SPDX-License-Identifier: GPL-2.0
"""The VM layer, against a fake vng that replays what VMs do."""

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from harness import guestclock, watch
from harness.accel import Accelerator
from harness.answers import ASKED
from harness.guestclock import GuestClock
from harness.guestroot import GuestRootError, Load, Plan, SuiteRun
from harness.interrogate import interrogate
from harness.kernel import Kernel
from harness.listener import BootError
from harness.qmp import Monitor, QmpError, monitoring
from harness.results import VmEnd, VmExit
from harness.run import Spawner
from harness.vm import VmConfig, VmOutcome, run_vm, vng_argv
from harness.watch import Deadlines

FAKEBIN = Path(__file__).parent / "fakebin"
NONCE = "0123456789abcdef" * 2
TCG = Accelerator(kvm=False, why="test")
SLOW = Accelerator(kvm=False, why="test", slowness=20)
GENEROUS = Deadlines(boot=60, silence=30, total=60)


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


def outcome(
    scenario: str,
    folder: Path,
    deadlines: Deadlines = GENEROUS,
    accelerator: Accelerator = TCG,
    **env: str,
) -> VmOutcome:
    """Run a VM whose vng replays a scenario."""
    spawner = Spawner(
        env={"PATH": f"{FAKEBIN}:{os.environ['PATH']}", "FAKE_VNG": scenario, **env},
        log=folder / "commands.log",
    )
    plan = Plan(nonce=NONCE, suites=(SuiteRun(name="fake", binary=FAKEBIN / "vng"),))
    vm = replace(config(deadlines), accelerator=accelerator)
    return run_vm(vm, plan, folder=folder, spawner=spawner)


def replay(
    scenario: str,
    folder: Path,
    deadlines: Deadlines = GENEROUS,
    accelerator: Accelerator = TCG,
    **env: str,
) -> VmEnd:
    return outcome(scenario, folder, deadlines, accelerator, **env).end


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
        ("truncated", VmExit.LOST, "the VM rebooted (vng status 255)"),
        ("no_end", VmExit.LOST, "the guest powered off before it was done (vng status 0)"),
        ("killed", VmExit.LOST, "QEMU died (vng status -9)"),
        (
            "crashes",
            VmExit.LOST,
            "last on the console: [    3.000000] the last line; QEMU said: qemu-",
        ),
        ("exits_255", VmExit.NEVER_BOOTED, "Could not set up host forwarding rule"),
        ("dies_booting", VmExit.NEVER_BOOTED, "the VM rebooted (vng status 255); last on the co"),
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


@pytest.mark.parametrize(
    ("kernel", "answered", "on_console"),
    [
        ("answers", True, "asked: sysrq 9, w, l, h\nsysrq: Changing Loglevel\n"),
        ("deaf", False, "asked: NMI\nKernel panic - not syncing: NMI: Not continuing\n"),
        ("dead", False, "asked: NMI\n"),
    ],
)
@pytest.mark.parametrize("scenario", ["silent", "never_boots"])
def test_a_vm_that_hangs_is_asked_where(
    scenario: str, kernel: str, answered: bool, on_console: str, tmp_path: Path
) -> None:
    # A boot's limit is no shorter than the fake QEMU may take to come up on a busy host.
    deadlines = Deadlines(boot=3, silence=0.5, total=60)
    found = outcome(scenario, tmp_path, deadlines, FAKE_KERNEL=kernel)
    assert found.hung
    assert found.end.answered is answered
    # What was provoked is not what it hangs of.
    assert found.end.exit in (VmExit.SILENT, VmExit.NEVER_BOOTED)
    console = (tmp_path / "console.log").read_text()
    assert on_console in console
    assert ("sysrq: HELP" in console) is answered
    assert not (tmp_path / "console-1.log").exists(), "it would hang again"


def test_only_what_hangs_is_asked(tmp_path: Path) -> None:
    for scenario in ("clean", "panic", "killed"):
        found = outcome(scenario, tmp_path)
        assert (found.hung, found.end.answered) == (False, None)
        assert ASKED not in (tmp_path / "console.log").read_text()


def test_a_boot_that_dies_is_tried_again(tmp_path: Path) -> None:
    found = outcome("second_boot", tmp_path, FAKE_MARK=str(tmp_path / "mark"))
    assert found.end.exit is VmExit.CLEAN
    (note,) = found.notes
    assert note.startswith("booted once more: never booted: never reached userspace: the VM reboo")
    assert "mtrr: your CPUs" in (tmp_path / "console-1.log").read_text()
    assert "mtrr: your CPUs" not in (tmp_path / "console.log").read_text()
    assert (tmp_path / "vng-1.log").exists()


def test_a_boot_is_tried_twice_and_not_more(tmp_path: Path) -> None:
    found = outcome("dies_booting", tmp_path)
    assert found.end.exit is VmExit.NEVER_BOOTED
    assert (tmp_path / "commands.log").read_text().count("run: vng ") == 2
    assert "mtrr: your CPUs" in found.end.detail


def test_what_died_after_hello_is_not_tried_again(tmp_path: Path) -> None:
    assert outcome("panic", tmp_path).notes == ()
    assert (tmp_path / "commands.log").read_text().count("run: vng ") == 1


@pytest.mark.parametrize(("speed", "seconds"), [("", 2), ("30.5", 3), ("1.00", 0), ("0.01", 0)])
def test_after_hello_patience_is_what_the_guest_needs(
    speed: str, seconds: int, tmp_path: Path
) -> None:
    end = replay(
        "silent", tmp_path, Deadlines(boot=5, silence=0.1, total=60), SLOW, FAKE_SPEED=speed
    )
    assert end.detail.startswith(f"no result for {seconds} s; last on the console: ")


@pytest.mark.parametrize(("second", "seconds"), [({}, 1), ({"FAKE_FILE": ""}, 0)])
def test_a_test_announces_that_it_takes_long(
    second: dict[str, str], seconds: int, tmp_path: Path
) -> None:
    end = replay("patient", tmp_path, Deadlines(boot=30, silence=0.2, total=60), TCG, **second)
    assert end.detail.startswith(f"no result for {seconds} s; last on the console: ")


class Leaping(GuestClock):
    """Leaps forward once it knows whom it is for, in time for a host that is in a hurry."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._leap = seconds
        self._known = False

    def follow(self, pid: int) -> None:
        super().follow(pid)
        self._known = Path(f"/proc/{pid}/task").is_dir()

    def now(self) -> float:
        self._now += self._leap if self._known else 0
        return super().now()


@pytest.mark.parametrize(("leap", "exit_"), [(0, VmExit.CLEAN), (1000, VmExit.SILENT)])
def test_patience_is_the_vm_s_time_and_not_the_wall_s(
    leap: float, exit_: VmExit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "GuestClock", partial(Leaping, leap))
    end = replay("slow", tmp_path, Deadlines(boot=10**6, silence=900, total=10**6))
    assert end.exit is exit_


class Standing(GuestClock):
    """Of a VM that gets no CPU."""

    def now(self) -> float:
        return 0.0


def test_a_vm_that_gets_no_cpu_ends_some_day(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "GuestClock", Standing)
    monkeypatch.setattr(guestclock, "CEILING", 0.005)
    end = replay("silent", tmp_path, Deadlines(boot=10**5, silence=100, total=10**5))
    assert (end.exit, end.detail[:20]) == (VmExit.SILENT, "no result for 100 s;")


def test_powering_off_takes_the_vm_s_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watch, "GuestClock", Standing)
    monkeypatch.setattr(guestclock, "CEILING", 1e9)
    end = replay("lingers", tmp_path, Deadlines(boot=9, silence=9, total=9, power_off=0.01))
    assert end.exit is VmExit.CLEAN


class Cueing(Standing):
    """Of a VM that answers when it has been waited for in vain once."""

    def __init__(self, cue: int) -> None:
        super().__init__()
        self._cue = cue

    def slices(self, seconds: float) -> Iterator[float]:
        yield 0.01
        os.write(self._cue, b"!")
        yield from super().slices(seconds)


def test_answers_take_the_vm_s_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cue")
    # For both directions: neither side waits for the other.
    cue = os.open(tmp_path / "cue", os.O_RDWR)

    def stopped(monitor: Monitor, console: Path, *, slowness: float, clock: GuestClock) -> object:
        assert clock.now() > 0
        return interrogate(monitor, console, slowness=slowness, clock=Cueing(cue))

    monkeypatch.setattr(watch, "interrogate", stopped)
    monkeypatch.setattr(guestclock, "CEILING", 1e9)
    deadlines = Deadlines(boot=30, silence=0.5, total=60)
    end = replay("silent", tmp_path, deadlines, FAKE_KERNEL="late", FAKE_CUE=str(tmp_path / "cue"))
    os.close(cue)
    assert (end.exit, end.answered) == (VmExit.SILENT, True)


def test_the_monitor_takes_the_vm_s_time() -> None:
    ours, qemus = socket.socketpair()
    clock = Leaping(0)
    with ThreadPoolExecutor(1) as pool, qemus, monitoring(ours, clock) as monitor:
        pool.submit(answer, qemus)
        monitor.nmi()
        clock.follow(os.getpid())
        clock._leap = 1000
        with pytest.raises(QmpError, match="no answer in time"):
            monitor.nmi()
        clock._leap = 0


def answer(qemu: socket.socket) -> None:
    """Be the monitor of a QEMU that does all it is told."""
    qemu.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
    while told := qemu.recv(4096):
        message = json.loads(told)
        reply = {"return": {}} | {key: message[key] for key in ("id",) if key in message}
        qemu.sendall(json.dumps(reply).encode() + b"\r\n")


def test_before_hello_patience_is_what_this_host_needs(tmp_path: Path) -> None:
    end = replay("never_boots", tmp_path, Deadlines(boot=0.1, silence=9, total=60), SLOW)
    assert end.detail.startswith("no userspace within 2 s; last on the console: ")


def test_noise_on_the_console_is_no_life(tmp_path: Path) -> None:
    end = replay("chatty", tmp_path, Deadlines(boot=30, silence=0.5, total=60))
    assert end.exit is VmExit.SILENT


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


def test_only_an_emulated_cpu_goes_without_mitigations() -> None:
    emulated = config(cmdline=("mitigations=auto",))
    real = replace(emulated, accelerator=Accelerator(kvm=True, why="a test"))
    argv, real_argv = (
        vng_argv(each, root=Path("/r"), results=Path("/s")) for each in (emulated, real)
    )
    assert "mitigations=off" in argv
    # The kernel goes by the last: whoever tests with them can.
    assert argv.index("mitigations=auto") > argv.index("mitigations=off")
    assert "mitigations=off" not in real_argv
    assert not any("la57" in word for word in real_argv)


@pytest.mark.parametrize(
    ("cmdline", "there"), [(("intel_iommu=on",), True), (("iommu=on",), False)]
)
def test_a_kernel_that_is_told_to_use_an_iommu_has_one(
    cmdline: tuple[str, ...], there: bool
) -> None:
    argv = vng_argv(config(cmdline=cmdline), root=Path("/r"), results=Path("/s"))
    qemu = next(word for word in argv if word.startswith("--qemu-opts="))
    # The IOMMU first: what is plugged in before it would not be behind it.
    assert ("-device intel-iommu,intremap=off -device edu" in qemu) is there


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
