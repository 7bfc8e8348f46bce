"""What Anthropic's Messages API sends, spelt as it spells it; only the fields that are read.

Checked in November 2026 against the types of anthropic 2.13.0: `types/raw_message_stream_event.py` and what it names,
`types/usage.py`, `types/message_delta_usage.py`, `types/stop_reason.py`, `types/shared/error_object.py`,
`types/message_tokens_count.py`. Stream events are one struct, not a union: events of a kind that is new are to be
skipped (https://platform.claude.com/docs/en/build-with-claude/streaming).
"""

from __future__ import annotations

import msgspec

from bedplate_core.jsonvalue import JSON


class ErrorInfo(msgspec.Struct, frozen=True):
    """`error` of a refusal's body, or of a stream's error event."""

    type: str = ""
    message: str = ""


class ErrorBody(msgspec.Struct, frozen=True):
    """An answer with a status of 400 or above."""

    error: ErrorInfo | None = None


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """Parts of the output."""

    thinking_tokens: int = 0


class UsageInfo(msgspec.Struct, frozen=True):
    """Counts so far. `input_tokens` is without what was read from or written to the cache; in `message_delta` the
    input's counts may be missing, and `output_tokens` counts from the start of the answer.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None


class StartedMessage(msgspec.Struct, frozen=True):
    """`message` of `message_start`: nothing is said yet."""

    id: str = ""
    usage: UsageInfo = UsageInfo()


class ContentBlock(msgspec.Struct, frozen=True):
    """`content_block` of `content_block_start`: `text`, `thinking`, `redacted_thinking` or `tool_use`."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, JSON] = {}


class Delta(msgspec.Struct, frozen=True):
    """`delta` of `content_block_delta`, where `type` says which of the texts it holds, or of `message_delta`."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream; `type` says which of the members it has."""

    type: str
    index: int = -1
    delta: Delta | None = None
    content_block: ContentBlock | None = None
    message: StartedMessage | None = None
    usage: UsageInfo | None = None
    error: ErrorInfo | None = None


class TokenCount(msgspec.Struct, frozen=True):
    """The answer of `/v1/messages/count_tokens`."""

    input_tokens: int


__all__ = [
    "ContentBlock",
    "Delta",
    "ErrorBody",
    "ErrorInfo",
    "StartedMessage",
    "StreamEvent",
    "TokenCount",
    "UsageInfo",
]
