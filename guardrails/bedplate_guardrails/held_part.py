"""A part that nobody can use before it is complete, held until models judged it: a tool call, a transcript."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bedplate_core.events import Delta, Event, PartEnd, PartStart
from bedplate_core.messages import Message, Part, Role, ToolCall
from bedplate_core.requests import Request
from bedplate_guardrails.choice_out import ChoiceOut
from bedplate_guardrails.passages import Mask, PassageGroup, groups_of, passages_of, replaced_passages
from bedplate_guardrails.windows import window_places


class PartWindow(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What models are shown of a part: a piece, from `offset` on, of the texts of one group."""

    part: HeldPart
    group: int
    offset: int
    text: str


class HeldPart:
    """A complete part. A tool call is judged by its name and by the texts of its arguments, which stay JSON.

    `judged` says that it may leave.
    """

    def __init__(self, start: PartStart, part: Part, ending: PartEnd | None = None) -> None:
        """`ending` is the end of a tool call; other parts end with an event of their own."""
        self._start = start
        self._ending = ending
        self._request = Request(model="", messages=(Message(role=Role.ASSISTANT, parts=(part,)),))
        self._groups: list[PassageGroup] = []
        self._masks: list[list[Mask]] = []
        self.judged = False

    def windows(self) -> list[PartWindow]:
        """What models are to be shown, to be asked for once; nothing where the part holds no text."""
        self._groups = groups_of(passages_of(self._request, selective=False))
        self._masks = [[] for _ in self._groups]
        windows = [
            PartWindow(part=self, group=number, offset=start, text=group.text[start:end])
            for number, group in enumerate(self._groups)
            for start, end in window_places(group.text)
        ]
        self.judged = not windows
        return windows

    def is_fixed(self, window: PartWindow, start: int, end: int) -> bool:
        """Whether a span of a window's group touches what cannot be masked, such as a tool's name."""
        group = self._groups[window.group]
        return any(group.passages[number].fixed for number, _, _ in group.split(start, end))

    def is_news(self, window: PartWindow, start: int, end: int) -> bool:
        """Whether a span of a window's group touches none that is masked, as where windows overlap."""
        return not any(start < last and first < end for first, last, _ in self._masks[window.group])

    def mask(self, window: PartWindow, start: int, end: int, mask: str) -> None:
        """Put a mask over a span of a window's group."""
        self._masks[window.group].append((start, end, mask))

    def leave(self, out: ChoiceOut, events: list[Event]) -> None:
        """Let the part out with its masks."""
        part = self._masked()
        if not isinstance(part, ToolCall):
            out.edge(PartStart(self._start.choice, self._start.index, part), events)
            return
        without = msgspec.structs.replace(part, arguments="")
        out.edge(PartStart(self._start.choice, self._start.index, without), events)
        if part.arguments:
            events.append(Delta(self._start.choice, self._start.index, part.arguments))
        if self._ending is not None:
            out.edge(self._ending, events)

    def _masked(self) -> Part:
        if not any(self._masks):
            return self._request.messages[0].parts[0]
        by_passage: list[list[Mask]] = []
        for group, masks in zip(self._groups, self._masks, strict=True):
            by_passage += _split(group, sorted(masks))
        return replaced_passages(self._request, by_passage, selective=False).messages[0].parts[0]


def _split(group: PassageGroup, masks: Sequence[Mask]) -> list[list[Mask]]:
    """The masks of each passage of a group; of those that overlap, the later one covers what is left of it."""
    by_passage: list[list[Mask]] = [[] for _ in group.passages]
    cursor = 0
    for start, end, mask in masks:
        for number, low, high in group.split(max(start, cursor), end):
            by_passage[number].append((low, high, mask))
        cursor = max(cursor, end)
    return by_passage


__all__ = ["HeldPart", "PartWindow"]
