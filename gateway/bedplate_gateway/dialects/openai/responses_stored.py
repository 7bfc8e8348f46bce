"""Stored responses as the wire shows them: the response again, its input items, and that it is gone.

Source: openai-python 3.57 and 2.54 (`Response`, `ResponseItem`, `ResponseItemList`), compared November 2026.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from bedplate_core.errors import NotFound
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
    RedactedReasoning,
    Role,
    Text,
    ToolResult,
    Video,
)
from bedplate_gateway.dialects.openai.responses_reply import (
    ItemStatus,
    OutputFunctionCall,
    OutputMessage,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    ResponseObject,
    Settings,
    ended_response,
    item_id,
    output_items,
)
from bedplate_sessions.response_rows import StoredResponse

UNLISTED: Final[Mapping[type[Part], str]] = MappingProxyType(
    {
        CachePoint: "says where a prefix may be cached and is no content",
        RedactedReasoning: "opaque bytes for the provider that made them; requests on this wire have none",
    }
)
"""Parts of an input that are not listed, and why. What other wires mark for a guardrail is listed as its content."""

_SETTINGS: Final = msgspec.json.Decoder(Settings)
_AUDIO_FORMATS: Final = {"audio/wav": "wav", "audio/mpeg": "mp3"}


class ListedText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """Text."""

    text: str


class ListedImage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """A picture. Its address, or the picture as a `data:` URL, is there when `include` asked for it."""

    detail: str
    file_id: None = None
    image_url: str | None


class ListedFile(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_file"):
    """A file, as it was sent."""

    file_data: str | None = None
    file_id: None = None
    file_url: str | None = None
    filename: str | None


class ListedSound(msgspec.Struct, frozen=True, kw_only=True):
    """Sound in base64."""

    data: str
    format: str


class ListedAudio(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: ListedSound


ListedPart: TypeAlias = ListedText | ListedImage | ListedFile | ListedAudio


class ListedMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What somebody said in the input. What was sent as `developer` reads `system`."""

    id: str
    role: Literal["user", "system", "assistant"]
    status: ItemStatus = "completed"
    content: tuple[ListedPart | OutputText | OutputRefusal, ...]


class ListedOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a function answered: a text, or a list of parts where it was more than one text."""

    id: str
    call_id: str
    output: str | tuple[ListedPart, ...]
    status: Literal["completed"] = "completed"


ListedItem: TypeAlias = ListedMessage | ListedOutput | OutputFunctionCall | ReasoningItem


class ResponseItemList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of input items. `first_id` and `last_id` are empty when there are none."""

    object: Literal["list"] = "list"
    data: tuple[ListedItem, ...]
    first_id: str
    last_id: str
    has_more: bool


class DeletedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response that is gone."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def stored_response(stored: StoredResponse) -> ResponseObject:
    """The response as it ended. Log-probabilities are not kept, so its texts have none."""
    return ended_response(
        stored.id,
        stored.model,
        _SETTINGS.decode(stored.settings),
        created_s=stored.created_s,
        parts=stored.output.parts,
        stop=stored.stop_reason,
        usage=stored.usage,
    )


def input_items(
    stored: StoredResponse, *, after: str | None, limit: int, newest_first: bool, image_urls: bool
) -> ResponseItemList:
    """Up to `limit` items of the response's own input behind the item `after`, in the order asked for.

    Neither `instructions` nor what the response builds on is its own input. Raises `NotFound` when there is no item
    `after`.
    """
    items = _items(stored, image_urls=image_urls)
    if newest_first:
        items.reverse()
    begin = 0
    if after is not None:
        ids = [item.id for item in items]
        if after not in ids:
            raise NotFound("after: there is no item with this id in the response's input", param="after")
        begin = ids.index(after) + 1
    page = items[begin : begin + limit]
    return ResponseItemList(
        data=tuple(page),
        first_id=page[0].id if page else "",
        last_id=page[-1].id if page else "",
        has_more=begin + limit < len(items),
    )


def _items(stored: StoredResponse, *, image_urls: bool) -> list[ListedItem]:
    items: list[ListedItem] = []
    base = stored.id.removeprefix("resp_")
    for number, message in enumerate(stored.input):
        items.extend(listed_items(f"{base}_in{number}", message, image_urls=image_urls))
    return items


def listed_items(base: str, message: Message, *, image_urls: bool, incomplete: bool = False) -> Sequence[ListedItem]:
    """The items of one message.

    Their ids are `base` behind the prefix of their kind and, but for those who are not the model and speak one item at
    a time, before their number in the message. `incomplete` is the status of the last item of the model's.
    """
    if message.role is Role.ASSISTANT:
        return tuple(
            ListedMessage(id=item.id, role="assistant", status=item.status, content=item.content)
            if isinstance(item, OutputMessage)
            else item
            for item in output_items(base, message.parts, incomplete=incomplete)
        )
    if message.role is Role.TOOL:
        return tuple(
            ListedOutput(id=output_id(base, index), call_id=part.call_id, output=_output(part, image_urls=image_urls))
            for index, part in enumerate(message.parts)
            if isinstance(part, ToolResult)
        )
    return (
        ListedMessage(
            id=f"msg_{base}",
            role="system" if message.role is Role.SYSTEM else "user",
            content=_parts(message.parts, image_urls=image_urls),
        ),
    )


def output_id(base: str, index: int) -> str:
    """The id of a function's output; `index` is its place among the message's parts."""
    return item_id("fco", base, str(index))


def _output(result: ToolResult, *, image_urls: bool) -> str | tuple[ListedPart, ...]:
    if len(result.parts) == 1 and isinstance(result.parts[0], Text):
        return result.parts[0].text
    return _parts(result.parts, image_urls=image_urls)


def _parts(parts: Sequence[Part], *, image_urls: bool) -> tuple[ListedPart, ...]:
    listed: list[ListedPart] = []
    for part in parts:
        match part:
            case Text():
                listed.append(ListedText(text=part.text))
            case Image():
                url = _url(part.media) if image_urls else None
                listed.append(ListedImage(detail=part.detail or "auto", image_url=url))
            case GuardContent():
                listed.extend(_parts((part.content,), image_urls=image_urls))
            case Document():
                listed.append(_file(part.media, part.name))
            case Video():
                listed.append(_file(part.media, None))
            case Audio(media=MediaBytes() as media):
                form = _AUDIO_FORMATS.get(media.media_type, media.media_type)
                sound = ListedSound(data=base64.b64encode(media.data).decode(), format=form)
                listed.append(ListedAudio(input_audio=sound))
            case _:
                pass  # UNLISTED, and what only a model's turn holds
    return tuple(listed)


def _file(media: Media, name: str | None) -> ListedFile:
    if isinstance(media, MediaBytes):
        return ListedFile(file_data=_url(media), filename=name)
    return ListedFile(file_url=media.url, filename=name)


def _url(media: Media) -> str:
    if isinstance(media, MediaBytes):
        return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
    return media.url


__all__ = [
    "UNLISTED",
    "DeletedResponse",
    "ListedItem",
    "ListedMessage",
    "ListedOutput",
    "ResponseItemList",
    "input_items",
    "listed_items",
    "output_id",
    "stored_response",
]
