"""What Bedrock's runtime sends, spelt as it spells it; only the members that are read.

Checked in November 2026 against botocore 1.44.8's model of `bedrock-runtime` (2023-09-30): `ConverseStreamOutput` and
what it names, `CountTokensResponse`, the exceptions. Members that the model does not have, such as the padding `p`
that AWS puts into events, are passed over.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from bedplate_core.jsonvalue import JSON

_Count = Annotated[int, msgspec.Meta(ge=0)]


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a refusal and the payload of an exception frame. Where there is no header with the error's name,
    it is in `__type` or `code`. `original_status_code` is the model's own, of an error of the model.
    """

    message: str | None = None
    type: str | None = msgspec.field(default=None, name="__type")
    code: str | None = None
    original_status_code: int | None = None


class MessageStart(msgspec.Struct, frozen=True):
    """The answer begins."""

    role: str


class ToolUseStart(msgspec.Struct, frozen=True, rename="camel"):
    """A call that the model asks for. `type` is only there for a tool that ran at the provider."""

    tool_use_id: str = ""
    name: str = ""
    type: str | None = None


class Start(msgspec.Struct, frozen=True, rename="camel"):
    """What opens; a member of another name is a kind of content that is not asked for."""

    tool_use: ToolUseStart | None = None


class BlockStart(msgspec.Struct, frozen=True, rename="camel"):
    """A block opens. Text and reasoning have none: they begin with their first delta."""

    start: Start
    content_block_index: int


class ToolUseDelta(msgspec.Struct, frozen=True):
    """More of a call's input, as JSON text."""

    input: str = ""


class ReasoningDelta(msgspec.Struct, frozen=True, rename="camel"):
    """More of a thought, or its signature, or a piece of an encrypted one."""

    text: str | None = None
    signature: str | None = None
    redacted_content: bytes | None = None


class Delta(msgspec.Struct, frozen=True, rename="camel"):
    """More of a block; a member of another name is a kind of content that is not asked for."""

    text: str | None = None
    tool_use: ToolUseDelta | None = None
    reasoning_content: ReasoningDelta | None = None


class BlockDelta(msgspec.Struct, frozen=True, rename="camel"):
    """More of the block of that index."""

    delta: Delta
    content_block_index: int


class BlockStop(msgspec.Struct, frozen=True, rename="camel"):
    """A block closes."""

    content_block_index: int


class MessageStop(msgspec.Struct, frozen=True, rename="camel"):
    """Why the answer ended. `additional_model_response_fields` are the model's own that were asked for."""

    stop_reason: str
    additional_model_response_fields: JSON = None


class TokenUsage(msgspec.Struct, frozen=True, rename="camel"):
    """What the call consumed. `input_tokens` is without what was read from or written to the cache."""

    input_tokens: _Count
    output_tokens: _Count
    cache_read_input_tokens: _Count | None = None
    cache_write_input_tokens: _Count | None = None


class Metadata(msgspec.Struct, frozen=True):
    """The last event."""

    usage: TokenUsage


class TokenCount(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of CountTokens."""

    input_tokens: _Count


__all__ = [
    "BlockDelta",
    "BlockStart",
    "BlockStop",
    "Delta",
    "ErrorBody",
    "MessageStart",
    "MessageStop",
    "Metadata",
    "ReasoningDelta",
    "Start",
    "TokenCount",
    "TokenUsage",
    "ToolUseDelta",
    "ToolUseStart",
]
