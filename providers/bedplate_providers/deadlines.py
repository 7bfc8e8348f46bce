"""Many deadlines on one timer.

Nearly no deadline is ever reached, and to set and cancel a timer of the event loop for each costs more than
anything else that is done to keep it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_TIMER_SLACK_S = 0.001


class Watched(Protocol):
    """Something with a deadline, on the event loop's clock, that may be moved at any time."""

    deadline_s: float

    def late(self) -> None:
        """The deadline has passed. Called once for each `watch`; must not raise."""
        ...


class Deadlines:
    """Calls `late` for what is watched and whose deadline passes. Belongs to one event loop.

    One timer rings at the earliest deadline that was known when it was set. What it finds late is told and watched no
    more; for the rest it is set again. A deadline that is moved to later is met then; one that is moved to earlier
    needs another `watch`.
    """

    __slots__ = ("_rings_at_s", "_timer", "_watched")

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at_s = float("inf")

    def watch(self, one: Watched) -> None:
        """Watch `one`. What is watched already stays so."""
        self._watched.add(one)
        if one.deadline_s < self._rings_at_s:
            self._ring_at(one.deadline_s)

    def forget(self, one: Watched) -> None:
        """Watch it no more. Idempotent."""
        self._watched.discard(one)

    def close(self) -> None:
        """Watch nothing."""
        self._watched.clear()
        self._ring_at(float("inf"))

    def _ring_at(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at_s = when_s
        self._timer = None
        if when_s != float("inf"):
            self._timer = asyncio.get_running_loop().call_at(when_s, self._ring)

    def _ring(self) -> None:
        now_s = asyncio.get_running_loop().time() + _TIMER_SLACK_S
        late = [one for one in self._watched if one.deadline_s <= now_s]
        self._watched.difference_update(late)
        self._ring_at(min((one.deadline_s for one in self._watched), default=float("inf")))
        for one in late:
            one.late()


__all__ = ["Deadlines", "Watched"]
