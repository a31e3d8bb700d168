# SPDX-License-Identifier: GPL-2.0
"""The lab of `harness mutate`: a checkout, and VMs that are a table of what turns red on what."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rich.console import Console

from harness import mutantbench, mutate, runner
from harness.accel import Accelerator
from harness.kernel import Kernel
from harness.kmod import ModuleBuild, ModuleBuildError
from harness.kselftest import SelftestBuild, Suite
from harness.mutate import Choice
from harness.place import Place
from harness.progress import Progress
from harness.results import RunResult, Status, TestResult, VmEnd, VmExit
from harness.run import Spawner
from harness.runner import Ingredients, Options
from harness.spec import Spec
from tests.test_vm import fake_kernel

TESTS = {"mmap": ("map.content", "map.past_end"), "sg": ("table.read",)}
HEADER = "SPDX-License-Identifier: GPL-2.0\nBug: {bug}\nWrong: it\nExpect: {expect}\n{more}\n"
PATCH = "--- a/module/{file}\n+++ b/module/{file}\n@@ -1 +1 @@\n-good\n+{name}\n"


@dataclass(slots=True, kw_only=True)
class Lab:
    """A checkout with mutants, and what the tests say of a driver by the word in its sources."""

    place: Place
    ready: Ingredients
    says: dict[str, dict[str, Status]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    runs: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    during: Callable[[str, Place], None] = lambda word, place: None
    after: Callable[[str, Path], None] = lambda word, folder: None
    built: list[str] = field(default_factory=list)
    results: list[bytes] = field(default_factory=list)
    ends: list[VmEnd] = field(default_factory=list)
    ended: list[tuple[str, VmEnd]] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)

    def mutant(
        self, name: str, expect: str = "mmap:*", bug: str = "own", more: str = "", file: str = "a.c"
    ) -> None:
        text = HEADER.format(bug=bug, expect=expect, more=more)
        path = self.place.source / mutate.MUTANTS / f"{name}.patch"
        path.write_text(text + PATCH.format(name=name, file=file))

    def mutate(self, *names: str, fresh: bool = False, all_tests: bool = False) -> int:
        choice = Choice(names=names)
        return mutate.mutate(self.place, "6.12", choice, fresh=fresh, all_tests=all_tests)

    def build(self, place: Place, kernel: Kernel, source: Path, *, shelf: str) -> ModuleBuild:
        assert shelf != "modules", "mutants would push the driver's builds out of the cache"
        word = (source / "a.c").read_text().strip()
        if word == "broken":
            raise ModuleBuildError("does not compile", lines=(), log=source, hint="mend it")
        return module(place.cache / f"{word}.ko", word)

    def trial(
        self,
        place: Place,
        ready: Ingredients,
        options: Options,
        *,
        on_line: Callable[[bytes], None] = lambda line: None,
        on_end: Callable[[VmEnd], None] = lambda end: None,
    ) -> Path:
        word = ready.driver.ko.stem
        ids = ready.selftests.full_ids
        self.runs.append((word, ids))
        self.more[word] = options.more
        leash = place.spawner.leash
        assert leash is not None
        for line in self.results:
            if not leash.pulled:
                self.heard.append((word, line))
                on_line(line)
        for end in self.ends:
            if not leash.pulled:
                self.ended.append((word, end))
                on_end(end)
        self.during(word, place)
        if word in self.errors:
            raise self.errors[word]
        verdicts = self.says.get(word, {})
        tests = [
            TestResult(id=id_, status=verdicts.get(id_, Status.PASS), reason="why") for id_ in ids
        ]
        tests += [
            TestResult(id=id_, status=status) for id_, status in verdicts.items() if "vm" in id_
        ]
        folder = place.runs / f"{word}-{len(self.runs)}"
        folder.mkdir(parents=True)
        result = RunResult(
            kernel="6.12",
            release="6.12.1",
            accelerator="tcg",
            vms=(VmEnd(exit=VmExit.CLEAN),),
            tests=tuple(tests),
        )
        (folder / "results.json").write_text(result.to_json())
        self.after(word, folder)
        return folder

    def ran(self) -> list[tuple[str, tuple[str, ...]]]:
        """What was run since the last call, in any order."""
        runs = sorted(self.runs)
        self.runs.clear()
        return runs

    def said(self) -> str:
        console = self.place.progress.console
        return str(console.export_text())


def module(ko: Path, word: str) -> ModuleBuild:
    ko.write_text(word)
    return ModuleBuild(
        ko=ko, vermagic="", compiler="", cached=False, seconds=0.0, warnings=(), log=ko
    )


def rejudge(folder: Path) -> RunResult:
    return RunResult.from_json((folder / "results.json").read_text(), source=str(folder))


def make_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a checkout without mutants; for the rest of a test, VMs are what it says."""
    source = tmp_path / "source"
    for name, text in (
        ("module/Kbuild", "obj-m := x.o\n"),
        ("module/a.c", "good\n"),
        ("module/b.c", "good\n"),
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / mutate.MUTANTS).mkdir(parents=True)
    cache = tmp_path / "cache"
    cache.mkdir()
    (tmp_path / "config").write_text("CONFIG_SMP=y\n")
    suites = []
    for name, ids in TESTS.items():
        binary = tmp_path / name
        binary.write_text(name)
        one = Suite(name=name, binary=binary, source=binary, ids=ids, modules=(), cmdline=())
        suites.append(one)
    kernel = replace(fake_kernel(config=tmp_path / "config"), build=tmp_path)
    ready = Ingredients(
        kernel=kernel,
        driver=module(cache / "good.ko", "good"),
        helpers=(),
        selftests=SelftestBuild(suites=tuple(suites), cached=0),
        accelerator=Accelerator(kvm=False, why="a test"),
    )
    console = Console(record=True, quiet=False, width=200)
    place = Place(
        source=source,
        cache=cache,
        runs=tmp_path / "runs",
        spawner=Spawner(env={"PATH": "/usr/bin:/bin"}),
        progress=Progress(console),
    )
    made = Lab(place=place, ready=ready)
    specs: list[Spec | Suite] = list(suites)
    monkeypatch.setattr(mutate, "load_specs", lambda folder: specs)
    monkeypatch.setattr(runner, "prepare", lambda place, kernel: made.ready)
    monkeypatch.setattr(runner, "build", made.build)
    monkeypatch.setattr(runner, "trial", made.trial)
    monkeypatch.setattr(mutantbench, "rejudge", rejudge)
    monkeypatch.setattr(mutantbench, "fingerprint", Path.read_text)
    monkeypatch.setattr("harness.mutation.fingerprint", Path.read_text)
    return made
