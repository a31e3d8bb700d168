# SPDX-License-Identifier: GPL-2.0
"""Kernel options that fragments ask for, and why a kernel does not give them. Runs nothing.

kconfig drops in silence what an option's dependencies do not allow, so every one that was asked for
is looked up in what came out (notes/measured.md: SLUB_TINY once took KASAN away).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

_SET = re.compile(r"(CONFIG_\w+)=(\S.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_OPTIONAL = re.compile(r"# Where it exists\b")
_SYMBOL = re.compile(r"\b[A-Z0-9_]*[A-Z][A-Z0-9_]*\b")
_MACRO = re.compile(r"\$\([^()]*\)")
# What begins an entry of Kconfig's language, and so ends the one before
# (Documentation/kbuild/kconfig-language.rst).
_ENTRIES = ("config", "menuconfig", "choice", "menu", "comment", "source", "mainmenu")


class FragmentError(HarnessError):
    """A fragment has a line that is no option."""


class LostOptionError(HarnessError):
    """The kernel's configuration has not what the fragments asked for.

    Attributes:
        lines: one for each option: where it was asked for, and what it depends on.
    """

    def __init__(self, message: str, *, lines: tuple[str, ...], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.lines = lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of a fragment.

    Attributes:
        option: with its prefix: "CONFIG_KASAN".
        value: as in a .config: "y", a number, a quoted string; "n" for "is not set".
        fragment: the file.
        line: in it, from 1.
        optional: asked only of kernels that know the option.
    """

    option: str
    value: str
    fragment: Path
    line: int
    optional: bool

    @property
    def text(self) -> str:
        """The line as a .config has it."""
        return config_line(self.option, self.value)


def config_line(option: str, value: str) -> str:
    """Return how a .config says that an option has a value."""
    return f"# {option} is not set" if value == "n" else f"{option}={value}"


def read_fragments(paths: Sequence[Path]) -> tuple[Request, ...]:
    """Return what fragments ask for, in order.

    Raises:
        FragmentError: a line is neither option nor comment, or an option has two values.
    """
    requests: dict[str, Request] = {}
    for path in paths:
        for request in _requests(path):
            earlier = requests.setdefault(request.option, request)
            if earlier.value != request.value:
                raise FragmentError(
                    f"{path}:{request.line}: {request.option}={request.value}, but "
                    f"{earlier.fragment.name}:{earlier.line} says {earlier.value}"
                )
    return tuple(requests.values())


def _requests(path: Path) -> Iterable[Request]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FragmentError(f"{path}: cannot read: {error}") from error
    optional = False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        unset = _UNSET.fullmatch(text)
        found = _SET.fullmatch(text)
        if unset or found:
            option, value = (unset[1], "n") if unset else found.groups() if found else ("", "")
            yield Request(option=option, value=value, fragment=path, line=number, optional=optional)
        elif not text:
            optional = False
        elif not text.startswith("#"):
            raise FragmentError(
                f"{path}:{number}: expected CONFIG_NAME=VALUE or a comment, got {text!r}"
            )
        elif _OPTIONAL.match(text):
            optional = True


def wanted(requests: Iterable[Request], tree: Path) -> tuple[Request, ...]:
    """Leave out the optional requests that the kernel's source does not know."""
    requests = tuple(requests)
    unsure = {request.option for request in requests if request.optional}
    known = unsure & set(_definitions(tree, unsure)) if unsure else set()
    return tuple(one for one in requests if not one.optional or one.option in known)


def check_config(requests: Iterable[Request], config: Path, tree: Path, *, release: str) -> None:
    """Compare what was asked for with what came out.

    Args:
        config: the .config after olddefconfig.
        tree: the kernel's source, asked for the dependencies of what is lost.
        release: the kernel's version, for the message.

    Raises:
        LostOptionError: an option has another value, or none.
    """
    values = read_config(config)
    lost = [one for one in requests if values.get(one.option, "n") != one.value]
    if not lost:
        return
    found = _definitions(tree, {one.option for one in lost})
    lines = tuple(_explain(one, values, found.get(one.option)) for one in lost)
    names = ", ".join(one.option for one in lost)
    raise LostOptionError(
        f"Linux {release} does not give {names}, which {_files(lost)} asked for",
        lines=lines,
        hint='ask for what it depends on, too; or say "# Where it exists" above it '
        "if this kernel does not know it",
    )


def read_config(path: Path) -> dict[str, str]:
    """Return the options that a .config sets, with their values as they stand there."""
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", path.read_text(), re.MULTILINE))


def _files(lost: Iterable[Request]) -> str:
    return " and ".join(dict.fromkeys(one.fragment.name for one in lost))


def _explain(request: Request, values: dict[str, str], depends: tuple[str, ...] | None) -> str:
    got = config_line(request.option, values.get(request.option, "n"))
    where = f"{request.fragment.name}:{request.line}: asked for {request.text}, got {got}"
    if depends is None:
        return f"{where}: this kernel has no such option"
    if not depends:
        return f"{where}: it depends on nothing: another option selects it or excludes it"
    symbols = _SYMBOL.findall(_MACRO.sub("", " ".join(depends)))
    state = ", ".join(
        f"{name}={values.get(f'CONFIG_{name}', 'n')}" for name in dict.fromkeys(symbols)
    )
    return f"{where}: it depends on {' && '.join(depends)}" + (f" ({state})" if state else "")


def _definitions(tree: Path, options: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the options that the tree's Kconfig files define, each with its conditions."""
    names = {option.removeprefix("CONFIG_") for option in options}
    head = re.compile(
        rf"^\s*(?:menu)?config\s+(?:{'|'.join(map(re.escape, sorted(names)))})\s*$", re.M
    )
    found: dict[str, tuple[str, ...]] = {}
    for path in _kconfig_files(tree):
        text = path.read_text(errors="replace")
        if head.search(text):
            for name, conditions in parse_kconfig(text).items():
                if name in names:
                    found.setdefault(f"CONFIG_{name}", conditions)
    return found


def _kconfig_files(tree: Path) -> Iterable[Path]:
    for folder in sorted(tree.iterdir()):
        if folder.name.startswith("Kconfig"):
            yield folder
        elif folder.name == "arch":
            yield from folder.glob("Kconfig*")
            yield from (folder / "x86").rglob("Kconfig*")
        elif folder.is_dir() and not folder.name.startswith(".") and folder.name != "Documentation":
            yield from folder.rglob("Kconfig*")


def parse_kconfig(text: str) -> dict[str, tuple[str, ...]]:
    """Return the options that a Kconfig file defines, with the conditions of each.

    Those are its own `depends on` and those of the `if`, `menu` and `choice` around it in the file.
    """
    found: dict[str, list[str]] = {}
    blocks: list[list[str]] = []
    current: list[str] = []
    for line in _statements(text):
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "if":
            blocks.append([f"({rest})" if "||" in rest else rest])
            current = []
        elif word in ("endif", "endmenu", "endchoice"):
            current = []
            if blocks:
                blocks.pop()
        elif word in _ENTRIES:
            current = []
            if word in ("menu", "choice"):
                blocks.append(current)
            elif word.endswith("config") and rest not in found:
                outer = [condition for block in blocks for condition in block]
                found[rest] = current = list(outer)
        elif word == "depends":
            condition = rest.removeprefix("on ").strip()
            current.append(f"({condition})" if "||" in condition else condition)
    return {name: tuple(dict.fromkeys(conditions)) for name, conditions in found.items()}


def _statements(text: str) -> Iterable[str]:
    """Yield the lines of a Kconfig file that are not help or comments, continued ones joined."""
    inside: int | None = None
    for line in text.expandtabs().replace("\\\n", " ").splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if inside is not None:
            if not stripped or indent > inside:
                continue
            inside = None
        if stripped in ("help", "---help---"):
            inside = indent
        elif stripped and not stripped.startswith("#"):
            yield re.sub(r"\s+", " ", stripped)
