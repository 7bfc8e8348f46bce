"""No acknowledged turn is lost and none is doubled: cancellations, crashes, lost acknowledgements, two
gateways.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, StoreUnavailable
from bedplate_core.events import Finish
from bedplate_core.ids import ProjectId, SessionId, new_project_id
from bedplate_sessions.items import Item
from bedplate_sessions.store import Sessions
from bedplate_store.database import CommitUncertain, Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Answer, Store, answer, ask, finish, spoken, start, texts, turn

pytestmark = pytest.mark.anyio

SLOW_COMMIT = (
    "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return null; end $$",
    "create constraint trigger slow after insert on session_item deferrable initially deferred "
    "for each row when (new.role = 'assistant') execute function slow()",
)


def assert_turns_are_whole(items: Sequence[Item]) -> Counter[str]:
    """Numbers without gaps, and each question directly before its own answer; how often each question is
    there.
    """
    assert [item.seq for item in items] == list(range(1, len(items) + 1))
    assert len(items) % 2 == 0
    questions = Counter[str]()
    for question, reply in zip(items[::2], items[1::2], strict=True):
        assert (question.message.role, reply.message.role) == ("user", "assistant")
        assert question.call_id == reply.call_id
        assert reply.message.text == f"answer to {question.message.text}"
        questions[question.message.text] += 1
    return questions


def reply_to(question: str) -> str:
    return f"answer to {question}"


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_turn_may_be_cancelled_at_each_of_its_awaits(store: Store, by_scope: bool) -> None:
    session = await turn(store, None, "first", reply_to("first"))
    finished = set[str]()

    async def one(question: str) -> None:
        await turn(store, session, question, replies.setdefault(question, answer(reply_to(question))))
        finished.add(question)

    replies: dict[str, Answer] = {}
    point, reached = 0, True
    while reached:
        reached = await run_cancelled(one(f"{point}"), point, by_scope=by_scope)
        store.assert_nothing_is_held()
        point += 1
    questions = assert_turns_are_whole(await store.all_items(session))
    assert point > 10, "a turn suspends more often than that"
    assert set(questions.values()) == {1}
    assert finished <= set(questions)
    # Once Finish was taken from upstream the commit has begun, and no cancellation stops it.
    assert {question for question, reply in replies.items() if reply.exhausted} <= set(questions)


async def test_a_cancellation_during_the_commit_does_not_undo_the_turn(
    store: Store, postgres_server: PostgresServer
) -> None:
    postgres_server.run(*SLOW_COMMIT, database=store.database_name)
    session = await create(store)
    task = asyncio.create_task(turn(store, session, "one", reply_to("one")))
    await asyncio.sleep(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.assert_nothing_is_held()
    assert len(assert_turns_are_whole(await store.all_items(session))) == 1


async def create(store: Store) -> SessionId:
    opened = await store.open(None)
    await opened.aclose()
    return opened.session_id


class LosesAcknowledgements(Database):
    """A database whose first `lost` COMMITs succeed and are reported as lost."""

    lost = 0

    @asynccontextmanager
    async def transaction(self, project: ProjectId | None) -> AsyncGenerator[AsyncConnection, None]:
        async with super().transaction(project) as connection:
            yield connection
        if self.lost:
            self.lost -= 1
            raise CommitUncertain("lost")


async def test_a_commit_whose_acknowledgement_was_lost_is_not_doubled(store: Store) -> None:
    session = await create(store)
    database = LosesAcknowledgements(store.config)
    store.sessions = Sessions(database, store.locks, commit_deadline_s=5.0)
    for number in range(3):
        opened = await store.open(session)
        events = opened.follow(opened.compose(ask(f"{number}")), answer(reply_to(f"{number}")))
        database.lost = 2
        seen = [event async for batch in events for event in batch]
        assert isinstance(seen[-1], Finish)
        await events.aclose()
    assert len(assert_turns_are_whole(await store.all_items(session))) == 3
    await database.aclose()


async def test_when_it_cannot_be_found_out_the_client_is_told_so(store: Store) -> None:
    session = await create(store)
    database = LosesAcknowledgements(store.config)
    store.sessions = Sessions(database, store.locks, commit_deadline_s=0.3)
    opened = await store.open(session)
    events = opened.follow(opened.compose(ask("one")), Answer((start(), *spoken("x")), (finish(),)))
    await anext(events)
    database.lost = 100
    with pytest.raises(StoreUnavailable, match="not known whether the turn"):
        await anext(events)
    await events.aclose()
    database.lost = 0
    await database.aclose()


async def test_a_commit_that_the_server_broke_off_is_made_again(store: Store, postgres_server: PostgresServer) -> None:
    postgres_server.run(*SLOW_COMMIT, database=store.database_name)
    session = await create(store)
    task = asyncio.create_task(turn(store, session, "one", reply_to("one")))
    await asyncio.sleep(0.25)
    broken = postgres_server.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        f"where datname = '{store.database_name}' and query = 'COMMIT;' and state = 'active'"
    )
    assert len(broken) == 1
    await task
    assert len(assert_turns_are_whole(await store.all_items(session))) == 1


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


async def test_a_postgres_that_is_away_at_the_end_costs_the_turn_and_says_so(own_server: PostgresServer) -> None:
    config = DatabaseConfig(url=own_server.url("postgres"), pool_size=4, connect_timeout_s=0.3, statement_timeout_s=0.3)
    store = Store(config, new_project_id(), commit_deadline_s=0.5)
    session = await create(store)
    for how in (signal.SIGSTOP, signal.SIGKILL):
        opened = await store.open(session)
        events = opened.follow(opened.compose(ask("one")), Answer((start(), *spoken("1")), (finish(),)))
        await anext(events)
        own_server.signal(how)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="this turn was not stored") as refused:
            await anext(events)
        assert time.monotonic() - began < 6
        assert refused.value.retry_after_s
        await events.aclose()
        store.assert_nothing_is_held()
        own_server.signal(signal.SIGCONT)
    own_server.restart()
    assert texts(await store.all_items(session)) == []
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
    sessions = [await create(gateways[0]) for _ in range(2)]
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
