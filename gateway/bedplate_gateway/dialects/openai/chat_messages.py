"""A chat's messages, from the wire to the canonical ones.

As OpenAI does, this refuses a conversation whose tool calls and tool results do not meet: a tool message
answers a call of the assistant message before it, and every call is answered before anybody else speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.messages import (
    Audio,
    CachePoint,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    ToolResultPart,
    Video,
)
from bedplate_gateway.dialects.decoding import clip
from bedplate_gateway.dialects.media import AUDIO_TYPES, media_from_base64, media_from_url
from bedplate_gateway.dialects.openai import chat_wire as wire


def canonical_messages(sent: Sequence[wire.ChatMessage], *, continues: bool) -> tuple[Message, ...]:
    """The messages in order. `continues`: tool results may come first, for calls in a stored conversation.

    Raises `InvalidRequest` or `UnsupportedFeature` with the path of the field.
    """
    messages: list[Message] = []
    tools = False  # whether anything calls or answers a tool; most conversations have no such order to check
    for number, message in enumerate(sent):
        messages.append(_message(message, number))
        if isinstance(message, wire.ToolMessage) or (isinstance(message, wire.AssistantMessage) and message.tool_calls):
            tools = True
    if tools:
        _check_tool_order(messages, continues=continues)
    return tuple(messages)


def _message(sent: wire.ChatMessage, number: int) -> Message:
    match sent:
        case wire.UserMessage():
            return Message(role=Role.USER, parts=_parts(sent.content, number), name=sent.name)
        case wire.AssistantMessage():
            return Message(role=Role.ASSISTANT, parts=_assistant_parts(sent, number), name=sent.name)
        case wire.SystemMessage() | wire.DeveloperMessage():
            return Message(role=Role.SYSTEM, parts=_parts(sent.content, number), name=sent.name)
        case wire.ToolMessage():
            return Message(role=Role.TOOL, parts=_tool_parts(sent, number), name=sent.name)
        case wire.FunctionMessage():
            param = f"messages[{number}].role"
            raise UnsupportedFeature(f"{param}: 'function' is not supported; send a tool message", param=param)
        case _:
            assert_never(sent)


def _parts(content: str | Sequence[wire.UserPart], number: int) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    if not content:
        param = f"messages[{number}].content"
        raise InvalidRequest(f"{param}: expected at least one part", param=param)
    parts: list[Part] = []
    for index, part in enumerate(content):
        parts.append(_part(part, f"messages[{number}].content[{index}]"))
        if part.prompt_cache_breakpoint is not None:
            parts.append(CachePoint())
    return tuple(parts)


def _part(sent: wire.UserPart, at: str) -> ToolResultPart:
    match sent:
        case wire.TextPart():
            return Text(text=sent.text)
        case wire.ImagePart(image_url=image):
            return Image(media=media_from_url(image.url, "image", f"{at}.image_url.url"), detail=image.detail)
        case wire.AudioPart(input_audio=sound):
            data = media_from_base64(sound.data, AUDIO_TYPES[sound.format], f"{at}.input_audio.data")
            return Audio(media=data)
        case wire.FilePart(file=file):
            return _document(file, at)
        case wire.VideoUrlPart(video_url=address):
            return Video(media=media_from_url(address.url, "video", f"{at}.video_url.url"))
        case wire.AudioUrlPart(audio_url=address):
            return Audio(media=media_from_url(address.url, "audio", f"{at}.audio_url.url"))
        case _:
            assert_never(sent)


def _document(file: wire.FileData, at: str) -> Document:
    if file.file_id is not None:
        param = f"{at}.file.file_id"
        raise UnsupportedFeature(f"{param}: is not supported in a chat; send file_data", param=param)
    param = f"{at}.file.file_data"
    if file.file_data is None:
        raise InvalidRequest(f"{param}: required, but missing", param=param)
    return Document(media=media_from_url(file.file_data, "", param), name=file.filename)


def _tool_parts(sent: wire.ToolMessage, number: int) -> tuple[Part, ...]:
    if isinstance(sent.content, str):
        return (ToolResult(call_id=sent.tool_call_id, parts=(Text(text=sent.content),)),)
    parts = tuple(_part(part, f"messages[{number}].content[{index}]") for index, part in enumerate(sent.content))
    result = ToolResult(call_id=sent.tool_call_id, parts=parts)
    if any(part.prompt_cache_breakpoint is not None for part in sent.content):
        return result, CachePoint()  # a result cannot be cut; the cache point stands at its end
    return (result,)


def _assistant_parts(sent: wire.AssistantMessage, number: int) -> tuple[Part, ...]:
    """Reasoning, text, refusal and calls, in the order in which a model makes them."""
    at = f"messages[{number}]"
    if sent.audio is not None or sent.function_call is not None:
        param = f"{at}.{'audio' if sent.audio is not None else 'function_call'}"
        raise UnsupportedFeature(f"{param}: is not supported", param=param)
    parts: list[Part] = []
    reasoning = sent.reasoning if sent.reasoning is not None else sent.reasoning_content
    if reasoning:
        parts.append(Reasoning(text=reasoning))
    if isinstance(sent.content, str):
        if sent.content or not sent.tool_calls:
            parts.append(Text(text=sent.content))
    elif sent.content:
        parts.extend(_said(sent.content))
    if sent.refusal is not None:
        parts.append(Refusal(text=sent.refusal))
    for index, call in enumerate(sent.tool_calls or ()):
        if isinstance(call, wire.CustomToolCall):
            param = f"{at}.tool_calls[{index}].type"
            raise UnsupportedFeature(f"{param}: custom tools are not supported", param=param)
        parts.append(ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments))
    if not parts:
        param = f"{at}.content"
        raise InvalidRequest(f"{param}: expected content, a refusal or tool_calls", param=param)
    return tuple(parts)


def _said(content: Sequence[wire.AssistantPart]) -> list[Part]:
    parts: list[Part] = []
    for part in content:
        match part:
            case wire.TextPart():
                parts.append(Text(text=part.text))
            case wire.RefusalPart():
                parts.append(Refusal(text=part.refusal))
            case _:
                assert_never(part)
        if part.prompt_cache_breakpoint is not None:
            parts.append(CachePoint())
    return parts


def _check_tool_order(messages: Sequence[Message], *, continues: bool) -> None:
    unanswered: list[str] = []
    asked = 0
    stored = continues  # until somebody else speaks, results may answer calls that were stored
    for number, message in enumerate(messages):
        if message.role is Role.TOOL:
            for part in message.parts:
                if not isinstance(part, ToolResult):
                    continue
                if part.call_id in unanswered:
                    unanswered.remove(part.call_id)
                elif not stored:
                    raise _unasked(number, part.call_id)
            continue
        if unanswered:
            raise _unanswered(asked, unanswered)
        stored = stored and message.role is Role.SYSTEM
        if message.role is Role.ASSISTANT:
            asked, unanswered = number, [part.id for part in message.parts if isinstance(part, ToolCall)]
    if unanswered:
        raise _unanswered(asked, unanswered)


def _unasked(number: int, call_id: str) -> InvalidRequest:
    param = f"messages[{number}].tool_call_id"
    return InvalidRequest(
        f"{param}: {clip(call_id, 64)!r} answers no call of the assistant message before it", param=param
    )


def _unanswered(number: int, call_ids: Sequence[str]) -> InvalidRequest:
    param = f"messages[{number}].tool_calls"
    shown = clip(", ".join(call_ids), 200)
    return InvalidRequest(f"{param}: must be followed by tool messages that answer {shown}", param=param)


__all__ = ["canonical_messages"]
