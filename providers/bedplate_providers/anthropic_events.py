"""From the events of Anthropic's stream to ours.

Strict: only `message_stop`, after a stop reason and with every block closed, makes a `Finish`. What came before an
error in the same read is delivered first. Events of a new kind are skipped, as the API asks its clients to; a content
block or a delta of a new kind is an error, because leaving it out would change the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType

import msgspec

from bedplate_core.errors import GatewayError, UpstreamProtocolError
from bedplate_core.events import Delta, Event, Finish, PartEnd, PartStart, Progress, Start, Stop, StopReason
from bedplate_core.ids import new_response_id, new_tool_call_id
from bedplate_core.messages import Reasoning, RedactedReasoning, Signature, Text, ToolCall
from bedplate_core.usage import Usage
from bedplate_providers import anthropic_wire as wire
from bedplate_providers.anthropic_errors import from_event
from bedplate_providers.upstream_errors import broke_off, not_protocol

_EVENT = msgspec.json.Decoder(wire.StreamEvent)
_STOPS = MappingProxyType(
    {
        "end_turn": StopReason.END,
        "max_tokens": StopReason.LENGTH,
        "stop_sequence": StopReason.STOP_SEQUENCE,
        "tool_use": StopReason.TOOL,
        "pause_turn": StopReason.PAUSE,
        "refusal": StopReason.REFUSAL,
        "model_context_window_exceeded": StopReason.CONTEXT,
    }
)


class _Block:
    """The open content block."""

    __slots__ = ("at", "input", "kind", "said", "signature")

    def __init__(self, at: int, kind: type[Text | Reasoning | RedactedReasoning | ToolCall]) -> None:
        self.at = at
        self.kind = kind
        self.signature = ""
        self.input = ""
        self.said = False


class MessageReader:
    """Reads the stream of one call; see `EventReader`. `origin` is the name that signatures are kept under."""

    __slots__ = (
        "_block", "_counted", "_events", "_model", "_next_part", "_origin", "_stop", "_usage", "done", "failure",
        "started",
    )  # fmt: skip

    def __init__(self, model: str, origin: str) -> None:
        self._model = model
        self._origin = origin
        self._block: _Block | None = None
        self._next_part = 0
        self._stop: Stop | None = None
        self._usage = Usage()
        self._counted = False
        self._events: list[Event] = []
        self.started = False
        self.done = False
        self.failure: GatewayError | None = None

    def read(self, payloads: Sequence[bytes]) -> list[Event]:
        """See `EventReader.read`."""
        self._events = []
        try:
            for payload in payloads:
                self._read(payload)
                if self.done:
                    break
        except GatewayError as error:
            self.failure = error
        if self._counted and not self.done:
            self._counted = False
            self._events.append(Progress(self._usage))
        return self._events

    def end(self) -> GatewayError:
        """See `EventReader.end`."""
        return self.failure or broke_off()

    def _read(self, payload: bytes) -> None:
        try:
            event = _EVENT.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise not_protocol() from error
        match event.type:
            case "content_block_delta":
                self._delta(event.index, event.delta)
            case "content_block_start":
                self._open(event.index, event.content_block)
            case "content_block_stop":
                self._close(event.index)
            case "message_start":
                self._start(event.message)
            case "message_delta":
                self._message(event)
            case "message_stop":
                self._finish()
            case "error":
                raise from_event(event.error or wire.ErrorInfo(), started=self.started)
            case _:
                pass  # ping, and kinds that are new

    def _start(self, message: wire.StartedMessage | None) -> None:
        if self.started or message is None:
            raise not_protocol()
        self.started = True
        id_ = message.id or new_response_id()
        self._events.append(Start(id=id_, model=self._model, created_s=int(time.time())))
        self._count(message.usage)

    def _message(self, event: wire.StreamEvent) -> None:
        if not self.started:
            raise not_protocol()
        if event.usage is not None:
            self._count(event.usage)
        delta = event.delta
        if delta is None or delta.stop_reason is None:
            return
        if self._stop is not None or self._block is not None:
            raise UpstreamProtocolError("The model's upstream ended the answer twice, or in the middle of it.")
        reason = _STOPS.get(delta.stop_reason)
        if reason is None:
            raise broke_off()
        sequence = delta.stop_sequence if reason is StopReason.STOP_SEQUENCE else None
        self._stop = Stop(choice=0, reason=reason, sequence=sequence)

    def _finish(self) -> None:
        if self._stop is None:
            raise broke_off()
        self.done = True
        self._events.append(Finish(stops=(self._stop,), usage=self._usage))

    # blocks

    def _open(self, at: int, block: wire.ContentBlock | None) -> None:
        if not self.started or self._block is not None or block is None:
            raise not_protocol()
        if self._stop is not None:
            raise UpstreamProtocolError("The model's upstream went on after the end of the answer.")
        part: Text | Reasoning | RedactedReasoning | ToolCall
        match block.type:
            case "text":
                part = Text(text="")
            case "thinking":
                part = Reasoning(text="")
            case "redacted_thinking":
                part = RedactedReasoning(data=block.data.encode(), origin=self._origin)
            case "tool_use":
                if not block.name:
                    raise UpstreamProtocolError("The model's upstream called a tool without its name.")
                part = ToolCall(id=block.id or new_tool_call_id(), name=block.name, arguments="")
            case _:
                raise UpstreamProtocolError("The model's upstream answered with a kind of content not asked for.")
        opened = self._block = _Block(at, type(part))
        opened.signature = block.signature
        if block.input:
            opened.input = msgspec.json.encode(block.input).decode()
        self._events.append(PartStart(0, self._next_part, part))
        self._next_part += 1
        if block.text or block.thinking:
            self._say(block.text if opened.kind is Text else block.thinking)

    def _delta(self, at: int, delta: wire.Delta | None) -> None:
        block = self._block
        if block is None or block.at != at or delta is None:
            raise not_protocol()
        kind = block.kind
        match delta.type:
            case "text_delta" if kind is Text:
                self._say(delta.text)
            case "input_json_delta" if kind is ToolCall:
                self._say(delta.partial_json)
            case "thinking_delta" if kind is Reasoning:
                self._say(delta.thinking)
            case "signature_delta" if kind is Reasoning:
                block.signature += delta.signature
            case _:
                raise not_protocol()

    def _say(self, text: str) -> None:
        if text and self._block is not None:
            self._block.said = True
            self._events.append(Delta(0, self._next_part - 1, text))

    def _close(self, at: int) -> None:
        block = self._block
        if block is None or block.at != at:
            raise not_protocol()
        if block.kind is ToolCall and not block.said:
            self._say(block.input or "{}")  # a tool without arguments; readers of the call parse its text as JSON
        signature = Signature(self._origin, block.signature) if block.signature else None
        self._events.append(PartEnd(0, self._next_part - 1, signature))
        self._block = None

    # usage

    def _count(self, sent: wire.UsageInfo) -> None:
        """Anthropic counts what the cache gave and took beside the input; ours is part of it."""
        known = self._usage
        read, written = sent.cache_read_input_tokens, sent.cache_creation_input_tokens
        cached = known.cached_input_tokens if read is None else max(read, known.cached_input_tokens)
        stored = known.cache_write_input_tokens if written is None else max(written, known.cache_write_input_tokens)
        fresh = known.input_tokens - known.cached_input_tokens - known.cache_write_input_tokens
        if sent.input_tokens is not None:
            fresh = max(fresh, sent.input_tokens)
        details = sent.output_tokens_details
        thought = known.reasoning_tokens if details is None else max(details.thinking_tokens, known.reasoning_tokens)
        self._usage = Usage(
            input_tokens=fresh + cached + stored,
            output_tokens=max(known.output_tokens, sent.output_tokens or 0),
            cached_input_tokens=cached,
            cache_write_input_tokens=stored,
            reasoning_tokens=thought,
        )
        self._counted = True


__all__ = ["MessageReader"]
