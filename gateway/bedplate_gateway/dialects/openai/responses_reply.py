"""A response as the wire shows it: made from a whole answer, from a stored one, or as a stream's first event.

Source: openai-python 3.57 and 2.54 (`Response`, `ResponseOutputItem`, `ResponseUsage`), compared November 2026.

Ids are derived from the response's own: an item that is streamed, sent whole and read again has the same one each
time. What a model thought is an item of type `reasoning` with its text in `content`, as vLLM sends it; `summary` is
empty, since nothing summarises it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, assert_never

import msgspec

from bedplate_core.events import StopReason, TokenLogprob
from bedplate_core.jsonvalue import JSONObject
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
from bedplate_core.requests import JsonObjectFormat, JsonSchemaFormat, NamedTool, Request
from bedplate_core.response import Response
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.openai.answer_wire import finite
from bedplate_gateway.dialects.openai.responses_request import Labels, verbosity_of
from bedplate_sessions.conversation_items import REMOVED

_PREFIXES: Final[Mapping[type[Part], str]] = MappingProxyType({ToolCall: "fc", Reasoning: "rs"})
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]
SaidPart: TypeAlias = Text | Refusal | Reasoning | ToolCall

INCOMPLETE: Final[Mapping[StopReason, str]] = MappingProxyType(
    {
        StopReason.LENGTH: "max_output_tokens",
        StopReason.CONTEXT: "max_output_tokens",
        StopReason.GUARDRAIL: "content_filter",
        StopReason.CONTENT_FILTER: "content_filter",
    }
)
"""The stop reasons that leave a response `incomplete`, with this wire's reason; all others complete it."""

UNSAID: Final[Mapping[type[Part], str]] = MappingProxyType(
    {
        RedactedReasoning: "opaque bytes for the provider that made them; they are kept with a stored response",
        Image: "answers on this wire are text; requests for other modalities are refused",
        Audio: "answers on this wire are text; requests for other modalities are refused",
        Video: "answers on this wire are text; requests for other modalities are refused",
        Document: "answers on this wire are text; requests for other modalities are refused",
        ToolResult: "belongs to requests",
        CachePoint: "belongs to requests",
        GuardContent: "belongs to requests",
    }
)
"""Parts that an answer on this wire leaves out, whole and streamed alike, and why."""


class OutputTopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """An alternative token. `bytes` is empty where the upstream does not say them."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class OutputLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a text."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[OutputTopLogprob, ...]


class OutputText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """Text. There are no annotations: nothing here cites."""

    annotations: tuple[()] = ()
    logprobs: tuple[OutputLogprob, ...] = ()
    text: str


class OutputRefusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """The model's refusal."""

    refusal: str


class ReasoningText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What the model said."""

    id: str
    role: Literal["assistant"] = "assistant"
    status: ItemStatus
    content: tuple[OutputText | OutputRefusal, ...]


class OutputFunctionCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model asks for. Its output is sent with `call_id`."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class ReasoningItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thought before it answered or called."""

    id: str
    summary: tuple[()] = ()
    content: tuple[ReasoningText, ...]
    encrypted_content: None = None
    status: ItemStatus


OutputItem: TypeAlias = OutputMessage | OutputFunctionCall | ReasoningItem


class InputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of `input_tokens`."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of `output_tokens`."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a response consumed."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    code: str
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Why a response is incomplete: `max_output_tokens` or `content_filter`."""

    reason: str


class ToolInUse(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the model may call."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class ReasoningInUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model may think."""

    effort: str | None
    summary: None = None


class ConversationRef(msgspec.Struct, frozen=True, kw_only=True):
    """The conversation that a response is part of."""

    id: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a response repeats of its request. Null is the model's own default."""

    background: bool = False
    conversation: ConversationRef | msgspec.UnsetType = msgspec.UNSET
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ReasoningInUse
    safety_identifier: str | None
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: tuple[ToolInUse, ...]
    top_logprobs: int
    top_p: float | None
    user: str | None


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response. `model` is the name that the client asked for."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool = False
    conversation: ConversationRef | msgspec.UnsetType = msgspec.UNSET
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: tuple[OutputItem, ...]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ReasoningInUse
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: tuple[ToolInUse, ...]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None


def settings_of(
    request: Request,
    *,
    instructions: int,
    previous: str | None,
    labels: Labels,
    conversation: str | None = None,
    background: bool = False,
) -> Settings:
    """What a response to `request` repeats of it; see `DecodedResponses` for the arguments."""
    reasoning = request.reasoning
    return Settings(
        background=background,
        conversation=msgspec.UNSET if conversation is None else ConversationRef(id=conversation),
        instructions=request.messages[0].text if instructions else None,
        max_output_tokens=request.sampling.max_tokens,
        metadata=labels.metadata,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=previous,
        reasoning=ReasoningInUse(effort=reasoning.effort if reasoning is not None else None),
        safety_identifier=labels.safety_identifier,
        temperature=request.sampling.temperature,
        text=_text_config(request),
        tool_choice=_tool_choice(request),
        tools=tuple(
            ToolInUse(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
            for tool in request.tools
        ),
        top_logprobs=request.top_logprobs or 0,
        top_p=request.sampling.top_p,
        user=labels.user,
    )


def _text_config(request: Request) -> JSONObject:
    form: JSONObject
    wanted = request.response_format
    match wanted:
        case None:
            form = {"type": "text"}
        case JsonObjectFormat():
            form = {"type": "json_object"}
        case JsonSchemaFormat() as given:
            form = {
                "type": "json_schema",
                "name": given.name,
                "schema": given.schema,
                "description": given.description,
                "strict": given.strict,
            }
        case _:
            assert_never(wanted)
    verbosity = verbosity_of(request)
    return {"format": form} if verbosity is None else {"format": form, "verbosity": verbosity}


def _tool_choice(request: Request) -> str | JSONObject:
    choice = request.tool_choice
    if choice is None:
        return "auto"
    if isinstance(choice, NamedTool):
        return {"type": "function", "name": choice.name}
    return choice.value


def response_object(
    response_id: str,
    model: str,
    settings: Settings,
    *,
    created_s: int,
    status: Literal["in_progress", "completed", "incomplete", "failed"],
    output: tuple[OutputItem, ...] = (),
    usage: Usage | None = None,
    incomplete: str | None = None,
    error: ResponseError | None = None,
) -> ResponseObject:
    """A response in whatever state."""
    return ResponseObject(
        id=response_id,
        created_at=created_s,
        status=status,
        error=error,
        incomplete_details=None if incomplete is None else IncompleteDetails(reason=incomplete),
        model=model,
        output=output,
        usage=None if usage is None else response_usage(usage),
        **{name: getattr(settings, name) for name in Settings.__struct_fields__},
    )


def whole_response(response_id: str, model: str, settings: Settings, answer: Response) -> ResponseObject:
    """The response that a whole answer amounts to."""
    choice = answer.choices[0]
    logprobs: dict[int, list[TokenLogprob]] = {}
    for index, token in zip(choice.logprob_parts, choice.logprobs, strict=True):
        logprobs.setdefault(index, []).append(token)
    return ended_response(
        response_id,
        model,
        settings,
        created_s=answer.created_s,
        parts=choice.parts,
        stop=choice.stop.reason,
        usage=answer.usage,
        logprobs=logprobs,
    )


def ended_response(
    response_id: str,
    model: str,
    settings: Settings,
    *,
    created_s: int,
    parts: Sequence[Part],
    stop: StopReason,
    usage: Usage,
    logprobs: Mapping[int, Sequence[TokenLogprob]] = MappingProxyType({}),
) -> ResponseObject:
    """The response that ended for the reason `stop`. `logprobs` are those of each part, by its index."""
    incomplete = INCOMPLETE.get(stop)
    return response_object(
        response_id,
        model,
        settings,
        created_s=created_s,
        status="completed" if incomplete is None else "incomplete",
        output=output_items(response_id, parts, logprobs, incomplete=incomplete is not None),
        usage=usage,
        incomplete=incomplete,
    )


def output_items(
    response_id: str,
    parts: Sequence[Part],
    logprobs: Mapping[int, Sequence[TokenLogprob]] = MappingProxyType({}),
    *,
    incomplete: bool = False,
    place: str = "",
) -> tuple[OutputItem, ...]:
    """The items that an assistant's parts make: texts and refusals that follow one another are one message.

    `incomplete` is the last item's status, all others are complete. `place` distinguishes ids of items that are not
    this response's output.
    """
    items: list[OutputItem] = []
    groups = list(_groups(parts))
    for number, group in enumerate(groups):
        if not group:
            continue
        status: ItemStatus = "incomplete" if incomplete and number == len(groups) - 1 else "completed"
        first = group[0][1]
        name = f"{place}{number}"
        match first:
            case ToolCall():
                items.append(call_item(response_id, name, first, status))
            case Reasoning():
                items.append(
                    ReasoningItem(
                        id=item_id("rs", response_id, name), content=(ReasoningText(text=first.text),), status=status
                    )
                )
            case _:
                content = tuple(_content(part, logprobs.get(index, ())) for index, part in group)
                items.append(OutputMessage(id=item_id("msg", response_id, name), status=status, content=content))
    return tuple(items)


def item_places(response_id: str, parts: Sequence[Part]) -> Mapping[str, tuple[int, ...]]:
    """The ids of the items that `output_items` makes, and the places in `parts` of what each is made of."""
    return {
        item_id(_PREFIXES.get(type(group[0][1]), "msg"), response_id, str(number)): tuple(index for index, _ in group)
        for number, group in enumerate(_groups(parts))
        if group
    }


def call_item(response_id: str, name: str, call: ToolCall, status: ItemStatus) -> OutputFunctionCall:
    """The item of one call."""
    return OutputFunctionCall(
        id=item_id("fc", response_id, name),
        call_id=call.id,
        name=call.name,
        arguments=call.arguments,
        status=status,
    )


def _content(
    part: Text | Refusal | Reasoning | ToolCall, logprobs: Sequence[TokenLogprob]
) -> OutputText | OutputRefusal:
    if isinstance(part, Refusal):
        return OutputRefusal(refusal=part.text)
    if isinstance(part, Text):
        return OutputText(text=part.text, logprobs=output_logprobs(logprobs))
    raise TypeError(f"a {type(part).__name__} is no content of a message")


def _groups(parts: Sequence[Part]) -> Iterator[list[tuple[int, SaidPart]]]:
    """The parts of each item with their indices; an empty list where there was an item once."""
    message: list[tuple[int, SaidPart]] = []
    for index, part in enumerate(parts):
        match part:
            case Text() | Refusal():
                message.append((index, part))
            case Reasoning() | ToolCall():
                if message:
                    yield message
                    message = []
                yield [(index, part)]
            case RedactedReasoning() if part == REMOVED:
                if message:
                    yield message
                    message = []
                yield []
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
    if message:
        yield message


def item_id(prefix: str, response_id: str, name: str) -> str:
    """The id of an item of this response; `name` is its place."""
    return f"{prefix}_{response_id.removeprefix('resp_')}_{name}"


def output_logprobs(tokens: Sequence[TokenLogprob]) -> tuple[OutputLogprob, ...]:
    """`tokens` in this wire's shape."""
    return tuple(
        OutputLogprob(
            token=token.token,
            logprob=finite(token.logprob),
            bytes=token.bytes or (),
            top_logprobs=tuple(
                OutputTopLogprob(token=other.token, logprob=finite(other.logprob), bytes=other.bytes or ())
                for other in token.alternatives
            ),
        )
        for token in tokens
    )


def response_usage(usage: Usage) -> ResponseUsage:
    """`usage` in this wire's words; both count cached and reasoning tokens within the totals."""
    return ResponseUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputTokensDetails(
            cached_tokens=usage.cached_input_tokens, cache_write_tokens=usage.cache_write_input_tokens
        ),
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )


__all__ = [
    "INCOMPLETE",
    "UNSAID",
    "ConversationRef",
    "ItemStatus",
    "OutputFunctionCall",
    "OutputItem",
    "OutputLogprob",
    "OutputMessage",
    "OutputRefusal",
    "OutputText",
    "ReasoningItem",
    "ReasoningText",
    "ResponseError",
    "ResponseObject",
    "Settings",
    "call_item",
    "ended_response",
    "item_id",
    "item_places",
    "output_items",
    "output_logprobs",
    "response_object",
    "settings_of",
    "whole_response",
]
