"""From a Converse body to the canonical request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bedplate_core import requests as canonical
from bedplate_core.errors import InvalidRequest
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.jsonvalue import JSON
from bedplate_core.requests import NamedTool, ReasoningControl, Request, Sampling, Tool, ToolMode
from bedplate_gateway.dialects.bedrock import converse_wire as wire
from bedplate_gateway.dialects.bedrock.converse_messages import canonical_messages, check_cache_points
from bedplate_gateway.dialects.bedrock.guardrail_headers import check_version
from bedplate_gateway.dialects.decoding import bounded_schema, clip, decode_body

SCHEMA_NAME: Final = "answer"
"""Of an answer's schema that the client gave no name."""

_DECODER: Final = msgspec.json.Decoder(wire.ConverseRequest)
_ADDITIONAL: Final = msgspec.json.Decoder(wire.AdditionalFields)
_SCHEMA: Final = msgspec.json.Decoder(dict[str, Any])
_EXTRA: Final = "additionalModelRequestFields"


class DecodedConverse(msgspec.Struct, frozen=True, kw_only=True):
    """The canonical request, and what the answer repeats."""

    request: Request
    performance: wire.PerformanceConfiguration | None
    tier: wire.ServiceTier | None
    guardrail: GuardrailChoice | None


def decode_converse(body: bytes, *, model: str, stream: bool, continues: bool) -> DecodedConverse:
    """Decode `body`, sent for the catalogue's `model`.

    `continues` says that the messages go on from a stored conversation, so that tool results may come first.
    Raises `InvalidRequest` or `UnsupportedFeature`, with `param` naming the field.
    """
    sent, unknown = decode_body(_DECODER, body, wire.CONVERSE_FIELDS)
    for name in unknown:
        shown = clip(name, 64)
        raise InvalidRequest(f"{shown}: unknown field; fields of the model's own go into {_EXTRA}", param=shown)
    extra, extensions = _additional(bytes(sent.additionalModelRequestFields))
    check_cache_points(sent)
    messages = canonical_messages(sent.system or (), sent.messages, continues=continues)
    tools = _tools(sent.toolConfig)
    request = Request(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(sent.toolConfig, tools),
        parallel_tool_calls=extra.parallel_tool_calls,
        sampling=_sampling(sent.inferenceConfig or wire.InferenceConfiguration(), extra),
        response_format=_response_format(sent.outputConfig),
        reasoning=_reasoning(sent.outputConfig, extra),
        stream=stream,
        extensions=extensions,
    )
    return DecodedConverse(
        request=request,
        performance=sent.performanceConfig,
        tier=sent.serviceTier,
        guardrail=_guardrail(sent.guardrailConfig, stream=stream),
    )


def _guardrail(sent: wire.GuardrailConfiguration | None, *, stream: bool) -> GuardrailChoice | None:
    """What the request says about guardrails. An empty identifier with an empty version names none."""
    if sent is None:
        return None
    at = "guardrailConfig"
    if sent.streamProcessingMode is not None and not stream:
        raise InvalidRequest(
            f"{at}.streamProcessingMode: belongs to ConverseStream", param=f"{at}.streamProcessingMode"
        )
    if bool(sent.guardrailIdentifier) is not bool(sent.guardrailVersion):
        missing = f"{at}.{'guardrailVersion' if sent.guardrailIdentifier else 'guardrailIdentifier'}"
        raise InvalidRequest(f"{missing}: identifier and version are given together", param=missing)
    check_version(sent.guardrailVersion or None, f"{at}.guardrailVersion")
    trace = sent.trace != "disabled"
    releases_first = sent.streamProcessingMode == "async"
    if not (sent.guardrailIdentifier or trace or releases_first):
        return None
    return GuardrailChoice(
        identifier=sent.guardrailIdentifier or None,
        version=sent.guardrailVersion or "DRAFT",
        trace=trace,
        full=sent.trace == "enabled_full",
        releases_first=releases_first,
        param=f"{at}.guardrailIdentifier",
    )


def _additional(raw: bytes) -> tuple[wire.AdditionalFields, dict[str, JSON]]:
    """The known fields of `additionalModelRequestFields` and the extensions."""
    if raw == b"null":
        return wire.AdditionalFields(), {}
    try:
        return decode_body(_ADDITIONAL, raw, wire.ADDITIONAL_FIELDS)
    except InvalidRequest as error:
        if error.param is None:
            raise type(error)(f"{_EXTRA}: {error.message}", param=_EXTRA) from None
        raise type(error)(f"{_EXTRA}.{error.message}", param=f"{_EXTRA}.{error.param}") from None


def _sampling(sent: wire.InferenceConfiguration, extra: wire.AdditionalFields) -> Sampling:
    return Sampling(
        max_tokens=sent.maxTokens,
        temperature=_one("temperature", sent.temperature, extra.temperature, "inferenceConfig.temperature"),
        top_p=sent.topP,
        top_k=extra.top_k,
        presence_penalty=extra.presence_penalty,
        frequency_penalty=extra.frequency_penalty,
        stop=tuple(sent.stopSequences or ()),
        seed=extra.seed,
        logit_bias=extra.logit_bias,
    )


def _reasoning(output: wire.OutputConfig | None, extra: wire.AdditionalFields) -> ReasoningControl | None:
    """One control from the four places that say something about it. `none` switches thinking off."""
    effort = _one(
        "reasoning_effort", (output.effort if output else None) or None, extra.reasoning_effort, "outputConfig.effort"
    )
    thinking = _one("reasoning_config", extra.thinking, extra.reasoning_config, f"{_EXTRA}.thinking")
    if thinking is None:
        if effort is None:
            return None
        return ReasoningControl(effort=effort, enabled=False if effort == "none" else None)
    enabled = thinking.type != "disabled"
    if effort is not None and enabled is (effort == "none"):
        param = f"{_EXTRA}.thinking.type"
        raise InvalidRequest(f"{param}: {thinking.type} contradicts the effort {effort!r}", param=param)
    return ReasoningControl(effort=effort, budget_tokens=thinking.budget_tokens, enabled=enabled)


def _one(name: str, sent: Any, extra: Any, place: str) -> Any:
    """What was said in one of two places. Raises `InvalidRequest` when they differ."""
    if sent is not None and extra is not None and sent != extra:
        param = f"{_EXTRA}.{name}"
        raise InvalidRequest(f"{param}: differs from {place}; send one of them", param=param)
    return extra if sent is None else sent


def _response_format(output: wire.OutputConfig | None) -> canonical.ResponseFormat | None:
    if output is None or output.textFormat is None:
        return None
    at = "outputConfig.textFormat.structure"
    structure = output.textFormat.structure
    wire.chosen(structure, at)
    given = structure.jsonSchema or wire.JsonSchemaDefinition(schema="{}")
    at = f"{at}.jsonSchema.schema"
    try:
        schema = _SCHEMA.decode(given.schema)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise InvalidRequest(f"{at}: expected the text of a JSON object", param=at) from None
    return canonical.JsonSchemaFormat(
        name=given.name or SCHEMA_NAME,
        schema=bounded_schema(schema, at),
        description=given.description,
        strict=True,  # an answer on this wire always keeps to its schema
    )


def _tools(config: wire.ToolConfiguration | None) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for number, sent in enumerate(config.tools if config else ()):
        at = f"toolConfig.tools[{number}]"
        wire.chosen(sent, at)
        if sent.toolSpec is None:
            continue  # a cache point, already checked
        spec, at = sent.toolSpec, f"{at}.toolSpec"
        if spec.name in names:
            raise InvalidRequest(f"{at}.name: another tool is named {spec.name!r}", param=f"{at}.name")
        names.add(spec.name)
        wire.chosen(spec.inputSchema, f"{at}.inputSchema")
        tools.append(
            Tool(
                name=spec.name,
                description=spec.description,
                parameters=bounded_schema(spec.inputSchema.json or {}, f"{at}.inputSchema.json"),
                strict=spec.strict,
            )
        )
    return tuple(tools)


def _tool_choice(config: wire.ToolConfiguration | None, tools: tuple[Tool, ...]) -> canonical.ToolChoice | None:
    if config is None or config.toolChoice is None:
        return None
    at = "toolConfig.toolChoice"
    choice = config.toolChoice
    wire.chosen(choice, at)
    if not tools:
        raise InvalidRequest(f"{at}: only allowed when toolConfig.tools has a toolSpec", param=at)
    if choice.auto is not None:
        return ToolMode.AUTO
    if choice.tool is None:
        return ToolMode.REQUIRED
    name = choice.tool.name
    if all(tool.name != name for tool in tools):
        param = f"{at}.tool.name"
        raise InvalidRequest(f"{param}: no tool is named {name!r}", param=param)
    return NamedTool(name)


__all__ = ["SCHEMA_NAME", "DecodedConverse", "decode_converse"]
