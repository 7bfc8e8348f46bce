"""What was stored comes back as it was, in pages of either direction, and unreadable rather than changed."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from bedplate_core.errors import InvalidRequest, NotFound
from bedplate_core.events import PartEnd, PartStart
from bedplate_core.ids import ItemId, SessionId, new_project_id
from bedplate_core.messages import (
    Audio,
    Document,
    GuardContent,
    Image,
    MediaBytes,
    MediaUrl,
    Message,
    Part,
    Role,
    Text,
    ToolResult,
    Video,
)
from bedplate_core.requests import Request
from bedplate_core.usage import Usage
from bedplate_sessions.item_rows import BLOB_BYTES
from bedplate_sessions.items import Item
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.session import NewSession
from bedplate_sessions.store import Sessions
from bedplate_sessions.turn_options import TurnOptions
from tests.fixtures.sessions import Answer, Store, ask, finish, interrupted, start, texts, turn

pytestmark = pytest.mark.anyio


async def long_session(store: Store, turns: int) -> SessionId:
    session = await turn(store, None, "0", "answer 0")
    for number in range(1, turns):
        await turn(store, session, f"{number}", f"answer {number}")
    return session


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
async def test_pages_put_together_are_the_whole_whatever_lies_in_between(
    tenant: Store, newest_first: bool, limit: int
) -> None:
    session = await long_session(tenant, 2)
    await interrupted(tenant, session, "dropped", "half")
    await turn(tenant, session, "2", "answer 2")
    items = await tenant.all_items(session)
    await turn(tenant, session, "else", "where", options=TurnOptions(fork_at=items[4].id))
    whole = await tenant.all_items(session, 1)
    assert len(whole) == 7
    read: list[Item] = []
    more = True
    while more:
        place = {"before_seq": read[-1].seq} if newest_first and read else {"after_seq": read[-1].seq if read else 0}
        page = await tenant.sessions.reader.page(
            tenant.project, session, branch=1, limit=limit, newest_first=newest_first, **place
        )
        assert len(page.items) == limit or not page.has_more
        read += page.items
        more = page.has_more
    assert tuple(reversed(read) if newest_first else read) == tuple(whole)


async def test_a_page_lies_between_its_two_ends(tenant: Store) -> None:
    session = await long_session(tenant, 3)
    items = await tenant.all_items(session)
    read = tenant.sessions.reader.page
    for newest_first in (False, True):
        page = await read(tenant.project, session, after_seq=1, before_seq=5, limit=10, newest_first=newest_first)
        assert sorted(page.items, key=lambda item: item.seq) == list(items[1:4])
        for after, before in ((5, 5), (6, None), (0, 1), (99, None), (0, -3)):
            page = await read(
                tenant.project, session, after_seq=after, before_seq=before, limit=10, newest_first=newest_first
            )
            assert (page.items, page.has_more) == ((), False)
    for limit in (0, 1001):
        with pytest.raises(ValueError, match="limit"):
            await read(tenant.project, session, limit=limit)


async def test_one_item_is_found_in_any_branch_of_its_own_session_only(tenant: Store) -> None:
    session = await turn(tenant, None, "0", "answer 0")
    items = await tenant.all_items(session)
    await turn(tenant, session, "else", "where", options=TurnOptions(fork_at=items[0].id))
    other = await turn(tenant, None, "x", "y")
    foreign = Store(tenant.config, new_project_id())
    one = tenant.sessions.reader.one
    for branch in (0, 1):
        for item in await tenant.all_items(session, branch):
            assert await one(tenant.project, session, item.id) == item
            said = set[str]()
            with pytest.raises(NotFound) as refused:
                await one(tenant.project, other, item.id)
            said.add(refused.value.message)
            with pytest.raises(NotFound) as refused:
                await one(tenant.project, session, ItemId("item_" + "0" * 32))
            said.add(refused.value.message)
            assert len(said) == 1
            with pytest.raises(NotFound):
                await foreign.sessions.reader.one(foreign.project, session, item.id)
    await foreign.aclose()


async def test_an_answer_has_its_usage_and_every_item_its_turn(tenant: Store) -> None:
    session = await turn(tenant, None, ask("a", "b"), "c")
    items = await tenant.all_items(session)
    assert [item.usage for item in items] == [None, None, Usage(input_tokens=1, output_tokens=1)]
    assert {item.invocation_id for item in items} == {items[0].call_id.removeprefix("req_")}
    assert [item.pinned for item in items] == [False] * 3


# Media ----------------------------------------------------------------------------------------------------------------


def media(size: int) -> MediaBytes:
    return MediaBytes(data=os.urandom(size), media_type="image/png")


BIG = BLOB_BYTES + 1


def every_kind() -> tuple[Part, ...]:
    """Large and small media in every part that can hold some."""
    return (
        Text(text="look"),
        Image(media=media(BIG)),
        Image(media=media(BLOB_BYTES)),
        Image(media=MediaUrl(url="https://example.com/a.png", media_type="image/png")),
        Audio(media=MediaBytes(data=os.urandom(BIG), media_type="audio/wav")),
        Video(media=MediaBytes(data=os.urandom(BIG), media_type="video/mp4")),
        Document(media=MediaBytes(data=os.urandom(BIG), media_type="application/pdf"), name="d"),
        GuardContent(content=Image(media=media(BIG))),
        Image(media=MediaBytes(data=os.urandom(1), media_type="image/png")),
    )


LARGE = 5


async def sizes(store: Store) -> list[int]:
    found = await store.run("select size_bytes from session_blob where project_id = :project", project=store.project)
    return [int(str(row[0])) for row in found]


async def test_large_media_are_kept_apart_and_come_back_as_they_were(tenant: Store) -> None:
    result = ToolResult(call_id="c", parts=(Image(media=media(BIG)), Text(text="r")))
    given = (
        Message(role=Role.USER, parts=every_kind()),
        Message(role=Role.TOOL, parts=(result,)),
    )
    session = await turn(tenant, None, Request(model="m", messages=given), "seen")
    assert sorted(await sizes(tenant)) == [BIG] * (LARGE + 1)
    items = await tenant.all_items(session)
    assert [item.message for item in items[:2]] == list(given)
    assert (await tenant.sessions.reader.one(tenant.project, session, items[0].id)).message == given[0]
    rows = await tenant.run("select sum(length(sealed)) from session_item where session_id = :session", session=session)
    assert int(str(rows[0][0])) < 2 * BLOB_BYTES
    opened = await tenant.open(session)
    assert opened.compose(ask("next")).messages[:2] == given
    await opened.aclose()
    await turn(tenant, session, "else", "where", options=TurnOptions(fork_at=items[1].id))
    assert [item.message for item in (await tenant.all_items(session, 1))[:2]] == list(given)
    assert len(await sizes(tenant)) == LARGE + 1, "a fork copies no media"
    await tenant.sessions.registry.delete(tenant.project, session)
    assert await sizes(tenant) == []


async def test_large_media_in_an_answer_whole_or_half_are_kept_as_well(tenant: Store) -> None:
    image = Image(media=media(BIG))
    events = (PartStart(0, 0, image), PartEnd(0, 0))
    session = await turn(tenant, None, "draw", Answer((start(),), events, (finish(),)))
    assert (await tenant.all_items(session))[1].message.parts == (image,)
    opened = await tenant.open(session)
    await opened.begin(opened.compose(ask("again")))
    await opened.break_off([image])
    await opened.aclose()
    assert (await tenant.all_items(session))[3].message.parts == (image,)


async def test_a_client_cannot_name_what_is_kept_apart(tenant: Store) -> None:
    """An address of the inner kind, sent by a client, never becomes another item's bytes."""
    secret = Image(media=media(BIG))
    session = await turn(tenant, None, Request(model="m", messages=(Message(role=Role.USER, parts=(secret,)),)), "seen")
    blob = str((await tenant.run("select id from session_blob where session_id = :session", session=session))[0][0])
    forged = Message(
        role=Role.USER, parts=(Image(media=MediaUrl(url=f"bedplate-blob:{blob}", media_type="image/png")),)
    )
    before = await tenant.rows()
    opened = await tenant.open(session)
    with pytest.raises(InvalidRequest, match="cannot be kept"):
        await opened.begin(opened.compose(Request(model="m", messages=(forged,))))
    await opened.aclose()
    assert await tenant.rows() == before


# Content that was tampered with ---------------------------------------------------------------------------------------


async def sealed(store: Store, table: str, session: SessionId) -> Sequence[tuple[str, bytes]]:
    rows = await store.run(f"select id, sealed from {table} where session_id = :session order by id", session=session)
    return [(str(name), content) for name, content in rows if isinstance(content, bytes)]


async def put(store: Store, table: str, session: SessionId, name: str, content: bytes) -> None:
    await store.run(
        f"update {table} set sealed = :content where session_id = :session and id = :name",
        session=session,
        name=name,
        content=content,
    )


async def test_content_is_encrypted(tenant: Store) -> None:
    picture = Image(media=MediaBytes(data=b"a picture of the mystery" * 4000, media_type="image/png"))
    asked = Message(role=Role.USER, parts=(Text(text="the mystery"), picture))
    session = await turn(tenant, None, Request(model="m", messages=(asked,)), "a mystery")
    for table in ("session_item", "session_blob"):
        for _, content in await sealed(tenant, table, session):
            assert content[:1] == b"\x01"
            assert b"mystery" not in content
    assert await tenant.run("select payload from session_item where session_id = :session", session=session) == [
        (None,),
        (None,),
    ]


@pytest.mark.parametrize("table", ["session_item", "session_blob"])
async def test_changed_or_moved_content_is_unreadable(tenant: Store, table: str) -> None:
    asked = Message(role=Role.USER, parts=(Image(media=media(BIG)), Image(media=media(BIG))))
    session = await turn(tenant, None, Request(model="m", messages=(asked,)), "seen")
    other = await turn(tenant, None, Request(model="m", messages=(asked,)), "seen")
    (first, content), (_, second) = await sealed(tenant, table, session)
    foreign = (await sealed(tenant, table, other))[0][1]
    for wrong in (
        content[:-1] + bytes([content[-1] ^ 1]),
        content[:20] + bytes([content[20] ^ 1]) + content[21:],
        content[:1] + bytes([content[1] ^ 1]) + content[2:],
        content[:-1],
        content[:5],
        second,
        foreign,
    ):
        await put(tenant, table, session, first, wrong)
        with pytest.raises(ContentUnreadable):
            await tenant.all_items(session)
        with pytest.raises(ContentUnreadable):
            await tenant.open(session)
        tenant.assert_nothing_is_held()
    await put(tenant, table, session, first, content)
    assert (await tenant.all_items(session))[0].message == asked


async def test_a_blob_that_is_missing_makes_its_message_unreadable(tenant: Store) -> None:
    asked = Message(role=Role.USER, parts=(Image(media=media(BIG)),))
    session = await turn(tenant, None, Request(model="m", messages=(asked,)), "seen")
    await tenant.run("delete from session_blob where session_id = :session", session=session)
    with pytest.raises(ContentUnreadable):
        await tenant.all_items(session)


async def test_sessions_from_before_encryption_stay_readable_and_go_on(tenant: Store) -> None:
    plain = DataKeys(tenant.database, None)
    sessions = Sessions(tenant.database, tenant.locks, plain)
    encrypting, tenant.sessions = tenant.sessions, sessions
    session = (await sessions.registry.create(tenant.project, tenant.key, NewSession())).id
    await turn(tenant, session, "0", "answer 0")
    tenant.sessions = encrypting
    await turn(tenant, session, "1", "answer 1")
    assert texts(await tenant.all_items(session)) == [
        ("user", "0"),
        ("assistant", "answer 0"),
        ("user", "1"),
        ("assistant", "answer 1"),
    ]
