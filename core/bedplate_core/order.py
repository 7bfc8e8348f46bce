"""The order of events, checked."""

from __future__ import annotations

from typing import assert_never

from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start


class EventOrder:
    """Checks the order that `bedplate_core.events` states, event by event.

    `add` raises `ValueError` naming the first violation. `end` raises it when a stream ended without `Finish`;
    do not call it for a stream that raised. Used by every provider's and stage's tests.
    """

    def __init__(self) -> None:
        self._started = False
        self._finished = False
        self._choices = 0
        self._next: dict[int, int] = {}
        self._open: dict[int, int] = {}

    def add(self, event: Event) -> None:
        """Check the next event."""
        if self._finished:
            raise ValueError(f"{type(event).__name__} after Finish")
        if not self._started and not isinstance(event, Start):
            raise ValueError(f"{type(event).__name__} before Start")
        match event:
            case Start():
                if self._started:
                    raise ValueError("a second Start")
                self._started, self._choices = True, event.choices
            case PartStart():
                self._check_choice(event.choice)
                if event.choice in self._open:
                    raise ValueError(f"part {event.index} opens while part {self._open[event.choice]} is open")
                if event.index != self._next.get(event.choice, 0):
                    raise ValueError(f"part {event.index} opens, {self._next.get(event.choice, 0)} expected")
                self._open[event.choice] = event.index
                self._next[event.choice] = event.index + 1
            case Delta():
                self._check_open(event.choice, event.index, "Delta")
            case PartEnd():
                self._check_open(event.choice, event.index, "PartEnd")
                del self._open[event.choice]
            case Progress():
                pass
            case Finish():
                self._check_finish(event)
            case _:
                assert_never(event)

    def end(self) -> None:
        """Check that the stream may end here."""
        if not self._finished:
            raise ValueError("the stream ended without Finish")

    def _check_choice(self, choice: int) -> None:
        if not 0 <= choice < self._choices:
            raise ValueError(f"choice {choice} of {self._choices}")

    def _check_open(self, choice: int, index: int, name: str) -> None:
        if self._open.get(choice) != index:
            raise ValueError(f"{name} for part {index} of choice {choice}, which is not open")

    def _check_finish(self, event: Finish) -> None:
        if self._open:
            raise ValueError(f"Finish while parts are open: {self._open}")
        numbers = [stop.choice for stop in event.stops]
        if numbers != list(range(self._choices)):
            raise ValueError(f"Finish has stops for choices {numbers}, of {self._choices}")
        self._finished = True


__all__ = ["EventOrder"]
