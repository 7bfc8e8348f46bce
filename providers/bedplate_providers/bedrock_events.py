"""From the frames of a ConverseStream answer to our events.

Strict: only `metadata`, after `messageStop` and with every block closed, makes a `Finish`. What came before an error
in the same read is delivered first. Events of a type that is new are skipped, as AWS's own clients do; a kind of
content that is new is an error, because leaving it out would change the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import TypeVar

import msgspec

from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Start, Stop, StopReason
from bedplate_core.ids import new_response_id, new_tool_call_id
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import Reasoning, RedactedReasoning, Signature, Text, ToolCall
from bedplate_core.usage import Usage
from bedplate_providers import bedrock_wire as wire
from bedplate_providers.bedrock_errors import from_frame
from bedplate_providers.event_stream import Frame
from bedplate_providers.upstream_errors import broke_off, failed_midway, not_protocol

T = TypeVar("T")

_START = msgspec.json.Decoder(wire.MessageStart)
_BLOCK_START = msgspec.json.Decoder(wire.BlockStart)
_BLOCK_DELTA = msgspec.json.Decoder(wire.BlockDelta)
_BLOCK_STOP = msgspec.json.Decoder(wire.BlockStop)
_STOP = msgspec.json.Decoder(wire.MessageStop)
_METADATA = msgspec.json.Decoder(wire.Metadata)

_STOPS = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "max_tokens": StopReason.LENGTH,
        "stop_sequence": StopReason.STOP_SEQUENCE,
        "tool_use": StopReason.TOOL,
        "malformed_tool_use": StopReason.TOOL,
        "guardrail_intervened": StopReason.CONTENT_FILTER,
        "content_filtered": StopReason.CONTENT_FILTER,
        "model_context_window_exceeded": StopReason.CONTEXT,
    }
)
"""A guardrail that intervened there is the upstream's, not ours. Arguments that do not parse stay visible as the model
wrote them. `malformed_model_output` is missing: what the model said is not in the answer then, so it is an error.
"""

_Kind = type[Text | Reasoning | RedactedReasoning | ToolCall]


class _Block:
    """The open block. `data` are the pieces of encrypted reasoning, which becomes a part when it is whole."""

    __slots__ = ("at", "data", "kind", "said", "signature")

    def __init__(self, at: int, kind: _Kind) -> None:
        self.at = at
        self.kind = kind
        self.data = b""
        self.said = False
        self.signature = ""


class ConverseReader:
    """Reads the stream of one call; see `EventReader`.

    `origin` is the name that signatures are kept under, `stop` are the stop texts that were asked for: the wire says
    which of them was met only through the model's own fields.
    """

    __slots__ = (
        "_block", "_events", "_model", "_next_at", "_next_part", "_origin", "_stop", "_stop_texts", "done", "failure",
        "started",
    )  # fmt: skip

    def __init__(self, model: str, origin: str, stop: Sequence[str] = ()) -> None:
        self._model = model
        self._origin = origin
        self._stop_texts = tuple(stop)
        self._block: _Block | None = None
        self._next_at = 0
        self._next_part = 0
        self._stop: Stop | None = None
        self._events: list[Event] = []
        self.started = False
        self.done = False
        self.failure: GatewayError | None = None

    def read(self, payloads: Sequence[Frame]) -> list[Event]:
        """See `EventReader.read`."""
        self._events = []
        try:
            for frame in payloads:
                self._read(frame)
                if self.done:
                    break
        except GatewayError as error:
            self.failure = error
        return self._events

    def end(self) -> GatewayError:
        """See `EventReader.end`. A stream that ends well without its last event has broken off: nothing else on this
        wire tells an answer that was cut short.
        """
        return self.failure or broke_off()

    def _read(self, frame: Frame) -> None:
        if frame.header(":message-type") != "event":
            raise from_frame(frame, started=self.started)
        match frame.header(":event-type"):
            case "contentBlockDelta":
                event = _decoded(_BLOCK_DELTA, frame)
                self._delta(event.content_block_index, event.delta)
            case "contentBlockStart":
                self._block_start(_decoded(_BLOCK_START, frame))
            case "contentBlockStop":
                self._close(_decoded(_BLOCK_STOP, frame).content_block_index)
            case "messageStart":
                self._start(_decoded(_START, frame))
            case "messageStop":
                self._message_stop(_decoded(_STOP, frame))
            case "metadata":
                self._finish(_decoded(_METADATA, frame).usage)
            case _:
                pass

    def _start(self, event: wire.MessageStart) -> None:
        if self.started or event.role != "assistant":
            raise not_protocol()
        self.started = True
        self._events.append(Start(id=new_response_id(), model=self._model, created_s=int(time.time())))

    def _message_stop(self, event: wire.MessageStop) -> None:
        if not self.started:
            raise not_protocol()
        if self._stop is not None or self._block is not None:
            raise UpstreamProtocolError("The model's upstream ended the answer twice, or in the middle of it.")
        if event.stop_reason == "malformed_model_output":
            raise failed_midway()
        reason = _STOPS.get(event.stop_reason)
        if reason is None:
            raise broke_off()
        sequence = self._met(event.additional_model_response_fields) if reason is StopReason.STOP_SEQUENCE else None
        self._stop = Stop(choice=0, reason=reason, sequence=sequence)

    def _met(self, fields: JSON) -> str | None:
        if len(self._stop_texts) == 1:
            return self._stop_texts[0]
        said = fields.get("stop_sequence") if isinstance(fields, dict) else None
        return said if isinstance(said, str) and said in self._stop_texts else None

    def _finish(self, usage: wire.TokenUsage) -> None:
        if self._stop is None:
            raise broke_off()
        cached = usage.cache_read_input_tokens or 0
        stored = usage.cache_write_input_tokens or 0
        total = Usage(
            input_tokens=usage.input_tokens + cached + stored,
            output_tokens=usage.output_tokens,
            cached_input_tokens=cached,
            cache_write_input_tokens=stored,
        )
        self.done = True
        self._events.append(Finish(stops=(self._stop,), usage=total))

    # blocks

    def _block_start(self, event: wire.BlockStart) -> None:
        call = event.start.tool_use
        if call is None or call.type is not None:
            raise _not_asked_for()
        if not call.name:
            raise UpstreamProtocolError("The model's upstream called a tool without its name.")
        self._open(event.content_block_index, ToolCall)
        self._part(ToolCall(id=call.tool_use_id or new_tool_call_id(), name=call.name, arguments=""))

    def _delta(self, at: int, delta: wire.Delta) -> None:
        if delta.text is not None:
            self._within(at, Text)
            self._say(delta.text)
        elif delta.tool_use is not None:
            self._within(at, ToolCall)
            self._say(delta.tool_use.input)
        elif delta.reasoning_content is not None:
            self._reasoning(at, delta.reasoning_content)
        else:
            raise _not_asked_for()

    def _reasoning(self, at: int, delta: wire.ReasoningDelta) -> None:
        if delta.redacted_content is not None:
            self._within(at, RedactedReasoning).data += delta.redacted_content
        elif delta.text is not None:
            self._within(at, Reasoning)
            self._say(delta.text)
        elif delta.signature is not None:
            self._within(at, Reasoning).signature += delta.signature
        else:
            raise _not_asked_for()

    def _within(self, at: int, kind: _Kind) -> _Block:
        """The open block, which must be `at` and of that kind; what begins with its first delta is opened."""
        block = self._block
        if block is None and kind is not ToolCall:
            block = self._open(at, kind)
            if kind is Text:
                self._part(Text(text=""))
            elif kind is Reasoning:
                self._part(Reasoning(text=""))
        if block is None or block.at != at or block.kind is not kind:
            raise not_protocol()
        return block

    def _open(self, at: int, kind: _Kind) -> _Block:
        if self._stop is not None:
            raise UpstreamProtocolError("The model's upstream went on after the end of the answer.")
        if not self.started or self._block is not None or at < self._next_at:
            raise not_protocol()
        block = self._block = _Block(at, kind)
        self._next_at = at + 1
        return block

    def _part(self, part: Text | Reasoning | RedactedReasoning | ToolCall) -> None:
        self._events.append(PartStart(0, self._next_part, part))
        self._next_part += 1

    def _say(self, text: str) -> None:
        if text and self._block is not None:
            self._block.said = True
            self._events.append(Delta(0, self._next_part - 1, text))

    def _close(self, at: int) -> None:
        block = self._block
        if block is None:
            self._open(at, Text)  # a text in which nothing was said has only its end on this wire
            self._block = None
            return
        if block.at != at:
            raise not_protocol()
        if block.kind is ToolCall and not block.said:
            self._say("{}")  # a tool without arguments; readers of the call parse its text as JSON
        if block.kind is RedactedReasoning:
            self._part(RedactedReasoning(data=block.data, origin=self._origin))
        self._block = None
        signature = Signature(self._origin, block.signature) if block.signature else None
        self._events.append(PartEnd(0, self._next_part - 1, signature))


def _decoded(decoder: msgspec.json.Decoder[T], frame: Frame) -> T:
    try:
        return decoder.decode(frame.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise not_protocol() from error


def _not_asked_for() -> UpstreamProtocolError:
    return UpstreamProtocolError("The model's upstream answered with a kind of content not asked for.")


__all__ = ["ConverseReader"]
