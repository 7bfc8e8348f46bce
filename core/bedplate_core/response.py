"""The fold: a whole answer from its events. The only way an answer that is not streamed comes about."""

from __future__ import annotations

from typing import assert_never

import msgspec

from bedplate_core.assessment import GuardrailTrace
from bedplate_core.events import (
    Batch,
    Delta,
    Event,
    EventStream,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    Stop,
    StopReason,
    TokenLogprob,
)
from bedplate_core.messages import Message, Part, Reasoning, Refusal, Role, Text, ToolCall
from bedplate_core.usage import Usage


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `logprobs` and `token_ids` run over all its parts, in order.

    `logprob_parts` holds, for each of `logprobs`, the index of the part that the token belongs to.
    """

    parts: tuple[Part, ...]
    stop: Stop
    logprobs: tuple[TokenLogprob, ...] = ()
    logprob_parts: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()

    @property
    def message(self) -> Message:
        """The answer as the assistant's message."""
        return Message(role=Role.ASSISTANT, parts=self.parts)


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; `choices` are ordered by their number and complete from 0."""

    id: str
    model: str
    created_s: int
    choices: tuple[Choice, ...]
    usage: Usage
    guardrail: GuardrailTrace | None = None


class _OpenPart:
    __slots__ = ("part", "texts")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.texts: list[str] = []


class _OpenChoice:
    __slots__ = ("logprob_parts", "logprobs", "parts", "token_ids")

    def __init__(self) -> None:
        self.parts: list[_OpenPart] = []
        self.logprobs: list[TokenLogprob] = []
        self.logprob_parts: list[int] = []
        self.token_ids: list[int] = []


class Fold:
    """Accumulates the events of one answer.

    `extend` and `add` take them in order. `response` is the whole answer once `Finish` was added; `parts(choice)` is
    what there is so far, for whoever must keep an answer that broke off. Events that violate the order are a
    programming error and raise `ValueError`.
    """

    __slots__ = ("_choices", "_finish", "_start")

    def __init__(self) -> None:
        self._start: Start | None = None
        self._finish: Finish | None = None
        self._choices: dict[int, _OpenChoice] = {}

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.extend((event,))

    def extend(self, batch: Batch) -> None:
        """Take the next events."""
        for event in batch:
            match event:
                case Delta():
                    choice = self._choices[event.choice]
                    if event.text:
                        choice.parts[event.index].texts.append(event.text)
                    if event.logprobs:
                        choice.logprobs.extend(event.logprobs)
                        choice.logprob_parts.extend([event.index] * len(event.logprobs))
                    if event.token_ids:
                        choice.token_ids.extend(event.token_ids)
                case PartStart():
                    parts = self._choices.setdefault(event.choice, _OpenChoice()).parts
                    if event.index != len(parts):
                        raise ValueError(f"part {event.index} of choice {event.choice} opens after {len(parts)} parts")
                    parts.append(_OpenPart(event.part))
                case PartEnd():
                    opened = self._choices[event.choice].parts[event.index]
                    if event.signature is not None and isinstance(opened.part, Reasoning):
                        opened.part = msgspec.structs.replace(opened.part, signature=event.signature)
                case Progress():
                    pass
                case Start():
                    self._start = event
                case Finish():
                    self._finish = event
                case _:
                    assert_never(event)

    @property
    def finished(self) -> bool:
        """Whether `Finish` was added."""
        return self._finish is not None

    def parts(self, choice: int) -> tuple[Part, ...]:
        """The parts of one choice as far as they have come, in order."""
        if choice not in self._choices:
            return ()
        return tuple(_whole(part) for part in self._choices[choice].parts)

    def response(self) -> Response:
        """The whole answer. Raises `ValueError` before `Start` and `Finish` were added."""
        if self._start is None or self._finish is None:
            raise ValueError("an answer is whole only after its Start and Finish")
        stops = {stop.choice: stop for stop in self._finish.stops}
        choices: list[Choice] = []
        for number in range(max(self._start.choices, len(stops), len(self._choices))):
            opened = self._choices.get(number) or _OpenChoice()
            choices.append(
                Choice(
                    parts=tuple([_whole(part) for part in opened.parts]),
                    stop=stops.get(number) or Stop(choice=number, reason=StopReason.END),
                    logprobs=tuple(opened.logprobs),
                    logprob_parts=tuple(opened.logprob_parts),
                    token_ids=tuple(opened.token_ids),
                )
            )
        return Response(
            id=self._start.id,
            model=self._start.model,
            created_s=self._start.created_s,
            choices=tuple(choices),
            usage=self._finish.usage,
            guardrail=self._finish.guardrail,
        )


def _whole(opened: _OpenPart) -> Part:
    """The part with all its deltas appended."""
    part = opened.part
    if not opened.texts:
        return part
    added = "".join(opened.texts)
    match part:
        case Text():
            return Text(text=part.text + added)
        case Reasoning() | Refusal():
            return msgspec.structs.replace(part, text=part.text + added)
        case ToolCall():
            return msgspec.structs.replace(part, arguments=part.arguments + added)
        case _:
            raise ValueError(f"a {type(part).__name__} part takes no text")


async def collect(events: EventStream) -> Response:
    """Read `events` to the end and return the whole answer; closes the stream whatever happens.

    Raises what the stream raises.
    """
    fold = Fold()
    try:
        async for batch in events:
            fold.extend(batch)
    finally:
        await events.aclose()
    return fold.response()


__all__ = ["Choice", "Fold", "Response", "collect"]
