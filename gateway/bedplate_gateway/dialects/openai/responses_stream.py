"""A response as server-sent events.

Source: openai-python 3.57 and 2.54 (`ResponseStreamEvent` and the streaming helpers that read it), compared November
2026. Thoughts are `response.reasoning_text` events within a content part of type `reasoning_text`, as OpenAI's types
and vLLM have them.

An item is done when the next one begins or the answer ends, not with its last part: only then is it known whether it
is complete. So nothing says `completed` of an item that the model's limit cut. The bytes do not depend on how events
were batched.

`response.completed` (or `incomplete`) carries the whole response, made by the same function as the reply that is not
streamed.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from bedplate_core.errors import GatewayError
from bedplate_core.events import Batch, Delta, Finish, PartEnd, PartStart, Progress, Start, TokenLogprob
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
from bedplate_core.response import Fold
from bedplate_gateway.dialects.openai.answer_wire import KEEP_ALIVE, finite
from bedplate_gateway.dialects.openai.errors import KINDS, ErrorObject
from bedplate_gateway.dialects.openai.responses_events import (
    ContentPartAdded,
    ContentPartDone,
    ContentPlace,
    ErrorEvent,
    FunctionCallArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDone,
    ReasoningTextDone,
    RefusalDone,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
    ResponsesEvent,
    StreamLogprob,
    StreamTopLogprob,
)
from bedplate_gateway.dialects.openai.responses_reply import (
    OutputFunctionCall,
    OutputItem,
    OutputMessage,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    ReasoningText,
    ResponseError,
    Settings,
    item_id,
    output_logprobs,
    response_object,
    whole_response,
)

FAILURES: Final = {
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "rate_limit_exceeded",
    "invalid_request": "invalid_prompt",
    "unsupported_feature": "invalid_prompt",
    "context_length_exceeded": "invalid_prompt",
}
"""The `error.code` of a failed response, which OpenAI's type enumerates; all other codes of ours are `server_error`."""

_JSON: Final = msgspec.json.Encoder()


class _OpenItem:
    """An item that has begun: `done` are the parts of it that have ended."""

    __slots__ = ("call", "done", "id", "index", "kind")

    def __init__(self, kind: type[Part], name: str, index: int, call: ToolCall | None) -> None:
        self.kind = kind
        self.id = name
        self.index = index
        self.call = call
        self.done: list[OutputText | OutputRefusal | ReasoningText] = []


class _OpenPart:
    """The part that is open: what it has said, and the bytes before and after the text of a plain delta."""

    __slots__ = ("head", "kind", "logprobs", "tail", "texts")

    def __init__(self, kind: type[Part], head: bytes, tail: bytes) -> None:
        self.kind = kind
        self.head = head
        self.tail = tail
        self.texts: list[str] = []
        self.logprobs: list[TokenLogprob] = []


_PREFIXES: Final[dict[type[Part], str]] = {Text: "msg", Reasoning: "rs", ToolCall: "fc"}
_DELTAS: Final[dict[type[Part], str]] = {
    Text: "response.output_text.delta",
    Refusal: "response.refusal.delta",
    Reasoning: "response.reasoning_text.delta",
    ToolCall: "response.function_call_arguments.delta",
}


class ResponsesStream:
    """Encodes one streamed response; see `StreamEncoder`. Numbers its events from 0 without gaps."""

    def __init__(self, response_id: str, model: str, settings: Settings) -> None:
        """`model` is the name that the client asked for."""
        self._response_id = response_id
        self._model = model
        self._settings = settings
        self._fold = Fold()
        self._created_s: int | None = None
        self._number = 0
        self._items = 0
        self._item: _OpenItem | None = None
        self._part: _OpenPart | None = None

    def encode(self, batch: Batch) -> bytes:
        """The events for one batch; see `StreamEncoder.encode`."""
        frames: list[bytes] = []
        for event in batch:
            self._fold.add(event)
            if type(event) is Delta:
                if self._part is not None:
                    self._delta(self._part, event.text, event.logprobs, frames)
            else:
                self._rare(event, frames)
        return b"".join(frames)

    def end(self) -> bytes:
        """Nothing: the last event is the end mark."""
        return b""

    def error(self, error: GatewayError) -> bytes:
        """`response.failed`, which closes all that is open, and an `error`, for which the official SDKs raise.

        The failed response repeats no output, so that nothing cut short, such as a call, is taken for whole.
        """
        frames: list[bytes] = []
        if self._created_s is not None:
            reason = ResponseError(code=FAILURES.get(error.code, "server_error"), message=error.message)
            failed = response_object(
                self._response_id,
                self._model,
                self._settings,
                created_s=self._created_s,
                status="failed",
                error=reason,
            )
            frames.append(self._frame(ResponseFailed(sequence_number=self._number, response=failed)))
        kind = KINDS.get(error.code, KINDS["internal"])
        said = ErrorObject(message=error.message, type=kind.type, param=error.param, code=kind.code)
        event = ErrorEvent(
            sequence_number=self._number, code=kind.code, message=error.message, param=error.param, error=said
        )
        frames.append(self._frame(event))
        return b"".join(frames)

    def keep_alive(self) -> bytes:
        """A comment line."""
        return KEEP_ALIVE

    def _rare(self, event: Start | Delta | PartStart | PartEnd | Progress | Finish, frames: list[bytes]) -> None:
        match event:
            case Start():
                self._start(event, frames)
            case PartStart():
                self._part_start(event.part, frames)
            case PartEnd():
                self._part_end(frames)
            case Finish():
                self._finish(frames)
            case Delta() | Progress():
                pass  # deltas are not rare; usage comes once, at the end
            case _:
                assert_never(event)

    def _start(self, event: Start, frames: list[bytes]) -> None:
        self._created_s = event.created_s
        response = response_object(
            self._response_id, self._model, self._settings, created_s=event.created_s, status="in_progress"
        )
        frames.append(self._frame(ResponseCreated(sequence_number=self._number, response=response)))
        frames.append(self._frame(ResponseInProgress(sequence_number=self._number, response=response)))

    def _part_start(self, part: Part, frames: list[bytes]) -> None:
        match part:
            case Text() | Refusal():
                if self._item is None or self._item.kind is not Text:
                    self._item_start(Text, None, frames)
                self._content_start(type(part), part.text, frames)
            case Reasoning():
                self._item_start(Reasoning, None, frames)
                self._content_start(Reasoning, part.text, frames)
            case ToolCall():
                self._item_start(ToolCall, part, frames)
                self._opens(ToolCall, part.arguments, frames)
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

    def _item_start(self, kind: type[Part], call: ToolCall | None, frames: list[bytes]) -> None:
        self._item_end(frames)
        index = self._items
        self._items += 1
        name = item_id(_PREFIXES[kind], self._response_id, str(index))
        self._item = item = _OpenItem(kind, name, index, call)
        begun: OutputItem
        if call is not None:
            begun = OutputFunctionCall(id=item.id, call_id=call.id, name=call.name, arguments="", status="in_progress")
        elif kind is Reasoning:
            begun = ReasoningItem(id=item.id, content=(), status="in_progress")
        else:
            begun = OutputMessage(id=item.id, content=(), status="in_progress")
        frames.append(self._frame(OutputItemAdded(sequence_number=self._number, output_index=index, item=begun)))

    def _item_end(self, frames: list[bytes]) -> None:
        """Another item follows, so the one before it is complete."""
        item, self._item = self._item, None
        if item is None:
            return
        whole: OutputItem
        if item.call is not None:
            call = item.call
            whole = OutputFunctionCall(
                id=item.id, call_id=call.id, name=call.name, arguments=call.arguments, status="completed"
            )
        elif item.kind is Reasoning:
            thought = tuple(part for part in item.done if isinstance(part, ReasoningText))
            whole = ReasoningItem(id=item.id, content=thought, status="completed")
        else:
            said = tuple(part for part in item.done if not isinstance(part, ReasoningText))
            whole = OutputMessage(id=item.id, content=said, status="completed")
        frames.append(self._frame(OutputItemDone(sequence_number=self._number, output_index=item.index, item=whole)))

    def _content_start(self, kind: type[Part], text: str, frames: list[bytes]) -> None:
        item = self._opened_item()
        event = ContentPartAdded(
            sequence_number=self._number,
            item_id=item.id,
            output_index=item.index,
            content_index=len(item.done),
            part=_content(kind, "", ()),
        )
        frames.append(self._frame(event))
        self._opens(kind, text, frames)

    def _opens(self, kind: type[Part], text: str, frames: list[bytes]) -> None:
        """The part is open; `text` is what it opens with."""
        item, name = self._opened_item(), _DELTAS[kind]
        place = b'"output_index":%d' % item.index
        if kind is not ToolCall:
            place += b',"content_index":%d' % len(item.done)
        head = b'event: %b\ndata: {"type":"%b","item_id":%b,%b,"delta":' % (
            name.encode(),
            name.encode(),
            _JSON.encode(item.id),
            place,
        )
        tail = b',"logprobs":[],"sequence_number":' if kind is Text else b',"sequence_number":'
        self._part = _OpenPart(kind, head, tail)
        self._delta(self._part, text, (), frames)

    def _delta(self, part: _OpenPart, text: str, logprobs: tuple[TokenLogprob, ...], frames: list[bytes]) -> None:
        if logprobs and part.kind is Text:
            part.logprobs.extend(logprobs)
            tail = b',"logprobs":%b,"sequence_number":' % _JSON.encode(_stream_logprobs(logprobs))
        elif text:
            tail = part.tail
        else:
            return
        part.texts.append(text)
        frames += (part.head, _JSON.encode(text), tail, b"%d}\n\n" % self._number)
        self._number += 1

    def _part_end(self, frames: list[bytes]) -> None:
        part, self._part = self._part, None
        if part is None:
            return  # one that this wire does not say (`UNSAID`)
        item, text = self._opened_item(), "".join(part.texts)
        if item.call is not None:
            item.call = msgspec.structs.replace(item.call, arguments=text)
            done = FunctionCallArgumentsDone(
                sequence_number=self._number,
                item_id=item.id,
                output_index=item.index,
                name=item.call.name,
                arguments=text,
            )
            frames.append(self._frame(done))
            return
        place = ContentPlace(item_id=item.id, output_index=item.index, content_index=len(item.done))
        number = self._number
        if part.kind is Refusal:
            frames.append(self._frame(RefusalDone(sequence_number=number, refusal=text, **place)))
        elif part.kind is Reasoning:
            frames.append(self._frame(ReasoningTextDone(sequence_number=number, text=text, **place)))
        else:
            logprobs = _stream_logprobs(part.logprobs)
            frames.append(self._frame(OutputTextDone(sequence_number=number, text=text, logprobs=logprobs, **place)))
        content = _content(part.kind, text, part.logprobs)
        frames.append(self._frame(ContentPartDone(sequence_number=self._number, part=content, **place)))
        item.done.append(content)

    def _finish(self, frames: list[bytes]) -> None:
        whole = whole_response(self._response_id, self._model, self._settings, self._fold.response())
        item = self._item
        if item is not None:
            last = whole.output[-1]
            done = OutputItemDone(sequence_number=self._number, output_index=item.index, item=last)
            frames.append(self._frame(done))
        kind = ResponseCompleted if whole.status == "completed" else ResponseIncomplete
        frames.append(self._frame(kind(sequence_number=self._number, response=whole)))

    def _opened_item(self) -> _OpenItem:
        if self._item is None:
            raise RuntimeError("a part is inside an item")
        return self._item

    def _frame(self, event: ResponsesEvent) -> bytes:
        """One event, which had the next number."""
        self._number += 1
        name = event.__struct_config__.tag
        return b"event: %b\ndata: %b\n\n" % (str(name).encode(), _JSON.encode(event))


def _content(
    kind: type[Part], text: str, logprobs: list[TokenLogprob] | tuple[()]
) -> OutputText | OutputRefusal | ReasoningText:
    if kind is Refusal:
        return OutputRefusal(refusal=text)
    if kind is Reasoning:
        return ReasoningText(text=text)
    return OutputText(text=text, logprobs=output_logprobs(logprobs))


def _stream_logprobs(tokens: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> tuple[StreamLogprob, ...]:
    return tuple(
        StreamLogprob(
            token=token.token,
            logprob=finite(token.logprob),
            top_logprobs=tuple(
                StreamTopLogprob(token=other.token, logprob=finite(other.logprob)) for other in token.alternatives
            ),
        )
        for token in tokens
    )


__all__ = ["FAILURES", "ResponsesStream"]
