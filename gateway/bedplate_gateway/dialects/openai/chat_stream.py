"""A chat completion as server-sent events.

Source: openai-python 2.54 (`ChatCompletionChunk`, and the `_streaming` module that reads it), compared
November 2026.

What is the same in every chunk is encoded once, when a part opens; a delta then costs one JSON string and two
concatenations. One event makes one frame (or none), so the bytes do not depend on how events were batched.

The chunk with the role comes with a choice's first part, not with `Start`: only then is it known whether the
message has content or begins with a call.
"""

from __future__ import annotations

from typing import Final, Literal, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from bedplate_core.errors import GatewayError
from bedplate_core.events import Batch, Delta, Finish, PartEnd, PartStart, Progress, Start
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
from bedplate_gateway.dialects.openai.answer_wire import (
    DONE,
    FINISH_REASONS,
    KEEP_ALIVE,
    CompletionUsage,
    chat_logprob,
    completion_usage,
    prefixed,
)
from bedplate_gateway.dialects.openai.chat_reply import CHAT_ID_PREFIX, ChatLogprobs, says_text
from bedplate_gateway.dialects.openai.errors import error_body


class FunctionDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The name comes once, with the first piece of the arguments."""

    name: str | UnsetType = UNSET
    arguments: str


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a call; `index` counts the calls of a choice, `id` and `type` come once."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class ChoiceDelta(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: tuple[ToolCallDelta, ...] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice's share of a chunk."""

    index: int
    delta: ChoiceDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    token_ids: tuple[int, ...] | UnsetType = UNSET


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed answer. `usage` is there only when asked for, and null until the last."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: CompletionUsage | UnsetType | None = UNSET


_JSON: Final = msgspec.json.Encoder()
_PLAIN_CHOICE: Final = b',"logprobs":null,"finish_reason":null}]'


class _OpenPart:
    """The bytes around the delta of an open part, up to where the delta object closes."""

    __slots__ = ("close", "head", "tail")

    def __init__(self, head: bytes, close: bytes, end: bytes) -> None:
        self.head = head
        self.close = close
        self.tail = close + _PLAIN_CHOICE + end


class ChatStream:
    """Encodes one streamed chat completion; see `StreamEncoder`."""

    __slots__ = ("_calls", "_end", "_head", "_include_usage", "_model", "_open", "_started", "_token_ids")

    def __init__(self, model: str, *, include_usage: bool, token_ids: bool) -> None:
        """`model` is the name the client asked for; `token_ids` adds vLLM's field of that name."""
        self._model = model
        self._include_usage = include_usage
        self._token_ids = token_ids
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._head = b""
        self._open: dict[int, _OpenPart] = {}
        self._calls: dict[int, int] = {}
        self._started: set[int] = set()

    def encode(self, batch: Batch) -> bytes:
        """The chunks for one batch; see `StreamEncoder.encode`."""
        frames: list[bytes] = []
        for event in batch:
            if isinstance(event, Delta):
                opened = self._open.get(event.choice)
                if opened is None:
                    continue  # a part that this wire does not say (`UNSAID`)
                if event.logprobs or event.token_ids:
                    frames.append(self._delta_with_tokens(opened, event))
                elif event.text:
                    frames += (opened.head, _JSON.encode(event.text), opened.tail)
            else:
                self._rare(event, frames)
        return b"".join(frames)

    def end(self) -> bytes:
        """OpenAI's end mark."""
        return DONE

    def error(self, error: GatewayError) -> bytes:
        """An error frame. No end mark follows it: the SDKs raise on the frame, and `[DONE]` means success."""
        return b"data: " + error_body(error) + b"\n\n"

    def keep_alive(self) -> bytes:
        """A comment line."""
        return KEEP_ALIVE

    def _rare(self, event: Start | PartStart | PartEnd | Progress | Finish, frames: list[bytes]) -> None:
        match event:
            case Start():
                chunk = ChatCompletionChunk(
                    id=prefixed(CHAT_ID_PREFIX, event.id),
                    created=event.created_s,
                    model=self._model,
                    choices=(),
                )
                self._head = b"data: " + _JSON.encode(chunk).removesuffix(b"]}")
            case PartStart():
                self._part_start(event.choice, event.part, frames)
            case PartEnd():
                self._open.pop(event.choice, None)
            case Progress():
                pass  # usage comes once, at the end
            case Finish():
                self._finish(event, frames)
            case _:
                assert_never(event)

    def _part_start(self, choice: int, part: Part, frames: list[bytes]) -> None:
        if choice not in self._started:
            self._role(choice, part, frames)
        match part:
            case Text():
                self._opens(choice, b'{"content":', b"}", part.text, frames)
            case Refusal():
                self._opens(choice, b'{"refusal":', b"}", part.text, frames)
            case Reasoning():
                self._opens(choice, b'{"reasoning":', b"}", part.text, frames)
            case ToolCall():
                number = self._calls.get(choice, 0)
                self._calls[choice] = number + 1
                first = ToolCallDelta(
                    index=number,
                    id=part.id,
                    type="function",
                    function=FunctionDelta(name=part.name, arguments=part.arguments),
                )
                self._chunk(ChunkChoice(index=choice, delta=ChoiceDelta(tool_calls=(first,))), frames)
                head = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % number
                self._opens(choice, head, b"}}]}", "", frames)
            case (
                RedactedReasoning()
                | Image()
                | Audio()
                | Video()
                | Document()
                | ToolResult()
                | CachePoint()
                | GuardContent()
            ):
                pass  # UNSAID
            case _:
                assert_never(part)

    def _opens(self, choice: int, head: bytes, close: bytes, text: str, frames: list[bytes]) -> None:
        opened = _OpenPart(b'%b{"index":%d,"delta":%b' % (self._head, choice, head), close, self._end)
        self._open[choice] = opened
        if text:
            frames += (opened.head, _JSON.encode(text), opened.tail)

    def _delta_with_tokens(self, opened: _OpenPart, event: Delta) -> bytes:
        logprobs = b"null"
        if event.logprobs:
            logprobs = _JSON.encode(ChatLogprobs(content=tuple(chat_logprob(token) for token in event.logprobs)))
        elif not (event.text or self._token_ids):
            return b""
        ids = b""
        if event.token_ids and self._token_ids:
            ids = b',"token_ids":' + _JSON.encode(event.token_ids)
        text = _JSON.encode(event.text)
        said = (
            opened.head,
            text,
            opened.close,
            b',"logprobs":',
            logprobs,
            b',"finish_reason":null',
            ids,
            b"}]",
        )
        return b"".join((*said, self._end))

    def _role(self, choice: int, first: Part | None, frames: list[bytes]) -> None:
        self._started.add(choice)
        delta = ChoiceDelta(role="assistant", content="" if says_text(first) else None, refusal=None)
        self._chunk(ChunkChoice(index=choice, delta=delta), frames)

    def _finish(self, event: Finish, frames: list[bytes]) -> None:
        for stop in event.stops:
            if stop.choice not in self._started:
                self._role(stop.choice, None, frames)
            reason = FINISH_REASONS[stop.reason]
            self._chunk(ChunkChoice(index=stop.choice, delta=ChoiceDelta(), finish_reason=reason), frames)
        if self._include_usage:
            usage = _JSON.encode(completion_usage(event.usage))
            frames += (self._head, b'],"usage":', usage, b"}\n\n")

    def _chunk(self, choice: ChunkChoice, frames: list[bytes]) -> None:
        frames += (self._head, _JSON.encode(choice), b"]", self._end)


__all__ = [
    "ChatCompletionChunk",
    "ChatStream",
    "ChoiceDelta",
    "ChunkChoice",
    "FunctionDelta",
    "ToolCallDelta",
]
