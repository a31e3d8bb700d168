# SPDX-License-Identifier: GPL-2.0
"""Configure and compile a kernel of a source tree, out of the tree's sight.

The options come from fragments, merged by the kernel's own merge_config.sh on top of allnoconfig:
what is not asked for is not compiled, and the whole takes minutes instead of an hour.
"""

import hashlib
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT

from harness.buildroot import BuildRoot
from harness.cache import NO_SPACE, no_space
from harness.errors import HarnessError
from harness.hostcpus import host_cpus
from harness.kconfig import Request, check_config, read_fragments, wanted
from harness.kernel import boots_as_elf
from harness.owntree import tree_version
from harness.progress import Phase
from harness.run import CommandError, Spawner, lines_of

_CONFIG_DEADLINE = 900.0
# On one slow core; a build that hangs is nobody's.
_BUILD_DEADLINE = 4 * 3600.0
_QUERY_DEADLINE = 60.0
# Command, and the Debian package that brings it.
_TOOLS = {
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "ld": "binutils",
    "objcopy": "binutils",
}
# objtool, which the unwinder's tables come from, is compiled with it.
_LIBELF = Path("/usr/include/gelf.h")
_STEP = re.compile(r"  ([A-Z]+(?: \[M\])?) +(\S+)")
_ERROR = re.compile(r":\d+(:\d+)?: (fatal )?error: |\*\*\*|: undefined reference|^ld: ")


class KernelBuildError(HarnessError):
    """The kernel does not configure or compile.

    Attributes:
        lines: the first errors that the build printed.
    """

    def __init__(self, message: str, *, lines: tuple[str, ...] = (), hint: str) -> None:
        super().__init__(message, hint=hint)
        self.lines = lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """What compiles a kernel.

    Attributes:
        command: "gcc-12".
        version: its first line of `--version`.
        root: where it runs; None for the host.
    """

    command: str
    version: str
    root: BuildRoot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A kernel to be built.

    Attributes:
        profile: what stands behind the plus in its name, and at the end of `uname -r`.
        fragments: files of options.
        requests: what they ask for.
    """

    profile: str
    fragments: tuple[Path, ...]
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, profile: str, fragments: tuple[Path, ...]) -> "Recipe":
        """Read the fragments.

        Raises:
            FragmentError: a line is no option.
        """
        return cls(profile=profile, fragments=fragments, requests=read_fragments(fragments))

    @property
    def digest(self) -> str:
        """Changes when the kernel's configuration would; comments do not count."""
        lines = (f"{one.optional:d} {one.text}" for one in self.requests)
        return hashlib.sha256("\n".join((self.profile, *lines)).encode()).hexdigest()


def host_compiler(spawner: Spawner) -> Compiler:
    """Return the host's gcc.

    Raises:
        KernelBuildError: there is none.
    """
    if spawner.which("gcc") is None:
        raise KernelBuildError("gcc not found", hint="apt-get install gcc")
    major = _ask(("gcc", "-dumpversion"), spawner).partition(".")[0]
    # The name that modules for the kernel will be built with.
    named = f"gcc-{major}"
    command = named if spawner.which(named) else "gcc"
    return Compiler(command=command, version=_ask((command, "--version"), spawner))


def too_old(tree: Path, spawner: Spawner) -> str | None:
    """Say why the host's gcc cannot compile a kernel; None if it can."""
    script = tree / "scripts/min-tool-version.sh"
    if not script.is_file():
        # Before 5.12: any gcc of today will do.
        return None
    needed = _ask(("sh", script, "gcc"), spawner)
    found = _ask(("gcc", "-dumpfullversion"), spawner)
    if _numbers(found) >= _numbers(needed):
        return None
    return f"this kernel needs gcc {needed}, the host has {found}"


def check_tools(spawner: Spawner) -> None:
    """Look for what building a kernel takes beside the compiler.

    Raises:
        KernelBuildError: names all that is missing, and the packages.
    """
    missing = {tool: package for tool, package in _TOOLS.items() if spawner.which(tool) is None}
    if not _LIBELF.is_file():
        missing["libelf"] = "libelf-dev"
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise KernelBuildError(
            f"{', '.join(missing)} not found: a kernel cannot be built",
            hint=f"ci/install-deps kernels, or apt-get install {packages}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBuild:
    """A kernel build: from where, to where, by what.

    Attributes:
        tree: the source; only read.
        out: kbuild's output folder; created. An earlier build there is gone on with.
        log: gets all that the build prints.
        recipe: the configuration.
        compiler: as chosen.
        cache: the user's cache folder; ccache's own is below it.
    """

    tree: Path
    out: Path
    log: Path
    recipe: Recipe
    compiler: Compiler
    cache: Path

    def run(self, spawner: Spawner, phase: Phase) -> None:
        """Configure and compile.

        Raises:
            LostOptionError: the kernel does not give an option that the fragments ask for.
            KernelBuildError: it does not compile.
            CacheError: no space.
            DeadlineError: not done in time.
            LeashError, KilledError: it did not come to its end.
        """
        env = self._environment(spawner)
        self.out.mkdir(parents=True, exist_ok=True)
        release = tree_version(self.tree)
        phase.update(f"configuring {release}")
        requests = wanted(self.recipe.requests, self.tree)
        self._configure(requests, env)
        check_config(requests, self.out / ".config", self.tree, release=release)
        self._compile(env, phase, release)

    def _environment(self, spawner: Spawner) -> Spawner:
        return spawner.with_env(
            LC_ALL="C.UTF-8",
            # The same sources give the same kernel, and ccache its hits in whichever folder.
            KBUILD_BUILD_TIMESTAMP="1970-01-01",
            KBUILD_BUILD_USER="harness",
            KBUILD_BUILD_HOST="harness",
            CCACHE_DIR=str(self.cache / "ccache"),
            CCACHE_MAXSIZE="2G",
            CCACHE_BASEDIR=str(self.out.parent),
            CCACHE_NOHASHDIR="1",
            CCACHE_COMPILERCHECK="content",
            # The compiler tells the headers itself: no preprocessor of its own for each new file.
            CCACHE_DEPEND="1",
        )

    def _make(self, spawner: Spawner, *words: str) -> tuple[str | os.PathLike[str], ...]:
        """Return the command line of make; a build root has no ccache."""
        root, command = self.compiler.root, self.compiler.command
        ccache = root is None and spawner.which("ccache") is not None
        # Set, even to nothing, it keeps a git tree's "+" out of the release.
        version = f"LOCALVERSION=-{self.recipe.profile}"
        argv: tuple[str | os.PathLike[str], ...] = (
            *("make", "-C", self.tree, f"O={self.out}", version),
            *(f"{name}={'ccache ' if ccache else ''}{command}" for name in ("CC", "HOSTCC")),
            *words,
        )
        if root is None:
            return argv
        # Both lie at the same paths in there.
        return root.command(argv, visible=(self.tree, self.out.parent))

    def _configure(self, requests: Sequence[Request], spawner: Spawner) -> None:
        folder = self.out / "fragments"
        folder.mkdir(exist_ok=True)
        paths = []
        for fragment in self.recipe.fragments:
            path = folder / fragment.name
            lines = [one.text for one in requests if one.fragment == fragment]
            path.write_text("".join(f"{line}\n" for line in lines))
            paths.append(path)
        merged = self.out / "merged.config"
        script = self.tree / "scripts/kconfig/merge_config.sh"
        # That of 6.1 takes it for a file.
        quiet = ("-Q",) if "-Q" in script.read_text() else ()
        with self._explained(spawner):
            # It makes a temporary file where it stands: not in the tree.
            spawner.run(
                ("sh", script, *quiet, "-m", "-O", self.out, *paths),
                deadline=_CONFIG_DEADLINE,
                cwd=self.out,
            )
            (self.out / ".config").replace(merged)
            for words in (("allnoconfig", f"KCONFIG_ALLCONFIG={merged}"), ("olddefconfig",)):
                spawner.run(self._make(spawner, *words), deadline=_CONFIG_DEADLINE)

    @contextmanager
    def _explained(self, spawner: Spawner) -> Iterator[None]:
        """Keep what a failed command printed in the log, and say so."""
        try:
            yield
        except CommandError as error:
            self.log.write_text(error.completed.output)
            spawner.see_ended(error.completed.status, f"configuring {self.tree}")
            raise self._failure(error.completed.output.splitlines()) from error

    def _compile(self, spawner: Spawner, phase: Phase, release: str) -> None:
        targets = ["vmlinux", "modules"]
        if not boots_as_elf(self.tree, self.out / ".config"):
            targets.append("bzImage")
        argv = self._make(spawner, f"-j{host_cpus()}", *targets)
        end, steps = time.monotonic() + _BUILD_DEADLINE, 0
        said: deque[str] = deque(maxlen=2000)
        with self.log.open("w") as log, spawner.spawn(argv, stdout=PIPE, stderr=STDOUT) as process:
            assert process.stdout is not None
            for line in lines_of(process.stdout.fileno(), until=end, what=f"make {release}"):
                log.write(f"{line}\n")
                said.append(line)
                if step := _STEP.match(line):
                    steps += 1
                    phase.update(f"compiling {release}, {steps} steps, {step[2]}")
            status = process.wait()
        spawner.see_ended(status, f"make {release}")
        if status != 0 or not (self.out / "vmlinux").is_file():
            raise self._failure(said)

    def _failure(self, said: Sequence[str]) -> HarnessError:
        if any(NO_SPACE in line for line in said):
            return no_space(self.out)
        errors = [line for line in said if _ERROR.search(line)] or ["make failed"]
        return KernelBuildError(
            f"the kernel does not build with {self.compiler.command}: {errors[0].strip()}",
            lines=tuple(errors[:10]),
            hint=f"all that the build printed: {self.log}",
        )


def _ask(argv: Sequence[str | os.PathLike[str]], spawner: Spawner) -> str:
    output = spawner.run(argv, deadline=_QUERY_DEADLINE).output
    return output.partition("\n")[0].strip()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
