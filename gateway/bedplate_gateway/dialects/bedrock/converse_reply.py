"""A whole Converse answer, and what it shares with a streamed one.

Source: botocore 1.44.8's `ConverseResponse`, compared November 2026. Members that an answer here never has
(`additionalModelResponseFields`, citations) are left out, as the wire's unset members are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, assert_never

import msgspec

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
from bedplate_core.response import Response
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.bedrock.converse_wire import PerformanceConfiguration, ServiceTier
from bedplate_gateway.dialects.bedrock.guardrail_trace import ConverseTrace, converse_trace
from bedplate_gateway.dialects.bedrock.stop_reasons import stop_reason
from bedplate_gateway.dialects.signatures import wire_redacted, wire_signature

UNSAID: Final[Mapping[type[Part], str]] = MappingProxyType(
    {
        Image: "answers on this wire are text; the providers make no pictures",
        Audio: "the wire has no place for it",
        Video: "the wire has no place for it",
        Document: "the wire has no place for it",
        ToolResult: "belongs to requests",
        CachePoint: "belongs to requests",
        GuardContent: "belongs to requests",
    }
)
"""Parts that an answer on this wire leaves out, whole and streamed alike, and why."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of an answer's structs: what is None is left out, because null is no value on this wire."""


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts. `inputTokens` are those that came from no cache and went into none; the total has all."""

    inputTokens: int  # noqa: N815 # the wire's name
    outputTokens: int  # noqa: N815 # the wire's name
    totalTokens: int  # noqa: N815 # the wire's name
    cacheReadInputTokens: int  # noqa: N815 # the wire's name
    cacheWriteInputTokens: int  # noqa: N815 # the wire's name


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How long the call took, from its arrival at the gateway to this answer, in milliseconds."""

    latencyMs: int  # noqa: N815 # the wire's name


class SaidThought(_Answer, frozen=True):
    """Readable reasoning."""

    text: str
    signature: str | None = None


class SaidReasoning(_Answer, frozen=True):
    """Reasoning, one of the two."""

    reasoningText: SaidThought | None = None  # noqa: N815 # the wire's name
    redactedContent: bytes | None = None  # noqa: N815 # the wire's name


class SaidToolUse(_Answer, frozen=True):
    """A call that the model asks for. `input` is a string when the model's text is no JSON."""

    toolUseId: str  # noqa: N815 # the wire's name
    name: str
    input: msgspec.Raw


class SaidBlock(_Answer, frozen=True):
    """A piece of the answer, exactly one member set."""

    text: str | None = None
    toolUse: SaidToolUse | None = None  # noqa: N815 # the wire's name
    reasoningContent: SaidReasoning | None = None  # noqa: N815 # the wire's name


class SaidMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: tuple[SaidBlock, ...]


class ConverseOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    message: SaidMessage


class ConverseResponse(_Answer, frozen=True):
    """The body of a whole answer."""

    output: ConverseOutput
    stopReason: str  # noqa: N815 # the wire's name
    usage: TokenUsage
    metrics: Metrics
    trace: ConverseTrace | None = None
    performanceConfig: PerformanceConfiguration | None = None  # noqa: N815 # the wire's name
    serviceTier: ServiceTier | None = None  # noqa: N815 # the wire's name


_ANYTHING: Final = msgspec.json.Decoder(Any)


def converse_response(
    response: Response,
    latency_ms: int,
    *,
    performance: PerformanceConfiguration | None,
    tier: ServiceTier | None,
) -> ConverseResponse:
    """The wire form of `response`."""
    choice = response.choices[0]
    malformed = any(isinstance(part, ToolCall) and not parses(part.arguments) for part in choice.parts)
    return ConverseResponse(
        output=ConverseOutput(message=SaidMessage(content=tuple(_blocks(choice.parts)))),
        stopReason=stop_reason(choice.stop.reason, malformed=malformed),
        usage=token_usage(response.usage),
        metrics=Metrics(latencyMs=latency_ms),
        trace=converse_trace(response.guardrail),
        performanceConfig=performance,
        serviceTier=tier,
    )


def token_usage(usage: Usage) -> TokenUsage:
    """The counts as this wire has them: what the caches had is not in `inputTokens`."""
    cached = usage.cached_input_tokens + usage.cache_write_input_tokens
    return TokenUsage(
        inputTokens=max(0, usage.input_tokens - cached),
        outputTokens=usage.output_tokens,
        totalTokens=usage.total_tokens,
        cacheReadInputTokens=usage.cached_input_tokens,
        cacheWriteInputTokens=usage.cache_write_input_tokens,
    )


def parses(arguments: str) -> bool:
    """Whether a tool call's arguments are JSON. None at all count as an empty object."""
    if not arguments.strip():
        return True
    try:
        _ANYTHING.decode(arguments)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return False
    return True


def _blocks(parts: Sequence[Part]) -> list[SaidBlock]:
    """The blocks; text and thoughts that are empty make none, as they make no frame of a stream."""
    blocks: list[SaidBlock] = []
    for part in parts:
        match part:
            case Text() | Refusal():
                if part.text:
                    blocks.append(SaidBlock(text=part.text))
            case Reasoning():
                if part.text or part.signature is not None:
                    signature = None if part.signature is None else wire_signature(part.signature)
                    thought = SaidThought(text=part.text, signature=signature)
                    blocks.append(SaidBlock(reasoningContent=SaidReasoning(reasoningText=thought)))
            case RedactedReasoning():
                blocks.append(SaidBlock(reasoningContent=SaidReasoning(redactedContent=wire_redacted(part))))
            case ToolCall():
                use = SaidToolUse(toolUseId=part.id, name=part.name, input=_input(part.arguments))
                blocks.append(SaidBlock(toolUse=use))
            case Image() | Audio() | Video() | Document() | ToolResult() | CachePoint() | GuardContent():
                pass  # UNSAID
            case _:
                assert_never(part)
    return blocks


def _input(arguments: str) -> msgspec.Raw:
    """The arguments as JSON: as the model wrote them, or its text as a string when that does not parse.

    None at all, and `null`, are an empty object: the SDKs take a null for a member that is missing.
    """
    if arguments.strip() in ("", "null"):
        return msgspec.Raw(b"{}")
    if parses(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode(arguments))


__all__ = [
    "UNSAID",
    "ConverseOutput",
    "ConverseResponse",
    "Metrics",
    "SaidBlock",
    "SaidMessage",
    "SaidReasoning",
    "SaidThought",
    "SaidToolUse",
    "TokenUsage",
    "converse_response",
    "parses",
    "token_usage",
]
