"""A conversation, from the wire to the canonical messages.

As on Anthropic's API, messages of one role that follow each other are one turn, the first turn is the user's, and
tool calls and tool results meet: every call of a turn is answered at the beginning of the user's next, and nothing else
is. A conversation that ends with the assistant (prefill) is refused, as Anthropic does for its newer models: what
would continue it is not something that every upstream can do.

Errors name the place as Anthropic does: `messages.2.content.0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, assert_never

import msgspec

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import (
    CachePoint,
    Document,
    Image,
    MediaBytes,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from bedplate_gateway.dialects.anthropic import messages_wire as wire
from bedplate_gateway.dialects.anthropic.opaque import redacted_of, signature_of
from bedplate_gateway.dialects.decoding import clip
from bedplate_gateway.dialects.media import media_from_base64, media_from_url

_ASSISTANT_ONLY: Final[frozenset[type]] = frozenset({wire.ThinkingBlock, wire.RedactedThinkingBlock, wire.ToolUseBlock})
_USER_ONLY: Final[frozenset[type]] = frozenset({wire.ImageBlock, wire.DocumentBlock, wire.ToolResultBlock})


class _Said(msgspec.Struct, frozen=True):
    """One part, where it stands, and whether a cached prefix ends with it."""

    at: str
    part: Part
    cache: CachePoint | None = None


class _Turn:
    """The messages of one speaker up to the next; `number` is the first one's."""

    __slots__ = ("number", "role", "said")

    def __init__(self, role: Role, number: int) -> None:
        self.role = role
        self.number = number
        self.said: list[_Said] = []


def canonical_messages(
    system: str | Sequence[wire.TextBlock] | None,
    sent: Sequence[wire.AnyMessage],
    cache: wire.CacheControl | None,
    *,
    continues: bool,
) -> tuple[Message, ...]:
    """The system message, if any, then the conversation in order.

    `cache` ends the cached prefix after the last message. `continues`: tool results may come first, for calls in a
    stored conversation. Raises `InvalidRequest` or `UnsupportedFeature` with the path of the field.
    """
    turns = _turns(sent)
    _check_order(turns, continues=continues)
    messages = [_message(Role.SYSTEM, said)] if (said := _system(system)) else []
    for turn in turns:
        results = _leading_results(turn)
        if results:
            messages.append(_message(Role.TOOL, turn.said[:results]))
        if len(turn.said) > results:
            messages.append(_message(turn.role, turn.said[results:]))
    point = _cache_point(cache)
    if point is not None:
        last = messages[-1]
        messages[-1] = msgspec.structs.replace(last, parts=(*last.parts, point))
    return tuple(messages)


def _system(system: str | Sequence[wire.TextBlock] | None) -> list[_Said]:
    if system is None or isinstance(system, str):
        return [_Said("system", Text(text=system))] if system else []
    return [_text(block, f"system.{index}") for index, block in enumerate(system)]


def _message(role: Role, said: Sequence[_Said]) -> Message:
    parts: list[Part] = []
    for one in said:
        parts.append(one.part)
        if one.cache is not None:
            parts.append(one.cache)
    return Message(role=role, parts=tuple(parts))


def _turns(sent: Sequence[wire.AnyMessage]) -> list[_Turn]:
    turns: list[_Turn] = []
    for number, message in enumerate(sent):
        match message:
            case wire.UserMessage():
                role, said = Role.USER, _content(message.content, number, "user")
                if not said:
                    param = f"messages.{number}.content"
                    raise InvalidRequest(f"{param}: expected at least one block", param=param)
            case wire.AssistantMessage():
                # A model may answer with nothing, and SDKs send back what they got.
                empty = [_Said(f"messages.{number}.content", Text(text=""))]
                role, said = Role.ASSISTANT, _content(message.content, number, "assistant") or empty
            case wire.SystemMessage():
                role, said = Role.SYSTEM, _content(message.content, number, "system")
            case _:
                assert_never(message)
        if not turns or turns[-1].role is not role:
            turns.append(_Turn(role, number))
        turns[-1].said += said
    return turns


def _content(
    content: str | Sequence[wire.ContentBlock], number: int, role: Literal["user", "assistant", "system"]
) -> list[_Said]:
    at = f"messages.{number}.content"
    if isinstance(content, str):
        return [_Said(at, Text(text=content))]
    return [_block(block, f"{at}.{index}", role) for index, block in enumerate(content)]


def _block(block: wire.ContentBlock, at: str, role: str) -> _Said:
    if type(block) in (_USER_ONLY if role == "assistant" else _ASSISTANT_ONLY):
        raise InvalidRequest(f"{at}: a block of this type cannot stand in a message of the {role}", param=at)
    match block:
        case wire.TextBlock():
            return _text(block, at)
        case wire.ImageBlock():
            return _Said(at, _image(block, at), _cache_point(block.cache_control))
        case wire.DocumentBlock():
            return _Said(at, _document(block, at), _cache_point(block.cache_control))
        case wire.ThinkingBlock():
            return _Said(at, Reasoning(text=block.thinking, signature=signature_of(block.signature)))
        case wire.RedactedThinkingBlock():
            return _Said(at, redacted_of(block.data))
        case wire.ToolUseBlock():
            return _Said(at, _call(block, at), _cache_point(block.cache_control))
        case wire.ToolResultBlock():
            return _result(block, at)
        case _:
            assert_never(block)


def _text(block: wire.TextBlock, at: str) -> _Said:
    if block.citations:
        param = f"{at}.citations"
        raise UnsupportedFeature(f"{param}: citations are not supported; leave them out", param=param)
    return _Said(at, Text(text=block.text), _cache_point(block.cache_control))


def _image(block: wire.ImageBlock, at: str) -> Image:
    if block.transformations is not None and block.transformations.oversized_image == "error":
        param = f"{at}.transformations.oversized_image"
        raise UnsupportedFeature(f"{param}: 'error' is not supported; pictures are passed on as they are", param=param)
    source = block.source
    if isinstance(source, wire.UrlSource):
        return Image(media=media_from_url(source.url, "image", f"{at}.source.url"))
    return Image(media=media_from_base64(source.data, source.media_type, f"{at}.source.data"))


def _document(block: wire.DocumentBlock, at: str) -> Document:
    if block.citations is not None and block.citations.enabled:
        param = f"{at}.citations"
        raise UnsupportedFeature(f"{param}: citations are not supported", param=param)
    source = block.source
    match source:
        case wire.UrlSource():
            media = media_from_url(source.url, "", f"{at}.source.url")
        case wire.PlainTextSource():
            media = MediaBytes(data=source.data.encode(), media_type=source.media_type)
        case wire.Base64PdfSource():
            media = media_from_base64(source.data, source.media_type, f"{at}.source.data")
        case _:
            assert_never(source)
    return Document(media=media, name=block.title, context=block.context)


def _call(block: wire.ToolUseBlock, at: str) -> ToolCall:
    try:
        arguments = msgspec.json.encode(block.input).decode()
    except (ValueError, OverflowError, RecursionError):
        param = f"{at}.input"
        raise InvalidRequest(f"{param}: is nested too deeply or holds a number out of range", param=param) from None
    return ToolCall(id=block.id, name=block.name, arguments=arguments)


def _result(block: wire.ToolResultBlock, at: str) -> _Said:
    """A result cannot be cut: a cache point within it stands at its end."""
    said: list[_Said] = []
    if isinstance(block.content, str):
        said.append(_Said(at, Text(text=block.content)))
    else:
        said += [_block(inner, f"{at}.content.{index}", "user") for index, inner in enumerate(block.content or ())]
    cache = _cache_point(block.cache_control)
    for one in said:
        cache = cache or one.cache
    # The wire's types let nothing else into a result.
    parts = tuple(one.part for one in said if isinstance(one.part, Text | Image | Document))
    return _Said(at, ToolResult(call_id=block.tool_use_id, parts=parts, is_error=bool(block.is_error)), cache)


def _cache_point(control: wire.CacheControl | None) -> CachePoint | None:
    return None if control is None else CachePoint(ttl=control.ttl)


def _leading_results(turn: _Turn) -> int:
    count = 0
    for one in turn.said:
        if not isinstance(one.part, ToolResult):
            break
        count += 1
    return count


def _check_order(turns: Sequence[_Turn], *, continues: bool) -> None:
    spoken = [turn for turn in turns if turn.role is not Role.SYSTEM]
    if not spoken or spoken[0].role is not Role.USER:
        param = f"messages.{spoken[0].number}.role" if spoken else "messages"
        raise InvalidRequest(f"{param}: the first message must be the user's", param=param)
    unanswered: list[str] = []
    asked = 0
    stored = continues  # the first turn may answer calls that were stored
    for turn in turns:
        if turn.role is Role.USER:
            _meet(turn, unanswered, stored=stored)
            stored = False
        if unanswered:
            raise _unanswered(asked, unanswered)
        if turn.role is Role.ASSISTANT:
            asked = turn.number
            unanswered = [one.part.id for one in turn.said if isinstance(one.part, ToolCall)]
    if unanswered:
        raise _unanswered(asked, unanswered)
    if turns[-1].role is Role.ASSISTANT:
        param = f"messages.{turns[-1].number}"
        raise UnsupportedFeature(
            f"{param}: a last message of the assistant (prefill) is not supported; end with one of the user",
            param=param,
        )


def _meet(turn: _Turn, unanswered: list[str], *, stored: bool) -> None:
    """Strike the calls that the turn answers off the list."""
    leading = _leading_results(turn)
    for index, one in enumerate(turn.said):
        if not isinstance(one.part, ToolResult):
            continue
        if index >= leading:
            raise InvalidRequest(f"{one.at}: tool results come before everything else in a turn", param=one.at)
        if one.part.call_id in unanswered:
            unanswered.remove(one.part.call_id)
        elif not stored:
            param = f"{one.at}.tool_use_id"
            shown = clip(one.part.call_id, 64)
            raise InvalidRequest(f"{param}: {shown!r} answers no tool_use of the message before it", param=param)


def _unanswered(number: int, call_ids: Sequence[str]) -> InvalidRequest:
    param = f"messages.{number}.content"
    shown = clip(", ".join(call_ids), 200)
    return InvalidRequest(f"{param}: must be followed by tool_result blocks that answer {shown}", param=param)


__all__ = ["canonical_messages"]
