# SPDX-License-Identifier: GPL-2.0
"""Four tools over a C module, for one kernel.

    W=1         the compiler's warnings, as `harness check` builds
    sparse      as kbuild's C=2, with data/sparse.h
    clang       W=1 again, by another compiler, from the same headers
    checkpatch  --strict, the script of the kernel's own source

What a tool found is kept in the cache, by the content of all that goes into it.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.archive import ArchiveError
from harness.buildroot import find_buildroot
from harness.cache import NO_SPACE, locked, making, no_space, remove_tree
from harness.errors import HarnessError
from harness.finding import Finding, Outcome, SkipError, parse_messages
from harness.jsonfile import DocumentError, Fields, dump, read_text, write_text
from harness.kernel import Kernel
from harness.kernelname import is_local
from harness.kmod import build_module, map_paths, read_sources
from harness.matrix import BuildRootSpec
from harness.place import Place
from harness.run import CommandError
from harness.runner import kernel_store
from harness.toolchain import Toolchain, kernel_id

MODULES = ("module", "selftests/modules")

_SCHEMA = 1
_KEPT = 256
_COPY = "src"
_DEADLINE = 600.0
_CHECKPATCH = (
    "scripts/checkpatch.pl",
    "scripts/const_structs.checkpatch",
    "scripts/spelling.txt",
)
# What C=2 sets, above what else would set it: since 7.2 a script that Debian's headers lack.
_CHECK = ("KBUILD_CHECKSRC=2", "CHECK=sparse")
_SPARSE_H = Path(__file__).parent / "data" / "sparse.h"
# On make's command line these stand above the kernel's .config: without them kbuild looks at the
# same C in half the time.
_NO_LINKING = (
    *("CONFIG_DEBUG_INFO=", "CONFIG_DEBUG_INFO_BTF_MODULES="),
    *("CONFIG_OBJTOOL=", "CONFIG_STACK_VALIDATION="),
)
# Headers configured for gcc make kbuild give options that clang does not know, where .config says
# what gcc can do. This much of it is unsaid; autoconf.h stays gcc's.
_CLANG = (
    *("CONFIG_CC_IS_CLANG=y", "CONFIG_CC_IS_GCC=", "CONFIG_GCC_VERSION=0"),
    "CONFIG_CC_IMPLICIT_FALLTHROUGH=-Wimplicit-fallthrough",
    *("CONFIG_FTRACE_MCOUNT_USE_CC=", "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT="),
    "CONFIG_UBSAN_BOUNDS_STRICT=",
)
_CLANGS = (*(f"clang-{major}" for major in range(30, 14, -1)), "clang")
# What a build root needs on top of its compiler.
_IN_ROOT = ("clang", "sparse")

_PATCH = re.compile(r"^([^\s:]+:\d+): ((?:ERROR|WARNING|CHECK):.*)$")


# What finds something in a module, which is named by its folder.
Judge = Callable[[str], tuple[Finding, ...]]


def with_tools(spec: BuildRootSpec) -> BuildRootSpec:
    """Return a build root that has sparse and clang, too; the same one if it has."""
    return replace(spec, packages=tuple(dict.fromkeys((*spec.packages, *_IN_ROOT))))


@dataclass(frozen=True, slots=True, kw_only=True)
class CLinter:
    """The tools, each a method that judges one module.

    Attributes:
        kernel: the one to build for.
        toolchain: what builds there.
    """

    place: Place
    kernel: Kernel
    toolchain: Toolchain

    def tools(self, *, text: bool = True) -> tuple[tuple[str, Judge], ...]:
        """Return each tool's name and method; those that only read text can be left out."""
        return (
            ("W=1", self.warnings),
            ("sparse", self.sparse),
            ("clang", self.clang),
            *((("checkpatch", self.checkpatch),) if text else ()),
        )

    def outcome(self, tool: str, judge: Judge) -> Outcome:
        """Let a tool judge the modules, up to the first that it cannot."""
        findings: list[Finding] = []
        for module in MODULES:
            if not (self.place.source / module).is_dir():
                continue
            try:
                findings += judge(module)
            except SkipError as skip:
                return Outcome(
                    tool=tool,
                    kernel=self.kernel.name,
                    findings=tuple(findings),
                    skipped=str(skip),
                    mendable=skip.mendable,
                )
        return Outcome(tool=tool, kernel=self.kernel.name, findings=tuple(findings))

    def warnings(self, module: str) -> tuple[Finding, ...]:
        source = self.place.source / module
        text = (source / "Kbuild").read_text() if (source / "Kbuild").is_file() else ""
        match = re.search(r"^obj-m\s*[:+]?=\s*(\S+)\.o\s*$", text, re.MULTILINE)
        if match is None:
            raise HarnessError(f"{source}/Kbuild: no line like obj-m := NAME.o")
        build = build_module(
            source,
            self.kernel,
            name=match[1],
            cache=self.place.cache,
            spawner=self.place.spawner,
            progress=self.place.progress,
        )
        # modpost's have no place: "WARNING: modpost: missing MODULE_DESCRIPTION()".
        modpost = (line for line in build.warnings if line.startswith("WARNING: modpost"))
        ours, foreign = parse_messages("\n".join(build.warnings), self.place.source)
        return (*ours, *foreign, *(Finding(where="", text=line) for line in modpost))

    def sparse(self, module: str) -> tuple[Finding, ...]:
        toolchain = self._toolchain()
        version = replace(toolchain, compiler="sparse").ask_version(spawner=self.place.spawner)
        if not version and toolchain.root is None:
            raise SkipError("sparse is not installed", mendable=True)

        def judge(folder: Path) -> tuple[Finding, ...]:
            (folder / _COPY).mkdir()
            shutil.copy(_SPARSE_H, folder / _COPY)
            variables = (*_CHECK, f"CF=-include {folder / _COPY / _SPARSE_H.name}")
            text, ours, foreign = self._make(toolchain, folder, module, *variables)
            if not re.search(r"^\s*CHECK\s", text, re.MULTILINE):
                raise SkipError(f"kbuild did not run it: no effect of {_CHECK[0]}", mendable=False)
            if not version:
                raise SkipError("sparse is not in the build root", mendable=True)
            errors = [one for one in foreign if one.text.startswith("error: ")]
            if errors:
                reason = f"sparse {version} cannot parse the kernel's headers: "
                raise SkipError(f"{reason}{errors[0].where}: {errors[0].text}", mendable=False)
            # The compiler runs, too; only its messages name an option.
            return tuple(one for one in ours if not one.text.endswith("]"))

        inputs = (version, toolchain.version, *_CHECK, _SPARSE_H.read_text())
        return self._remember("sparse", module, inputs, judge)

    def clang(self, module: str) -> tuple[Finding, ...]:
        toolchain = self._toolchain()
        if toolchain.root is None:
            found = [name for name in _CLANGS if self.place.spawner.which(name) is not None]
            names = found or ["clang"]
            where = "installed"
        else:
            names, where = ["clang"], "in the build root"
        toolchain = replace(toolchain, compiler=names[0])
        toolchain = replace(toolchain, version=toolchain.ask_version(spawner=self.place.spawner))
        match = re.search(r"version (\d+)\.(\d+)\.(\d+)", toolchain.version)
        if match is None:
            raise SkipError(f"clang is not {where}", mendable=True)
        number = int(match[1]) * 10000 + int(match[2]) * 100 + int(match[3])

        def judge(folder: Path) -> tuple[Finding, ...]:
            variables = ("W=1", *_CLANG, f"CONFIG_CLANG_VERSION={number}")
            return self._make(toolchain, folder, module, *variables)[1]

        return self._remember("clang", module, (toolchain.version, *_CLANG), judge)

    def checkpatch(self, module: str) -> tuple[Finding, ...]:
        scripts = self._scripts()
        perl = self.place.spawner.which("perl")
        if perl is None:
            raise SkipError("perl is not installed", mendable=True)
        # A user's own settings for checkpatch lie in his home.
        spawner = self.place.spawner.with_env(HOME="/nonexistent")
        files = [f"{module}/{name}" for name in read_sources(self.place.source / module)]

        def judge(folder: Path) -> tuple[Finding, ...]:
            completed = spawner.run(
                (
                    *(perl, scripts / _CHECKPATCH[0], "--strict", "--no-tree", "--terse"),
                    *("--show-types", "--no-summary", "--file"),
                    *(name for name in files if name.endswith((".c", ".h"))),
                ),
                deadline=_DEADLINE,
                cwd=self.place.source,
                check=False,
            )
            found = [_PATCH.match(line) for line in completed.output.splitlines()]
            findings = tuple(Finding(where=one[1], text=one[2]) for one in found if one)
            if "Can't locate " in completed.output:
                raise SkipError("perl's own modules are not installed", mendable=True)
            if completed.status != 0 and not findings:
                raise CommandError(completed)
            return findings

        content = hashlib.sha256(b"\0".join((scripts / one).read_bytes() for one in _CHECKPATCH))
        return self._remember("checkpatch", module, (content.hexdigest(),), judge)

    def _scripts(self) -> Path:
        """Return the folder that has scripts/checkpatch.pl."""
        if is_local(self.kernel.name):
            if not all((self.kernel.build / script).is_file() for script in _CHECKPATCH):
                reason = f"no {_CHECKPATCH[0]} in {self.kernel.build}"
                raise SkipError(reason, mendable=False)
            return self.kernel.build
        try:
            return kernel_store(self.place).source_files(self.kernel.name, _CHECKPATCH)
        except ArchiveError as error:
            raise SkipError(str(error), mendable=True) from error

    def _toolchain(self) -> Toolchain:
        """Return the toolchain; where it has a root, one that has the tools, too, if there is."""
        if self.toolchain.root is None:
            return self.toolchain
        root = find_buildroot(with_tools(self.toolchain.root.spec), cache=self.place.cache)
        return replace(self.toolchain, root=root or self.toolchain.root)

    def _make(
        self, toolchain: Toolchain, folder: Path, module: str, *variables: str
    ) -> tuple[str, tuple[Finding, ...], tuple[Finding, ...]]:
        """Run kbuild on a copy of a module.

        Returns:
            What it printed, messages about our files, messages about others.
        """
        copy, source = folder / _COPY, self.place.source / module
        for name, content in read_sources(source).items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        completed = toolchain.make(
            self.kernel,
            copy,
            *(*variables, *_NO_LINKING),
            visible=(self.place.cache,),
            spawner=self.place.spawner,
        )
        if NO_SPACE in completed.output:
            raise no_space(folder)
        text = map_paths(completed.output, copy=copy, source=source)
        ours, foreign = parse_messages(text, self.place.source)
        if completed.status != 0 and not any(one.text.startswith("error: ") for one in ours):
            told = [line for line in text.splitlines() if "error: " in line] or [text.strip()]
            reason = f"{toolchain.compiler} does not compile for this kernel: "
            raise SkipError(reason + told[0].splitlines()[-1], mendable=True)
        return text, ours, foreign

    def _remember(
        self,
        tool: str,
        module: str,
        inputs: Sequence[str],
        judge: Callable[[Path], tuple[Finding, ...]],
    ) -> tuple[Finding, ...]:
        """Return what the tool found when all was the same, or let it judge in an empty folder."""
        digest = hashlib.sha256("\0".join((*inputs, module)).encode())
        if tool != "checkpatch":
            digest.update(kernel_id(self.kernel).encode())
        for name, content in read_sources(self.place.source / module).items():
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        folder = self.place.cache / "lint"
        entry = folder / f"{tool}-{digest.hexdigest()[:32]}"
        with locked(folder / tool):
            found = _load(entry)
            if found is None:
                with making(entry) as temp:
                    try:
                        found = Outcome(tool=tool, kernel=None, findings=judge(temp))
                    except SkipError as skip:
                        if skip.mendable:
                            raise
                        found = Outcome(tool=tool, kernel=None, skipped=str(skip))
                    remove_tree(temp / _COPY)
                    _save(found, temp)
                entries = sorted(folder.glob(f"{tool}-*/"), key=lambda path: path.stat().st_mtime)
                for old in entries[:-_KEPT]:
                    remove_tree(old)
        if found.skipped is not None:
            raise SkipError(found.skipped, mendable=False)
        return found.findings


def _save(outcome: Outcome, folder: Path) -> None:
    document: dict[str, object] = {
        "schema": _SCHEMA,
        "skipped": outcome.skipped,
        "findings": [{"where": one.where, "text": one.text} for one in outcome.findings],
    }
    write_text(folder / "found.json", dump(document))


def _load(entry: Path) -> Outcome | None:
    path = entry / "found.json"
    try:
        fields = Fields.parse(read_text(path), source=str(path), schema=_SCHEMA)
        findings = tuple(
            Finding(where=one.text("where"), text=one.text("text"))
            for one in fields.objects("findings")
        )
        skipped = fields.text_or_none("skipped")
    except DocumentError:
        return None
    return Outcome(tool="", kernel=None, findings=findings, skipped=skipped)
