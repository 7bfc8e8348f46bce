"""Converse's messages as the canonical ones.

A user message that holds tool results becomes a tool message with them, in front of a user message with the rest:
results answer the assistant before anything new is said. A cache point behind a result stays with the results.

As Bedrock does, this refuses a conversation whose calls and results do not meet: a result answers a call of the
assistant message before it, and every call is answered by the next message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import CachePoint, Document, Message, Part, Role, Text, ToolCall, ToolResult
from bedplate_gateway.dialects.bedrock import converse_wire as wire
from bedplate_gateway.dialects.bedrock.converse_content import content_part, system_part
from bedplate_gateway.dialects.decoding import clip

MAX_CACHE_POINTS: Final = 4

_ALLOWED: Final = {
    "user": frozenset(
        {"text", "image", "document", "video", "audio", "toolResult", "guardContent", "cachePoint"},
    ),
    "assistant": frozenset({"text", "toolUse", "reasoningContent", "cachePoint"}),
    "system": frozenset({"text", "guardContent", "cachePoint"}),
}
"""The blocks that each role may send; a block that is refused altogether is refused before this is asked."""


def canonical_messages(
    system: Sequence[wire.SystemContentBlock], sent: Sequence[wire.Message], *, continues: bool
) -> tuple[Message, ...]:
    """The instructions as the first message, if there are any, and the messages in order.

    `continues`: tool results may come first, for calls in a stored conversation. Raises `InvalidRequest` or
    `UnsupportedFeature` with the path of the field.
    """
    messages: list[Message] = []
    if system:
        parts = tuple(system_part(block, f"system[{number}]") for number, block in enumerate(system))
        messages.append(Message(role=Role.SYSTEM, parts=parts))
    unanswered: list[str] = []
    stored = continues  # until somebody else speaks, results may answer calls that were stored
    for number, message in enumerate(sent):
        at = f"messages[{number}]"
        parts = _parts(message, at)
        _check_results(parts, unanswered, at, stored=stored)
        stored = stored and message.role == "system"
        unanswered = [part.id for part in parts if isinstance(part, ToolCall)]
        messages.extend(_split(Role(message.role), parts))
    if unanswered:
        param = f"messages[{len(sent) - 1}].content"
        raise InvalidRequest(f"{param}: {_missing(unanswered)}", param=param)
    return tuple(messages)


def check_cache_points(sent: wire.ConverseRequest) -> None:
    """Check the cache points of a request, in the order tools, system, messages.

    Raises `InvalidRequest` for more than `MAX_CACHE_POINTS`, and for a long one behind a short one.
    """
    short = False
    for count, (at, point) in enumerate(_cache_points(sent), 1):
        if count > MAX_CACHE_POINTS:
            raise InvalidRequest(f"{at}: a request has at most {MAX_CACHE_POINTS} cache points", param=at)
        if point.ttl == "1h" and short:
            raise InvalidRequest(f"{at}.ttl: 1h must not come after 5m", param=f"{at}.ttl")
        short = short or point.ttl != "1h"


def _cache_points(sent: wire.ConverseRequest) -> Iterator[tuple[str, wire.CachePointBlock]]:
    for number, tool in enumerate(sent.toolConfig.tools if sent.toolConfig else ()):
        if tool.cachePoint is not None:
            yield f"toolConfig.tools[{number}].cachePoint", tool.cachePoint
    for number, block in enumerate(sent.system or ()):
        if block.cachePoint is not None:
            yield f"system[{number}].cachePoint", block.cachePoint
    for count, message in enumerate(sent.messages):
        for number, part in enumerate(message.content):
            if part.cachePoint is not None:
                yield f"messages[{count}].content[{number}].cachePoint", part.cachePoint


def _parts(message: wire.Message, at: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    allowed = _ALLOWED[message.role]
    for number, block in enumerate(message.content):
        where = f"{at}.content[{number}]"
        parts.append(content_part(block, where))
        name = wire.chosen(block, where)
        if name not in allowed:
            param = f"{where}.{name}"
            raise InvalidRequest(f"{param}: is not allowed in a message of the role {message.role}", param=param)
    if any(isinstance(part, Document) for part in parts) and not any(isinstance(part, Text) for part in parts):
        param = f"{at}.content"
        raise InvalidRequest(f"{param}: a document needs a text block in the same message", param=param)
    return tuple(parts)


def _split(role: Role, parts: tuple[Part, ...]) -> list[Message]:
    results: list[Part] = []
    rest: list[Part] = []
    behind_result = False
    for part in parts:
        behind_result = isinstance(part, ToolResult) or (behind_result and isinstance(part, CachePoint))
        (results if behind_result else rest).append(part)
    messages: list[Message] = []
    if results:
        messages.append(Message(role=Role.TOOL, parts=tuple(results)))
    if rest:
        messages.append(Message(role=role, parts=tuple(rest)))
    return messages


def _check_results(parts: Sequence[Part], unanswered: Sequence[str], at: str, *, stored: bool) -> None:
    """Check that the results among `parts` answer exactly the calls before them."""
    left = list(unanswered)
    for number, part in enumerate(parts):
        if not isinstance(part, ToolResult):
            continue
        if part.call_id in left:
            left.remove(part.call_id)
        elif not stored:
            param = f"{at}.content[{number}].toolResult.toolUseId"
            shown = clip(part.call_id, 64)
            raise InvalidRequest(f"{param}: {shown!r} answers no toolUse of the message before it", param=param)
    if left:
        param = f"{at}.content"
        raise InvalidRequest(f"{param}: {_missing(left)}", param=param)


def _missing(call_ids: Sequence[str]) -> str:
    return f"toolUse must be answered by toolResult blocks in the next message: {clip(', '.join(call_ids), 200)}"


__all__ = ["MAX_CACHE_POINTS", "canonical_messages", "check_cache_points"]
