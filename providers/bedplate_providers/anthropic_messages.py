"""How Anthropic's Messages API wants a conversation spelt; see `anthropic_request`.

System messages that come first are the `system` field, later ones stay where they are. Messages of one side in a row
become one, with the results of tools first, as the API wants them.
"""

from __future__ import annotations

import base64
import re
from typing import assert_never

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    RedactedReasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from bedplate_providers.block_wire import call_arguments

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
CACHE_TTLS = frozenset({"5m", "1h"})
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def add_messages(body: JSONObject, messages: tuple[Message, ...], origin: str) -> None:
    """Put the conversation into `body`. Reasoning goes back where its origin is `origin`.

    Raises `UnsupportedFeature` or `InvalidRequest` naming the message.
    """
    system: list[JSONObject] = []
    turns: list[tuple[str, list[JSONObject]]] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        leading = message.role is Role.SYSTEM and not turns
        role = Role.USER.value if message.role is Role.TOOL else message.role.value
        if leading:
            blocks = system
        elif turns and turns[-1][0] == role:
            blocks = turns[-1][1]
        else:
            turns.append((role, []))
            blocks = turns[-1][1]
        _add_blocks(blocks, message, where, origin)
    sent: list[JSON] = []
    for role, blocks in turns:
        if blocks:
            sent.append({"role": role, "content": _results_first(blocks)})
    if not sent:
        raise InvalidRequest("messages must hold at least one message that says something", param="messages")
    if system:
        body["system"] = [*system]
    body["messages"] = sent


def _results_first(blocks: list[JSONObject]) -> list[JSON]:
    results: list[JSON] = [block for block in blocks if block["type"] == "tool_result"]
    return [*results, *(block for block in blocks if block["type"] != "tool_result")]


def _add_blocks(blocks: list[JSONObject], message: Message, where: str, origin: str) -> None:
    assistant = message.role is Role.ASSISTANT
    for part in message.parts:
        _check_place(part, message.role, where)
        match part:
            case CachePoint():
                _mark(blocks, part, where)
            case Reasoning():
                signature = part.signature
                if assistant and signature is not None and signature.origin == origin:
                    blocks.append({"type": "thinking", "thinking": part.text, "signature": signature.value})
            case RedactedReasoning():
                if assistant and part.origin == origin:
                    blocks.append({"type": "redacted_thinking", "data": part.data.decode()})
            case ToolCall():
                call: JSONObject = {"id": _tool_id(part.id), "name": part.name, "input": call_arguments(part, where)}
                blocks.append({"type": "tool_use", **call})
            case ToolResult():
                blocks.append(_result(part, where))
            case GuardContent():
                blocks.extend(_content(part.content, where))
            case _:
                blocks.extend(_content(part, where))


def _check_place(part: Part, role: Role, where: str) -> None:
    """Raise `InvalidRequest` for what cannot stand in a message of `role`."""
    plain = part.content if isinstance(part, GuardContent) else part
    match role:
        case Role.TOOL:
            fits = isinstance(plain, ToolResult | CachePoint)
        case Role.SYSTEM:
            fits = isinstance(plain, Text | CachePoint)
        case Role.USER:
            fits = not isinstance(plain, ToolCall)
        case Role.ASSISTANT:
            fits = not isinstance(plain, ToolResult)
        case _:
            assert_never(role)
    if not fits:
        raise InvalidRequest(f"{where}: a {type(plain).__name__} cannot stand in a {role.value} message", param=where)


def _content(part: Text | Refusal | Image | Audio | Video | Document, where: str) -> list[JSONObject]:
    match part:
        case Text() | Refusal():
            return [{"type": "text", "text": part.text}] if part.text else []
        case Image():
            media = _bytes(part.media, where)
            if media.media_type not in IMAGE_TYPES:
                raise UnsupportedFeature(
                    f"{where}: {media.media_type} pictures are not supported by this model's upstream", param=where
                )
            return [{"type": "image", "source": _base64(media)}]
        case Document():
            return [_document(part, where)]
        case Audio() | Video():
            kind = type(part).__name__.lower()
            raise UnsupportedFeature(f"{where}: {kind} is not supported by this model's upstream", param=where)
        case _:
            assert_never(part)


def _document(part: Document, where: str) -> JSONObject:
    if part.citations:
        raise UnsupportedFeature(f"{where}: citations are not supported; answers have no place for them", param=where)
    media = _bytes(part.media, where)
    source: JSONObject
    match media.media_type:
        case "application/pdf":
            source = _base64(media)
        case "text/plain":
            try:
                source = {"type": "text", "media_type": "text/plain", "data": media.data.decode()}
            except UnicodeDecodeError:
                raise InvalidRequest(f"{where}: a text/plain document must be UTF-8", param=where) from None
        case other:
            raise UnsupportedFeature(
                f"{where}: {other} documents are not supported by this model's upstream; PDF and plain text are",
                param=where,
            )
    block: JSONObject = {"type": "document", "source": source}
    if part.name is not None:
        block["title"] = part.name
    if part.context is not None:
        block["context"] = part.context
    return block


def _result(part: ToolResult, where: str) -> JSONObject:
    content: list[JSON] = [block for inner in part.parts for block in _content(inner, where)]
    block: JSONObject = {"type": "tool_result", "tool_use_id": _tool_id(part.call_id)}
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return block


def _mark(blocks: list[JSONObject], point: CachePoint, where: str) -> None:
    """Put the cache point on the block before it."""
    if point.ttl is not None and point.ttl not in CACHE_TTLS:
        raise UnsupportedFeature(f"{where}: a cache point lasts 5m or 1h at this model's upstream", param=where)
    if blocks and blocks[-1]["type"] not in ("thinking", "redacted_thinking"):
        control: JSONObject = {"type": "ephemeral"}
        if point.ttl is not None:
            control["ttl"] = point.ttl
        blocks[-1]["cache_control"] = control


def _tool_id(id_: str) -> str:
    """An id in the characters that the API takes: a conversation may have begun with another vendor's ids. A call and
    its result change alike.
    """
    return _NOT_IN_ID.sub("_", id_)


def _bytes(media: Media, where: str) -> MediaBytes:
    """Addresses are refused: the upstream would fetch them past the guard that checks addresses."""
    if isinstance(media, MediaBytes):
        return media
    raise UnsupportedFeature(f"{where}: media must be given as data, not as an address", param=where)


def _base64(media: MediaBytes) -> JSONObject:
    return {"type": "base64", "media_type": media.media_type, "data": base64.b64encode(media.data).decode()}


__all__ = ["CACHE_TTLS", "IMAGE_TYPES", "add_messages"]
