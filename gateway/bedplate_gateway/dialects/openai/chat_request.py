"""From a chat completion's body to the canonical request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec

from bedplate_core import requests as canonical
from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.requests import NamedTool, ReasoningControl, Request, Sampling, Tool, ToolMode
from bedplate_gateway.dialects.decoding import bounded_schema, clip, decode_body
from bedplate_gateway.dialects.openai import chat_wire as wire
from bedplate_gateway.dialects.openai.chat_messages import canonical_messages
from bedplate_gateway.dialects.openai.sampling import include_usage, stop_texts

_DECODER: Final = msgspec.json.Decoder(wire.ChatCompletionRequest)


class DecodedChat(msgspec.Struct, frozen=True):
    """The canonical request, and whether a streamed answer ends with a usage chunk."""

    request: Request
    include_usage: bool


def decode_chat(body: bytes, *, continues: bool) -> DecodedChat:
    """Decode `body`.

    `continues` says that the messages go on from a stored conversation, so that tool results may come first.
    Raises `InvalidRequest` or `UnsupportedFeature`, with `param` naming the field.
    """
    sent, extensions = decode_body(_DECODER, body, wire.CHAT_FIELDS)
    tools = _tools(sent.tools or ())
    choice, tools = _tool_choice(sent.tool_choice, tools)
    request = Request(
        model=sent.model,
        messages=canonical_messages(sent.messages, continues=continues),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=sent.parallel_tool_calls,
        sampling=_sampling(sent),
        response_format=_response_format(sent.response_format),
        reasoning=_reasoning(sent.reasoning_effort),
        choices=sent.n or 1,
        top_logprobs=_top_logprobs(sent),
        stream=bool(sent.stream),
        extensions=extensions,
    )
    return DecodedChat(request, include_usage(sent.stream_options, sent.stream))


def _sampling(sent: wire.ChatCompletionRequest) -> Sampling:
    limit = sent.max_completion_tokens
    if sent.max_tokens is not None:
        if limit is not None and limit != sent.max_tokens:
            raise InvalidRequest("max_tokens: differs from max_completion_tokens; send one of them", param="max_tokens")
        limit = sent.max_tokens
    return Sampling(
        max_tokens=limit,
        temperature=sent.temperature,
        top_p=sent.top_p,
        top_k=sent.top_k,
        presence_penalty=sent.presence_penalty,
        frequency_penalty=sent.frequency_penalty,
        stop=stop_texts(sent.stop),
        seed=sent.seed,
        logit_bias=sent.logit_bias,
    )


def _top_logprobs(sent: wire.ChatCompletionRequest) -> int | None:
    if sent.logprobs:
        return sent.top_logprobs or 0
    if sent.top_logprobs is not None:
        raise InvalidRequest("top_logprobs: only allowed when logprobs is true", param="top_logprobs")
    return None


def _reasoning(effort: str | None) -> ReasoningControl | None:
    """OpenAI's `none` switches thinking off; the word is kept for upstreams that know it."""
    if effort is None:
        return None
    return ReasoningControl(effort=effort, enabled=False if effort == "none" else None)


def _response_format(
    sent: wire.TextFormat | wire.JsonObjectFormat | wire.JsonSchemaFormat | None,
) -> canonical.ResponseFormat | None:
    match sent:
        case None | wire.TextFormat():
            return None
        case wire.JsonObjectFormat():
            return canonical.JsonObjectFormat()
        case wire.JsonSchemaFormat(json_schema=given):
            return canonical.JsonSchemaFormat(
                name=given.name,
                schema=bounded_schema(given.schema, "response_format.json_schema.schema"),
                description=given.description,
                strict=given.strict,
            )
        case _:
            assert_never(sent)


def _tools(sent: Sequence[wire.FunctionTool | wire.CustomTool]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for number, tool in enumerate(sent):
        if isinstance(tool, wire.CustomTool):
            param = f"tools[{number}].type"
            raise UnsupportedFeature(f"{param}: custom tools are not supported; send a function", param=param)
        function = tool.function
        if function.name in names:
            param = f"tools[{number}].function.name"
            raise InvalidRequest(f"{param}: another tool is named {function.name!r}", param=param)
        names.add(function.name)
        parameters = function.parameters
        if parameters is not None:
            parameters = bounded_schema(parameters, f"tools[{number}].function.parameters")
        tools.append(
            Tool(
                name=function.name,
                description=function.description,
                parameters=parameters,
                strict=function.strict,
            )
        )
    return tuple(tools)


def _tool_choice(
    sent: str | wire.NamedToolChoice | wire.AllowedToolsChoice | wire.CustomToolChoice | None,
    tools: tuple[Tool, ...],
) -> tuple[canonical.ToolChoice | None, tuple[Tool, ...]]:
    """The choice and the tools it leaves: `allowed_tools` is a choice among fewer tools."""
    if sent is None:
        return None, tools
    if not tools:
        raise InvalidRequest("tool_choice: only allowed when tools are given", param="tool_choice")
    names = {tool.name for tool in tools}
    match sent:
        case str():
            return ToolMode(sent), tools
        case wire.NamedToolChoice(function=function):
            _known(function.name, names, "tool_choice.function.name")
            return NamedTool(function.name), tools
        case wire.AllowedToolsChoice(allowed_tools=allowed):
            for number, reference in enumerate(allowed.tools):
                _known(reference.function.name, names, f"tool_choice.allowed_tools.tools[{number}].function.name")
            wanted = {reference.function.name for reference in allowed.tools}
            if not wanted:
                param = "tool_choice.allowed_tools.tools"
                raise InvalidRequest(f"{param}: names no tool", param=param)
            return ToolMode(allowed.mode), tuple(tool for tool in tools if tool.name in wanted)
        case wire.CustomToolChoice():
            raise UnsupportedFeature("tool_choice.type: custom tools are not supported", param="tool_choice.type")
        case _:
            assert_never(sent)


def _known(name: str, names: set[str], param: str) -> None:
    if name not in names:
        raise InvalidRequest(f"{param}: no tool is named {clip(name, 64)!r}", param=param)


__all__ = ["DecodedChat", "decode_chat"]
