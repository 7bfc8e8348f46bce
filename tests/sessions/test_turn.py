"""What a turn promises: history in front, input stored before a model is asked, the answer before its end is shown,
once, and only for its own project.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bedplate_core.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable, UnsupportedFeature
from bedplate_core.events import PartEnd, PartStart, StopReason
from bedplate_core.ids import SessionId, new_call_id, new_project_id, new_session_id
from bedplate_core.messages import Message, Reasoning, Role, Signature, Text, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_core.response import collect
from bedplate_sessions.items import ItemStatus
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Answer, Store, answer, ask, end, finish, message, start, texts, turn

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
    read = store.sessions.reader.page
    first = await read(store.project, session, limit=3)
    rest = await read(store.project, session, limit=3, after_seq=first.items[-1].seq)
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
        await opened.begin(ask("x"))
    request = opened.compose(ask("x"))
    response = await collect(answer("y"))
    with pytest.raises(RuntimeError):
        opened.ending(response)
    await opened.begin(request)
    opened.ending(response)
    await opened.aclose()


async def test_an_empty_session_and_an_empty_request_have_nothing_to_answer(store: Store) -> None:
    opened = await store.open(None)
    for request in (Request(model="m", messages=()), ask(system("be brief"))):
        with pytest.raises(InvalidRequest) as refused:
            opened.compose(request)
        assert refused.value.param == "messages"
    await opened.aclose()


async def test_a_turn_without_new_messages_answers_what_is_there(store: Store) -> None:
    session = await turn(store, None, "one", "1")
    await turn(store, session, Request(model="m", messages=()), "1 again")
    await turn(store, session, ask(system("be brief")), "1 brief")
    assert texts(await store.all_items(session)) == [
        ("user", "one"),
        ("assistant", "1"),
        ("assistant", "1 again"),
        ("system", "be brief"),
        ("assistant", "1 brief"),
    ]


async def test_an_unknown_session_and_another_projects_look_the_same(
    store: Store, database_config: DatabaseConfig
) -> None:
    session = await turn(store, None, "one", "answer")
    other = Store(database_config, new_project_id())
    said = set[str]()
    for name in (session, new_session_id(), SessionId("' or true --"), SessionId("")):
        with pytest.raises(NotFound) as refused:
            await other.sessions.registry.get(other.project, name)
        said.add(refused.value.message)
        with pytest.raises(NotFound) as refused:
            await other.open(name)
        said.add(refused.value.message)
        with pytest.raises(NotFound) as refused:
            await other.all_items(name)
        said.add(refused.value.message)
    assert len(said) == 1
    assert (await store.sessions.registry.get(store.project, session)).id == session
    other.assert_nothing_is_held()
    await other.aclose()


async def test_the_input_is_durable_before_the_answer_and_the_answer_when_its_write_is(store: Store) -> None:
    opened = await store.open(None)
    with pytest.raises(NotFound):
        await store.sessions.registry.get(store.project, opened.session_id)
    request = opened.compose(ask("one"))
    await opened.begin(request)
    assert texts(await store.all_items(opened.session_id)) == [("user", "one")]
    writes = opened.ending(await collect(answer("1")))
    assert len(await store.all_items(opened.session_id)) == 1
    await store.sessions.durable.commit(store.project, writes, what="this turn")
    assert texts(await store.all_items(opened.session_id)) == [("user", "one"), ("assistant", "1")]
    await opened.aclose()


async def test_a_new_session_whose_input_was_blocked_is_there_and_empty(store: Store) -> None:
    opened = await store.open(None)
    opened.compose(ask("one"))
    await opened.establish()
    await opened.aclose()
    assert await store.all_items(opened.session_id) == ()
    await turn(store, opened.session_id, "two", "2")
    assert texts(await store.all_items(opened.session_id)) == [("user", "two"), ("assistant", "2")]


async def test_a_turn_that_never_began_leaves_nothing_at_all(store: Store) -> None:
    opened = await store.open(None)
    opened.compose(ask("one"))
    await opened.aclose()
    await opened.aclose()
    with pytest.raises(NotFound):
        await store.sessions.registry.get(store.project, opened.session_id)
    session = await turn(store, None, "one", "1")
    opened = await store.open(session)
    opened.compose(ask("two"))
    await opened.aclose()
    assert len(await store.all_items(session)) == 2
    assert await store.run("select count(*) from session_key where owner <> :owner", owner=session) == [(0,)]


async def test_a_second_turn_waits_for_the_first_or_gets_a_conflict(store: Store) -> None:
    session = await turn(store, None, "one", "1")
    opened = await store.open(session)
    with pytest.raises(Conflict):
        await store.open(session, wait_s=0.1)
    waiting = asyncio.create_task(turn(store, session, "three", "3"))
    await asyncio.sleep(0.05)
    await opened.begin(opened.compose(ask("two")))
    await end(store, opened, "2")
    assert not waiting.done()
    await opened.aclose()
    await waiting
    assert [text for _, text in texts(await store.all_items(session))] == ["one", "1", "two", "2", "three", "3"]


def cut_locks(server: PostgresServer, store: Store) -> None:
    """Take the lock connection away; its holders are not told."""
    server.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bedplate locks' "
        f"and datname = '{store.database_name}'"
    )


@pytest.mark.parametrize("begun", [False, True], ids=["before it began", "after it began"])
@pytest.mark.parametrize("other_ends", [False, True], ids=["other under way", "other ended"])
async def test_a_turn_whose_lock_was_lost_cannot_overwrite_the_one_that_came_between(
    store: Store, postgres_server: PostgresServer, begun: bool, other_ends: bool
) -> None:
    session = await turn(store, None, "one", "1")
    slow = await store.open(session)
    request = slow.compose(ask("slow"))
    if begun:
        await slow.begin(request)
    cut_locks(postgres_server, store)
    other = Store(store.config, store.project)
    quick = await other.open(session)
    await quick.begin(quick.compose(ask("quick")))
    if other_ends:
        await end(other, quick, "quick")
    late = end(store, slow, "slow") if begun else slow.begin(request)
    with pytest.raises(Conflict, match="not stored"):
        await late
    if begun:
        with pytest.raises(Conflict):
            await slow.break_off([Text(text="half")])
    await slow.aclose()
    if not other_ends:
        await end(other, quick, "quick")
    await quick.aclose()
    assert [text for _, text in texts(await store.all_items(session))] == ["one", "1", "quick", "quick"]
    other.assert_nothing_is_held()
    await other.aclose()


async def test_what_a_newer_version_wrote_is_not_guessed_at(store: Store, postgres_server: PostgresServer) -> None:
    session = await turn(store, None, "one", "1")
    postgres_server.run("update session_item set schema_version = 99", database=store.database_name)
    with pytest.raises(StoreUnavailable, match="newer version"):
        await store.open(session)
    with pytest.raises(StoreUnavailable, match="newer version"):
        await store.all_items(session)
    store.assert_nothing_is_held()
