"""How Converse wants a conversation spelt; see `bedrock_request`.

System messages that come first are the `system` field, later ones stay where they are. Messages of one side in a row
become one, because the API wants sides to alternate; the results of tools come first in it, as the API wants them.
"""

from __future__ import annotations

import base64
import hashlib
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
from bedplate_providers.bedrock_media import DocumentNames, media_block
from bedplate_providers.block_wire import call_arguments

CACHE_TTLS = frozenset({"5m", "1h"})
_ID_LIMIT = 64
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")


class _Turn:
    """One message of the wire under construction: results, and the rest. A cache point goes behind what it follows."""

    __slots__ = ("_last", "_list", "rest", "results", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.results: list[JSON] = []
        self.rest: list[JSON] = []
        self._list = self.rest
        self._last = ""

    def add(self, kind: str, value: JSON) -> None:
        """Add a block of that kind."""
        self._list = self.results if kind == "toolResult" else self.rest
        self._list.append({kind: value})
        self._last = kind

    def mark(self, point: JSONObject) -> None:
        """Put a cache point behind the last block, if there is one that can carry it."""
        if self._last not in ("", "reasoningContent", "cachePoint"):
            self._list.append({"cachePoint": point})
            self._last = "cachePoint"


def add_messages(body: JSONObject, messages: tuple[Message, ...], origin: str) -> None:
    """Put the conversation into `body`. Reasoning goes back where its origin is `origin`.

    Raises `UnsupportedFeature` or `InvalidRequest` naming the message.
    """
    system = _Turn(Role.SYSTEM.value)
    turns: list[_Turn] = []
    names = DocumentNames()
    for number, message in enumerate(messages):
        role = Role.USER.value if message.role is Role.TOOL else message.role.value
        if message.role is Role.SYSTEM and not turns:
            turn = system
        elif turns and turns[-1].role == role:
            turn = turns[-1]
        else:
            turn = _Turn(role)
            turns.append(turn)
        _add_parts(turn, message, names, f"messages[{number}]", origin)
    sent: list[JSON] = []
    for turn in turns:
        if content := [*turn.results, *turn.rest]:
            sent.append({"role": turn.role, "content": content})
    if not sent:
        raise InvalidRequest("messages must hold at least one message that says something", param="messages")
    if system.rest:
        body["system"] = system.rest
    body["messages"] = sent


def _add_parts(turn: _Turn, message: Message, names: DocumentNames, where: str, origin: str) -> None:
    for part in message.parts:
        _check_place(part, message.role, where)
        match part:
            case CachePoint():
                turn.mark(_cache_point(part, where))
            case Reasoning():
                signature = part.signature
                if signature is not None and signature.origin == origin:
                    thought: JSONObject = {"text": part.text, "signature": signature.value}
                    turn.add("reasoningContent", {"reasoningText": thought})
            case RedactedReasoning():
                if part.origin == origin:
                    turn.add("reasoningContent", {"redactedContent": base64.b64encode(part.data).decode()})
            case ToolCall():
                call: JSONObject = {
                    "toolUseId": _tool_id(part.id),
                    "name": part.name,
                    "input": call_arguments(part, where),
                }
                turn.add("toolUse", call)
            case ToolResult():
                turn.add("toolResult", _result(part, names, where))
            case GuardContent():
                _add_content(turn, part.content, names, where)
            case _:
                _add_content(turn, part, names, where)


def _check_place(part: Part, role: Role, where: str) -> None:
    """Raise `InvalidRequest` for what cannot stand in a message of `role`."""
    plain = part.content if isinstance(part, GuardContent) else part
    match role:
        case Role.TOOL:
            fits = isinstance(plain, ToolResult | CachePoint)
        case Role.SYSTEM:
            fits = isinstance(plain, Text | CachePoint)
        case Role.USER:
            fits = isinstance(plain, Text | Refusal | Image | Audio | Video | Document | ToolResult | CachePoint)
        case Role.ASSISTANT:
            fits = isinstance(plain, Text | Refusal | ToolCall | Reasoning | RedactedReasoning | CachePoint)
        case _:
            assert_never(role)
    if not fits:
        raise InvalidRequest(f"{where}: a {type(plain).__name__} cannot stand in a {role.value} message", param=where)


def _add_content(
    turn: _Turn, part: Text | Refusal | Image | Audio | Video | Document, names: DocumentNames, where: str
) -> None:
    if not isinstance(part, Text | Refusal):
        turn.add(*media_block(part, names, where))
    elif part.text:
        turn.add("text", part.text)


def _result(part: ToolResult, names: DocumentNames, where: str) -> JSONObject:
    content: list[JSON] = []
    for inner in part.parts:
        if isinstance(inner, Audio):
            raise UnsupportedFeature(
                f"{where}: sound in a tool's result is not supported by this model's upstream", param=where
            )
        if not isinstance(inner, Text):
            kind, value = media_block(inner, names, where)
            content.append({kind: value})
        elif inner.text:
            content.append({"text": inner.text})
    block: JSONObject = {"toolUseId": _tool_id(part.call_id), "content": content}
    if part.is_error:
        block["status"] = "error"  # left out otherwise: not every model takes it, and success is what it is without
    return block


def _cache_point(point: CachePoint, where: str) -> JSONObject:
    block: JSONObject = {"type": "default"}
    if point.ttl is not None:
        if point.ttl not in CACHE_TTLS:
            raise UnsupportedFeature(f"{where}: a cache point lasts 5m or 1h at this model's upstream", param=where)
        block["ttl"] = point.ttl
    return block


def _tool_id(id_: str) -> str:
    """An id that the API takes: a conversation may have begun with another vendor's ids. A call and its result change
    alike.
    """
    fitting = _NOT_IN_ID.sub("_", id_)
    return fitting if 0 < len(fitting) <= _ID_LIMIT else hashlib.sha256(id_.encode()).hexdigest()


__all__ = ["CACHE_TTLS", "add_messages"]
