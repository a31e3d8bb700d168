# SPDX-License-Identifier: GPL-2.0
"""Which compiler builds modules for a kernel here: proven by a build, remembered per kernel.

Names and versions do not tell: the headers bring programs of their own (objtool, modpost) that the
host's libc may be too old for, and options that an older compiler does not know.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.buildroot import BuildRoot, open_buildroot
from harness.cache import NO_SPACE, digest_file, locked, making, no_space, remove_tree
from harness.errors import HarnessError
from harness.hostcpus import host_cpus
from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text
from harness.kernel import Kernel
from harness.progress import Progress
from harness.run import Completed, Spawner

_PROBE = Path(__file__).parent / "data" / "probe"
_BUILD_DEADLINE = 900.0
_SCHEMA = 1
_TELLING = re.compile(
    r"error|not found|required by|unrecognized|no such file|no rule to make", re.IGNORECASE
)


class ToolchainError(HarnessError):
    """Nothing here builds modules for the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A compiler that has built a module for the kernel.

    Attributes:
        compiler: the command: "gcc-12".
        version: its first line of `--version`.
        root: where it runs; None for the host.
    """

    compiler: str
    version: str
    root: BuildRoot | None

    def make(
        self,
        kernel: Kernel,
        folder: Path,
        *variables: str,
        visible: Sequence[Path],
        spawner: Spawner,
    ) -> Completed:
        """Run the kernel's make on the module in a folder.

        Args:
            variables: more for make's command line, such as "W=1".
            visible: folders that a build root has to show.

        Returns:
            How it ended; a failure is not raised.
        """
        argv: tuple[str | Path, ...] = (
            *("make", f"-j{host_cpus()}", "-C", kernel.build, f"M={folder}", f"CC={self.compiler}"),
            *(*variables, "modules"),
        )
        return self._run(argv, visible, spawner)

    def gcov(self, files: Sequence[Path], *, visible: Path, spawner: Spawner) -> Completed:
        """Run the gcov of this compiler, no other can read its files; JSON goes to stdout.

        Args:
            files: .gcda or .gcno, the others beside them.
            visible: a folder that they are in, for a build root.

        Returns:
            How it ended; a failure is not raised.
        """
        head, _, tail = self.compiler.rpartition("gcc")
        argv: tuple[str | Path, ...] = (
            *(f"{head}gcov{tail}", "--json-format", "--branch-probabilities", "--stdout"),
            *files,
        )
        return self._run(argv, (visible,), spawner)

    def ask_version(self, *, spawner: Spawner) -> str:
        """Return the first line of the compiler's `--version`; "" when it does not run."""
        completed = self._run((self.compiler, "--version"), (), spawner)
        spawner.see_ended(completed.status, f"{self.compiler} --version")
        return "" if completed.status else completed.output.partition("\n")[0]

    def _run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        visible: Sequence[Path],
        spawner: Spawner,
    ) -> Completed:
        if self.root is not None:
            argv = self.root.command(argv, visible=visible)
        env = spawner.with_env(LC_ALL="C.UTF-8")
        return env.run(argv, deadline=_BUILD_DEADLINE, check=False)


def kernel_id(kernel: Kernel) -> str:
    """Return a hash of all that a module's build takes from a kernel, near enough.

    Two kernels of one release differ in their image; a build tree may change under the same image
    in its configuration and exported symbols.
    """
    digest = hashlib.sha256(f"{kernel.release} {kernel.sha256} {kernel.build}".encode())
    for path in (kernel.config, kernel.build / "Module.symvers"):
        if path.is_file():
            digest.update(digest_file(path).encode())
    return digest.hexdigest()[:16]


def choose_toolchain(
    kernel: Kernel, *, cache: Path, spawner: Spawner, progress: Progress
) -> Toolchain:
    """Return the compiler that the kernel's headers name, another that works, or a build root's.

    The verdict is kept until the host's compilers change.

    Args:
        cache: the user's cache folder of this project.

    Raises:
        ToolchainError: nothing works, and there is no build root for this kernel.
        BuildRootError: the root cannot be made.
    """
    chooser = _Chooser(kernel=kernel, cache=cache, spawner=spawner, progress=progress)
    candidates = chooser.candidates()
    return chooser.remembered(candidates) or chooser.choose(candidates)


# Compilers of the host, best first: the name, and what changes when the program is replaced.
Candidates = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chooser:
    kernel: Kernel
    cache: Path
    spawner: Spawner
    progress: Progress

    @property
    def entry(self) -> Path:
        return self.cache / "toolchains" / kernel_id(self.kernel)

    def candidates(self) -> Candidates:
        names = [self.kernel.compiler or "gcc", "gcc"]
        names += [f"gcc-{major}" for major in range(20, 8, -1)]
        found: dict[str, str] = {}
        for name in dict.fromkeys(names):
            path = self.spawner.which(name)
            if path is None:
                continue
            real = path.resolve()
            stamp = f"{real} {real.stat().st_size} {real.stat().st_mtime_ns}"
            if stamp not in found.values():
                found[name] = stamp
        return tuple(found.items())

    def remembered(self, candidates: Candidates) -> Toolchain | None:
        """Return the verdict of an earlier run if it was about the same compilers."""
        path = self.entry / "toolchain.json"
        try:
            fields = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
            same = fields.pairs("candidates") == candidates
            compiler, version = fields.text("compiler"), fields.text("version")
            root_name = fields.text_or_none("root")
        except DocumentError:
            return None
        if not same:
            return None
        if root_name is None:
            return Toolchain(compiler=compiler, version=version, root=None)
        root = self._buildroot()
        if root is None or (root.path.name, root.spec.compiler) != (root_name, compiler):
            return None
        return Toolchain(compiler=compiler, version=version, root=root)

    def choose(self, candidates: Candidates) -> Toolchain:
        """Take the first compiler that builds the probe, and remember it."""
        if self.spawner.which("make") is None:
            raise ToolchainError("make not found", hint="apt-get install make")
        with locked(self.entry):
            failures: list[str] = []
            for name, _ in candidates:
                toolchain = Toolchain(compiler=name, version="", root=None)
                failure = self._failure(toolchain)
                if failure is None:
                    break
                failures.append(f"{name}: {failure}")
            else:
                toolchain = self._in_buildroot(failures)
            toolchain = replace(toolchain, version=toolchain.ask_version(spawner=self.spawner))
            root = toolchain.root
            document = {
                "schema": _SCHEMA,
                "candidates": dict(candidates),
                "compiler": toolchain.compiler,
                "version": toolchain.version,
                "root": None if root is None else root.path.name,
            }
            with making(self.entry) as temp:
                write_text(temp / "toolchain.json", dump(document))
        return toolchain

    def _failure(self, toolchain: Toolchain) -> str | None:
        """Build the probe module; return why that failed, or None."""
        folder = self.entry.with_name(f"{self.entry.name}-probe")
        remove_tree(folder)
        folder.mkdir()
        try:
            for source in _PROBE.iterdir():
                (folder / source.name).write_bytes(source.read_bytes())
            completed = toolchain.make(
                self.kernel, folder, visible=(self.cache,), spawner=self.spawner
            )
            self.spawner.see_ended(completed.status, f"make with {toolchain.compiler}")
            if completed.status == 0 and (folder / "probe.ko").is_file():
                return None
        finally:
            remove_tree(folder)
        if NO_SPACE in completed.output:
            raise no_space(folder.parent)
        lines = [line.strip() for line in completed.output.splitlines() if line.strip()]
        # Shells and compilers say what went wrong before make's own "*** [...] Error 1".
        telling = [line for line in lines if _TELLING.search(line)]
        return (telling or lines or ["make failed"])[0]

    def _buildroot(self) -> BuildRoot | None:
        if self.kernel.buildroot is None:
            return None
        return open_buildroot(
            self.kernel.buildroot,
            cache=self.cache,
            spawner=self.spawner,
            progress=self.progress,
        )

    def _in_buildroot(self, failures: Sequence[str]) -> Toolchain:
        wanted, release = self.kernel.compiler or "gcc", self.kernel.release
        root = self._buildroot()
        if root is None:
            tried = "; ".join(failures) or "there is none"
            raise ToolchainError(
                f"no compiler here builds modules for {release}: {tried}",
                hint=f"apt-get install {wanted}",
            )
        toolchain = Toolchain(compiler=root.spec.compiler, version="", root=root)
        failure = self._failure(toolchain)
        if failure is not None:
            raise ToolchainError(
                f"neither a compiler of this host nor a Debian {root.spec.suite} root builds "
                f"modules for {release}: {failure}",
                hint=f"apt-get install {wanted}; or allow user namespaces, or run as root; in a "
                "container, with CAP_SYS_ADMIN",
            )
        return toolchain
