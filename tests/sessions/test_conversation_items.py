"""What adding items without a model and deleting items promise: once, in order, never over a turn, and for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bedplate_core.errors import Conflict, NotFound, StoreUnavailable
from bedplate_core.ids import ItemId, SessionId, new_call_id, new_item_id, new_project_id, new_session_id
from bedplate_core.messages import Image, MediaBytes, Message, Role, Text, ToolCall, ToolResult
from bedplate_sessions.conversation_items import REMOVED, ConversationItems
from bedplate_sessions.items import Item, ItemStatus
from bedplate_sessions.session import Face, NewSession
from bedplate_store.database import CommitUncertain
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.sessions import Store, ask, end, message, texts, turn

pytestmark = pytest.mark.anyio

CANARY = "canary-7c1e"
BIG = 100_000


def items_of(store: Store) -> ConversationItems:
    return ConversationItems(store.database, store.locks, store.keys, store.sessions)


async def create(store: Store, *contents: str | Message) -> SessionId:
    messages = [message(each) if isinstance(each, str) else each for each in contents]
    new = NewSession(face=Face.CONVERSATION)
    return (await items_of(store).create(store.project, store.key, new, messages, call=new_call_id())).id


async def append(store: Store, session: SessionId, *contents: str | Message, wait_s: float = 5.0) -> Sequence[Item]:
    messages = [message(each) if isinstance(each, str) else each for each in contents]
    return await items_of(store).append(store.project, session, messages, call=new_call_id(), wait_s=wait_s)


async def delete(
    store: Store, session: SessionId, item: ItemId, without: Callable[[Message], Message | None] = lambda _: None
) -> None:
    await items_of(store).delete(store.project, session, item, without)


async def rows(store: Store, statement: str, **values: object) -> list[dict[str, object]]:
    async with store.database.transaction(store.project) as connection:
        return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]


async def test_a_conversation_is_made_with_its_items_and_goes_on_as_a_session(store: Store) -> None:
    session = await create(store, message("be brief", Role.SYSTEM), "one", message("1", Role.ASSISTANT))
    found = await store.sessions.registry.get(store.project, session)
    assert (found.face, found.idle_timeout_s, found.expires_at) == (Face.CONVERSATION, None, None)
    await turn(store, session, "two", "2")
    added = await append(store, session, "three", message("3", Role.ASSISTANT))
    assert [(item.seq, item.status) for item in added] == [(6, ItemStatus.COMPLETED), (7, ItemStatus.COMPLETED)]
    opened = await store.open(session)
    composed = opened.compose(ask("four"))
    await opened.aclose()
    said = [("system", "be brief"), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]
    said += [("user", "three"), ("assistant", "3")]
    assert texts(await store.all_items(session)) == said
    assert [(each.role.value, each.text) for each in composed.messages] == [*said, ("user", "four")]


async def test_each_append_is_an_invocation_of_its_own(store: Store) -> None:
    session = await create(store, "one")
    [item] = await append(store, session, "two")
    found = await rows(store, "select id, number, call_id from session_invocation where session_id = :s", s=session)
    assert {row["number"] for row in found} == {1, 2}
    assert {"id": item.invocation_id, "number": 2, "call_id": item.call_id} in found


async def test_an_empty_conversation_has_no_items_and_no_invocation(store: Store) -> None:
    session = await create(store)
    assert await store.all_items(session) == ()
    assert await rows(store, "select 1 from session_invocation where session_id = :s", s=session) == []


async def test_an_append_waits_for_the_turn_that_is_running(store: Store) -> None:
    session = await create(store, "one")
    opened = await store.open(session)
    await opened.begin(opened.compose(ask("two")))
    waiting = asyncio.create_task(append(store, session, "three"))
    with pytest.raises(Conflict):
        await append(store, session, "never", wait_s=0.05)
    await end(store, opened, "2")
    await opened.aclose()
    await waiting
    assert texts(await store.all_items(session))[1:] == [("user", "two"), ("assistant", "2"), ("user", "three")]


async def test_an_append_whose_lock_was_lost_is_not_stored_over_a_turn(store: Store) -> None:
    session = await create(store, "one")
    items = items_of(store)
    commit = store.sessions.durable.commit
    other = Store(store.config, store.project)

    async def late(*given: object, **named: object) -> None:
        store.sessions.durable.commit = commit  # type: ignore[method-assign]
        await store.locks.aclose()  # its lock is free, and nobody has told it
        await turn(other, session, "two", "2")
        await commit(*given, **named)  # type: ignore[arg-type]

    store.sessions.durable.commit = late  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="gone on"):
        await items.append(store.project, session, [message("lost")], call=new_call_id(), wait_s=1.0)
    await other.aclose()
    assert texts(await store.all_items(session)) == [("user", "one"), ("user", "two"), ("assistant", "2")]


async def test_an_append_drops_a_turn_that_broke_off(store: Store) -> None:
    session = await create(store, "one")
    opened = await store.open(session)
    await opened.begin(opened.compose(ask("lost question")))
    await opened.break_off((Text(text="half an ans"),))
    await opened.aclose()
    [half] = [item for item in await store.all_items(session) if item.status is ItemStatus.INCOMPLETE]
    assert half.message.text == "half an ans"
    [added] = await append(store, session, "two")
    assert texts(await store.all_items(session)) == [("user", "one"), ("user", "two")]
    assert added.parent_seq == 1
    again = await store.open(session)
    assert [each.text for each in again.compose(ask("three")).messages] == ["one", "two", "three"]
    await again.aclose()


async def test_no_turn_is_open_after_an_append(store: Store) -> None:
    session = await create(store, "one")
    await append(store, session, "two")
    [row] = await rows(
        store, "select turn_call, turn_from, turn_input, head from session_branch where session_id = :s", s=session
    )
    assert row == {"turn_call": None, "turn_from": None, "turn_input": None, "head": 2}


@pytest.mark.parametrize("committed", [True, False])
async def test_an_append_whose_commit_is_in_doubt_is_there_once(
    store: Store, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await create(store, "one")
    transaction = type(store.database).transaction
    doubts = [True]

    @asynccontextmanager
    async def in_doubt(self: Any, project: Any) -> Any:
        failed = False
        try:
            async with transaction(self, project) as connection:
                yield connection
                written = await connection.execute(text("select pg_current_xact_id_if_assigned() is not null"))
                if doubts and written.scalar_one():
                    doubts.clear()
                    failed = True
                    if not committed:
                        raise _Rollback
        except _Rollback:
            pass
        if failed:
            raise CommitUncertain("lost")

    monkeypatch.setattr(type(store.database), "transaction", in_doubt)
    added = await append(store, session, "two", "three")
    assert not doubts
    assert texts(added) == [("user", "two"), ("user", "three")]
    assert texts(await store.all_items(session)) == [("user", "one"), ("user", "two"), ("user", "three")]


class _Rollback(Exception):
    pass


@pytest.mark.parametrize("by_scope", [True, False])
async def test_a_cancelled_append_leaves_all_or_nothing_and_no_lock(store: Store, by_scope: bool) -> None:
    session = await create(store, "zero")
    point, reached = 0, True
    while reached:
        before = len(await store.all_items(session))
        reached = await run_cancelled(append(store, session, "a", "b"), point, by_scope=by_scope)
        assert len(await store.all_items(session)) - before in (0, 2)
        store.assert_nothing_is_held()
        point += 1
    assert point > 5


async def test_concurrent_appends_of_two_gateways_are_all_there_and_whole(store: Store) -> None:
    session = await create(store)
    other = Store(store.config, store.project)
    await asyncio.gather(
        *(append(each, session, f"{name}a", f"{name}b") for each in (store, other) for name in map(str, range(5)))
    )
    await other.aclose()
    said = [item.message.text for item in await store.all_items(session)]
    assert len(said) == 20
    assert all((first[:-1], first[-1], second[-1]) == (second[:-1], "a", "b") for first, second in pairs(said))


def pairs(said: Sequence[str]) -> Sequence[tuple[str, str]]:
    return list(zip(said[::2], said[1::2], strict=True))


@pytest.mark.parametrize("state", ["ended", "expired", "held"])
async def test_what_can_only_be_read_stays_as_it_is(store: Store, state: str) -> None:
    session = await create(store, "one")
    [item] = await store.all_items(session)
    change = {
        "ended": "ended_at = now()",
        "expired": "expires_at = now() - interval '1 s'",
        "held": "legal_hold = true",
    }[state]
    await rows(store, f"update session set {change} where id = :s returning 1", s=session)
    with pytest.raises(Conflict):
        await delete(store, session, item.id)
    if state == "held":
        await append(store, session, "two")
    else:
        with pytest.raises(Conflict):
            await append(store, session, "two")
    assert (await store.all_items(session))[0].message.text == "one"


async def test_another_projects_sessions_and_items_are_unknown(store: Store) -> None:
    session = await create(store, "one")
    [item] = await store.all_items(session)
    stranger = Store(store.config, new_project_id())
    mine = await create(stranger, "mine")
    for attempt in (
        append(stranger, session, "x"),
        append(stranger, new_session_id(), "x"),
        delete(stranger, session, item.id),
        delete(stranger, mine, item.id),
        delete(stranger, mine, new_item_id()),
    ):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert session not in caught.value.message
    assert len(stranger.locks) == 0
    await stranger.aclose()
    assert texts(await store.all_items(session)) == [("user", "one")]


async def test_a_deleted_item_is_destroyed_and_no_model_is_told_of_it(store: Store) -> None:
    picture = Image(media=MediaBytes(data=CANARY.encode() * BIG, media_type="image/png"))
    session = await create(store, "one", Message(role=Role.USER, parts=(Text(text=CANARY), picture)), "three")
    [_, item, _] = await store.all_items(session)
    assert len(await rows(store, "select id from session_blob where session_id = :s", s=session)) == 1
    before = await store.sessions.registry.get(store.project, session)
    await delete(store, session, item.id)
    [row] = await rows(
        store, "select sealed, payload, deleted_at from session_item where session_id = :s and id = :i",
        s=session, i=item.id,
    )  # fmt: skip
    assert (row["sealed"], row["payload"]) == (None, None)
    assert row["deleted_at"] is not None
    assert await rows(store, "select id from session_blob where session_id = :s", s=session) == []
    assert texts(await store.all_items(session)) == [("user", "one"), ("user", "three")]
    with pytest.raises(NotFound):
        await delete(store, session, item.id)
    opened = await store.open(session)
    assert [each.text for each in opened.compose(ask("four")).messages] == ["one", "three", "four"]
    await opened.aclose()
    assert (await store.sessions.registry.get(store.project, session)).updated_at > before.updated_at


async def test_a_deleted_part_leaves_the_others_and_their_media(store: Store) -> None:
    first, second = (Image(media=MediaBytes(data=each * BIG, media_type="image/png")) for each in (b"1", b"2"))
    results = tuple(ToolResult(call_id=name, parts=(each,)) for name, each in (("a", first), ("b", second)))
    calls = tuple(ToolCall(id=name, name="f", arguments=CANARY) for name in "ab")
    session = await create(
        store, "q", Message(role=Role.ASSISTANT, parts=calls), Message(role=Role.TOOL, parts=results)
    )
    [_, asked, answered] = await store.all_items(session)

    def without_first(given: Message) -> Message:
        return msgspec.structs.replace(given, parts=(REMOVED, *given.parts[1:]))

    await delete(store, session, asked.id, without_first)
    await delete(store, session, answered.id, without_first)
    [_, asked, answered] = await store.all_items(session)
    assert asked.message.parts == (REMOVED, calls[1])
    assert answered.message.parts == (REMOVED, results[1])
    left = await rows(store, "select id from session_blob where session_id = :s", s=session)
    assert [row["id"] for row in left] == [f"{answered.id}.1"]


async def test_nothing_is_deleted_when_the_callers_choice_raises(store: Store) -> None:
    session = await create(store, "one")
    [item] = await store.all_items(session)
    before = await store.sessions.registry.get(store.project, session)

    def refuse(_: Message) -> Message:
        raise NotFound("no such part")

    with pytest.raises(NotFound, match="no such part"):
        await delete(store, session, item.id, refuse)
    assert texts(await store.all_items(session)) == [("user", "one")]
    assert await store.sessions.registry.get(store.project, session) == before


async def test_items_of_a_branch_that_parted_and_of_dropped_turns_cannot_be_deleted(store: Store) -> None:
    session = await create(store, "one")
    opened = await store.open(session)
    await opened.begin(opened.compose(ask("dropped")))
    await opened.aclose()
    [_, dropped] = await store.all_items(session)
    [two] = await append(store, session, "two")
    with pytest.raises(NotFound):
        await delete(store, session, dropped.id)
    assert two.branch == 0


async def test_rows_hold_no_content_in_the_clear(store: Store) -> None:
    session = await create(store, CANARY)
    await append(store, session, CANARY)
    connection_rows = await rows(
        store, "select item::text as row from session_item item where session_id = :s", s=session
    )
    hexed = CANARY.encode().hex()
    assert len(connection_rows) == 2
    assert all(CANARY not in str(row["row"]) and hexed not in str(row["row"]) for row in connection_rows)


async def test_when_postgres_is_away_nothing_is_said_to_be_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await create(store, "one")

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.sessions.durable, "commit", away)
    with pytest.raises(StoreUnavailable):
        await append(store, session, "two")
    store.assert_nothing_is_held()


STEPS = st.lists(st.one_of(st.integers(1, 4), st.just("delete"), st.just("turn")), max_size=6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_order_and_numbers_hold_whatever_is_added_and_deleted(store: Store, steps: list[int | str]) -> None:
    session = await create(store)
    expected: list[str] = []
    numbers: list[int] = []
    for count, step in enumerate(steps):
        if step == "delete":
            items = await store.all_items(session)
            if items:
                place = count % len(items)
                await delete(store, session, items[place].id)
                del expected[place]
        elif step == "turn":
            await turn(store, session, f"q{count}", f"a{count}")
            expected += [f"q{count}", f"a{count}"]
        else:
            added = await append(store, session, *(f"{count}.{each}" for each in range(int(step))))
            expected += [item.message.text for item in added]
        numbers += [item.seq for item in await store.all_items(session) if item.seq not in numbers]
        assert [item.message.text for item in await store.all_items(session)] == expected
    assert numbers == sorted(set(numbers))
