# SPDX-License-Identifier: GPL-2.0
"""What it takes of a kernel that a mutant means anything: `<6.11`, `CONFIG_KASAN=y`. Pure."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from harness.version import KernelVersion

_BOUND = re.compile(r"(>=|<)(\d+\.\d+)")
_OPTION = re.compile(r"(CONFIG_[A-Z0-9_]+)=(\S+)")
_COMPARE: Mapping[str, Callable[[KernelVersion, KernelVersion], bool]] = {
    ">=": operator.ge,
    "<": operator.lt,
}


FORMAT = "bounds such as <6.11 and >=6.2, and CONFIG_NAME=VALUE"


@dataclass(frozen=True, slots=True)
class Need:
    """A bound for the version, of which the patch level does not count, or an option's value."""

    text: str

    def __str__(self) -> str:
        """Return it as part of "needs ..."."""
        return f"a kernel {self.text}" if _BOUND.fullmatch(self.text) else self.text

    def met(self, release: str, option: Callable[[str], str | None]) -> bool:
        """Whether a kernel is that, or has that.

        Args:
            release: the kernel's `uname -r`.
            option: returns the value of a configuration option.
        """
        if bound := _BOUND.fullmatch(self.text):
            version = KernelVersion.parse(release)
            here = KernelVersion(version.major, version.minor)
            return _COMPARE[bound[1]](here, KernelVersion.parse(bound[2]))
        name, _, value = self.text.partition("=")
        return option(name) == value


def parse(text: str) -> tuple[Need, ...]:
    """Parse words that are bounds and options.

    Raises:
        ValueError: the first word that is neither.
    """
    for word in text.split():
        if not (_BOUND.fullmatch(word) or _OPTION.fullmatch(word)):
            raise ValueError(word)
    return tuple(Need(word) for word in text.split())


def missing(
    needs: Iterable[Need], release: str, option: Callable[[str], str | None]
) -> Need | None:
    """Return the first need that a kernel does not meet (arguments as of Need.met), or None."""
    return next((need for need in needs if not need.met(release, option)), None)
