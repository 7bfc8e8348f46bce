"""From the body of `POST /v1/responses` to the canonical request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

import msgspec

from bedplate_core import requests as canonical
from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON
from bedplate_core.messages import Message, Role, Text
from bedplate_core.requests import NamedTool, ReasoningControl, Request, Sampling, Tool, ToolMode
from bedplate_gateway.dialects.decoding import bounded_schema, clip, decode_body
from bedplate_gateway.dialects.openai import responses_wire as wire
from bedplate_gateway.dialects.openai.responses_items import canonical_input, converted, refuse_unless

_DECODER: Final = msgspec.json.Decoder(wire.ResponsesRequest)
_VERBOSITY: Final = "verbosity"


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What the client attaches to a response; see `responses_wire.ECHOED`."""

    metadata: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    safety_identifier: str | None = None
    user: str | None = None


class DecodedResponses(msgspec.Struct, frozen=True, kw_only=True):
    """The canonical request and what lies beside it.

    `instructions` is how many of its first messages are the request's `instructions`: 1 or 0. `store` is None where
    the client did not say.
    """

    request: Request
    instructions: int
    previous_response_id: str | None
    conversation: str | None
    store: bool | None
    background: bool
    labels: Labels


def decode_responses(body: bytes, *, continues: bool) -> DecodedResponses:
    """Decode `body`.

    `continues` says that the input goes on from a stored conversation, as it does anyway with `conversation` or
    `previous_response_id`. Raises `InvalidRequest` or `UnsupportedFeature`, with `param` naming the field.
    """
    sent, extensions = decode_body(_DECODER, body, wire.RESPONSES_FIELDS)
    _check_streaming(sent)
    _check_cache_options(sent.prompt_cache_options)
    tools = _tools(sent.tools or ())
    conversation = _conversation(sent)
    continues = continues or conversation is not None or sent.previous_response_id is not None
    given = canonical_input(sent.input, continues=continues)
    instructions: tuple[Message, ...] = ()
    if sent.instructions is not None:
        instructions = (Message(role=Role.SYSTEM, parts=(Text(text=sent.instructions),)),)
    request = Request(
        model=sent.model,
        messages=(*instructions, *given),
        tools=tools,
        tool_choice=_tool_choice(sent.tool_choice, tools),
        parallel_tool_calls=sent.parallel_tool_calls,
        sampling=Sampling(
            max_tokens=sent.max_output_tokens, temperature=sent.temperature, top_p=sent.top_p, top_k=sent.top_k
        ),
        response_format=_response_format(sent.text),
        reasoning=_reasoning(sent.reasoning),
        top_logprobs=_top_logprobs(sent),
        stream=bool(sent.stream),
        extensions=_with_verbosity(extensions, sent.text),
    )
    return DecodedResponses(
        request=request,
        instructions=len(instructions),
        previous_response_id=sent.previous_response_id,
        conversation=conversation,
        store=sent.store,
        background=_background(sent),
        labels=Labels(metadata=sent.metadata or {}, safety_identifier=sent.safety_identifier, user=sent.user),
    )


def verbosity_of(request: Request) -> str | None:
    """The `text.verbosity` that `decode_responses` passed on."""
    value = request.extensions.get(_VERBOSITY)
    return value if isinstance(value, str) else None


def refuse_includes(values: Sequence[str], served: Sequence[str]) -> None:
    """Raise for the first value of `include` that is not `served`: by its name where OpenAI has it."""
    for value in values:
        if value in served:
            continue
        if value in (wire.LOGPROBS, wire.IMAGE_URLS):
            raise UnsupportedFeature(f"include: {value!r} is not supported here", param="include")
        reason = wire.UNSERVED_INCLUDES.get(value)
        if reason is not None:
            raise UnsupportedFeature(f"include: {value!r} is not supported. {reason}", param="include")
        raise InvalidRequest(f"include: there is no {clip(value, 64)!r}", param="include")


def _conversation(sent: wire.ResponsesRequest) -> str | None:
    """The id of the conversation that the response is to be part of, as it was sent."""
    given = sent.conversation
    name = given.id if isinstance(given, wire.ConversationParam) else given
    if name is not None and sent.previous_response_id is not None:
        raise InvalidRequest(
            "previous_response_id: cannot be sent with conversation; a response continues one or the other",
            param="previous_response_id",
        )
    return name


def _check_streaming(sent: wire.ResponsesRequest) -> None:
    if sent.stream_options is not None and not sent.stream:
        raise InvalidRequest("stream_options: only allowed when stream is true", param="stream_options")


def _background(sent: wire.ResponsesRequest) -> bool:
    """Whether the response is made in the background, which only a stored one can be."""
    if sent.background and sent.store is False:
        raise InvalidRequest("background: a response in the background is stored; leave store out", param="background")
    return bool(sent.background)


def _check_cache_options(sent: wire.PromptCacheOptions | None) -> None:
    if sent is not None:
        at = "prompt_cache_options"
        reason = "Prefix caching is automatic on the fleet."
        refuse_unless(sent.prewarm, (False,), f"{at}.prewarm", reason)
        refuse_unless(sent.comparison_response_id, (), f"{at}.comparison_response_id", reason)


def _with_verbosity(extensions: dict[str, JSON], text: wire.TextConfig | None) -> dict[str, JSON]:
    """The extensions, with the text's verbosity under the name by which chat completions know it."""
    if _VERBOSITY in extensions:
        raise InvalidRequest(f"{_VERBOSITY}: send text.verbosity", param=_VERBOSITY)
    if text is None or text.verbosity is None:
        return extensions
    return {**extensions, _VERBOSITY: text.verbosity}


def _top_logprobs(sent: wire.ResponsesRequest) -> int | None:
    """Log-probabilities are shown where `include` asks for them; `top_logprobs` alone would be shown nowhere."""
    include = sent.include or ()
    refuse_includes(include, (wire.LOGPROBS, wire.IMAGE_URLS))  # an answer shows no input, so it lacks no address
    if wire.LOGPROBS in include:
        return sent.top_logprobs or 0
    if sent.top_logprobs:
        raise InvalidRequest(f"top_logprobs: only allowed when include has {wire.LOGPROBS!r}", param="top_logprobs")
    return None


def _reasoning(sent: wire.ReasoningConfig | None) -> ReasoningControl | None:
    """OpenAI's effort `none` switches thinking off; the word is kept for upstreams that know it."""
    if sent is None:
        return None
    whole = "Reasoning comes whole, where the model says it."
    refuse_unless(sent.summary, (), "reasoning.summary", whole)
    refuse_unless(sent.generate_summary, (), "reasoning.generate_summary", whole)
    refuse_unless(sent.context, ("auto",), "reasoning.context", "The model's template chooses what it reads again.")
    refuse_unless(sent.mode, ("standard",), "reasoning.mode", "Models have one mode here.")
    if sent.effort is None:
        return None
    return ReasoningControl(effort=sent.effort, enabled=False if sent.effort == "none" else None)


def _response_format(text: wire.TextConfig | None) -> canonical.ResponseFormat | None:
    wanted = text.format if text is not None else None
    match wanted:
        case None | wire.ResponseTextFormat():
            return None
        case wire.ResponseJsonObjectFormat():
            return canonical.JsonObjectFormat()
        case wire.ResponseJsonSchemaFormat() as given:
            return canonical.JsonSchemaFormat(
                name=given.name,
                schema=bounded_schema(given.schema, "text.format.schema"),
                description=given.description,
                strict=given.strict,
            )
        case _:
            assert_never(wanted)


def _tools(sent: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for number, each in enumerate(sent):
        at = f"tools[{number}]"
        kind = each.get("type")
        _refuse_unserved(kind, wire.UNSERVED_TOOLS, f"{at}.type")
        tool = converted(each, wire.FunctionTool, at)
        refuse_unless(tool.allowed_callers, (["direct"],), f"{at}.allowed_callers", "The model alone calls functions.")
        refuse_unless(tool.is_async, (False,), f"{at}.async", "Outputs come with the next request.")
        refuse_unless(tool.defer_loading, (False,), f"{at}.defer_loading", "The model sees all functions.")
        refuse_unless(tool.output_schema, (), f"{at}.output_schema", "Describe the output in the description.")
        if tool.name in names:
            raise InvalidRequest(f"{at}.name: another tool is named {tool.name!r}", param=f"{at}.name")
        names.add(tool.name)
        parameters = tool.parameters
        if parameters is not None:
            parameters = bounded_schema(parameters, f"{at}.parameters")
        tools.append(Tool(name=tool.name, description=tool.description, parameters=parameters, strict=tool.strict))
    return tuple(tools)


def _tool_choice(sent: str | Mapping[str, Any] | None, tools: Sequence[Tool]) -> canonical.ToolChoice | None:
    """The choice; `auto` and `none` say nothing where there are no tools, and clients send them always."""
    if sent is None:
        return None
    if isinstance(sent, str):
        if sent not in tuple(ToolMode):
            modes = ", ".join(mode.value for mode in ToolMode)
            raise InvalidRequest(f"tool_choice: expected one of {modes}, got {clip(sent, 64)!r}", param="tool_choice")
        mode = ToolMode(sent)
        if not tools:
            if mode is ToolMode.REQUIRED:
                raise InvalidRequest("tool_choice: no tools are given", param="tool_choice")
            return None
        return mode
    _refuse_unserved(sent.get("type"), wire.UNSERVED_CHOICES, "tool_choice.type")
    named = converted(sent, wire.NamedFunction, "tool_choice")
    if all(tool.name != named.name for tool in tools):
        param = "tool_choice.name"
        raise InvalidRequest(f"{param}: no tool is named {clip(named.name, 64)!r}", param=param)
    return NamedTool(named.name)


def _refuse_unserved(kind: object, reasons: Mapping[str, str], param: str) -> None:
    reason = reasons.get(kind) if isinstance(kind, str) else None
    if reason is not None:
        raise UnsupportedFeature(f"{param}: {kind!r} is not supported. {reason}", param=param)


__all__ = ["DecodedResponses", "Labels", "decode_responses", "refuse_includes", "verbosity_of"]
