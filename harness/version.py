# SPDX-License-Identifier: GPL-2.0
"""Kernel versions, ordered."""

import re
from dataclasses import dataclass
from functools import total_ordering

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-rc(\d+))?(?:[-+~_.].*)?")


@total_ordering
@dataclass(frozen=True, slots=True)
class KernelVersion:
    """The upstream version in a kernel release; what a distribution appends does not count.

    Attributes:
        rc: number of the release candidate; None for a release, which is newer than all of them.
    """

    major: int
    minor: int
    patch: int = 0
    rc: int | None = None

    @classmethod
    def parse(cls, text: str) -> "KernelVersion":
        """Parse `6.12`, `7.3-rc4` or a whole release such as `6.12.117+deb12-amd64`.

        Raises:
            ValueError: the text does not begin with a kernel version.
        """
        match = _RELEASE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a kernel version")
        major, minor, patch, rc = match.groups()
        return cls(int(major), int(minor), int(patch or 0), None if rc is None else int(rc))

    @property
    def series(self) -> str:
        """The stable series: `6.12`."""
        return f"{self.major}.{self.minor}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, KernelVersion):
            return NotImplemented
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int, float]:
        return self.major, self.minor, self.patch, float("inf") if self.rc is None else self.rc
