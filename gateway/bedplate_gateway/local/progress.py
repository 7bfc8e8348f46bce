"""What the operator sees while slow things happen: one line a step, alive on a terminal, plain in a log."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.status import Status

PLAIN_UPDATE_EVERY_S = 20.0
"""Without a terminal every update is a line that stays, so they are thinned out."""


class Progress(Protocol):
    """Receives the steps of a slow job, one at a time: `step`, any number of `update`, then `done` or
    `failed`.
    """

    def step(self, title: str) -> None:
        """A step named `title` begins."""
        ...

    def update(self, text: str) -> None:
        """Where the current step stands, in a few words; called as often as the caller likes."""
        ...

    def done(self) -> None:
        """The current step ended well."""
        ...

    def failed(self) -> None:
        """The current step, if there is one, ended badly; the error itself is reported by the caller."""
        ...

    def note(self, text: str) -> None:
        """Something happened outside the steps, e.g. a part was restarted."""
        ...


class SilentProgress:
    """Shows nothing: for programs and tests."""

    def step(self, title: str) -> None: ...

    def update(self, text: str) -> None: ...

    def done(self) -> None: ...

    def failed(self) -> None: ...

    def note(self, text: str) -> None: ...


class ConsoleProgress:
    """Writes steps to `console`: a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._began = 0.0
        self._shown = 0.0
        self._status: Status | None = None

    def step(self, title: str) -> None:
        self.failed()
        self._title = title
        self._began = self._shown = time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(escape(title))
            self._status.start()
        else:
            self._line(f"{title} ...")

    def update(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{escape(self._title)} [dim]{escape(text)}[/dim]")
        elif self._title and time.monotonic() - self._shown >= PLAIN_UPDATE_EVERY_S:
            self._shown = time.monotonic()
            self._line(f"  {text}")

    def done(self) -> None:
        self._end("done")

    def failed(self) -> None:
        self._end("failed")

    def note(self, text: str) -> None:
        self._line(text)

    def _end(self, how: str) -> None:
        if not self._title:
            return
        if self._status is not None:
            self._status.stop()
            self._status = None
        self._line(f"{self._title}: {how} ({time.monotonic() - self._began:.1f} s)")
        self._title = ""

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
