"""A session's messages as the items of a conversation.

One message may be several items: what the model thought, what it said, each of its calls. An item's id names the
message and the item's number in it, so it is the same whenever it is read; where an item was deleted, its number stays
taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from bedplate_core.errors import NotFound
from bedplate_core.ids import ItemId, ProjectId, SessionId
from bedplate_core.messages import Message, Role, ToolResult
from bedplate_gateway.dialects.openai.responses_reply import INCOMPLETE, item_places
from bedplate_gateway.dialects.openai.responses_stored import ListedItem, ResponseItemList, listed_items, output_id
from bedplate_sessions.conversation_items import MAIN_BRANCH, REMOVED, ConversationItems
from bedplate_sessions.items import Item, ItemKind, ItemStatus
from bedplate_sessions.reader import ItemReader

_ID: Final = re.compile(r"(?:msg|fc|rs|fco)_([0-9a-f]{32})(?:_(?:0|[1-9][0-9]{0,5}))?")
_PREFIX: Final = "item_"


def wire_items(item: Item, *, image_urls: bool) -> Sequence[ListedItem]:
    """The items that one message of the session is. A summary is none: nobody said it."""
    if item.kind is not ItemKind.MESSAGE:
        return ()
    incomplete = item.status is ItemStatus.INCOMPLETE or item.stop_reason in INCOMPLETE
    return listed_items(_base(item.id), item.message, image_urls=image_urls, incomplete=incomplete)


def whole_list(items: Iterable[Item], *, image_urls: bool) -> ResponseItemList:
    """All of `items` in their order, as one page."""
    return _page([each for item in items for each in wire_items(item, image_urls=image_urls)], more=False)


async def list_items(
    reader: ItemReader,
    project: ProjectId,
    session: SessionId,
    *,
    after: str | None,
    limit: int,
    newest_first: bool,
    image_urls: bool,
) -> ResponseItemList:
    """Up to `limit` items of the conversation behind the item `after`, in the order asked for.

    Raises `NotFound` for an unknown session and for an `after` that is no item of the conversation, and
    `StoreUnavailable`.
    """
    seq = None
    if after is not None:
        seq = (await _message_of(reader, project, session, after, "after")).seq
    listed: list[ListedItem] = []
    more = True
    while more and len(listed) <= limit:
        page = await reader.page(
            project,
            session,
            branch=MAIN_BRANCH,
            after_seq=0 if newest_first or seq is None else seq - 1,
            before_seq=seq + 1 if newest_first and seq is not None else None,
            limit=limit + 1,
            newest_first=newest_first,
        )
        for item in page.items:
            found = wire_items(item, image_urls=image_urls)
            listed.extend(reversed(found) if newest_first else found)
        if after is not None:
            listed = _behind(listed, after)
            after = None
        more = page.has_more
        if page.items:  # from here on behind the last one that was read
            seq = page.items[-1].seq + (-1 if newest_first else 1)
    return _page(listed[:limit], more=len(listed) > limit)


async def one_item(
    reader: ItemReader, project: ProjectId, session: SessionId, name: str, *, image_urls: bool
) -> ListedItem:
    """The item `name`. Raises `NotFound` when it is no item of the conversation, and `StoreUnavailable`."""
    message = await _message_of(reader, project, session, name, None)
    for item in wire_items(message, image_urls=image_urls):
        if item.id == name:
            return item
    raise _unknown(None)


async def delete_item(items: ConversationItems, project: ProjectId, session: SessionId, name: str) -> None:
    """Destroy the item `name`, and nothing else of the message it is part of.

    Raises `NotFound` when it is no item of the conversation, and what `ConversationItems.delete` raises.
    """
    item = _named(name, None)
    await items.delete(project, session, item, partial(without_item, name, _base(item)))


def without_item(name: str, base: str, message: Message) -> Message | None:
    """The message without the item `name`; None when it says nothing any more."""
    places: Mapping[str, tuple[int, ...]]
    match message.role:
        case Role.ASSISTANT:
            places = item_places(base, message.parts)
        case Role.TOOL:
            parts = enumerate(message.parts)
            places = {output_id(base, index): (index,) for index, part in parts if isinstance(part, ToolResult)}
        case Role.USER | Role.SYSTEM:
            places = {f"msg_{base}": tuple(range(len(message.parts)))}
    if name not in places:
        raise _unknown(None)
    if len(places) == 1:
        return None
    gone = places[name]
    # One part stands for all that an item was made of: the numbers of those behind it stay as they are.
    parts = [REMOVED if index == gone[0] else part for index, part in enumerate(message.parts) if index not in gone[1:]]
    return msgspec.structs.replace(message, parts=tuple(parts))


async def _message_of(reader: ItemReader, project: ProjectId, session: SessionId, name: str, param: str | None) -> Item:
    message = await reader.one(project, session, _named(name, param))
    if message.branch != MAIN_BRANCH:
        raise _unknown(param)
    return message


def _behind(listed: Sequence[ListedItem], after: str) -> list[ListedItem]:
    for place, item in enumerate(listed):
        if item.id == after:
            return list(listed[place + 1 :])
    raise _unknown("after")


def _named(name: str, param: str | None) -> ItemId:
    """The id of the message that the item is part of. Raises `NotFound` for what cannot be an item's id."""
    found = _ID.fullmatch(name)
    if found is None:
        raise _unknown(param)
    return ItemId(_PREFIX + found[1])


def _base(item: ItemId) -> str:
    return item.removeprefix(_PREFIX)


def _unknown(param: str | None) -> NotFound:
    where = f"{param}: there" if param else "There"
    return NotFound(f"{where} is no item with this id in the conversation.", param=param)


def _page(items: Sequence[ListedItem], *, more: bool) -> ResponseItemList:
    return ResponseItemList(
        data=tuple(items),
        first_id=items[0].id if items else "",
        last_id=items[-1].id if items else "",
        has_more=more,
    )


__all__ = ["delete_item", "list_items", "one_item", "whole_list", "wire_items", "without_item"]
