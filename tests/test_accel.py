# SPDX-License-Identifier: GPL-2.0
"""The choice of the accelerator: KVM is used only where a probe has booted a guest with it."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import probe
from harness.accel import Accelerator, load_verdict, save_verdict, without_probe
from harness.progress import Progress
from harness.run import Spawner
from harness.vm import VmOutcome, boot_once
from harness.watch import Deadlines
from tests.test_vm import FAKEBIN, fake_kernel


def choose(cache: Path, scenario: str, *, again: bool = False) -> Accelerator:
    spawner = Spawner(env={"PATH": f"{FAKEBIN}:{os.environ['PATH']}", "FAKE_VNG": scenario})
    progress = Progress(Console(file=io.StringIO()))
    return probe.choose_accelerator(
        fake_kernel(), cache=cache, spawner=spawner, progress=progress, again=again
    )


@pytest.fixture(autouse=True)
def kvm_might_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "without_probe", lambda: None)
    monkeypatch.setattr(probe, "_DEADLINES", Deadlines(boot=1, silence=1, total=20))
    monkeypatch.setattr(probe, "_UNMEASURED", 1.5)


def test_a_guest_that_boots_proves_kvm(tmp_path: Path) -> None:
    accelerator = choose(tmp_path, "clean")
    assert accelerator.kvm
    assert "booted" in accelerator.why


def test_cells_side_by_side_probe_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boots: list[Path] = []

    def boot(*given: Any, folder: Path, **named: Any) -> VmOutcome:
        boots.append(folder)
        return boot_once(*given, folder=folder, **named)

    monkeypatch.setattr(probe, "boot_once", boot)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: choose(tmp_path, "clean"), range(3)))
    assert len(boots) == 1
    assert len(set(found)) == 1


@pytest.mark.parametrize("scenario", ["never_boots", "exits_255", "panic", "silent"])
def test_anything_else_means_tcg_and_says_why(scenario: str, tmp_path: Path) -> None:
    accelerator = choose(tmp_path, scenario)
    assert accelerator.name == "tcg"
    assert "no guest boots" in accelerator.why
    if scenario in ("never_boots", "exits_255"):
        assert accelerator.slowness == 1.5, "nothing was measured"


def test_the_verdict_is_kept_until_asked_again(tmp_path: Path) -> None:
    assert not choose(tmp_path, "exits_255").kvm
    assert not choose(tmp_path, "clean").kvm, "cached"
    assert choose(tmp_path, "clean", again=True).kvm
    assert choose(tmp_path, "exits_255").kvm, "cached"


def test_no_device_means_no_kvm(tmp_path: Path) -> None:
    accelerator = without_probe(tmp_path / "kvm")
    assert accelerator is not None
    assert accelerator.why == f"no {tmp_path}/kvm"


@pytest.mark.parametrize("impossible", [None, Accelerator(kvm=False, why="no /dev/kvm")])
def test_how_slow_a_guest_is_here_is_measured_once(
    impossible: Accelerator | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "without_probe", lambda: impossible)
    # What is measured is never as short as this.
    monkeypatch.setattr(probe, "_REAL_MACHINE", 1e-6)
    measured = choose(tmp_path, "clean")
    assert measured.kvm is (impossible is None)
    assert measured.slowness > 1.5
    assert choose(tmp_path, "exits_255") == measured


def test_a_verdict_for_want_of_a_device_ends_when_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "without_probe", lambda: Accelerator(kvm=False, why="no /dev/kvm"))
    assert not choose(tmp_path, "clean").kvm
    monkeypatch.setattr(probe, "without_probe", lambda: None)
    assert choose(tmp_path, "clean").kvm


@pytest.mark.parametrize("text", ["", "{", "[]", '{"identity": "here"}'])
def test_a_broken_verdict_is_no_verdict(text: str, tmp_path: Path) -> None:
    file = tmp_path / "accelerator.json"
    file.write_text(text)
    assert load_verdict(file, "here") is None


def test_a_verdict_holds_for_one_identity(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "accelerator.json"
    seen = Accelerator(kvm=True, why="seen", slowness=2.5)
    save_verdict(file, "here", seen)
    assert load_verdict(file, "here") == seen
    assert load_verdict(file, "there") is None
