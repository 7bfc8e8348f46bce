"""A message as a stream of events: the events themselves, and their frames as server-sent events.

Source: anthropic-python 2.13 (`RawMessageStreamEvent`, and `lib/streaming` that assembles them), compared
November 2026.

`message_start` waits for the event after `Start`: an upstream that says at once how long the input is (as vLLM does)
is then already heard, and clients that read the input's tokens from there get the number. The bytes around a delta are
encoded once, when its block opens. One event makes the same events however they were batched.

Blocks are numbered as they are said: a part that this wire leaves out has no number.
"""

from __future__ import annotations

from typing import Final, TypeAlias, assert_never

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.events import Batch, Delta, Event, Finish, PartEnd, PartStart, Progress, Start
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
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.anthropic.errors import error_body
from bedplate_gateway.dialects.anthropic.messages_reply import (
    MessageReply,
    MessageUsage,
    RedactedThinkingReply,
    ReplyBlock,
    TextReply,
    ThinkingReply,
    ToolUseReply,
    message_id,
    message_usage,
    stop_of,
)
from bedplate_gateway.dialects.anthropic.opaque import redacted_text, signature_text

StreamEvent: TypeAlias = tuple[bytes, bytes]
"""The name of an event (`message_start`) and its JSON object."""

STREAM_MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE: Final = b'event: ping\ndata: {"type":"ping"}\n\n'

_JSON: Final = msgspec.json.Encoder()
_DELTA: Final = b"content_block_delta"
_STOP: Final = b"content_block_stop"
_MESSAGE_STOP: Final = (b"message_stop", b'{"type":"message_stop"}')


class MessageStart(msgspec.Struct, frozen=True, tag_field="type", tag="message_start"):
    """The first event: the message without content, with the usage as far as it is known."""

    message: MessageReply


class ContentBlockStart(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """A block opens."""

    index: int
    content_block: ReplyBlock


class TextDelta(msgspec.Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class InputJsonDelta(msgspec.Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of a tool's input, as JSON text."""

    partial_json: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More of a thought."""

    thinking: str


class SignatureDelta(msgspec.Struct, frozen=True, tag_field="type", tag="signature_delta"):
    """The signature of a thought, just before its block closes."""

    signature: str


class ContentBlockDelta(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """More of an open block."""

    index: int
    delta: TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta


class ContentBlockStop(msgspec.Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """A block closes."""

    index: int


class MessageChange(msgspec.Struct, frozen=True):
    """How the message ended."""

    stop_reason: str
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, frozen=True, tag_field="type", tag="message_delta"):
    """The end, with what the whole call consumed."""

    delta: MessageChange
    usage: MessageUsage


class MessageStop(msgspec.Struct, frozen=True, tag_field="type", tag="message_stop"):
    """The last event of an answer that is complete."""


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Nothing; sent while the upstream is silent."""


MessageStreamEvent: TypeAlias = (
    MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageDelta | MessageStop | Ping
)


class _OpenBlock:
    """An open block: its number, what stands before a delta's text, and the signature known when it opened."""

    __slots__ = ("head", "index", "signature")

    def __init__(self, index: int, head: bytes | None, signature: str) -> None:
        self.index = index
        self.head = head
        self.signature = signature


class MessageEvents:
    """The events of one streamed message. Holds the state of one stream; not shared."""

    __slots__ = ("_count", "_model", "_omit_thinking", "_open", "_start")

    def __init__(self, model: str, *, omit_thinking: bool) -> None:
        """`model` is the name the client asked for; `omit_thinking` leaves the text of thoughts out."""
        self._model = model
        self._omit_thinking = omit_thinking
        self._start: Start | None = None  # until it is said
        self._open: _OpenBlock | None = None
        self._count = 0

    def events(self, batch: Batch) -> list[StreamEvent]:
        """The events for one batch, in order; none when the batch means nothing to this wire."""
        made: list[StreamEvent] = []
        for event in batch:
            if isinstance(event, Delta):
                opened = self._open
                if opened is not None and opened.head is not None and event.text:
                    made.append((_DELTA, opened.head + _JSON.encode(event.text) + b"}}"))
            else:
                self._rare(event, made)
        return made

    def close(self) -> list[StreamEvent]:
        """What closes the block that an answer left open when it broke off. No end of the message: it has none."""
        opened, self._open = self._open, None
        return [] if opened is None else [_block_stop(opened.index)]

    def _rare(self, event: Event, made: list[StreamEvent]) -> None:
        if isinstance(event, Start):
            self._start = event
            return
        if self._start is not None:
            made.append(self._message_start(self._start, event.usage if isinstance(event, Progress) else Usage()))
            self._start = None
        match event:
            case PartStart():
                self._part_start(event.part, made)
            case PartEnd():
                self._part_end(event, made)
            case Finish():
                reason, sequence = stop_of(event.stops[0])
                ended = MessageDelta(MessageChange(reason, sequence), message_usage(event.usage))
                made += ((b"message_delta", _JSON.encode(ended)), _MESSAGE_STOP)
            case Progress() | Delta():
                pass  # usage comes at the beginning and at the end
            case _:
                assert_never(event)

    def _message_start(self, start: Start, usage: Usage) -> StreamEvent:
        message = MessageReply(
            id=message_id(start.id),
            model=self._model,
            content=(),
            stop_reason=None,
            stop_sequence=None,
            usage=message_usage(usage),
        )
        return b"message_start", _JSON.encode(MessageStart(message))

    def _part_start(self, part: Part, made: list[StreamEvent]) -> None:
        match part:
            case Text() | Refusal():
                self._opens(TextReply(""), b'{"type":"text_delta","text":', part.text, made)
            case Reasoning():
                head = None if self._omit_thinking else b'{"type":"thinking_delta","thinking":'
                self._opens(ThinkingReply("", ""), head, part.text, made, signature_text(part.signature))
            case RedactedReasoning():
                self._opens(RedactedThinkingReply(redacted_text(part)), None, "", made)
            case ToolCall():
                block = ToolUseReply(part.id, part.name, msgspec.Raw(b"{}"))
                self._opens(block, b'{"type":"input_json_delta","partial_json":', part.arguments, made)
            case Image() | Audio() | Video() | Document() | ToolResult() | CachePoint() | GuardContent():
                pass  # UNSAID
            case _:
                assert_never(part)

    def _opens(
        self, block: ReplyBlock, delta: bytes | None, text: str, made: list[StreamEvent], signature: str = ""
    ) -> None:
        index, self._count = self._count, self._count + 1
        head = None if delta is None else b'{"type":"content_block_delta","index":%d,"delta":%b' % (index, delta)
        self._open = _OpenBlock(index, head, signature)
        made.append((b"content_block_start", _JSON.encode(ContentBlockStart(index, block))))
        if text and head is not None:
            made.append((_DELTA, head + _JSON.encode(text) + b"}}"))

    def _part_end(self, event: PartEnd, made: list[StreamEvent]) -> None:
        opened = self._open
        if opened is None:
            return  # a part that this wire does not say (`UNSAID`)
        signature = opened.signature if event.signature is None else signature_text(event.signature)
        if signature:
            signed = ContentBlockDelta(opened.index, SignatureDelta(signature))
            made.append((_DELTA, _JSON.encode(signed)))
        made += self.close()


class MessageStream:
    """Encodes one streamed message as server-sent events; see `StreamEncoder`."""

    __slots__ = ("_events",)

    def __init__(self, model: str, *, omit_thinking: bool) -> None:
        self._events = MessageEvents(model, omit_thinking=omit_thinking)

    def encode(self, batch: Batch) -> bytes:
        """The frames for one batch; see `StreamEncoder.encode`."""
        return _frames(self._events.events(batch))

    def end(self) -> bytes:
        """Nothing: `message_stop` is the frame of `Finish`."""
        return b""

    def error(self, error: GatewayError) -> bytes:
        """The open block closes, then an error frame ends the stream. Only `message_stop` means success."""
        return _frames([*self._events.close(), (b"error", error_body(error))])

    def keep_alive(self) -> bytes:
        """Anthropic's ping."""
        return KEEP_ALIVE


def _block_stop(index: int) -> StreamEvent:
    return _STOP, b'{"type":"content_block_stop","index":%d}' % index


def _frames(events: list[StreamEvent]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % event for event in events)


__all__ = [
    "KEEP_ALIVE",
    "STREAM_MEDIA_TYPE",
    "MessageEvents",
    "MessageStream",
    "MessageStreamEvent",
    "StreamEvent",
]
