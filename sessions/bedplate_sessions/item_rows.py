"""How an item looks in its row: its message sealed, and large media beside it.

Media above `BLOB_BYTES` are stored once in rows of their own, so that a list of items need not move them; the message
names them by an address that no client can send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import RowMapping

from bedplate_core.errors import InvalidRequest, StoreUnavailable
from bedplate_core.events import StopReason
from bedplate_core.ids import CallId, ItemId
from bedplate_core.messages import (
    SCHEMA_VERSION,
    Audio,
    Document,
    GuardContent,
    Image,
    Media,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    ToolResult,
    Video,
)
from bedplate_core.usage import Usage
from bedplate_sessions.items import Item, ItemKind, ItemStatus
from bedplate_sessions.keys.cipher import Cipher, ContentUnreadable

BLOB_BYTES: Final = 64 * 1024
_SCHEME: Final = "bedplate-blob:"
_MESSAGE: Final = msgspec.json.Decoder(Message)
_USAGE: Final = msgspec.json.Decoder(Usage)

ITEM_COLUMNS: Final = (
    "id, branch, seq, parent_seq, kind, call_id, invocation_id, "
    r"coalesce(sealed, '\x00'::bytea || convert_to(payload::text, 'UTF8')) as sealed, "
    "schema_version, status, stop_reason, usage::text as usage, pinned, covers_seq, created_at"
)
"""The columns that `decoded` reads. Version 0003 stored messages as JSON in `payload`."""


class Blob(msgspec.Struct, frozen=True):
    """Large media of one item. `id` holds the item's id, so it is unique in its session."""

    id: str
    data: bytes


def sealed_message(message: Message, item: ItemId, cipher: Cipher) -> tuple[bytes, Sequence[Blob]]:
    """The message as its row holds it, and what goes into rows of their own (not sealed yet).

    Raises `InvalidRequest` for a message that itself has an address of the kind that names such rows: it would be read
    as another item's media.
    """
    blobs: list[Blob] = []

    def moved(media: Media) -> Media:
        if isinstance(media, MediaBytes) and len(media.data) > BLOB_BYTES:
            blob = Blob(f"{item}.{len(blobs)}", media.data)
            blobs.append(blob)
            return MediaUrl(url=_SCHEME + blob.id, media_type=media.media_type)
        if isinstance(media, MediaUrl) and media.url.startswith(_SCHEME):
            raise InvalidRequest(f"an address that begins with {_SCHEME!r} cannot be kept")
        return media

    return cipher.seal(msgspec.json.encode(_with_media(message, moved)), item), blobs


def decoded(row: RowMapping, cipher: Cipher) -> Item:
    """The item in `row`, its large media still named only.

    Raises `StoreUnavailable` for a row of a newer version than this code knows, and `ContentUnreadable`.
    """
    require_known(row["schema_version"])
    return Item(
        id=ItemId(row["id"]),
        branch=row["branch"],
        seq=row["seq"],
        parent_seq=row["parent_seq"],
        kind=ItemKind(row["kind"]),
        call_id=CallId(row["call_id"]),
        invocation_id=row["invocation_id"],
        message=_MESSAGE.decode(cipher.open(row["sealed"], row["id"])),
        status=ItemStatus(row["status"]),
        stop_reason=StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        usage=_USAGE.decode(row["usage"]) if row["usage"] else None,
        pinned=row["pinned"],
        covers_seq=row["covers_seq"],
        created_at=row["created_at"],
    )


def blob_ids(message: Message) -> Sequence[str]:
    """The large media that a message as `decoded` gave it names."""
    found: list[str] = []

    def seen(media: Media) -> Media:
        if isinstance(media, MediaUrl) and media.url.startswith(_SCHEME):
            found.append(media.url.removeprefix(_SCHEME))
        return media

    _with_media(message, seen)
    return found


def with_blobs(message: Message, blobs: Mapping[str, bytes]) -> Message:
    """The message with the media it names in place. Raises `ContentUnreadable` for one that is missing."""

    def filled(media: Media) -> Media:
        if isinstance(media, MediaUrl) and media.url.startswith(_SCHEME):
            data = blobs.get(media.url.removeprefix(_SCHEME))
            if data is None:
                raise ContentUnreadable("A part of this conversation is missing from the store.")
            return MediaBytes(data=data, media_type=media.media_type or "")
        return media

    return _with_media(message, filled)


def require_known(schema_version: int) -> None:
    """Raise `StoreUnavailable` for a row that a newer version of the gateway wrote."""
    if schema_version > SCHEMA_VERSION:
        raise StoreUnavailable(
            "This session was written by a newer version of the gateway; try again when its update is done.",
            retry_after_s=30.0,
        )


def _with_media(message: Message, change: Callable[[Media], Media]) -> Message:
    """The message with every media in it replaced by what `change` makes of it; the same object when none changed."""
    parts = tuple([_part(part, change) for part in message.parts])
    if all(new is old for new, old in zip(parts, message.parts, strict=True)):
        return message
    return msgspec.structs.replace(message, parts=parts)


def _part(part: Part, change: Callable[[Media], Media]) -> Part:
    match part:
        case Image() | Audio() | Video() | Document():
            media = change(part.media)
            return part if media is part.media else msgspec.structs.replace(part, media=media)
        case ToolResult():
            inner = tuple([_part(each, change) for each in part.parts])
            if all(new is old for new, old in zip(inner, part.parts, strict=True)):
                return part
            return msgspec.structs.replace(part, parts=inner)
        case GuardContent(content=Image() as content):
            changed = _part(content, change)
            return part if changed is content else msgspec.structs.replace(part, content=changed)
        case _:
            return part


__all__ = [
    "BLOB_BYTES",
    "ITEM_COLUMNS",
    "Blob",
    "blob_ids",
    "decoded",
    "require_known",
    "sealed_message",
    "with_blobs",
]
