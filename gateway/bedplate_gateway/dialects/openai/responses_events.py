"""The events of a streamed response.

Source: openai-python 3.57 and 2.54 (`ResponseStreamEvent`), compared November 2026.
"""

from __future__ import annotations

from typing import TypeAlias, TypedDict

import msgspec

from bedplate_gateway.dialects.openai.errors import ErrorObject
from bedplate_gateway.dialects.openai.responses_reply import (
    OutputItem,
    OutputRefusal,
    OutputText,
    ReasoningText,
    ResponseObject,
)


class ContentPlace(TypedDict):
    """Where in a response a part of an item is."""

    item_id: str
    output_index: int
    content_index: int


class StreamTopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """An alternative token, in a stream."""

    token: str
    logprob: float


class StreamLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a text, in a stream: without its bytes, which come with the whole text."""

    token: str
    logprob: float
    top_logprobs: tuple[StreamTopLogprob, ...]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The base of all events."""

    sequence_number: int


class ResponseCreated(_Event, frozen=True, kw_only=True, tag="response.created"):
    """The response exists."""

    response: ResponseObject


class ResponseInProgress(_Event, frozen=True, kw_only=True, tag="response.in_progress"):
    """The model is at work."""

    response: ResponseObject


class ResponseCompleted(_Event, frozen=True, kw_only=True, tag="response.completed"):
    """The response is whole, and durable where it is stored."""

    response: ResponseObject


class ResponseIncomplete(_Event, frozen=True, kw_only=True, tag="response.incomplete"):
    """The response ended before it was whole, for the reason that it says."""

    response: ResponseObject


class ResponseFailed(_Event, frozen=True, kw_only=True, tag="response.failed"):
    """The response broke off; an `error` follows."""

    response: ResponseObject


class OutputItemAdded(_Event, frozen=True, kw_only=True, tag="response.output_item.added"):
    """An item begins."""

    output_index: int
    item: OutputItem


class OutputItemDone(_Event, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item is all that it will be."""

    output_index: int
    item: OutputItem


class ContentPartAdded(_Event, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part of an item begins."""

    item_id: str
    output_index: int
    content_index: int
    part: OutputText | OutputRefusal | ReasoningText


class ContentPartDone(_Event, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part of an item is whole."""

    item_id: str
    output_index: int
    content_index: int
    part: OutputText | OutputRefusal | ReasoningText


class OutputTextDelta(_Event, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More of a text."""

    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: tuple[StreamLogprob, ...]


class OutputTextDone(_Event, frozen=True, kw_only=True, tag="response.output_text.done"):
    """A whole text."""

    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: tuple[StreamLogprob, ...]


class RefusalDelta(_Event, frozen=True, kw_only=True, tag="response.refusal.delta"):
    """More of a refusal."""

    item_id: str
    output_index: int
    content_index: int
    delta: str


class RefusalDone(_Event, frozen=True, kw_only=True, tag="response.refusal.done"):
    """A whole refusal."""

    item_id: str
    output_index: int
    content_index: int
    refusal: str


class ReasoningTextDelta(_Event, frozen=True, kw_only=True, tag="response.reasoning_text.delta"):
    """More of a thought."""

    item_id: str
    output_index: int
    content_index: int
    delta: str


class ReasoningTextDone(_Event, frozen=True, kw_only=True, tag="response.reasoning_text.done"):
    """A whole thought."""

    item_id: str
    output_index: int
    content_index: int
    text: str


class FunctionCallArgumentsDelta(_Event, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"):
    """More of a call's arguments."""

    item_id: str
    output_index: int
    delta: str


class FunctionCallArgumentsDone(_Event, frozen=True, kw_only=True, tag="response.function_call_arguments.done"):
    """A call's whole arguments. `name` is there for SDKs of before 3.0, whose type requires it."""

    item_id: str
    output_index: int
    name: str
    arguments: str


class ErrorEvent(_Event, frozen=True, kw_only=True, tag="error"):
    """What went wrong, after an answer had begun. The official SDKs raise for the field `error`."""

    code: str | None
    message: str
    param: str | None
    error: ErrorObject


ResponsesEvent: TypeAlias = (
    ResponseCreated
    | ResponseInProgress
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseFailed
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDelta
    | OutputTextDone
    | RefusalDelta
    | RefusalDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | ErrorEvent
)

__all__ = [
    "ContentPartAdded",
    "ContentPartDone",
    "ContentPlace",
    "ErrorEvent",
    "FunctionCallArgumentsDelta",
    "FunctionCallArgumentsDone",
    "OutputItemAdded",
    "OutputItemDone",
    "OutputTextDelta",
    "OutputTextDone",
    "ReasoningTextDelta",
    "ReasoningTextDone",
    "RefusalDelta",
    "RefusalDone",
    "ResponseCompleted",
    "ResponseCreated",
    "ResponseFailed",
    "ResponseInProgress",
    "ResponseIncomplete",
    "ResponsesEvent",
    "StreamLogprob",
    "StreamTopLogprob",
]
