"""A raw completion, whole and as server-sent events. The wire knows text only.

A refusal is text here; reasoning and calls, which a prompt without a chat template does not lead to, are
left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, assert_never

import msgspec
from msgspec import UNSET

from bedplate_core.errors import GatewayError
from bedplate_core.events import (
    Batch,
    Delta,
    Finish,
    PartEnd,
    PartStart,
    Progress,
    Start,
    StopReason,
    TokenLogprob,
)
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_core.response import Choice, Response
from bedplate_gateway.dialects.openai.answer_wire import (
    DONE,
    FINISH_REASONS,
    KEEP_ALIVE,
    completion_usage,
    finite,
    prefixed,
)
from bedplate_gateway.dialects.openai.completion_wire import Completion, CompletionChoice, Logprobs
from bedplate_gateway.dialects.openai.errors import error_body

COMPLETION_ID_PREFIX: Final = "cmpl-"

TEXT_FINISH_REASONS: Final[Mapping[StopReason, str]] = MappingProxyType({**FINISH_REASONS, StopReason.TOOL: "stop"})
"""`finish_reason` of a raw completion, which has no calls to end with."""

_JSON: Final = msgspec.json.Encoder()
_PLAIN_END: Final = b',"logprobs":null,"finish_reason":null}]'


def completion(response: Response, model: str, *, token_ids: bool) -> Completion:
    """The wire form of `response`, under the client's name for the model."""
    return Completion(
        id=prefixed(COMPLETION_ID_PREFIX, response.id),
        created=response.created_s,
        model=model,
        choices=tuple(_choice(number, choice, token_ids) for number, choice in enumerate(response.choices)),
        usage=completion_usage(response.usage),
    )


def _choice(number: int, choice: Choice, token_ids: bool) -> CompletionChoice:
    return CompletionChoice(
        index=number,
        text="".join(said(part) or "" for part in choice.parts),
        logprobs=_logprobs(choice.logprobs, 0) if choice.logprobs else None,
        finish_reason=TEXT_FINISH_REASONS[choice.stop.reason],
        token_ids=choice.token_ids if token_ids and choice.token_ids else UNSET,
    )


def said(part: Part) -> str | None:
    """The part's text on this wire; None for a part that it leaves out."""
    match part:
        case Text() | Refusal():
            return part.text
        case (
            Reasoning()
            | RedactedReasoning()
            | ToolCall()
            | Image()
            | Audio()
            | Video()
            | Document()
            | ToolResult()
            | CachePoint()
            | GuardContent()
        ):
            return None
        case _:
            assert_never(part)


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> Logprobs:
    """The parallel lists; `offset` is where the first token begins. Not-a-number means "has none"."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return Logprobs(
        tokens=tuple(token.token for token in tokens),
        token_logprobs=tuple(None if math.isnan(token.logprob) else finite(token.logprob) for token in tokens),
        top_logprobs=tuple({other.token: finite(other.logprob) for other in token.alternatives} for token in tokens),
        text_offset=tuple(offsets),
    )


class CompletionStream:
    """Encodes one streamed raw completion; see `StreamEncoder`. One event makes one frame, or none."""

    __slots__ = ("_end", "_head", "_include_usage", "_model", "_offsets", "_open", "_tail", "_token_ids")

    def __init__(self, model: str, *, include_usage: bool, token_ids: bool) -> None:
        """`model` is the name the client asked for; `token_ids` adds vLLM's field of that name."""
        self._model = model
        self._include_usage = include_usage
        self._token_ids = token_ids
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._tail = _PLAIN_END + self._end
        self._head = b""
        self._open: dict[int, bytes] = {}
        self._offsets: dict[int, int] = {}

    def encode(self, batch: Batch) -> bytes:
        """The chunks for one batch; see `StreamEncoder.encode`."""
        frames: list[bytes] = []
        for event in batch:
            if isinstance(event, Delta):
                head = self._open.get(event.choice)
                text = "" if head is None else event.text  # None: a part that this wire leaves out
                if event.logprobs or event.token_ids:
                    self._delta_with_tokens(event, text, frames)
                elif text and head is not None:
                    frames += (head, _JSON.encode(text), self._tail)
            else:
                self._rare(event, frames)
        return b"".join(frames)

    def end(self) -> bytes:
        """OpenAI's end mark."""
        return DONE

    def error(self, error: GatewayError) -> bytes:
        """An error frame, with no end mark after it."""
        return b"data: " + error_body(error) + b"\n\n"

    def keep_alive(self) -> bytes:
        """A comment line."""
        return KEEP_ALIVE

    def _rare(self, event: Start | PartStart | PartEnd | Progress | Finish, frames: list[bytes]) -> None:
        match event:
            case Start():
                chunk = Completion(
                    id=prefixed(COMPLETION_ID_PREFIX, event.id),
                    created=event.created_s,
                    model=self._model,
                    choices=(),
                )
                self._head = b"data: " + _JSON.encode(chunk).removesuffix(b"]}")
            case PartStart():
                text = said(event.part)
                if text is not None:
                    head = b'%b{"index":%d,"text":' % (self._head, event.choice)
                    self._open[event.choice] = head
                    if text:
                        frames += (head, _JSON.encode(text), self._tail)
            case PartEnd():
                self._open.pop(event.choice, None)
            case Progress():
                pass  # usage comes once, at the end
            case Finish():
                self._finish(event, frames)
            case _:
                assert_never(event)

    def _delta_with_tokens(self, event: Delta, text: str, frames: list[bytes]) -> None:
        ids = event.token_ids if self._token_ids and event.token_ids else UNSET
        if not text and not event.logprobs and ids is UNSET:
            return
        logprobs = None
        if event.logprobs:
            offset = self._offsets.get(event.choice, 0)
            logprobs = _logprobs(event.logprobs, offset)
            self._offsets[event.choice] = offset + sum(len(token) for token in logprobs.tokens)
        self._chunk(CompletionChoice(index=event.choice, text=text, logprobs=logprobs, token_ids=ids), frames)

    def _finish(self, event: Finish, frames: list[bytes]) -> None:
        for stop in event.stops:
            reason = TEXT_FINISH_REASONS[stop.reason]
            self._chunk(CompletionChoice(index=stop.choice, text="", finish_reason=reason), frames)
        if self._include_usage:
            usage = _JSON.encode(completion_usage(event.usage))
            frames += (self._head, b'],"usage":', usage, b"}\n\n")

    def _chunk(self, choice: CompletionChoice, frames: list[bytes]) -> None:
        frames += (self._head, _JSON.encode(choice), b"]", self._end)


__all__ = ["COMPLETION_ID_PREFIX", "TEXT_FINISH_REASONS", "CompletionStream", "completion", "said"]
