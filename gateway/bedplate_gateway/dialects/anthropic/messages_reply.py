"""A whole message.

Source: anthropic-python 2.13 (`anthropic.types.Message`), compared November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, assert_never

import msgspec

from bedplate_core.events import Stop, StopReason
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
from bedplate_gateway.dialects.anthropic.opaque import redacted_text, signature_text

MESSAGE_ID_PREFIX: Final = "msg_"

INVALID_JSON: Final = "INVALID_JSON"
"""The key under which a whole answer shows a tool input that is no JSON object."""

STOP_REASONS: Final[Mapping[StopReason, str]] = MappingProxyType(
    {
        StopReason.END: "end_turn",
        StopReason.LENGTH: "max_tokens",
        StopReason.CONTEXT: "model_context_window_exceeded",
        StopReason.STOP_SEQUENCE: "stop_sequence",
        StopReason.TOOL: "tool_use",
        StopReason.GUARDRAIL: "refusal",
        StopReason.CONTENT_FILTER: "refusal",
        StopReason.REFUSAL: "refusal",
        StopReason.PAUSE: "pause_turn",
    }
)
"""Anthropic's `stop_reason` for each of ours. `refusal` is "when streaming classifiers intervene"."""

UNSAID: Final[Mapping[type[Part], str]] = MappingProxyType(
    {
        Image: "the answers of Anthropic's models are text, thinking and tool calls",
        Audio: "the answers of Anthropic's models are text, thinking and tool calls",
        Video: "the answers of Anthropic's models are text, thinking and tool calls",
        Document: "the answers of Anthropic's models are text, thinking and tool calls",
        ToolResult: "belongs to requests",
        CachePoint: "belongs to requests",
        GuardContent: "belongs to requests",
    }
)
"""Parts that an answer on this wire leaves out, whole and streamed alike, and why."""

_INPUT: Final = msgspec.json.Decoder(dict[str, Any])
_NO_INPUT: Final = msgspec.Raw(b"{}")


class TextReply(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text; also the model's refusal in its own words, which this wire has no block for."""

    text: str


class ThinkingReply(msgspec.Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the model thought. `signature` is empty for a thought that its provider did not sign."""

    thinking: str
    signature: str


class RedactedThinkingReply(msgspec.Struct, frozen=True, tag_field="type", tag="redacted_thinking"):
    """What the model thought, readable by its provider only."""

    data: str


class ToolUseReply(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call that the model asks for; `input` is a JSON object."""

    id: str
    name: str
    input: msgspec.Raw


ReplyBlock: TypeAlias = TextReply | ThinkingReply | RedactedThinkingReply | ToolUseReply


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """A part of `output_tokens`."""

    thinking_tokens: int


class MessageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a call consumed; `input_tokens` are those neither read from the cache nor written to it."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokensDetails


class MessageReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a whole answer. `model` is the name that the client asked for.

    `stop_reason` is null only in a stream's first event.
    """

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: tuple[ReplyBlock, ...]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


def message_reply(response: Response, model: str, *, omit_thinking: bool) -> MessageReply:
    """The wire form of `response` (its first choice), under the client's name for the model."""
    choice = response.choices[0]
    reason, sequence = stop_of(choice.stop)
    return MessageReply(
        id=message_id(response.id),
        model=model,
        content=tuple(_blocks(choice.parts, omit_thinking=omit_thinking)),
        stop_reason=reason,
        stop_sequence=sequence,
        usage=message_usage(response.usage),
    )


def message_id(response_id: str) -> str:
    """The id with Anthropic's prefix for messages."""
    return response_id if response_id.startswith(MESSAGE_ID_PREFIX) else f"{MESSAGE_ID_PREFIX}{response_id}"


def stop_of(stop: Stop) -> tuple[str, str | None]:
    """`stop_reason` and `stop_sequence`; the sequence is null where the upstream does not say which it was."""
    return STOP_REASONS[stop.reason], stop.sequence if stop.reason is StopReason.STOP_SEQUENCE else None


def message_usage(usage: Usage) -> MessageUsage:
    """`usage` in Anthropic's words, which count cached input apart from `input_tokens`."""
    cached, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    return MessageUsage(
        input_tokens=max(0, usage.input_tokens - cached - written),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cached,
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(usage.reasoning_tokens),
    )


def tool_input(arguments: str) -> msgspec.Raw:
    """The `input` of a whole `tool_use` block.

    The model's own text where it is a JSON object, `{}` where the model wrote nothing. Anything else is the model's
    mistake, which `input` cannot hold: it is an object on this wire. The text is then shown as
    `{"INVALID_JSON": "<text>"}`, the way in which Anthropic's guide to fine-grained tool streaming tells clients to
    hand such a text back. Nothing is lost, the tool's own validation fails on it, and the next turn shows it to the
    model. (In a stream the pieces are passed on as they come, and the SDKs fail or stop short while they parse.)
    """
    if not arguments.strip():
        return _NO_INPUT
    try:
        _INPUT.decode(arguments)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.Raw(msgspec.json.encode({INVALID_JSON: arguments}))
    return msgspec.Raw(arguments.encode())


def _blocks(parts: Sequence[Part], *, omit_thinking: bool) -> list[ReplyBlock]:
    blocks: list[ReplyBlock] = []
    for part in parts:
        match part:
            case Text() | Refusal():
                blocks.append(TextReply(part.text))
            case Reasoning():
                thinking = "" if omit_thinking else part.text
                blocks.append(ThinkingReply(thinking, signature_text(part.signature)))
            case RedactedReasoning():
                blocks.append(RedactedThinkingReply(redacted_text(part)))
            case ToolCall():
                blocks.append(ToolUseReply(part.id, part.name, tool_input(part.arguments)))
            case Image() | Audio() | Video() | Document() | ToolResult() | CachePoint() | GuardContent():
                pass  # UNSAID
            case _:
                assert_never(part)
    return blocks


__all__ = [
    "INVALID_JSON",
    "MESSAGE_ID_PREFIX",
    "STOP_REASONS",
    "UNSAID",
    "MessageReply",
    "MessageUsage",
    "RedactedThinkingReply",
    "ReplyBlock",
    "TextReply",
    "ThinkingReply",
    "ToolUseReply",
    "message_id",
    "message_reply",
    "message_usage",
    "stop_of",
    "tool_input",
]
