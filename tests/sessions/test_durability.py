"""No acknowledged turn is lost and none is doubled: cancellations, crashes, lost acknowledgements, two
gateways.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, StoreUnavailable
from bedplate_core.ids import SessionId, new_project_id
from bedplate_core.messages import Text
from bedplate_core.response import collect
from bedplate_sessions.items import Item, ItemStatus
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import (
    Answer,
    LosesAcknowledgements,
    Store,
    answer,
    ask,
    end,
    interrupted,
    start,
    texts,
    turn,
)

pytestmark = pytest.mark.anyio

SLOW_COMMIT = (
    "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return null; end $$",
    "create constraint trigger slow after insert on session_item deferrable initially deferred "
    "for each row when (new.role = 'assistant') execute function slow()",
)


def assert_turns_are_whole(items: Sequence[Item]) -> Counter[str]:
    """Rising numbers, each item's parent the one before it, and each question directly before its own answer; how
    often each question is there. A last question whose turn is open is left out.
    """
    seqs = [item.seq for item in items]
    assert seqs == sorted(set(seqs))
    assert [item.parent_seq for item in items] == [None, *seqs][: len(seqs)]
    if items and items[-1].message.role.value == "user":
        items = items[:-1]
    elif items and items[-1].status is ItemStatus.INCOMPLETE:
        items = items[:-2]
    questions = Counter[str]()
    for question, reply in zip(items[::2], items[1::2], strict=True):
        assert (question.message.role, reply.message.role) == ("user", "assistant")
        assert question.call_id == reply.call_id
        assert reply.message.text == f"answer to {question.message.text}"
        assert (question.status, reply.status) == (ItemStatus.COMPLETED, ItemStatus.COMPLETED)
        questions[question.message.text] += 1
    return questions


def reply_to(question: str) -> str:
    return f"answer to {question}"


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_turn_may_be_cancelled_at_each_of_its_awaits(store: Store, by_scope: bool) -> None:
    session = await turn(store, None, "first", reply_to("first"))
    answered, finished = set[str](), set[str]()

    async def one(question: str) -> None:
        opened = await store.open(session)
        try:
            await opened.begin(opened.compose(ask(question)))
            response = await collect(answer(reply_to(question)))
            answered.add(question)
            await end(store, opened, response)
            finished.add(question)
        finally:
            await opened.aclose()

    point, reached = 0, True
    while reached:
        await store.all_items(session)  # a connection is there: making one would be further awaits
        reached = await run_cancelled(one(f"{point}"), point, by_scope=by_scope)
        store.assert_nothing_is_held()
        point += 1
    items = await store.all_items(session)
    questions = assert_turns_are_whole(items)
    assert point > 10, "a turn suspends more often than that"
    assert set(questions.values()) == {1}
    assert finished <= set(questions)
    # Once the answer is there its commit begins, and no cancellation stops it.
    assert answered == set(questions) - {"first"}
    assert finished <= answered
    assert items[-1].message.text == reply_to(f"{point - 1}")
    # What is not in the conversation was stored and dropped, or never stored: no third thing.
    rows = await store.run(
        "select status, count(*) from session_item where session_id = :session group by 1 order by 1", session=session
    )
    assert dict(rows)["completed"] == len(items)
    assert set(dict(rows)) == {"completed", "dropped"}


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_an_answer_that_breaks_off_may_be_cancelled_at_each_of_its_awaits(store: Store, by_scope: bool) -> None:
    point, reached = 0, True
    while reached:
        session = await turn(store, None, "first", reply_to("first"))
        reached = await run_cancelled(interrupted(store, session, "broken", "half"), point, by_scope=by_scope)
        store.assert_nothing_is_held()
        found = texts(await store.all_items(session))[2:]
        assert found in ([], [("user", "broken")], [("user", "broken"), ("assistant", "half")])
        await turn(store, session, "next", reply_to("next"))
        assert set(assert_turns_are_whole(await store.all_items(session))) == {"first", "next"}
        point += 1
    assert found[1:] == [("assistant", "half")]
    assert point > 10, "a turn suspends more often than that"


async def test_a_new_session_is_there_with_its_first_input_or_not_at_all(store: Store) -> None:
    point, reached = 0, True
    while reached:
        await store.run("select 1")  # a connection is there: making one would be further awaits
        reached = await run_cancelled(turn(store, None, "one", reply_to("one")), point, by_scope=False)
        store.assert_nothing_is_held()
        point += 1
    counts = await store.run(
        "select (select count(*) from session), (select count(*) from session_branch), (select count(*) from "
        "session_key), (select count(distinct session_id) from session_item), (select count(*) from session_invocation)"
    )
    assert len(set(counts[0])) == 1
    assert point > 7


async def test_a_cancellation_during_the_commit_does_not_undo_the_turn(
    store: Store, postgres_server: PostgresServer
) -> None:
    postgres_server.run(*SLOW_COMMIT, database=store.database_name)
    session = await store.create()
    opened = await store.open(session)
    await opened.begin(opened.compose(ask("one")))
    task = asyncio.create_task(end(store, opened, reply_to("one")))
    await asyncio.sleep(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.aclose()
    store.assert_nothing_is_held()
    assert len(assert_turns_are_whole(await store.all_items(session))) == 1


@pytest.fixture
async def losing(database_config: DatabaseConfig) -> AsyncIterator[tuple[Store, LosesAcknowledgements]]:
    """A store whose COMMITs can be lost."""
    database = LosesAcknowledgements(database_config)
    opened = Store(database_config, new_project_id(), database=database)
    yield opened, database
    database.lost = 0
    opened.assert_nothing_is_held()
    await opened.aclose()


@pytest.mark.parametrize("at", ["begin", "ending", "break off", "resume"])
async def test_a_commit_whose_acknowledgement_was_lost_is_not_doubled(
    losing: tuple[Store, LosesAcknowledgements], at: str
) -> None:
    store, database = losing
    session: SessionId | None = None
    for number in range(3):
        question = f"{number}"
        opened = await store.open(session)
        request = opened.compose(ask(question))
        database.lost = 2 if at == "begin" else 0
        await opened.begin(request)
        assert database.lost == 0
        session = opened.session_id
        if at in ("break off", "resume"):
            database.lost = 2 if at == "break off" else 0
            await opened.break_off([Text(text="half")])
            assert database.lost == 0
            await opened.aclose()
            call = (await store.all_items(session))[-1].call_id
            opened = await store.open(session, turn=call)
            request = opened.compose(ask(question))
            database.lost = 2 if at == "resume" else 0
            await opened.begin(request)
            assert database.lost == 0
        database.lost = 2 if at == "ending" else 0
        await end(store, opened, reply_to(question))
        assert database.lost == 0
        await opened.aclose()
    assert session is not None
    items = await store.all_items(session)
    assert texts(items) == [
        each for number in range(3) for each in (("user", f"{number}"), ("assistant", reply_to(f"{number}")))
    ]
    assert await store.run("select count(*) from session_invocation") == [(3,)]
    dropped = await store.run("select count(*) from session_item where status = 'dropped'")
    assert dropped == [(3 if at in ("break off", "resume") else 0,)]
    assert await store.run("select turn_call from session_branch") == [(None,)]


async def test_when_it_cannot_be_found_out_the_client_is_told_so(database_config: DatabaseConfig) -> None:
    database = LosesAcknowledgements(database_config)
    store = Store(database_config, new_project_id(), database=database, commit_deadline_s=0.3)
    session = await store.create()
    for at in ("begin", "ending"):
        opened = await store.open(session)
        request = opened.compose(ask("one"))
        if at == "ending":
            await opened.begin(request)
        response = await collect(answer("1"))
        work = opened.begin(request) if at == "begin" else end(store, opened, response)
        database.lost = 100
        with pytest.raises(StoreUnavailable, match="not known whether it is stored"):
            await work
        database.lost = 0
        await opened.aclose()
    assert texts(await store.all_items(session)) == [("user", "one"), ("assistant", "1")]
    await store.aclose()


async def test_a_commit_that_the_server_broke_off_is_made_again(store: Store, postgres_server: PostgresServer) -> None:
    postgres_server.run(*SLOW_COMMIT, database=store.database_name)
    session = await store.create()
    task = asyncio.create_task(turn(store, session, "one", reply_to("one")))
    terminate = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        f"where datname = '{store.database_name}' and query = 'COMMIT;' and state = 'active' and wait_event = 'PgSleep'"
    )
    broken: list[object] = []
    while not broken and not task.done():
        broken = await asyncio.to_thread(postgres_server.fetch, terminate)
    assert len(broken) == 1
    await task
    assert len(assert_turns_are_whole(await store.all_items(session))) == 1


class Failed(Exception):
    """What another write of the same transaction raises."""


@pytest.mark.parametrize("before", [False, True])
async def test_what_is_committed_with_an_answer_is_stored_with_it_or_neither_is(tenant: Store, before: bool) -> None:
    async def fail(connection: AsyncConnection) -> None:
        raise Failed

    session = await turn(tenant, None, "one", reply_to("one"))
    opened = await tenant.open(session)
    await opened.begin(opened.compose(ask("two")))
    writes = opened.ending(await collect(answer(reply_to("two"))))
    with pytest.raises(Failed):
        await tenant.sessions.durable.commit(tenant.project, (fail, *writes) if before else (*writes, fail), what="x")
    assert texts(await tenant.all_items(session))[2:] == [("user", "two")]
    assert await tenant.run("select turn_call is null, head from session_branch") == [(False, 3)]
    await tenant.sessions.durable.commit(tenant.project, writes, what="x")
    assert len(assert_turns_are_whole(await tenant.all_items(session))) == 2
    assert await tenant.run("select turn_call is null, head from session_branch") == [(True, 4)]
    await opened.aclose()


async def test_postgres_is_killed_during_commits(own_server: PostgresServer) -> None:
    """With the deadline of a turn longer than the outage, every turn that was answered is there once."""
    config = DatabaseConfig(url=own_server.url("postgres"), pool_size=4)
    store = Store(config, new_project_id(), commit_deadline_s=20.0)
    acknowledged: dict[SessionId, set[str]] = {}
    running = True

    async def converse(lane: int) -> None:
        session: SessionId | None = None
        number = 0
        while running:
            question = f"{lane}.{number}"
            number += 1
            try:
                session = await turn(store, session, question, reply_to(question), wait_s=1)
                acknowledged.setdefault(session, set()).add(question)
            except (StoreUnavailable, Conflict):
                await asyncio.sleep(0.05)

    lanes = [asyncio.create_task(converse(lane)) for lane in range(4)]
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.3, 0.6))
        own_server.signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
        own_server.restart()
    await asyncio.sleep(0.5)
    running = False
    await asyncio.gather(*lanes)
    assert sum(len(each) for each in acknowledged.values()) > 20
    for session, questions in acknowledged.items():
        found = assert_turns_are_whole(await store.all_items(session))
        assert max(found.values()) == 1
        assert questions <= set(found)
    store.assert_nothing_is_held()
    await store.aclose()


@pytest.mark.parametrize("at", ["begin", "ending"])
async def test_a_postgres_that_is_away_costs_the_turn_and_says_so(own_server: PostgresServer, at: str) -> None:
    config = DatabaseConfig(url=own_server.url("postgres"), pool_size=4, connect_timeout_s=0.3, statement_timeout_s=0.3)
    store = Store(config, new_project_id(), commit_deadline_s=0.5)
    session = await store.create()
    for how in (signal.SIGSTOP, signal.SIGKILL):
        opened = await store.open(session)
        request = opened.compose(ask("one"))
        if at == "ending":
            await opened.begin(request)
        response = await collect(answer("1"))
        work = opened.begin(request) if at == "begin" else end(store, opened, response)
        own_server.signal(how)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="this turn was not stored") as refused:
            await work
        assert time.monotonic() - began < 6
        assert refused.value.retry_after_s
        await opened.aclose()
        store.assert_nothing_is_held()
        own_server.signal(signal.SIGCONT)
    own_server.restart()
    # An input that was durable is still there, for the next turn to drop or to continue.
    assert texts(await store.all_items(session)) == ([("user", "one")] if at == "ending" else [])
    await turn(store, session, "two", reply_to("two"))
    assert texts(await store.all_items(session)) == [("user", "two"), ("assistant", reply_to("two"))]
    await store.aclose()


@pytest.mark.parametrize("seed", range(6))
async def test_any_interleaving_of_two_gateways_keeps_sessions_whole(
    database_config: DatabaseConfig, postgres_server: PostgresServer, seed: int
) -> None:
    """Random turns on two sessions from two gateways: some fail, some are cancelled, lock connections are
    cut.
    """
    choose = random.Random(seed)
    project = new_project_id()
    gateways = [Store(database_config, project) for _ in range(2)]
    sessions = [await gateways[0].create() for _ in range(2)]
    acknowledged: dict[SessionId, set[str]] = {session: set() for session in sessions}
    refused: set[str] = set()

    async def one(number: int) -> None:
        session, question = choose.choice(sessions), f"{number}"
        await asyncio.sleep(choose.uniform(0, 0.3))
        breaks = choose.random() < 0.2
        reply = Answer((start(),), error=StoreUnavailable("x")) if breaks else answer(reply_to(question))
        wait_s = choose.choice((0.05, 10.0))
        work = turn(choose.choice(gateways), session, question, reply, wait_s=wait_s)
        try:
            async with asyncio.timeout(choose.choice((0.02, 0.1, 30.0, 30.0))):
                await work
            acknowledged[session].add(question)
        except (Conflict, StoreUnavailable):
            refused.add(question)
        except TimeoutError:
            pass

    tasks = [asyncio.create_task(one(number)) for number in range(60)]
    for _ in range(3):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(
            postgres_server.run,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            f"where application_name = 'bedplate locks' and datname = '{gateways[0].database_name}'",
        )
    await asyncio.gather(*tasks)
    for session in sessions:
        found = assert_turns_are_whole(await gateways[0].all_items(session))
        assert set(found.values()) <= {1}
        assert acknowledged[session] <= set(found)
        assert not refused & set(found)
    assert sum(len(each) for each in acknowledged.values()) > 5
    for gateway in gateways:
        gateway.assert_nothing_is_held()
        await gateway.aclose()
