# SPDX-License-Identifier: GPL-2.0
"""Restored VMs, against a fake QEMU; and, marked `vm`, two of them at once on a real kernel."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import platformdirs
import pytest
from rich.console import Console

from harness import warm
from harness.accel import Accelerator
from harness.cache import tree_size
from harness.freeze import ingredients
from harness.guestclock import GuestClock
from harness.guestroot import Plan, SuiteRun
from harness.listener import BootError
from harness.place import Place
from harness.progress import Progress
from harness.results import VmExit
from harness.run import Spawner
from harness.runner import default_kernel, kernel_store
from harness.slots import prune, using
from harness.snapshot import Snapshot, load_snapshot
from harness.vm import VmConfig, VmOutcome
from harness.warm import run_warm
from harness.watch import Deadlines, Watch
from tests.test_vm import FAKEBIN, GENEROUS, NONCE, TCG, Standing, config

WARM = FAKEBIN / "warm"
ROOT = Path(__file__).parent.parent


def run(
    folder: Path,
    scenario: str = "clean",
    *,
    fault: str = "",
    vm: VmConfig | None = None,
    nonce: str = NONCE,
    turn: AbstractContextManager[object] | None = None,
) -> VmOutcome:
    """Run a VM whose QEMU is fake, in a folder that is cache and run folder."""
    spawner = Spawner(
        env={
            "PATH": f"{WARM}:{os.environ['PATH']}",
            "FAKE_VNG": scenario,
            "FAKE_QEMU": fault,
        },
        log=folder / "commands.log",
    )
    plan = Plan(nonce=nonce, suites=(SuiteRun(name="fake", binary=FAKEBIN / "vng"),))
    return run_warm(
        vm or config(), plan, folder=folder, spawner=spawner, cache=folder / "cache", turn=turn
    )


def the_snapshot(folder: Path) -> Snapshot:
    (manifest,) = folder.glob("cache/snapshots/*/manifest.json")
    snapshot = load_snapshot(manifest.parent)
    assert snapshot is not None
    return snapshot


def commands(folder: Path) -> list[str]:
    text = (folder / "commands.log").read_text()
    return re.findall(r"^run: \S*?([\w-]+) ", text, re.MULTILINE)


def test_the_first_run_makes_what_the_second_restores(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert (first.end.exit, first.notes) == (VmExit.CLEAN, ())
    assert commands(tmp_path).count("qemu-system-x86_64") == 4
    (tmp_path / "commands.log").unlink()
    second = run(tmp_path, nonce="f" * 32)
    assert (second.end.exit, second.notes) == (VmExit.CLEAN, ())
    assert commands(tmp_path) == ["busybox", "qemu-system-x86_64"]
    assert (tmp_path / "results.ktap").read_text().endswith(f"@{'f' * 32} end 0\n")
    console = (tmp_path / "console.log").read_text()
    boot, seam, rest = console.partition(warm._SEAM)
    assert boot.endswith("booted\n")
    assert seam
    assert rest == "[    2.000000] went on\n"


def test_a_restored_vm_waits_for_its_turn(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "commands.log").unlink()
    seen: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        seen.append(commands(tmp_path)[-1])
        # It has been told nothing yet.
        assert (tmp_path / "results.ktap").read_bytes() == b""
        yield
        seen.append("left")

    outcome = run(tmp_path, turn=turn())
    assert (outcome.end.exit, outcome.notes) == (VmExit.CLEAN, ())
    assert seen == ["qemu-system-x86_64", "left"]


def test_standing_by_is_not_held_against_a_vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("harness.watch.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("harness.watch.GuestClock", lambda: GuestClock(wall=lambda: now))
    with Spawner(env={}).spawn(["/bin/true"]) as process:
        watch = Watch(
            process,
            deadlines=GENEROUS,
            slowness=1.0,
            console=tmp_path,
            nonce=NONCE,
            on_line=lambda line: None,
        )
    now += 3
    with watch.standing_by():
        now += 1000
    assert watch.start == 1100
    assert watch._patience() == GENEROUS.boot - 3


@pytest.mark.parametrize(
    ("scenario", "exit_", "detail"),
    [
        ("panic", VmExit.PANIC, "Kernel panic - not syncing: Fatal exception"),
        ("truncated", VmExit.LOST, "the VM rebooted"),
        ("no_end", VmExit.LOST, "the guest powered off before it was done"),
        ("killed", VmExit.LOST, "QEMU died"),
    ],
)
def test_end_without_end_marker(scenario: str, exit_: VmExit, detail: str, tmp_path: Path) -> None:
    run(tmp_path)
    outcome = run(tmp_path, scenario)
    assert outcome.end.exit is exit_
    assert detail in outcome.end.detail
    assert outcome.notes == ()


@pytest.mark.parametrize(
    ("scenario", "deadlines", "exit_"),
    [
        ("silent", Deadlines(boot=30, silence=0.5, total=60), VmExit.SILENT),
        ("stubborn", Deadlines(boot=30, silence=0.5, total=60), VmExit.SILENT),
        ("chatty", Deadlines(boot=30, silence=30, total=2), VmExit.DEADLINE),
    ],
)
def test_limits_of_patience(
    scenario: str, deadlines: Deadlines, exit_: VmExit, tmp_path: Path
) -> None:
    run(tmp_path)
    assert run(tmp_path, scenario, vm=config(deadlines)).end.exit is exit_


def test_lines_arrive_as_they_come(tmp_path: Path) -> None:
    run(tmp_path)
    assert run(tmp_path, "flood").end.exit is VmExit.CLEAN
    assert (tmp_path / "results.ktap").stat().st_size > 3_100_000


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda snapshot: flip(snapshot.file("ram")),
        lambda snapshot: flip(snapshot.file("state")),
        lambda snapshot: flip(snapshot.file("initrd")),
        lambda snapshot: snapshot.file("initrd").unlink(),
        lambda snapshot: snapshot.file("state").write_bytes(b""),
        lambda snapshot: os.truncate(snapshot.file("ram"), 1),
        lambda snapshot: snapshot.file("ram").unlink(),
        lambda snapshot: snapshot.file("state").unlink(),
        lambda snapshot: snapshot.file("console").unlink(),
        lambda snapshot: os.truncate(snapshot.folder / "manifest.json", 40),
        lambda snapshot: (snapshot.folder / "manifest.json").unlink(),
    ],
)
def test_a_damaged_snapshot_is_made_again(
    damage: Callable[[Snapshot], object], tmp_path: Path
) -> None:
    run(tmp_path)
    old = the_snapshot(tmp_path)
    damage(old)
    outcome = run(tmp_path)
    assert outcome.end.exit is VmExit.CLEAN
    assert (tmp_path / "results.ktap").read_text().endswith(f"@{NONCE} end 0\n")
    if old.file("console").exists() or outcome.notes:
        assert the_snapshot(tmp_path).token != old.token
    the_snapshot(tmp_path).verify()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("dies", "no memory"),
        ("refuses", "no such state"),
        ("mute", "no userspace within"),
        ("ready", "harness: no results port"),
        ("broken", "canary:kernel.nothing fail"),
        ("blind", "does not work: kernel.crash: clean (canary.log)"),
    ],
)
def test_what_cannot_be_restored_is_booted(fault: str, why: str, tmp_path: Path) -> None:
    outcome = run(tmp_path, fault=fault, vm=config(Deadlines(boot=3, silence=30, total=60)))
    assert outcome.end.exit is VmExit.CLEAN
    assert outcome.argv[0] == "vng"
    assert why in outcome.notes[0]
    assert outcome.notes[-1] == "booted cold"
    assert not list(tmp_path.glob("cache/snapshots/*/manifest.json"))
    assert not list(tmp_path.glob("cache/snapshots/.making*"))


def test_a_snapshot_that_went_bad_later(tmp_path: Path) -> None:
    run(tmp_path)
    outcome = run(tmp_path, fault="refuses")
    assert outcome.end.exit is VmExit.CLEAN
    assert "snapshot thrown away: never booted" in outcome.notes[0]
    assert outcome.notes[0].endswith(" (console-restored-1.log)")
    assert outcome.notes[-1] == "booted cold"
    # What the first said is not what the second said.
    assert (tmp_path / "console-restored-1.log").read_text().endswith(warm._SEAM)
    assert "restored" not in (tmp_path / "console.log").read_text()


def test_no_qemu_is_an_error_as_ever(tmp_path: Path) -> None:
    (tmp_path / "vng").symlink_to(WARM / "vng")
    with pytest.raises(BootError, match="qemu-system-x86_64 not found"):
        run_warm(
            config(),
            Plan(nonce=NONCE),
            folder=tmp_path,
            spawner=Spawner(env={"PATH": str(tmp_path)}),
            cache=tmp_path / "cache",
        )


def test_every_ingredient_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = tmp_path / "bin/qemu"
    qemu.parent.mkdir()
    qemu.write_bytes(b"7.2")
    base = config()

    def key(vm: VmConfig = base, root: bytes = b"root", cpu: str = "cpu") -> object:
        monkeypatch.setattr("harness.freeze.host_cpu", lambda: cpu)
        return ingredients(vm, root=root, qemu=qemu)

    kernel = replace(base.kernel, sha256="1" * 64)
    keys = [
        key(),
        key(replace(base, kernel=kernel)),
        key(replace(base, kernel=replace(base.kernel, release="6.12.1"))),
        key(replace(base, accelerator=Accelerator(kvm=True, why="test"))),
        key(replace(base, memory=2048)),
        key(replace(base, cpus=1)),
        key(replace(base, cmdline=("quiet",))),
        key(root=b"another"),
        key(cpu="another"),
    ]
    assert key() == keys[0]
    qemu.write_bytes(b"10.0")
    keys.append(key())
    for place in ("share/qemu/rom.bin", "share/seabios/bios-256k.bin", "lib/ipxe/qemu/efi.rom"):
        file = tmp_path / place
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1.16")
        keys.append(key())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_a_change_makes_a_new_snapshot_and_says_why(tmp_path: Path) -> None:
    run(tmp_path)
    old = the_snapshot(tmp_path)
    vm = replace(config(), kernel=replace(config().kernel, sha256="1" * 64))
    outcome = run(tmp_path, vm=vm)
    assert outcome.notes == ("new snapshot: kernel changed",)
    assert the_snapshot(tmp_path).token != old.token
    assert not old.file("ram").exists()


def test_kinds_of_vms_have_slots_of_their_own(tmp_path: Path) -> None:
    for cmdline in ((), ("transparent_hugepage=never",), ()):
        assert run(tmp_path, vm=config(cmdline=cmdline)).notes == ()
    assert len(list(tmp_path.glob("cache/snapshots/*/manifest.json"))) == 2
    assert commands(tmp_path).count("qemu-system-x86_64") == 9


def test_what_was_not_used_for_longest_is_pruned(tmp_path: Path) -> None:
    slots = [slot(tmp_path, name, age) for age, name in enumerate(("new", "used", "old"))]
    size = tree_size(slots[0])
    prune(tmp_path, limit=3 * size)
    assert [one.exists() for one in slots] == [True, True, True]
    with using(slots[2]):
        # As if the others had been used since.
        os.utime(slots[2] / "manifest.json", (0, 0))
        prune(tmp_path, limit=size)
    assert [one.exists() for one in slots] == [True, False, True], "one was in use"
    with using(slots[2]):
        pass
    prune(tmp_path, limit=0)
    assert [one.exists() for one in slots] == [False, False, True], "the last one used stays"


def slot(cache: Path, name: str, age: int) -> Path:
    """Make what looks like a snapshot, used so many days ago."""
    folder = cache / "snapshots" / name
    folder.mkdir(parents=True)
    (folder / "ram-1").write_bytes(b"x" * 100_000)
    (folder / "manifest.json").write_text("{}")
    then = time.time() - 86400 * (age + 1)
    os.utime(folder / "manifest.json", (then, then))
    return folder


def test_a_new_snapshot_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "__kwdefaults__", {"limit": 0})
    run(tmp_path)
    old = the_snapshot(tmp_path)
    run(tmp_path, vm=config(cmdline=("transparent_hugepage=never",)))
    assert not old.folder.exists()
    assert the_snapshot(tmp_path).token != old.token


def test_getting_ready_takes_the_vm_s_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harness.watch.GuestClock", Standing)
    monkeypatch.setattr("harness.guestclock.CEILING", 1e9)
    outcome = run(tmp_path, fault="slow", vm=config(Deadlines(boot=0.01, silence=9, total=9)))
    assert (outcome.end.exit, outcome.notes) == (VmExit.CLEAN, ())


def test_a_failed_snapshot_says_why_and_keeps_its_console(tmp_path: Path) -> None:
    outcome = run(tmp_path, fault="ready")
    assert outcome.notes[0] == (
        "no snapshot: the guest did not get ready: never reached userspace: the guest powered off "
        "before it was done (vng status 0); last on the console: [    1.000000] harness: no "
        "results port"
    )
    assert "Linux version" in (tmp_path / "snapshot.log").read_text()


def test_snapshots_are_made_by_one_thread_and_restored_to_many(tmp_path: Path) -> None:
    run(tmp_path)
    made, *restored = [
        line
        for line in (tmp_path / "commands.log").read_text().splitlines()
        if line.startswith("run: ") and "qemu-system" in line
    ]
    assert made.endswith("-accel tcg,thread=single")
    assert restored
    assert not any("thread=single" in line for line in restored)


def real_vm(tmp_path: Path) -> tuple[Place, VmConfig]:
    """Return where, and a VM of the default kernel that has a busy machine's time."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    place = Place(
        source=ROOT,
        cache=platformdirs.user_cache_path("udmabuf-harness"),
        runs=tmp_path,
        spawner=Spawner(env={"PATH": path, "LANG": "C.UTF-8"}),
        progress=Progress(Console(quiet=True)),
    )
    vm = VmConfig(
        kernel=kernel_store(place).get(default_kernel(place)),
        accelerator=TCG,
        deadlines=replace(GENEROUS, boot=180, silence=120, total=300),
    )
    return place, vm


@pytest.mark.vm
def test_two_restored_at_once_share_nothing(tmp_path: Path) -> None:
    place, vm = real_vm(tmp_path)
    probe = SuiteRun(name="probe", binary=ROOT / "tests/data/warm-probe")
    (tmp_path / "cache").mkdir()
    late: dict[int, float] = {}

    def one(number: int, both: threading.Barrier) -> tuple[VmOutcome, list[str]]:
        folder, nonce = tmp_path / str(number), f"{number}" * 32
        folder.mkdir()

        def on_line(line: bytes) -> None:
            # Each is up while the other is: the first one's guest then sleeps for seconds.
            if b" hello " in line:
                both.wait(60)
            elif line.startswith(b"clock="):
                late[number] = time.time() - int(line[6:])

        outcome = run_warm(
            vm,
            Plan(nonce=nonce, suites=(probe,)),
            folder=folder,
            spawner=place.spawner,
            cache=tmp_path / "cache",
            on_line=on_line,
        )
        text = (folder / "results.ktap").read_text()
        assert f"@{nonce} end 0\n" in text
        return outcome, [line for line in text.splitlines() if not line.startswith("@")]

    one(0, threading.Barrier(1))
    before = the_snapshot(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        outcomes, said = zip(*pool.map(one, (1, 2), [threading.Barrier(2)] * 2), strict=True)
    assert [(one.end.exit, one.notes) for one in outcomes] == [(VmExit.CLEAN, ())] * 2
    # Random numbers, and the boot's id, which the kernel draws when it is first asked for.
    (random, boot), (other_random, other_boot) = (lines[:2] for lines in said)
    assert random != other_random
    assert boot != other_boot
    for _, _, network, _, dirt, verdict in said:
        # No card that would have an address, and no id of a machine, to be told apart by.
        assert network.split() == ["/sys/class/net", "/sys/class/net/lo"]
        assert (dirt, verdict) == ("0", "mine")
    # Seconds, cut off by the one that sets the clock and by the one that tells it.
    assert all(-1 <= seconds <= 3 for seconds in late.values()), late
    assert the_snapshot(tmp_path).token == before.token
    before.verify()
