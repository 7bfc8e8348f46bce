"""What a worker's program needs of what it runs."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bedplate_guardrails.evaluation import Result, Task
from bedplate_guardrails.pool.wire import Registered


class CannotLoad(Exception):
    """A unit cannot be made ready. The message is for clients; `detail` for the log."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Evaluating(Protocol):
    """Models or validators, each a unit that is loaded when it is first needed."""

    def load(self, unit: str, registered: Registered | None) -> None:
        """Make `unit` ready. Raises `CannotLoad`."""
        ...

    def evaluate(self, unit: str, tasks: Sequence[Task]) -> Sequence[Result]:
        """The results in order, of tasks of one loaded unit. May raise anything."""
        ...


def where(error: BaseException) -> str:
    """What was raised and where, for a log: without the message, which may quote what was evaluated."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


__all__ = ["CannotLoad", "Evaluating", "where"]
