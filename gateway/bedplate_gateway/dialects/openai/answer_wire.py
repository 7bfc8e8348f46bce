"""What chat completions and completions have in common in their answers.

Source: openai-python 2.54 (`CompletionUsage`, `CompletionChoice`), compared November 2026.
"""

from __future__ import annotations

from math import inf
from typing import Final

import msgspec

from bedplate_core.events import StopReason, TokenLogprob
from bedplate_core.usage import Usage

JSON_HEADERS: Final = {"content-type": "application/json"}
STREAM_MEDIA_TYPE: Final = "text/event-stream"
DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment of server-sent events; clients skip it."""

UNLIKELY: Final = -9999.0
"""OpenAI's number for a token so unlikely that it has no finite log-probability (JSON has no infinity)."""


class PromptTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of `prompt_tokens`."""

    cached_tokens: int
    cache_write_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of `completion_tokens`."""

    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a call consumed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


def completion_usage(usage: Usage) -> CompletionUsage:
    """`usage` in OpenAI's words; both count cached and reasoning tokens within the totals."""
    return CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=usage.cached_input_tokens, cache_write_tokens=usage.cache_write_input_tokens
        ),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
    )


FINISH_REASONS: Final = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.CONTEXT: "length",
    StopReason.TOOL: "tool_calls",
    StopReason.GUARDRAIL: "content_filter",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "stop",
    StopReason.PAUSE: "stop",
}
"""OpenAI's `finish_reason` for each of ours, in a chat. OpenAI itself says `stop` when a tool was named in
`tool_choice`; every call of a tool ends with `tool_calls` here, which all clients' loops expect. Which stop
text was met is not said: this wire has no field for it."""


def finite(logprob: float) -> float:
    """`logprob`, or `UNLIKELY` for what JSON cannot say."""
    return logprob if UNLIKELY < logprob < inf else UNLIKELY


def prefixed(prefix: str, response_id: str) -> str:
    """The id with OpenAI's prefix for this kind of object."""
    return response_id if response_id.startswith(prefix) else f"{prefix}{response_id}"


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """An alternative token."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None


class ChatTokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a chat's answer."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None
    top_logprobs: tuple[TopLogprob, ...]


def chat_logprob(token: TokenLogprob) -> ChatTokenLogprob:
    """`token` in the chat's shape."""
    return ChatTokenLogprob(
        token=token.token,
        logprob=finite(token.logprob),
        bytes=token.bytes,
        top_logprobs=tuple(
            TopLogprob(token=other.token, logprob=finite(other.logprob), bytes=other.bytes)
            for other in token.alternatives
        ),
    )
