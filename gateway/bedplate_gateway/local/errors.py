"""What goes wrong while the local stack starts: for the operator at the terminal, never for a client of the
API.
"""

from __future__ import annotations


class LaunchError(Exception):
    """A part of the local stack cannot be built, started or kept running.

    `message` says what happened, `hint` what the operator can do about it (empty if nothing specific helps).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
