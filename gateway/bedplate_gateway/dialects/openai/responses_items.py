"""A response's input, from the wire's flat list of items to the canonical messages.

The wire lists what one turn of the model amounts to as several items: reasoning, what it said, each of its calls. They
are gathered into one message here, as every model's template expects. Calls and their outputs must meet as in a chat:
an output answers a call of the turn before it, and every call is answered before anybody else speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, assert_never

import msgspec

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
)
from bedplate_gateway.dialects.decoding import clip, invalid
from bedplate_gateway.dialects.media import AUDIO_TYPES, media_from_base64, media_from_url
from bedplate_gateway.dialects.openai import responses_wire as wire

T = TypeVar("T")

_MESSAGES: Final = {
    "user": wire.UserMessageItem,
    "system": wire.SystemMessageItem,
    "developer": wire.SystemMessageItem,
    "assistant": wire.AssistantMessageItem,
}
_ITEMS: Final = {
    "function_call": wire.FunctionCallItem,
    "function_call_output": wire.FunctionCallOutputItem,
    "reasoning": wire.ReasoningItem,
}


def canonical_input(
    sent: str | Sequence[Mapping[str, Any]], *, continues: bool, field: str = "input", ends: bool = True
) -> tuple[Message, ...]:
    """The messages in order. `continues`: outputs may come first, for calls in what this goes on from.

    `field` is what the client calls the list. `ends`: somebody is to answer, so that every call has its output; items
    that are only kept may end in calls. Raises `InvalidRequest` or `UnsupportedFeature` with the path of the field.
    """
    if isinstance(sent, str):
        return (Message(role=Role.USER, parts=(Text(text=sent),)),)
    gathering = _Gathering(field, continues=continues)
    for number, item in enumerate(sent):
        at = f"{field}[{number}]"
        gathering.add(_item(item, at), at)
    return gathering.messages(ends=ends)


def converted(value: Mapping[str, Any], kind: type[T], at: str) -> T:
    """`value` as the wire struct `kind`. Raises `InvalidRequest` with the field's path below `at`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, found, where = str(error).rpartition(" - at `$")
        if not found:
            what, where = str(error), "`"
        raise invalid(f"{what} - at `$.{at}{where}", wire.TAGS) from None


def refuse_unless(value: object, neutral: Sequence[object], param: str, reason: str) -> None:
    """Raise `UnsupportedFeature` naming `param` unless `value` is None or asks for nothing."""
    if value is not None and value not in neutral:
        raise UnsupportedFeature(f"{param}: is not supported. {reason}", param=param)


Item = (
    wire.UserMessageItem
    | wire.SystemMessageItem
    | wire.AssistantMessageItem
    | wire.FunctionCallItem
    | wire.FunctionCallOutputItem
    | wire.ReasoningItem
)


def _item(sent: Mapping[str, Any], at: str) -> Item:
    kind = sent.get("type")
    if kind is None and "role" not in sent and "id" in sent:
        kind = "item_reference"  # the one other item whose type may be left out
    if kind is None or kind == "message":
        return _message_item(sent, at)
    known = _ITEMS.get(kind) if isinstance(kind, str) else None
    if known is not None:
        return converted(sent, known, at)
    reason = wire.UNSERVED_ITEMS.get(kind) if isinstance(kind, str) else None
    param = f"{at}.type"
    if reason is not None:
        raise UnsupportedFeature(f"{param}: {kind!r} is not supported. {reason}", param=param)
    raise InvalidRequest(
        f"{param}: expected one of message, {', '.join(_ITEMS)}, got {clip(repr(kind), 64)}", param=param
    )


def _message_item(sent: Mapping[str, Any], at: str) -> Item:
    role = sent.get("role")
    known = _MESSAGES.get(role) if isinstance(role, str) else None
    if known is None:
        param = f"{at}.role"
        if role is None:
            raise InvalidRequest(f"{param}: required, but missing", param=param)
        raise InvalidRequest(
            f"{param}: expected one of {', '.join(_MESSAGES)}, got {clip(repr(role), 64)}", param=param
        )
    return converted(sent, known, at)


class _Gathering:
    """The messages so far, and the model's turn that is being gathered."""

    def __init__(self, field: str, *, continues: bool) -> None:
        self._field = field
        self._messages: list[Message] = []
        self._turn: list[Part] = []
        self._said = False
        """Whether the item before this one was a message of the model: two of them are two turns."""
        self._unanswered: dict[str, str] = {}
        """The ids of calls without an output, with the place of the item that made them."""
        self._stored = continues

    def add(self, item: Item, at: str) -> None:
        match item:
            case wire.UserMessageItem():
                self._close(at)
                self._stored = False
                self._messages.append(Message(role=Role.USER, parts=_parts(item.content, at)))
            case wire.SystemMessageItem():
                self._close(at)
                self._messages.append(Message(role=Role.SYSTEM, parts=_parts(item.content, at)))
            case wire.FunctionCallOutputItem():
                self._end_turn()
                self._answer(item, at)
            case wire.AssistantMessageItem():
                if self._said:
                    self._end_turn()
                self._go_on(at, _spoken(item.content, at))
                self._said = True
            case wire.ReasoningItem():
                self._go_on(at, _reasoning(item, at))
            case wire.FunctionCallItem():
                self._go_on(at, (_call(item, at),))
            case _:
                assert_never(item)

    def messages(self, *, ends: bool) -> tuple[Message, ...]:
        """All messages. Raises `InvalidRequest` when a call has no output, if it `ends`, or nothing was said at all."""
        if ends:
            self._close(self._field)
        else:
            self._end_turn()
        if not self._messages:
            raise InvalidRequest(f"{self._field}: says nothing", param=self._field)
        return tuple(self._messages)

    def _go_on(self, at: str, parts: Sequence[Part]) -> None:
        """Add `parts` to the model's turn."""
        if not self._turn:
            self._close(at)
        self._said = self._stored = False
        self._turn.extend(parts)

    def _end_turn(self) -> None:
        self._said = False
        if self._turn:
            self._messages.append(Message(role=Role.ASSISTANT, parts=tuple(self._turn)))
            self._unanswered = {part.id: part.id for part in self._turn if isinstance(part, ToolCall)}
            self._turn = []

    def _close(self, at: str) -> None:
        """Somebody else speaks, or nobody any more: the calls must be answered."""
        self._end_turn()
        for call_id in self._unanswered:
            shown = clip(call_id, 64)
            raise InvalidRequest(f"{at}: there is no output for the function call {shown!r}", param=self._field)

    def _answer(self, item: wire.FunctionCallOutputItem, at: str) -> None:
        refuse_unless(item.caller, ({"type": "direct"},), f"{at}.caller", "Functions are called by the model alone.")
        refuse_unless(item.namespace, (), f"{at}.namespace", "Functions have no namespaces.")
        if self._unanswered.pop(item.call_id, None) is None and not self._stored:
            param = f"{at}.call_id"
            raise InvalidRequest(f"{param}: {clip(item.call_id, 64)!r} answers no call before it", param=param)
        parts: tuple[ToolResultPart, ...]
        cached = False
        if isinstance(item.output, str):
            parts = (Text(text=item.output),)
        else:
            parts = tuple(_part(part, f"{at}.output[{index}]") for index, part in enumerate(item.output))
            cached = any(part.prompt_cache_breakpoint is not None for part in item.output)
        result = ToolResult(call_id=item.call_id, parts=parts)
        # A result cannot be cut: the cache point stands at its end.
        self._messages.append(Message(role=Role.TOOL, parts=(result, CachePoint()) if cached else (result,)))


def _parts(content: str | Sequence[wire.InputPart], at: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    if not content:
        raise InvalidRequest(f"{at}.content: expected at least one part", param=f"{at}.content")
    parts: list[Part] = []
    for index, part in enumerate(content):
        parts.append(_part(part, f"{at}.content[{index}]"))
        if part.prompt_cache_breakpoint is not None:
            parts.append(CachePoint(ttl=part.prompt_cache_breakpoint.ttl))
    return tuple(parts)


def _part(sent: wire.InputPart, at: str) -> ToolResultPart:
    match sent:
        case wire.InputText():
            return Text(text=sent.text)
        case wire.InputImage():
            return _image(sent, at)
        case wire.InputFile():
            return _file(sent, at)
        case wire.InputSound(input_audio=sound):
            data = media_from_base64(sound.data, AUDIO_TYPES[sound.format], f"{at}.input_audio.data")
            return Audio(media=data)
        case _:
            assert_never(sent)


def _image(sent: wire.InputImage, at: str) -> Image:
    refuse_unless(sent.file_id, (), f"{at}.file_id", "Send image_url.")
    if sent.detail == "original":
        raise UnsupportedFeature(f"{at}.detail: 'original' is not supported", param=f"{at}.detail")
    if sent.image_url is None:
        raise InvalidRequest(f"{at}.image_url: required, but missing", param=f"{at}.image_url")
    return Image(media=media_from_url(sent.image_url, "image", f"{at}.image_url"), detail=sent.detail)


def _file(sent: wire.InputFile, at: str) -> Document:
    refuse_unless(sent.file_id, (), f"{at}.file_id", "Send file_data.")
    refuse_unless(sent.detail, ("auto",), f"{at}.detail", "Files go to the model as they are.")
    if (sent.file_data is None) == (sent.file_url is None):
        param = f"{at}.file_data"
        raise InvalidRequest(f"{param}: send either file_data or file_url", param=param)
    if sent.file_data is not None:
        return Document(media=media_from_url(sent.file_data, "", f"{at}.file_data"), name=sent.filename)
    return Document(media=media_from_url(sent.file_url or "", "", f"{at}.file_url"), name=sent.filename)


def _spoken(content: str | Sequence[wire.SpokenPart], at: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(text=content),)
    if not content:
        raise InvalidRequest(f"{at}.content: expected at least one part", param=f"{at}.content")
    parts: list[Part] = []
    for part in content:
        match part:
            case wire.OutputText():
                parts.append(Text(text=part.text))
            case wire.InputText():
                parts.append(Text(text=part.text))
                if part.prompt_cache_breakpoint is not None:
                    parts.append(CachePoint(ttl=part.prompt_cache_breakpoint.ttl))
            case wire.OutputRefusal():
                parts.append(Refusal(text=part.refusal))
            case _:
                assert_never(part)
    return tuple(parts)


def _reasoning(item: wire.ReasoningItem, at: str) -> tuple[Part, ...]:
    refuse_unless(
        item.encrypted_content, (), f"{at}.encrypted_content", "Only the service that encrypted it can read it."
    )
    said = "".join(each.text for each in item.content or item.summary)
    return (Reasoning(text=said),) if said else ()


def _call(item: wire.FunctionCallItem, at: str) -> ToolCall:
    refuse_unless(item.caller, ({"type": "direct"},), f"{at}.caller", "Functions are called by the model alone.")
    refuse_unless(item.namespace, (), f"{at}.namespace", "Functions have no namespaces.")
    refuse_unless(item.is_async, (False,), f"{at}.async", "Outputs come with the next request.")
    return ToolCall(id=item.call_id, name=item.name, arguments=item.arguments)


__all__ = ["canonical_input", "converted", "refuse_unless"]
