"""What one choice of an answer holds until models judged it, in the order in which it came."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import msgspec

from bedplate_core.events import Delta, Event, PartEnd, PartStart
from bedplate_core.messages import Reasoning, Refusal, Text, ToolCall
from bedplate_guardrails.choice_out import ChoiceOut, Kind
from bedplate_guardrails.held_part import HeldPart, PartWindow
from bedplate_guardrails.stretch import Stretch, Window

AnyWindow: TypeAlias = Window | PartWindow
Held: TypeAlias = Stretch | HeldPart | PartEnd


class HeldChoice:
    """One choice. `stopped` says that the patterns end it once what is held has left.

    `refused` says that models end it; `blocked`, that it has ended with the guardrail's message. `is_silent` says that
    there was neither a tool call nor a refusal, which stand for an answer's text.
    """

    def __init__(self, number: int, *, holds_tails: bool, leaves_at_once: bool) -> None:
        """`holds_tails` and `leaves_at_once` are as a `Stretch` has them."""
        self.number = number
        self.out = ChoiceOut(number)
        self.stopped = False
        self.blocked = False
        self.is_silent = True
        self._holds_tails = holds_tails
        self._leaves_at_once = leaves_at_once
        self._held: deque[Held] = deque()
        self._new: list[HeldPart] = []
        self._contexts: dict[Kind, str] = {}
        self._stretch: Stretch | None = None
        self._call: PartStart | None = None
        self._arguments: list[str] = []
        self._refused_in: Stretch | HeldPart | None = None
        self._refused_at = 0

    @property
    def refused(self) -> bool:
        """Whether models end the choice."""
        return self._refused_in is not None

    @property
    def refused_has_left(self) -> bool:
        """Whether models end the choice for something that is not held any more."""
        return self._refused_in is not None and self._refused_in not in self._held

    def take(self, event: PartStart | Delta | PartEnd) -> None:
        """More of the choice."""
        match event:
            case PartStart():
                self._start(event)
            case Delta():
                if self._call is not None:
                    self._arguments.append(event.text)
                elif self._stretch is not None:
                    self._stretch.append(event.text)
            case PartEnd():
                self._end(event)

    def _start(self, event: PartStart) -> None:
        part = event.part
        match part:
            case Text() | Reasoning() | Refusal():
                kind = type(part)
                self.is_silent = self.is_silent and kind is not Refusal
                if self._stretch is None or self._stretch.kind is not kind:
                    self.interrupt()
                    self._stretch = Stretch(
                        kind,
                        self._contexts.get(kind, ""),
                        holds_tails=self._holds_tails,
                        leaves_at_once=self._leaves_at_once,
                    )
                    self._held.append(self._stretch)
                self._stretch.mark(PartStart(event.choice, event.index, msgspec.structs.replace(part, text="")))
                if part.text:
                    self._stretch.append(part.text)
            case ToolCall():
                self.is_silent = False
                self.interrupt()
                self._call = event
                self._arguments = [part.arguments]
            case _:
                self.interrupt()
                self._hold(HeldPart(event, part))

    def _end(self, event: PartEnd) -> None:
        call, self._call = self._call, None
        if call is not None and isinstance(call.part, ToolCall):
            part = msgspec.structs.replace(call.part, arguments="".join(self._arguments))
            self._hold(HeldPart(call, part, event))
        elif self._stretch is not None:
            self._stretch.mark(event)
        else:
            self._held.append(event)

    def _hold(self, part: HeldPart) -> None:
        self._held.append(part)
        self._new.append(part)

    def interrupt(self) -> None:
        """What is said is interrupted, or over."""
        stretch, self._stretch = self._stretch, None
        if stretch is not None:
            stretch.close()
            self._contexts[stretch.kind] = stretch.context

    def windows(self) -> list[AnyWindow]:
        """The windows that became complete since the last time, in the order of what is held."""
        windows: list[AnyWindow] = []
        new, self._new = self._new, []
        for held in self._held:
            if isinstance(held, Stretch) or (isinstance(held, HeldPart) and held in new):
                windows += held.windows()
        return windows

    def refuse(self, where: Stretch | HeldPart, place: int) -> None:
        """Nothing leaves from `place` of `where` on. Of two places in one text the earlier holds."""
        if self._refused_in is None or (self._refused_in is where and place < self._refused_at):
            self._refused_in, self._refused_at = where, place

    def is_open_to(self, window: AnyWindow) -> bool:
        """Whether what is said of a window can still make a difference: not after the segment that was refused."""
        if self._refused_in is None:
            return True
        return isinstance(window, Window) and window.stretch is self._refused_in and window.start <= self._refused_at

    def release(self, out: list[Event], *, holds_text: bool) -> bool:
        """Let out what may leave. With `holds_text` plain text, and what follows it, stays.

        True when it came to the place where models end the choice.
        """
        while self._held:
            held = self._held[0]
            is_last = held is self._refused_in
            match held:
                case Stretch():
                    if holds_text and held.kind is Text:
                        return False
                    pieces = held.release_to(self._refused_at) if is_last else held.release()
                    self.out.pieces(held.kind, pieces, out)
                    if not is_last and not held.is_empty:
                        return False
                case HeldPart():
                    if not is_last:
                        if not held.judged:
                            return False
                        held.leave(self.out, out)
                case PartEnd():
                    self.out.edge(held, out)
            if is_last:
                return True
            self._held.popleft()
        return False

    def end(self, message: str, out: list[Event]) -> None:
        """End the choice with the guardrail's message; nothing more of it leaves."""
        self.blocked = True
        self._held.clear()
        self._new.clear()
        self.out.announce(message, out)


__all__ = ["AnyWindow", "HeldChoice"]
