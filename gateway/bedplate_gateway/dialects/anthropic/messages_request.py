"""From a body to the canonical request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar, assert_never

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON
from bedplate_core.requests import (
    JsonSchemaFormat,
    NamedTool,
    ReasoningControl,
    Request,
    Sampling,
    Tool,
    ToolChoice,
    ToolMode,
)
from bedplate_gateway.dialects.anthropic import messages_wire as wire
from bedplate_gateway.dialects.anthropic.conversation import canonical_messages
from bedplate_gateway.dialects.decoding import FieldRules, bounded_schema, clip, decode_body

T = TypeVar("T", bound=wire.Prompt)

_MESSAGES: Final = msgspec.json.Decoder(wire.MessagesRequest)
_BODY: Final = msgspec.json.Decoder(wire.MessagesBody)
_COUNT_TOKENS: Final = msgspec.json.Decoder(wire.CountTokensRequest)
_ANYTHING: Final = msgspec.json.Decoder(Any)

_INDEX: Final = re.compile(r"\[(\d+)\]")
_STEP: Final = re.compile(r"\.?(\w+)|\[(\d+)\]")
_TOOL: Final = re.compile(r"^(tools\[\d+\])")
_SCHEMA_NAME: Final = "output"
"""The canonical schema has a name; this wire has none."""


class DecodedMessages(msgspec.Struct, frozen=True):
    """The canonical request, and whether the client asked for thoughts without their text."""

    request: Request
    omit_thinking: bool


def decode_messages(body: bytes, *, continues: bool) -> DecodedMessages:
    """Decode the body of `POST /v1/messages`.

    `continues` says that the messages go on from a stored conversation, so that tool results may come first.
    Raises `InvalidRequest` or `UnsupportedFeature`, with `param` naming the field.
    """
    sent, extensions = _decoded(_MESSAGES, body, wire.MESSAGES_FIELDS)
    return _generation(sent, extensions, model=sent.model, stream=bool(sent.stream), continues=continues)


def decode_messages_body(
    body: bytes, *, model: str, stream: bool, continues: bool = False, rules: FieldRules = wire.BODY_FIELDS
) -> DecodedMessages:
    """Decode a body whose model and way of answering stand elsewhere.

    `rules` may add to `BODY_FIELDS` what surrounds it (such as `anthropic_version`) as ignored fields. Raises as
    `decode_messages`.
    """
    sent, extensions = _decoded(_BODY, body, rules)
    return _generation(sent, extensions, model=model, stream=stream, continues=continues)


def decode_count_tokens(body: bytes) -> Request:
    """Decode the body of `POST /v1/messages/count_tokens`. Raises as `decode_messages`."""
    sent, extensions = _decoded(_COUNT_TOKENS, body, wire.COUNT_TOKENS_FIELDS)
    return msgspec.structs.replace(_prompt(sent, continues=False), model=sent.model, extensions=extensions)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, rules: FieldRules) -> tuple[T, dict[str, JSON]]:
    try:
        return decode_body(decoder, body, rules)
    except InvalidRequest as error:
        raise _as_anthropic(_known(error, body)) from None


def _known(error: InvalidRequest, body: bytes) -> InvalidRequest:
    """The refusal by name, where the decoder stopped at something of Anthropic's that is not served."""
    path = error.param or ""
    tool = _TOOL.match(path)
    if tool is not None:
        kind = _value_at(body, f"{tool.group(1)}.type")
        if isinstance(kind, str) and kind != "custom":
            param = f"{tool.group(1)}.type"
            reason = "Tools that Anthropic defines or runs are not available; define a custom tool."
            return UnsupportedFeature(f"{param}: {clip(kind, 64)!r} is not supported. {reason}", param=param)
        return error
    for pattern, reasons in wire.REFUSED_TYPES:
        if pattern.search(path) is not None:
            kind = _value_at(body, path)
            if isinstance(kind, str) and kind in reasons:
                return UnsupportedFeature(f"{path}: {kind!r} is not supported. {reasons[kind]}", param=path)
    return error


def _value_at(body: bytes, path: str) -> JSON:
    """What stands at `path`, or None. The body is known to be JSON up to there only."""
    try:
        value: Any = _ANYTHING.decode(body)
        for name, index in _STEP.findall(path):
            value = value[int(index)] if index else value[name]
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError, IndexError, TypeError):
        return None
    return value


def _as_anthropic(error: InvalidRequest) -> InvalidRequest:
    """The error with its path as Anthropic writes it: `messages.0.content`."""
    if error.param is None or "[" not in error.param:
        return error
    param = _INDEX.sub(r".\1", error.param)
    said = error.message
    if said.startswith(error.param):
        said = param + said[len(error.param) :]
    return type(error)(said, param=param)


def _generation(
    sent: wire.MessagesBody, extensions: dict[str, JSON], *, model: str, stream: bool, continues: bool
) -> DecodedMessages:
    request = msgspec.structs.replace(
        _prompt(sent, continues=continues),
        model=model,
        sampling=_sampling(sent),
        stream=stream,
        extensions=extensions,
    )
    thinking = sent.thinking
    if isinstance(thinking, wire.ThinkingEnabled) and thinking.budget_tokens >= sent.max_tokens:
        param = "thinking.budget_tokens"
        raise InvalidRequest(f"{param}: must be less than max_tokens ({sent.max_tokens})", param=param)
    thinks = isinstance(thinking, wire.ThinkingEnabled | wire.ThinkingAdaptive)
    return DecodedMessages(request, omit_thinking=thinks and thinking.display == "omitted")


def _sampling(sent: wire.MessagesBody) -> Sampling:
    if sent.max_tokens == 0:
        raise UnsupportedFeature(
            "max_tokens: 0 (filling the prompt cache without an answer) is not supported", param="max_tokens"
        )
    return Sampling(
        max_tokens=sent.max_tokens,
        temperature=sent.temperature,
        top_p=sent.top_p,
        top_k=sent.top_k,
        stop=tuple(sent.stop_sequences or ()),
    )


def _prompt(sent: wire.Prompt, *, continues: bool) -> Request:
    """What is to be answered or counted, without a model."""
    tools = _tools(sent.tools or ())
    choice, parallel = _tool_choice(sent.tool_choice, {tool.name for tool in tools})
    return Request(
        model="",
        messages=canonical_messages(sent.system, sent.messages, sent.cache_control, continues=continues),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(sent),
        reasoning=_reasoning(sent),
    )


def _reasoning(sent: wire.Prompt) -> ReasoningControl | None:
    """`adaptive` is thinking without a budget: how much is up to the model."""
    effort = sent.output_config.effort if sent.output_config is not None else None
    thinking = sent.thinking
    match thinking:
        case None:
            return None if effort is None else ReasoningControl(effort=effort)
        case wire.ThinkingEnabled():
            return ReasoningControl(effort=effort, budget_tokens=thinking.budget_tokens, enabled=True)
        case wire.ThinkingAdaptive():
            return ReasoningControl(effort=effort, enabled=True)
        case wire.ThinkingDisabled():
            return ReasoningControl(effort=effort, enabled=False)
        case _:
            assert_never(thinking)


def _response_format(sent: wire.Prompt) -> JsonSchemaFormat | None:
    current = sent.output_config.format if sent.output_config is not None else None
    if current is not None and sent.output_format is not None:
        raise InvalidRequest("output_format: send it as output_config.format only", param="output_format")
    wanted = current or sent.output_format
    if wanted is None:
        return None
    param = "output_format.schema" if current is None else "output_config.format.schema"
    return JsonSchemaFormat(name=_SCHEMA_NAME, schema=bounded_schema(wanted.schema, param), strict=True)


def _tools(sent: Sequence[wire.CustomTool]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for number, tool in enumerate(sent):
        at = f"tools.{number}"
        if tool.name in names:
            raise InvalidRequest(f"{at}.name: another tool is named {tool.name!r}", param=f"{at}.name")
        names.add(tool.name)
        for name, asked, reason in (
            ("allowed_callers", tool.allowed_callers not in (None, ["direct"]), "Only the model calls tools."),
            ("defer_loading", bool(tool.defer_loading), "There is no tool search; every tool is shown to the model."),
            ("input_examples", bool(tool.input_examples), "Put examples into the description."),
        ):
            if asked:
                raise UnsupportedFeature(f"{at}.{name}: is not supported. {reason}", param=f"{at}.{name}")
        tools.append(
            Tool(
                name=tool.name,
                description=tool.description,
                parameters=bounded_schema(tool.input_schema, f"{at}.input_schema"),
                strict=tool.strict,
            )
        )
    return tuple(tools)


def _tool_choice(
    sent: wire.AutoChoice | wire.AnyChoice | wire.ToolChoice | wire.NoneChoice | None, names: set[str]
) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls in parallel are allowed; None for either leaves it to the model."""
    if sent is None:
        return None, None
    if not names:
        raise InvalidRequest("tool_choice: only allowed when tools are given", param="tool_choice")
    choice: ToolChoice
    match sent:
        case wire.NoneChoice():
            return ToolMode.NONE, None
        case wire.AutoChoice():
            choice = ToolMode.AUTO
        case wire.AnyChoice():
            choice = ToolMode.REQUIRED
        case wire.ToolChoice():
            if sent.name not in names:
                param = "tool_choice.name"
                raise InvalidRequest(f"{param}: no tool is named {clip(sent.name, 64)!r}", param=param)
            choice = NamedTool(sent.name)
        case _:
            assert_never(sent)
    disabled = sent.disable_parallel_tool_use
    return choice, None if disabled is None else not disabled


__all__ = ["DecodedMessages", "decode_count_tokens", "decode_messages", "decode_messages_body"]
