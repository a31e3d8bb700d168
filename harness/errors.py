# SPDX-License-Identifier: GPL-2.0
"""The one base of all errors that mean "the harness could not judge" (exit status 2)."""


class HarnessError(Exception):
    """An infrastructure failure: never a verdict about the driver.

    Args:
        message: one line that says what went wrong, naming the file or command.
        hint: what the reader should do next, one line; None when there is nothing to advise.

    Attributes:
        lines: a tool's own words that explain it, such as the compiler's; shown first.
    """

    lines: tuple[str, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
