"""What a session is made of, and how an item looks in its row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import RowMapping

from bedplate_core.errors import StoreUnavailable
from bedplate_core.events import StopReason
from bedplate_core.ids import CallId, ItemId
from bedplate_core.messages import SCHEMA_VERSION, Message, Role


class ItemStatus(StrEnum):
    """Whether the item is all that was meant."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session. `seq` counts from 1 without gaps; `call_id` names the call whose turn it came
    with.

    `stop_reason` is set on the assistant's messages only.
    """

    id: ItemId
    seq: int
    call_id: CallId
    message: Message
    status: ItemStatus
    stop_reason: StopReason | None
    created_at: datetime


class ItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items in the order of their `seq`; `has_more` says that the session goes on after the last."""

    items: tuple[Item, ...]
    has_more: bool


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn builds on: the system messages in force, all other messages in order, and the last
    `seq`.
    """

    head: int = 0
    system: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()


def history(items: Iterable[Item]) -> History:
    """The history that all the items of a session, in order, amount to.

    The system messages that a turn begins with replace those of the turns before it. A system message
    elsewhere is an ordinary message of the conversation.
    """
    head = 0
    call: CallId | None = None
    system: list[Message] = []
    messages: list[Message] = []
    leading = False
    for item in items:
        head = item.seq
        starts = item.call_id != call
        call = item.call_id
        if item.message.role is Role.SYSTEM and (starts or leading):
            if starts:
                system.clear()
            system.append(item.message)
            leading = True
        else:
            messages.append(item.message)
            leading = False
    return History(head=head, system=tuple(system), messages=tuple(messages))


def encode(message: Message) -> str:
    """The message as the JSON text its row holds."""
    return msgspec.json.encode(message).decode()


def decode(row: RowMapping) -> Item:
    """The item in `row`. Raises `StoreUnavailable` for a row of a newer version than this code knows."""
    if row["schema_version"] > SCHEMA_VERSION:
        raise StoreUnavailable(
            "This session was written by a newer version of the gateway; try again when its update is done.",
            retry_after_s=30.0,
        )
    return Item(
        id=ItemId(row["id"]),
        seq=row["seq"],
        call_id=CallId(row["call_id"]),
        message=msgspec.json.decode(row["payload"], type=Message),
        status=ItemStatus(row["status"]),
        stop_reason=StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        created_at=row["created_at"],
    )


__all__ = ["History", "Item", "ItemPage", "ItemStatus", "decode", "encode", "history"]
