"""What a session is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from bedplate_core.events import StopReason
from bedplate_core.ids import CallId, ItemId
from bedplate_core.messages import Message, Role
from bedplate_core.usage import Usage
from bedplate_sessions.context.fit import required


class ItemStatus(StrEnum):
    """Whether the item is all that was meant. DROPPED: of a turn that broke off, and no part of the conversation."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    DROPPED = "dropped"


class ItemKind(StrEnum):
    """SUMMARY: what stands for the items up to its `covers_seq`, which no longer fit a model's window."""

    MESSAGE = "message"
    SUMMARY = "summary"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session.

    `seq` counts up along a branch and everything it shares with its parents; numbers of dropped and deleted items are
    not used again. `parent_seq` is the item before this one in the conversation; None: the first. `call_id` names the
    call that it came with, `invocation_id` the turn. `stop_reason` and `usage` are set on answers only.
    """

    id: ItemId
    branch: int
    seq: int
    parent_seq: int | None
    kind: ItemKind = ItemKind.MESSAGE
    call_id: CallId
    invocation_id: str | None
    message: Message
    status: ItemStatus
    stop_reason: StopReason | None
    usage: Usage | None = None
    pinned: bool = False
    covers_seq: int | None = None
    created_at: datetime


class ItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items in the order asked for; `has_more` says that there are more in that direction."""

    items: tuple[Item, ...]
    has_more: bool


class NewItem(msgspec.Struct, frozen=True, kw_only=True):
    """A message to add, not yet numbered."""

    message: Message
    kind: ItemKind = ItemKind.MESSAGE
    status: ItemStatus = ItemStatus.COMPLETED
    stop_reason: StopReason | None = None
    usage: Usage | None = None
    pinned: bool = False
    covers_seq: int | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn builds on: the system messages in force, then all other messages in order.

    `seqs` are the numbers of `messages`, `pinned` the places in it of those that are never left out. `summary` stands
    for what was said before, up to the item `covered`.
    """

    system: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()
    seqs: tuple[int, ...] = ()
    pinned: frozenset[int] = frozenset()
    summary: str | None = None
    covered: int = 0


def history(items: Iterable[Item]) -> History:
    """The history that items, in order, amount to.

    The system messages that a turn begins with replace those of the turns before it. A system message elsewhere is an
    ordinary message of the conversation. A summary stands for all messages up to the one it names, but for those that
    are pinned and those that a pinned or a later one goes back to.
    """
    call: CallId | None = None
    system: list[Message] = []
    said: list[Item] = []
    summary: Item | None = None
    leading = False
    for item in items:
        starts = item.call_id != call
        call = item.call_id
        if item.kind is ItemKind.SUMMARY:
            summary = item
            leading = False
            call = None  # it is no part of what its turn begins with
        elif item.message.role is Role.SYSTEM and (starts or leading):
            if starts:
                system.clear()
            system.append(item.message)
            leading = True
        else:
            said.append(item)
            leading = False
    covered = (summary.covers_seq or 0) if summary is not None else 0
    kept = _kept(said, covered) if covered else said
    return History(
        system=tuple(system),
        messages=tuple([item.message for item in kept]),
        seqs=tuple([item.seq for item in kept]),
        pinned=frozenset(place for place, item in enumerate(kept) if item.pinned),
        summary=summary.message.text if summary is not None else None,
        covered=covered,
    )


def _kept(said: Sequence[Item], covered: int) -> Sequence[Item]:
    """Without what is covered, but with all that something kept goes back to: a call's result, an answer's question."""
    kept = frozenset(place for place, item in enumerate(said) if item.pinned or item.seq > covered)
    stays = required([item.message for item in said], system=0, new=0, pinned=kept)
    return [item for place, item in enumerate(said) if place in stays]


__all__ = ["History", "Item", "ItemKind", "ItemPage", "ItemStatus", "NewItem", "history"]
