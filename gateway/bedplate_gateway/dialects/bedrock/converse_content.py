"""Converse's content blocks as the canonical parts.

Translations that are not one to one: a tool result's `json` becomes its JSON as text; a document's `content` pieces
become one text with blank lines between them; `text` documents become bytes of the type that `format` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    GuardQualifier,
    Image,
    Media,
    MediaBytes,
    MediaUrl,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
    Video,
)
from bedplate_gateway.dialects.bedrock import converse_wire as wire
from bedplate_gateway.dialects.decoding import bounded_json
from bedplate_gateway.dialects.signatures import redacted_from_wire, signature_from_wire

VIDEO_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mkv": "video/x-matroska",
        "mov": "video/quicktime",
        "mp4": "video/mp4",
        "webm": "video/webm",
        "flv": "video/x-flv",
        "mpeg": "video/mpeg",
        "mpg": "video/mpeg",
        "wmv": "video/x-ms-wmv",
        "three_gp": "video/3gpp",
    }
)
AUDIO_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mp3": "audio/mpeg",
        "opus": "audio/opus",
        "wav": "audio/wav",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "mp4": "audio/mp4",
        "ogg": "audio/ogg",
        "mkv": "audio/x-matroska",
        "mka": "audio/x-matroska",
        "x-aac": "audio/aac",
        "m4a": "audio/mp4",
        "mpeg": "audio/mpeg",
        "mpga": "audio/mpeg",
        "pcm": "audio/pcm",
        "webm": "audio/webm",
    }
)
DOCUMENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pdf": "application/pdf",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html": "text/html",
        "txt": "text/plain",
        "md": "text/markdown",
    }
)

_DOCUMENT_NAME: Final = re.compile(r"(?:[^\W_]|[-()\[\]]|\s(?!\s))+")
"""Letters, digits, hyphens, parentheses, brackets, and white space one at a time."""


def content_part(block: wire.ContentBlock, at: str) -> Part:
    """The part for a block of a user's or the assistant's message; `at` is the block's path.

    Raises `InvalidRequest` or `UnsupportedFeature` naming the path.
    """
    name = wire.chosen(block, at)
    at = f"{at}.{name}"
    if block.text is not None:
        return Text(text=block.text)
    if block.toolUse is not None:
        return _tool_call(block.toolUse, at)
    if block.toolResult is not None:
        return _tool_result(block.toolResult, at)
    if block.reasoningContent is not None:
        return _reasoning(block.reasoningContent, at)
    if block.image is not None:
        return _image(block.image, at)
    if block.document is not None:
        return _document(block.document, at)
    if block.video is not None:
        return _video(block.video, at)
    if block.audio is not None:
        wire.refuse(block.audio, at, "error")
        return Audio(media=_media(block.audio.source, AUDIO_TYPES[block.audio.format], f"{at}.source"))
    if block.guardContent is not None:
        return guard_content(block.guardContent, at)
    return cache_point(block.cachePoint)


def system_part(block: wire.SystemContentBlock, at: str) -> Part:
    """The part for a block of the instructions."""
    name = wire.chosen(block, at)
    if block.text is not None:
        return Text(text=block.text)
    if block.guardContent is not None:
        return guard_content(block.guardContent, f"{at}.{name}")
    return cache_point(block.cachePoint)


def guard_content(block: wire.GuardContentBlock, at: str) -> GuardContent:
    """Content that the caller marked for the guardrail."""
    name = wire.chosen(block, at)
    at = f"{at}.{name}"
    if block.image is not None:
        source = block.image.source
        wire.chosen(source, f"{at}.source")
        return GuardContent(content=Image(media=MediaBytes(source.bytes or b"", f"image/{block.image.format}")))
    text = block.text or wire.GuardTextBlock(text="")
    qualifiers = tuple(GuardQualifier(word) for word in text.qualifiers or ())
    return GuardContent(content=Text(text=text.text), qualifiers=qualifiers)


def cache_point(block: wire.CachePointBlock | None) -> CachePoint:
    """A cache point."""
    return CachePoint(ttl=None if block is None else block.ttl)


def _tool_call(block: wire.ToolUseBlock, at: str) -> ToolCall:
    wire.refuse(block, at, "type")
    arguments = msgspec.json.encode(bounded_json(block.input, f"{at}.input")).decode()
    return ToolCall(id=block.toolUseId, name=block.name, arguments=arguments)


def _tool_result(block: wire.ToolResultBlock, at: str) -> ToolResult:
    wire.refuse(block, at, "type")
    parts = tuple(_result_part(inner, f"{at}.content[{number}]") for number, inner in enumerate(block.content))
    return ToolResult(call_id=block.toolUseId, parts=parts, is_error=block.status == "error")


def _result_part(block: wire.ToolResultContentBlock, at: str) -> ToolResultPart:
    name = wire.chosen(block, at)
    at = f"{at}.{name}"
    if block.text is not None:
        return Text(text=block.text)
    if block.image is not None:
        return _image(block.image, at)
    if block.document is not None:
        return _document(block.document, at)
    if block.video is not None:
        return _video(block.video, at)
    return Text(text=msgspec.json.encode(bounded_json(block.json, at)).decode())


def _reasoning(block: wire.ReasoningContentBlock, at: str) -> Part:
    wire.chosen(block, at)
    if block.redactedContent is not None:
        return redacted_from_wire(block.redactedContent)
    thought = block.reasoningText or wire.ReasoningTextBlock(text="")
    signature = None if thought.signature is None else signature_from_wire(thought.signature)
    return Reasoning(text=thought.text, signature=signature)


def _image(block: wire.ImageBlock, at: str) -> Image:
    wire.refuse(block, at, "error")
    return Image(media=_media(block.source, f"image/{block.format}", f"{at}.source"))


def _video(block: wire.VideoBlock, at: str) -> Video:
    return Video(media=_media(block.source, VIDEO_TYPES[block.format], f"{at}.source"))


def _document(block: wire.DocumentBlock, at: str) -> Document:
    if _DOCUMENT_NAME.fullmatch(block.name) is None:
        param = f"{at}.name"
        raise InvalidRequest(
            f"{param}: may only hold letters, digits, hyphens, parentheses, square brackets and single spaces",
            param=param,
        )
    return Document(
        media=_document_media(block, at),
        name=block.name,
        context=block.context,
        citations=block.citations is not None and block.citations.enabled,
    )


def _document_media(block: wire.DocumentBlock, at: str) -> Media:
    source = block.source
    where = f"{at}.source"
    wire.chosen(source, where)
    if source.text is not None or source.content is not None:
        media_type = DOCUMENT_TYPES[block.format or "txt"]
        if not media_type.startswith("text/"):
            param = f"{at}.format"
            raise InvalidRequest(
                f"{param}: {block.format} is no format of a document that is given as text", param=param
            )
        text = source.text if source.text is not None else _joined(source.content or (), where)
        return MediaBytes(text.encode(), media_type)
    if block.format is None:
        param = f"{at}.format"
        raise InvalidRequest(f"{param}: required, but missing", param=param)
    media_type = DOCUMENT_TYPES[block.format]
    if source.s3Location is not None:
        return _address(source.s3Location, media_type, where)
    return MediaBytes(source.bytes or b"", media_type)


def _joined(pieces: Sequence[wire.DocumentContentBlock], at: str) -> str:
    for number, piece in enumerate(pieces):
        wire.chosen(piece, f"{at}.content[{number}]")
    return "\n\n".join(piece.text or "" for piece in pieces)


def _media(source: wire.MediaSource, media_type: str, at: str) -> Media:
    wire.chosen(source, at)
    if source.s3Location is not None:
        return _address(source.s3Location, media_type, at)
    return MediaBytes(source.bytes or b"", media_type)


def _address(location: wire.S3Location, media_type: str, at: str) -> MediaUrl:
    wire.refuse(location, f"{at}.s3Location", "bucketOwner")
    return MediaUrl(location.uri, media_type)


__all__ = [
    "AUDIO_TYPES",
    "DOCUMENT_TYPES",
    "VIDEO_TYPES",
    "cache_point",
    "content_part",
    "guard_content",
    "system_part",
]
