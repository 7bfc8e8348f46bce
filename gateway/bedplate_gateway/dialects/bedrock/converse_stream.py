"""A streamed Converse answer: frames of AWS's binary event stream.

`messageStart`, then per block `contentBlockStart` (tool calls only), `contentBlockDelta`s and `contentBlockStop`, then
`messageStop` and last `metadata`. A stream that fails ends with an exception frame instead: the SDKs take a stream
that merely ends for a whole one. Source: botocore 1.44.8's `ConverseStreamOutput`, compared November 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, assert_never

import msgspec

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
    Signature,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_gateway.dialects.bedrock.converse_reply import Metrics, TokenUsage, parses, token_usage
from bedplate_gateway.dialects.bedrock.converse_wire import PerformanceConfiguration, ServiceTier
from bedplate_gateway.dialects.bedrock.errors import CONVERSE_STREAM_EXCEPTIONS, exception_frame
from bedplate_gateway.dialects.bedrock.guardrail_trace import ConverseTrace, converse_trace
from bedplate_gateway.dialects.bedrock.stop_reasons import stop_reason
from bedplate_gateway.dialects.signatures import wire_redacted, wire_signature
from bedplate_providers.event_stream import FrameEncoder

STREAM_MEDIA_TYPE: Final = "application/vnd.amazon.eventstream"


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of the payloads: what is None is left out, because null is no value on this wire."""


class MessageStartEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer begins."""

    role: Literal["assistant"] = "assistant"


class ToolUseBlockStart(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model asks for."""

    toolUseId: str  # noqa: N815 # the wire's name
    name: str


class ContentBlockStart(msgspec.Struct, frozen=True, kw_only=True):
    """What opens. Only calls do; text and reasoning begin with their first delta."""

    toolUse: ToolUseBlockStart  # noqa: N815 # the wire's name


class ContentBlockStartEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A block opens."""

    start: ContentBlockStart
    contentBlockIndex: int  # noqa: N815 # the wire's name


class ToolUseBlockDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of a call's input, as JSON text."""

    input: str


class ReasoningContentBlockDelta(_Event, frozen=True):
    """More of a thought, or what belongs to it; exactly one member set."""

    text: str | None = None
    redactedContent: bytes | None = None  # noqa: N815 # the wire's name
    signature: str | None = None


class ContentBlockDelta(_Event, frozen=True):
    """More of a block, exactly one member set."""

    text: str | None = None
    toolUse: ToolUseBlockDelta | None = None  # noqa: N815 # the wire's name
    reasoningContent: ReasoningContentBlockDelta | None = None  # noqa: N815 # the wire's name


class ContentBlockDeltaEvent(msgspec.Struct, frozen=True, kw_only=True):
    """More of the open block."""

    delta: ContentBlockDelta
    contentBlockIndex: int  # noqa: N815 # the wire's name


class ContentBlockStopEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A block closes."""

    contentBlockIndex: int  # noqa: N815 # the wire's name


class MessageStopEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is whole."""

    stopReason: str  # noqa: N815 # the wire's name


class ConverseStreamMetadataEvent(_Event, frozen=True):
    """What the call consumed."""

    usage: TokenUsage
    metrics: Metrics
    trace: ConverseTrace | None = None
    performanceConfig: PerformanceConfiguration | None = None  # noqa: N815 # the wire's name
    serviceTier: ServiceTier | None = None  # noqa: N815 # the wire's name


class ConverseStreamEvent(_Event, frozen=True):
    """One frame, by its `:event-type`; exactly one member set. On the wire the name is a header of the frame."""

    messageStart: MessageStartEvent | None = None  # noqa: N815 # the wire's name
    contentBlockStart: ContentBlockStartEvent | None = None  # noqa: N815 # the wire's name
    contentBlockDelta: ContentBlockDeltaEvent | None = None  # noqa: N815 # the wire's name
    contentBlockStop: ContentBlockStopEvent | None = None  # noqa: N815 # the wire's name
    messageStop: MessageStopEvent | None = None  # noqa: N815 # the wire's name
    metadata: ConverseStreamMetadataEvent | None = None


def event_encoder(name: str) -> FrameEncoder:
    """The encoder of the event frames of one type."""
    headers = ((":event-type", name), (":content-type", "application/json"), (":message-type", "event"))
    return FrameEncoder(headers)


_JSON: Final = msgspec.json.Encoder()
_MESSAGE_START: Final = event_encoder("messageStart")
_BLOCK_START: Final = event_encoder("contentBlockStart")
_BLOCK_DELTA: Final = event_encoder("contentBlockDelta")
_BLOCK_STOP: Final = event_encoder("contentBlockStop")
_MESSAGE_STOP: Final = event_encoder("messageStop")
_METADATA: Final = event_encoder("metadata")

KEEP_ALIVE: Final = event_encoder("keepAlive").encode(b"{}")
"""An event of a type that the model does not have. botocore drops it; typed SDKs hand it on as an unknown event, which
their users' code passes over as it must pass over events of later versions."""


class _OpenPart:
    """The part that is open. `number` is its block's on the wire, None while the block has not begun."""

    __slots__ = ("arguments", "head", "number", "tail")

    def __init__(self, head: bytes, close: bytes) -> None:
        self.head = head
        self.tail = close
        self.number: int | None = None
        self.arguments: list[str] | None = None


class ConverseStream:
    """Encodes one streamed answer; see `StreamEncoder`.

    Blocks are numbered from 0 without gaps, so a part that says nothing has no number.
    """

    __slots__ = ("_blocks", "_latency_ms", "_malformed", "_open", "_performance", "_tier")

    def __init__(
        self,
        latency_ms: Callable[[], int],
        *,
        performance: PerformanceConfiguration | None,
        tier: ServiceTier | None,
    ) -> None:
        """`latency_ms` says how long the call has taken; the others are repeated in `metadata`."""
        self._latency_ms = latency_ms
        self._performance = performance
        self._tier = tier
        self._open: _OpenPart | None = None
        self._blocks = 0
        self._malformed = False

    def encode(self, batch: Batch) -> bytes:
        """The frames for one batch; see `StreamEncoder.encode`."""
        frames: list[bytes] = []
        for event in batch:
            if isinstance(event, Delta):
                if event.text and self._open is not None:
                    self._delta(self._open, event.text, frames)
            else:
                self._rare(event, frames)
        return b"".join(frames)

    def end(self) -> bytes:
        """Nothing: `metadata` was the last frame."""
        return b""

    def error(self, error: GatewayError) -> bytes:
        """The exception frame."""
        return exception_frame(error, CONVERSE_STREAM_EXCEPTIONS)

    def keep_alive(self) -> bytes:
        """An event of an unknown type; see `KEEP_ALIVE`."""
        return KEEP_ALIVE

    def _rare(self, event: Start | PartStart | PartEnd | Progress | Finish, frames: list[bytes]) -> None:
        match event:
            case Start():
                frames.append(_MESSAGE_START.encode(_JSON.encode(MessageStartEvent())))
            case PartStart():
                self._part_start(event.part, frames)
            case PartEnd():
                self._part_end(event.signature, frames)
            case Progress():
                pass  # usage comes once, at the end
            case Finish():
                self._finish(event, frames)
            case _:
                assert_never(event)

    def _part_start(self, part: Part, frames: list[bytes]) -> None:
        match part:
            case Text() | Refusal():
                self._opens(b'{"text":', b"}", part.text, frames)
            case Reasoning():
                opened = self._opens(b'{"reasoningContent":{"text":', b"}}", part.text, frames)
                if part.signature is not None:
                    self._signature(opened, part.signature, frames)
            case RedactedReasoning():
                opened = self._opens(b'{"reasoningContent":{"redactedContent":', b"}}", "", frames)
                self._add(opened, _JSON.encode(wire_redacted(part)), frames)
            case ToolCall():
                opened = self._opens(b'{"toolUse":{"input":', b"}}", "", frames)
                opened.arguments = []
                start = ContentBlockStart(toolUse=ToolUseBlockStart(toolUseId=part.id, name=part.name))
                said = ContentBlockStartEvent(start=start, contentBlockIndex=self._begin(opened))
                frames.append(_BLOCK_START.encode(_JSON.encode(said)))
                if part.arguments:
                    self._delta(opened, part.arguments, frames)
            case Image() | Audio() | Video() | Document() | ToolResult() | CachePoint() | GuardContent():
                self._open = None  # UNSAID
            case _:
                assert_never(part)

    def _part_end(self, signature: Signature | None, frames: list[bytes]) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        if signature is not None:
            self._signature(opened, signature, frames)
        if opened.arguments is not None:
            arguments = "".join(opened.arguments)
            if not arguments.strip():
                self._delta(opened, "{}", frames)
            self._malformed = self._malformed or not parses(arguments)
        if opened.number is not None:
            frames.append(_BLOCK_STOP.encode(b'{"contentBlockIndex":%d}' % opened.number))

    def _opens(self, head: bytes, close: bytes, text: str, frames: list[bytes]) -> _OpenPart:
        opened = self._open = _OpenPart(b'{"delta":' + head, close)
        if text:
            self._delta(opened, text, frames)
        return opened

    def _begin(self, opened: _OpenPart) -> int:
        """Give the part its block's number."""
        number = opened.number = self._blocks
        self._blocks += 1
        opened.tail += b',"contentBlockIndex":%d}' % number
        return number

    def _delta(self, opened: _OpenPart, text: str, frames: list[bytes]) -> None:
        if opened.arguments is not None:
            opened.arguments.append(text)
        self._add(opened, _JSON.encode(text), frames)

    def _add(self, opened: _OpenPart, value: bytes, frames: list[bytes]) -> None:
        if opened.number is None:
            self._begin(opened)
        frames.append(_BLOCK_DELTA.encode(b"".join((opened.head, value, opened.tail))))

    def _signature(self, opened: _OpenPart, signature: Signature, frames: list[bytes]) -> None:
        number = self._begin(opened) if opened.number is None else opened.number
        delta = ContentBlockDelta(reasoningContent=ReasoningContentBlockDelta(signature=wire_signature(signature)))
        said = ContentBlockDeltaEvent(delta=delta, contentBlockIndex=number)
        frames.append(_BLOCK_DELTA.encode(_JSON.encode(said)))

    def _finish(self, event: Finish, frames: list[bytes]) -> None:
        stopped = MessageStopEvent(stopReason=stop_reason(event.stops[0].reason, malformed=self._malformed))
        metadata = ConverseStreamMetadataEvent(
            usage=token_usage(event.usage),
            metrics=Metrics(latencyMs=self._latency_ms()),
            trace=converse_trace(event.guardrail),
            performanceConfig=self._performance,
            serviceTier=self._tier,
        )
        frames += (_MESSAGE_STOP.encode(_JSON.encode(stopped)), _METADATA.encode(_JSON.encode(metadata)))


__all__ = [
    "KEEP_ALIVE",
    "STREAM_MEDIA_TYPE",
    "ContentBlockDelta",
    "ContentBlockDeltaEvent",
    "ContentBlockStart",
    "ContentBlockStartEvent",
    "ContentBlockStopEvent",
    "ConverseStream",
    "ConverseStreamEvent",
    "ConverseStreamMetadataEvent",
    "MessageStartEvent",
    "MessageStopEvent",
    "ReasoningContentBlockDelta",
    "ToolUseBlockDelta",
    "ToolUseBlockStart",
    "event_encoder",
]
