"""Messages and their parts: what a conversation is made of, the same for every dialect.

Parts are values. They are stored in sessions as they are, with `SCHEMA_VERSION` beside them, so a field
may be added with a default but never renamed or given another meaning without a new version.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

SCHEMA_VERSION = 1


class Role(StrEnum):
    """Who speaks. OpenAI's `developer` is `SYSTEM`; a tool's answer is `TOOL` in every dialect."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class _Part(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """The base of every part; `kind` is the tag on the stored form."""


class MediaBytes(msgspec.Struct, frozen=True, tag_field="source", tag="bytes"):
    """Media carried in the request. `media_type` is a MIME type such as `image/png`."""

    data: bytes
    media_type: str


class MediaUrl(msgspec.Struct, frozen=True, tag_field="source", tag="url"):
    """Media named by address (`https:` or `s3:`). Nobody fetches it but the gateway's URL guard."""

    url: str
    media_type: str | None = None


Media: TypeAlias = MediaBytes | MediaUrl


class Signature(msgspec.Struct, frozen=True):
    """A provider's signature over reasoning. It is only ever sent back to `origin`, who made it."""

    origin: str
    value: str


class Text(_Part, frozen=True, tag="text"):
    """Plain text."""

    text: str


class Image(_Part, frozen=True, tag="image"):
    """A picture. `detail` is OpenAI's hint (`low`, `high`, `auto`)."""

    media: Media
    detail: str | None = None


class Audio(_Part, frozen=True, tag="audio"):
    """Sound; `transcript` where the model gave one."""

    media: Media
    transcript: str | None = None


class Video(_Part, frozen=True, tag="video"):
    """Moving pictures."""

    media: Media


class Document(_Part, frozen=True, tag="document"):
    """A file to read. `name` is shown to the model; `context` and `citations` are vendors' hints."""

    media: Media
    name: str | None = None
    context: str | None = None
    citations: bool = False


class Reasoning(_Part, frozen=True, tag="reasoning"):
    """What a model thought before it answered, as far as it says so."""

    text: str
    signature: Signature | None = None


class RedactedReasoning(_Part, frozen=True, tag="redacted_reasoning"):
    """Reasoning that its provider encrypted. Opaque; only ever sent back to `origin`."""

    data: bytes
    origin: str


class ToolCall(_Part, frozen=True, tag="tool_call"):
    """A call that the model asks for.

    `arguments` is the model's own text, JSON or not: what does not parse is the model's mistake and must
    stay visible.
    """

    id: str
    name: str
    arguments: str


class Refusal(_Part, frozen=True, tag="refusal"):
    """The model's own refusal, in its words."""

    text: str


class CachePoint(_Part, frozen=True, tag="cache_point"):
    """Everything before this may be cached by the provider; `ttl` as the vendor spells it (`5m`, `1h`)."""

    ttl: str | None = None


class GuardQualifier(StrEnum):
    """How a guarded block is meant (Bedrock's qualifiers)."""

    GROUNDING_SOURCE = "grounding_source"
    QUERY = "query"
    GUARD_CONTENT = "guard_content"


class GuardContent(_Part, frozen=True, tag="guard_content"):
    """Content that the caller marks for the guardrail; the model sees it as its plain content."""

    content: Text | Image
    qualifiers: tuple[GuardQualifier, ...] = ()


class ToolResult(_Part, frozen=True, tag="tool_result"):
    """What a tool answered to the call `call_id`. `is_error` says that the tool failed."""

    call_id: str
    parts: tuple[ToolResultPart, ...]
    is_error: bool = False


ToolResultPart: TypeAlias = Text | Image | Audio | Video | Document

Part: TypeAlias = (
    Text
    | Image
    | Audio
    | Video
    | Document
    | Reasoning
    | RedactedReasoning
    | ToolCall
    | ToolResult
    | Refusal
    | CachePoint
    | GuardContent
)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. `name` is the optional participant name that OpenAI's wire allows."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None

    @property
    def text(self) -> str:
        """The plain text parts, joined without a separator."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


__all__ = [
    "SCHEMA_VERSION",
    "Audio",
    "CachePoint",
    "Document",
    "GuardContent",
    "GuardQualifier",
    "Image",
    "Media",
    "MediaBytes",
    "MediaUrl",
    "Message",
    "Part",
    "Reasoning",
    "RedactedReasoning",
    "Refusal",
    "Role",
    "Signature",
    "Text",
    "ToolCall",
    "ToolResult",
    "ToolResultPart",
    "Video",
]
