"""What a turn promises: history in front, stored before Finish, once, and only for its own project."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bedplate_core.errors import Conflict, NotFound, StoreUnavailable, UnsupportedFeature, UpstreamProtocolError
from bedplate_core.events import Finish, PartEnd, PartStart, StopReason
from bedplate_core.ids import SessionId, new_call_id, new_project_id, new_session_id
from bedplate_core.messages import Message, Reasoning, Role, Signature, Text, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_sessions.items import ItemStatus
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Answer, Store, answer, ask, finish, message, spoken, start, texts, turn

pytestmark = pytest.mark.anyio


async def composed(store: Store, session: SessionId, request: Request) -> list[tuple[str, str]]:
    opened = await store.open(session)
    try:
        return [(each.role.value, each.text) for each in opened.compose(request).messages]
    finally:
        await opened.aclose()


async def test_the_second_turn_sees_the_first(store: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    assert await composed(store, session, ask("two")) == [
        ("user", "one"),
        ("assistant", "answer one"),
        ("user", "two"),
    ]


async def test_items_are_numbered_and_say_where_they_come_from(store: Store) -> None:
    call = new_call_id()
    session = await turn(store, None, "one", "answer one", call=call)
    await turn(store, session, "two", answer("answer two", StopReason.LENGTH))
    items = await store.all_items(session)
    assert [item.seq for item in items] == [1, 2, 3, 4]
    assert [item.stop_reason for item in items] == [None, StopReason.END, None, StopReason.LENGTH]
    assert [item.call_id == call for item in items] == [True, True, False, False]
    assert {item.status for item in items} == {ItemStatus.COMPLETED}
    assert len({item.id for item in items}) == 4


async def test_items_come_in_pages(store: Store) -> None:
    session = await turn(store, None, ask("a", "b", "c"), "d")
    read = store.sessions.items
    first = await read(project=store.project, session=session, limit=3)
    rest = await read(project=store.project, session=session, limit=3, after_seq=first.items[-1].seq)
    assert (texts(first.items), first.has_more) == ([("user", "a"), ("user", "b"), ("user", "c")], True)
    assert (texts(rest.items), rest.has_more) == ([("assistant", "d")], False)


async def test_every_kind_of_part_comes_back_as_it_was(store: Store) -> None:
    given = (
        Message(role=Role.USER, parts=(Text(text='quotes " and \\ and \x00 and \U0001f600'),), name="eve"),
        Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments='{"a": 1'),)),
        Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="r"),), is_error=True),)),
    )
    parts = (Reasoning(text="so", signature=Signature(origin="o", value="v")), ToolCall(id="d", name="g", arguments=""))
    events = [event for index, part in enumerate(parts) for event in (PartStart(0, index, part), PartEnd(0, index))]
    session = await turn(store, None, Request(model="m", messages=given), Answer((start(), *events, finish())))
    items = await store.all_items(session)
    assert tuple(item.message for item in items) == (*given, Message(role=Role.ASSISTANT, parts=parts))


async def test_an_answer_without_parts_and_one_cut_by_a_policy_are_stored_as_seen(store: Store) -> None:
    session = await turn(store, None, "one", Answer((start(), finish())))
    await turn(store, session, "two", answer("half of", StopReason.GUARDRAIL))
    items = await store.all_items(session)
    assert texts(items)[1::2] == [("assistant", ""), ("assistant", "half of")]
    assert items[3].stop_reason is StopReason.GUARDRAIL


def system(text: str) -> Message:
    return message(text, Role.SYSTEM)


async def test_a_system_message_holds_until_another_replaces_it(store: Store) -> None:
    session = await turn(store, None, ask(system("be brief"), "one"), "1")
    assert (await composed(store, session, ask("two")))[0] == ("system", "be brief")
    await turn(store, session, ask(system("be brief"), "two"), "2")
    await turn(store, session, ask(system("be long"), system("and kind"), "three"), "3")
    assert await composed(store, session, ask("four")) == [
        ("system", "be long"),
        ("system", "and kind"),
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
        ("assistant", "2"),
        ("user", "three"),
        ("assistant", "3"),
        ("user", "four"),
    ]
    assert [role for role, _ in texts(await store.all_items(session))].count("system") == 3


async def test_a_system_message_in_the_middle_keeps_its_place(store: Store) -> None:
    session = await turn(store, None, ask(system("first"), "one", system("mind this")), "1")
    assert await composed(store, session, ask("two")) == [
        ("system", "first"),
        ("user", "one"),
        ("system", "mind this"),
        ("assistant", "1"),
        ("user", "two"),
    ]


def mask(request: Request) -> Request:
    """What a masking policy does: every text is replaced, no message comes or goes."""
    return msgspec.structs.replace(
        request,
        messages=tuple(
            Message(role=each.role, parts=(Text(text=each.text.replace("secret", "***")),)) for each in request.messages
        ),
    )


async def test_what_is_stored_is_the_masked_request(store: Store) -> None:
    session = await turn(store, None, ask(system("secret rule"), "my secret"), "fine", masked=mask)
    await turn(store, session, ask(system("secret rule"), "more secret"), "fine", masked=mask)
    assert texts(await store.all_items(session)) == [
        ("system", "*** rule"),
        ("user", "my ***"),
        ("assistant", "fine"),
        ("user", "more ***"),
        ("assistant", "fine"),
    ]


async def test_a_turn_is_one_chat_with_one_choice(store: Store) -> None:
    opened = await store.open(None)
    with pytest.raises(UnsupportedFeature) as refused:
        opened.compose(Request(model="m", prompts=("raw",)))
    assert refused.value.param == "prompt"
    with pytest.raises(UnsupportedFeature) as refused:
        opened.compose(Request(model="m", messages=(message("x"),), choices=2))
    assert refused.value.param == "n"
    with pytest.raises(RuntimeError):
        opened.follow(ask("x"), answer("y"))
    request = opened.compose(ask("x"))
    with pytest.raises(RuntimeError):
        opened.follow(ask("x", "y"), answer("y"))
    await opened.follow(request, answer("y")).aclose()
    with pytest.raises(RuntimeError):
        opened.follow(request, answer("y"))


async def test_an_unknown_session_and_another_projects_look_the_same(
    store: Store, database_config: DatabaseConfig
) -> None:
    session = await turn(store, None, "one", "answer")
    other = Store(database_config, new_project_id())
    said = set[str]()
    for name in (session, new_session_id(), SessionId("' or true --"), SessionId("")):
        assert not await other.sessions.exists(project=other.project, session=name)
        with pytest.raises(NotFound) as refused:
            await other.open(name)
        said.add(refused.value.message)
        with pytest.raises(NotFound) as refused:
            await other.all_items(name)
        said.add(refused.value.message)
    assert len(said) == 1
    assert await store.sessions.exists(project=store.project, session=session)
    other.assert_nothing_is_held()
    await other.aclose()


async def test_nothing_but_finish_waits_for_the_commit_and_finish_comes_after_it(store: Store) -> None:
    opened = await store.open(None)
    request = opened.compose(ask("one"))
    events = opened.follow(request, Answer((start(), *spoken("answer"), finish())))
    batch = await anext(events)
    assert list(batch) == [start(), *spoken("answer")]
    assert await store.all_items(opened.session_id) == ()
    assert list(await anext(events)) == [finish()]
    assert len(await store.all_items(opened.session_id)) == 2
    # The client may send its next turn the moment it has Finish, before anything is closed here.
    assert len(store.locks) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    await events.aclose()


async def test_a_finish_that_comes_alone_makes_no_empty_batch(store: Store) -> None:
    opened = await store.open(None)
    events = opened.follow(opened.compose(ask("one")), answer("answer"))
    batches = [list(batch) async for batch in events]
    assert batches == [[start()], list(spoken("answer")), [finish()]]
    await events.aclose()


async def test_an_answer_that_fails_or_is_left_is_not_stored_and_frees_the_session(store: Store) -> None:
    session = await turn(store, None, "one", "answer")
    broken = Answer((start(),), spoken("half"), error=UpstreamProtocolError("broke off"))
    with pytest.raises(UpstreamProtocolError):
        await turn(store, session, "two", broken)
    assert broken.closed
    opened = await store.open(session)
    left = answer("never read to the end")
    events = opened.follow(opened.compose(ask("two")), left)
    await anext(events)
    await events.aclose()
    assert left.closed
    store.assert_nothing_is_held()
    opened = await store.open(session)
    unread = answer("never read at all")
    await opened.follow(opened.compose(ask("two")), unread).aclose()
    assert unread.closed
    store.assert_nothing_is_held()
    opened = await store.open(session)
    await opened.aclose()
    await opened.aclose()
    store.assert_nothing_is_held()
    assert len(await store.all_items(session)) == 2


async def test_an_error_frees_the_session_before_the_stream_is_closed(store: Store) -> None:
    opened = await store.open(None)
    events = opened.follow(opened.compose(ask("two")), Answer((start(),), error=UpstreamProtocolError("x")))
    await anext(events)
    with pytest.raises(UpstreamProtocolError):
        await anext(events)
    assert len(store.locks) == 0
    await events.aclose()


async def test_a_second_turn_waits_for_the_first_or_gets_a_conflict(store: Store) -> None:
    session = await turn(store, None, "one", "1")
    opened = await store.open(session)
    with pytest.raises(Conflict):
        await store.open(session, wait_s=0.1)
    waiting = asyncio.create_task(turn(store, session, "three", "3"))
    await asyncio.sleep(0.05)
    events = opened.follow(opened.compose(ask("two")), answer("2"))
    assert isinstance([event async for batch in events for event in batch][-1], Finish)
    await waiting
    assert [text for _, text in texts(await store.all_items(session))] == ["one", "1", "two", "2", "three", "3"]
    await events.aclose()


async def test_a_turn_whose_lock_was_lost_cannot_overwrite_the_one_that_came_between(
    store: Store, postgres_server: PostgresServer
) -> None:
    session = await turn(store, None, "one", "1")
    slow = await store.open(session)
    events = slow.follow(slow.compose(ask("slow")), answer("slow"))
    postgres_server.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bedplate locks'"
    )
    other = Store(store.config, store.project)
    await turn(other, session, "quick", "quick")
    assert list(await anext(events)) == [start()]
    assert list(await anext(events)) == list(spoken("slow"))
    with pytest.raises(Conflict, match="not stored"):
        await anext(events)
    await events.aclose()
    assert [text for _, text in texts(await store.all_items(session))] == ["one", "1", "quick", "quick"]
    other.assert_nothing_is_held()
    await other.aclose()


async def test_what_a_newer_version_wrote_is_not_guessed_at(store: Store, postgres_server: PostgresServer) -> None:
    session = await turn(store, None, "one", "1")
    postgres_server.run("update session_item set schema_version = 99", database=store.database_name)
    with pytest.raises(StoreUnavailable, match="newer version"):
        await store.open(session)
    store.assert_nothing_is_held()
