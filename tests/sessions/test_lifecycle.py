"""What a purge promises: all that is due goes, with its keys; nothing else does, whatever runs beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, NotFound
from bedplate_core.ids import ProjectId, SessionId, new_project_id, new_response_id
from bedplate_sessions.keys.cipher import ContentUnreadable, DataKeyCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.lifecycle.due_rows import DueRows, Expired, Expiring
from bedplate_sessions.lifecycle.due_sessions import BATCH_ROWS, FIND, Candidate, DueSessions
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_sessions.session import NewSession
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Store, ask, end, texts, turn

pytestmark = pytest.mark.anyio

DAY_S = 24 * 3600.0
RETENTION_S = 30 * DAY_S


def purge_of(store: Store, *, grace_s: float = 0.0) -> Purge:
    return Purge(store.database, store.keys, grace_s=grace_s, pause_s=0.0)


async def sql(store: Store, statement: str, **values: object) -> Sequence[object]:
    async with store.database.transaction(store.project) as connection:
        found = await connection.execute(text(statement), values)
        return list(found.scalars()) if found.returns_rows else ()


async def aged(store: Store, session: SessionId, days: float) -> None:
    """Have the session's last write be `days` ago."""
    await sql(
        store, "update session set updated_at = now() - make_interval(secs => :s) where id = :id", id=session,
        s=days * DAY_S,
    )  # fmt: skip


async def old_session(store: Store, days: float = 31) -> SessionId:
    session = await turn(store, None, "one", "answer one")
    await aged(store, session, days)
    return session


async def exists(store: Store, session: SessionId) -> bool:
    try:
        await store.sessions.registry.get(store.project, session)
    except NotFound:
        return False
    return True


async def rows_left(store: Store) -> dict[str, int]:
    tables = ("session", "session_branch", "session_item", "session_invocation", "session_key", "stored_response",
              "stored_reply")  # fmt: skip
    return {table: int(str((await sql(store, f"select count(*) from {table}"))[0])) for table in tables}


async def add_response(
    store: Store, *, expired_s: float, session: SessionId | None = None, owner: str | None = None
) -> str:
    """A stored response that expired `expired_s` seconds ago, under its own key or that of `owner`."""
    name = new_response_id()
    if owner is None and session is None:
        _, write = await store.keys.create(store.project, name)
        assert write is not None
        async with store.database.transaction(store.project) as connection:
            await write(connection)
    await sql(
        store,
        "insert into stored_response (id, project_id, created_by, model, created_s, sealed, key_owner, session_id, "
        "schema_version, size_bytes, expires_at) values (:id, :project, 'k', 'm', 1, '\\x00'::bytea, :owner, :session, "
        "1, 1, now() - make_interval(secs => :s))",
        id=name, project=store.project, owner=owner or session or name, session=session, s=expired_s,
    )  # fmt: skip
    return name


async def add_reply(
    store: Store, key: str, *, expired_s: float, session: SessionId | None = None, owner: str | None = None
) -> None:
    if owner is not None and session is None:
        _, write = await store.keys.create(store.project, owner)
        assert write is not None
        async with store.database.transaction(store.project) as connection:
            await write(connection)
    await sql(
        store,
        "insert into stored_reply (project_id, key, request_hash, call_id, turn_call, session_id, key_owner, "
        "expires_at) values (:project, :key, '\\x00'::bytea, 'req', 'req', :session, :owner, "
        "now() - make_interval(secs => :s))",
        project=store.project, key=key, session=session, owner=owner, s=expired_s,
    )  # fmt: skip


async def keys_left(store: Store) -> set[object]:
    return set(await sql(store, "select owner from session_key"))


async def test_sessions_go_when_their_last_write_is_past_retention_and_leave_nothing(store: Store) -> None:
    due, fresh = await old_session(store), await old_session(store, days=29)
    cipher = await store.keys.cipher(store.project, due)
    assert isinstance(cipher, DataKeyCipher)
    await add_response(store, expired_s=-DAY_S, session=due)
    await add_reply(store, "a", expired_s=-DAY_S, session=due, owner=due)
    purged = await purge_of(store).project(store.project, retention_s=RETENTION_S)
    assert purged.sessions == 1
    assert not await exists(store, due)
    assert texts(await store.all_items(fresh)) == [("user", "one"), ("assistant", "answer one")]
    assert await keys_left(store) == {fresh}
    assert await rows_left(store) == {
        "session": 1, "session_branch": 1, "session_item": 2, "session_invocation": 1, "session_key": 1,
        "stored_response": 0, "stored_reply": 0,
    }  # fmt: skip
    with pytest.raises(ContentUnreadable):
        (await store.keys.cipher(store.project, due)).open(cipher.seal(b"x", "p"), "p")
    assert not await purge_of(store).project(store.project, retention_s=RETENTION_S)


async def test_an_ended_or_expired_session_can_be_read_until_its_retention_is_over(store: Store) -> None:
    registry = store.sessions.registry
    ended = await turn(store, None, "one", "answer one")
    await registry.end(store.project, ended)
    expired = (await registry.create(store.project, store.key, NewSession(lifetime_s=0.001))).id
    idle = (await registry.create(store.project, store.key, NewSession(idle_timeout_s=0.001))).id
    purge = purge_of(store)
    for session in (ended, expired, idle):
        await aged(store, session, 29)
    assert await purge.sessions(store.project, retention_s=RETENTION_S) == 0
    for session in (ended, expired, idle):
        await aged(store, session, 31)
    assert await purge.sessions(store.project, retention_s=RETENTION_S) == 3


async def test_nothing_is_due_while_a_call_may_still_be_building_on_it(store: Store) -> None:
    session = await old_session(store, days=0.02)  # half an hour
    await add_response(store, expired_s=1800)
    careful = purge_of(store, grace_s=3600)
    assert not await careful.project(store.project, retention_s=60)
    purged = await purge_of(store, grace_s=900).project(store.project, retention_s=60)
    assert (purged.sessions, purged.responses) == (1, 1)
    assert not await exists(store, session)


async def test_a_legal_hold_keeps_a_session_its_responses_its_replies_and_its_key(store: Store) -> None:
    held = await old_session(store)
    response = await add_response(store, expired_s=DAY_S, session=held)
    await add_reply(store, "a", expired_s=DAY_S, session=held, owner=held)
    await store.sessions.registry.hold(store.project, held, hold=True)
    before = await rows_left(store)
    assert not await purge_of(store).project(store.project, retention_s=RETENTION_S)
    assert await rows_left(store) == before
    await store.sessions.registry.hold(store.project, held, hold=False)
    assert await purge_of(store).rows(store.project, Expiring.RESPONSES) == 1
    assert response not in await sql(store, "select id from stored_response")
    assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == 1
    assert await keys_left(store) == set()


class Interrupted(DueSessions):
    """Something happens between the look at what is due and the deletion."""

    def __init__(self, store: Store, sessions: Sequence[SessionId], happens: str) -> None:
        super().__init__(store.project, store.keys, kept_s=RETENTION_S)
        self._store = store
        self._sessions = sessions
        self._happens = happens

    async def delete(self, connection: AsyncConnection, batch: Sequence[Candidate]) -> Sequence[SessionId]:
        assert {each.id for each in batch} == set(self._sessions)
        for session in self._sessions:
            match self._happens:
                case "turn":
                    await turn(self._store, session, "two", "answer two")
                case _:
                    await self._store.sessions.registry.hold(self._store.project, session, hold=True)
        return await super().delete(connection, batch)


@pytest.mark.parametrize("happens", ["turn", "hold"])
async def test_what_comes_between_the_look_and_the_deletion_counts(store: Store, happens: str) -> None:
    session = await old_session(store)
    async with store.database.transaction(store.project) as connection:
        batch = await Interrupted(store, [session], happens).batch(connection, passed=())
    assert (batch.found, batch.deleted) == ({session}, frozenset())
    assert len(await store.all_items(session)) == (4 if happens == "turn" else 2)


async def test_a_purge_waits_for_nobody_and_nobody_long_for_it(store: Store) -> None:
    """The session that a turn has a lock on is passed over; the others go."""
    busy, idle = await old_session(store), await old_session(store)
    opened = await store.open(busy)
    try:
        async with store.database.transaction(store.project) as connection:
            # As in the middle of the commit that begins a turn: the branch is locked, the session not yet.
            await connection.execute(text("update session_branch set head = head where session_id = :id"), {"id": busy})
            began = time.monotonic()
            assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == 1
            assert time.monotonic() - began < 1.0
        async with store.database.transaction(store.project) as connection:
            await connection.execute(text("update session set tags = tags where id = :id"), {"id": busy})
            assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == 0
        await opened.begin(opened.compose(ask("two")))
        await end(store, opened, "answer two")
    finally:
        await opened.aclose()
    assert not await exists(store, idle)
    assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == 0
    assert len(await store.all_items(busy)) == 4


async def test_turns_go_on_while_a_purge_runs(store: Store) -> None:
    """Hundreds of due sessions go; turns on others meanwhile are neither lost nor held up."""
    live = [await turn(store, None, "one", "answer one") for _ in range(3)]
    await sql(
        store,
        "insert into session (id, project_id, created_by, updated_at) select 'sess_' || md5(n::text), :project, 'k', "
        "now() - interval '40 days' from generate_series(1, 600) n",
        project=store.project,
    )
    await sql(
        store,
        "insert into session_item (session_id, seq, id, project_id, role, sealed, schema_version, call_id, status) "
        "select 'sess_' || md5(n::text), i, 'item_' || i, :project, 'user', '\\x00'::bytea, 1, 'req', 'completed' "
        "from generate_series(1, 600) n, generate_series(1, 10) i",
        project=store.project,
    )
    await sql(store, "insert into session_branch (session_id, branch, project_id, head) select id, 0, project_id, 10 "
                     "from session where created_by = 'k'")  # fmt: skip
    slowest_s = 0.0

    async def talk(session: SessionId) -> None:
        nonlocal slowest_s
        for _ in range(5):
            began = time.monotonic()
            await turn(store, session, "more", "answer")
            slowest_s = max(slowest_s, time.monotonic() - began)

    purging = asyncio.create_task(purge_of(store).sessions(store.project, retention_s=RETENTION_S))
    await asyncio.gather(*(talk(session) for session in live))
    assert await purging == 600
    assert slowest_s < 1.0
    assert [len(await store.all_items(session)) for session in live] == [12, 12, 12]


async def test_a_turn_that_comes_too_late_is_told_so(store: Store) -> None:
    session = await old_session(store)
    opened = await store.open(session)
    try:
        assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == 1
        with pytest.raises((NotFound, Conflict)):
            await opened.begin(opened.compose(ask("two")))
    finally:
        await opened.aclose()


async def test_responses_and_replies_go_when_they_expire(store: Store) -> None:
    gone = await add_response(store, expired_s=10)
    kept = await add_response(store, expired_s=-10)
    await add_reply(store, "gone", expired_s=10, owner="reply_gone")
    await add_reply(store, "kept", expired_s=-10, owner="reply_kept")
    purged = await purge_of(store).project(store.project, retention_s=RETENTION_S)
    assert (purged.responses, purged.replies, purged.sessions) == (1, 1, 0)
    assert await sql(store, "select id from stored_response") == [kept]
    assert await sql(store, "select key from stored_reply") == ["kept"]
    assert await keys_left(store) == {kept, "reply_kept"}
    assert gone not in await keys_left(store)


async def test_a_chains_key_goes_with_its_last_response(store: Store) -> None:
    first = await add_response(store, expired_s=10)
    second = await add_response(store, expired_s=-10, owner=first)
    assert await purge_of(store).rows(store.project, Expiring.RESPONSES) == 1
    assert await keys_left(store) == {first}
    await sql(store, "update stored_response set expires_at = now() - interval '1 hour' where id = :id", id=second)
    assert await purge_of(store).rows(store.project, Expiring.RESPONSES) == 1
    assert await keys_left(store) == set()


async def test_a_response_that_was_extended_meanwhile_stays(store: Store) -> None:
    name = await add_response(store, expired_s=10)
    rows = DueRows(Expiring.RESPONSES, store.project, store.keys, grace_s=0.0)
    async with store.database.transaction(store.project) as connection:
        assert await rows.find(connection, passed=()) == [Expired(name, None)]
        await sql(store, "update stored_response set expires_at = now() + interval '1 day' where id = :id", id=name)
        assert list(await rows.delete(connection, [Expired(name, None)])) == []
    async with store.database.transaction(store.project) as connection:
        session = await turn(store, None, "one", "answer")
        other = await add_response(store, expired_s=10, session=session)
        found = await rows.find(connection, passed=())
        await store.sessions.registry.hold(store.project, session, hold=True)
        assert found == [Expired(other, session)]
        assert list(await rows.delete(connection, found)) == []


async def test_keys_without_content_go_after_a_day(store: Store) -> None:
    session = await turn(store, None, "one", "answer one")
    chain = await add_response(store, expired_s=-10)
    for owner in ("orphan_old", "orphan_new"):
        _, write = await store.keys.create(store.project, owner)
        assert write is not None
        async with store.database.transaction(store.project) as connection:
            await write(connection)
    await sql(store, "update session_key set created_at = now() - interval '2 days' where owner <> 'orphan_new'")
    assert await purge_of(store).orphans(store.project) == 1
    assert await keys_left(store) == {session, chain, "orphan_new"}


async def test_keys_apart_go_as_well(store: Store, postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    apart = Database(DatabaseConfig(url=postgres_server.url(name)))
    try:
        keys = DataKeys(apart, LocalKeys(name="test", keys={1: bytes(range(32))}, current=1), apart=True)
        project = store.project
        for owner in ("orphan_old", "orphan_new"):
            await keys.create(project, owner)
        cipher, write = await keys.create(project, "sess_apart")
        assert isinstance(cipher, DataKeyCipher)
        assert write is None
        await sql(
            store,
            "insert into session (id, project_id, created_by, updated_at) values ('sess_apart', :project, 'k', "
            "now() - interval '40 days')",
            project=project,
        )
        async with apart.transaction(project) as connection:
            await connection.execute(
                text("update session_key set created_at = now() - interval '2 days' where owner <> 'orphan_new'")
            )
        purge = Purge(store.database, keys, key_database=apart, grace_s=0.0, pause_s=0.0)
        purged = await purge.project(project, retention_s=RETENTION_S)
        assert (purged.sessions, purged.keys) == (1, 1)
        async with apart.transaction(project) as connection:
            assert list((await connection.execute(text("select owner from session_key"))).scalars()) == ["orphan_new"]
    finally:
        await apart.aclose()
        postgres_server.drop_database(name)


async def test_another_projects_sessions_are_not_touched(store: Store) -> None:
    session = await old_session(store)
    assert not await purge_of(store).project(new_project_id(), retention_s=RETENTION_S)
    assert await exists(store, session)


async def test_long_sessions_share_a_batch_with_few(store: Store) -> None:
    sessions = [await old_session(store, days=40 - n) for n in range(3)]
    await sql(store, "update session_branch set head = :n where session_id = :id", n=BATCH_ROWS, id=sessions[0])
    due = DueSessions(store.project, store.keys, kept_s=RETENTION_S)
    async with store.database.transaction(store.project) as connection:
        found = await due.find(connection, passed=())
        assert [each.id for each in found] == sessions[:1]
        rest = await due.find(connection, passed=(sessions[0],))
        assert [each.id for each in rest] == sessions[1:]


@settings(max_examples=15, deadline=None)
@given(ages=st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=8))
def test_what_goes_is_what_is_due(database_url_for_module: str, ages: list[tuple[int, bool]]) -> None:
    async def run() -> None:
        store = Store(DatabaseConfig(url=database_url_for_module, pool_size=2), new_project_id())
        try:
            made: dict[SessionId, bool] = {}
            for days, held in ages:
                session = (await store.sessions.registry.create(store.project, store.key, NewSession())).id
                await sql(
                    store, "update session set legal_hold = :held, updated_at = now() - make_interval(days => :d) "
                    "where id = :id", held=held, d=days, id=session,
                )  # fmt: skip
                made[session] = held or days < 30
            await purge_of(store).project(store.project, retention_s=RETENTION_S)
            assert set(await sql(store, "select id from session")) == {each for each, kept in made.items() if kept}
        finally:
            await store.aclose()

    asyncio.run(run())


@pytest.fixture(scope="module")
def database_url_for_module(postgres_server: PostgresServer):  # type: ignore[no-untyped-def]
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


KILLED = """
import asyncio, sys
from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.lifecycle import due_sessions
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

due_sessions.BATCH_SESSIONS = 20

async def main():
    database = Database(DatabaseConfig(url=sys.argv[1], pool_size=2))
    keys = DataKeys(database, LocalKeys(name="test", keys={1: bytes(range(32))}, current=1))
    print("started", flush=True)
    await Purge(database, keys, grace_s=0.0, pause_s=0.02).project(ProjectId(sys.argv[2]), retention_s=60.0)
    print("done", flush=True)

asyncio.run(main())
"""


async def test_a_purge_that_is_killed_loses_nothing_and_is_taken_up_again(store: Store, database_url: str) -> None:
    fresh = await turn(store, None, "one", "answer one")
    await sql(
        store,
        "insert into session (id, project_id, created_by, updated_at) select 'sess_' || md5(n::text), :project, 'k', "
        "now() - interval '40 days' from generate_series(1, 400) n",
        project=store.project,
    )
    await sql(
        store,
        "insert into session_item (session_id, seq, id, project_id, role, sealed, schema_version, call_id, status) "
        "select id, i, 'item_' || i, project_id, 'user', '\\x00'::bytea, 1, 'req', 'completed' "
        "from session, generate_series(1, 10) i where created_by = 'k'",
    )
    await sql(
        store,
        "insert into session_key (owner, project_id, key_id, wrapped) select id, project_id, 'test:1', '\\x00'::bytea "
        "from session where created_by = 'k'",
    )
    child = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-c", KILLED, database_url, store.project], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == b"started\n"
        while len(await sql(store, "select id from session where created_by = 'k'")) > 300:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    left = len(await sql(store, "select id from session where created_by = 'k'"))
    assert 0 < left <= 300
    # Whole sessions, with their keys, or nothing.
    assert await sql(store, "select count(*) from session_item where call_id = 'req'") == [left * 10]
    assert await sql(store, "select count(*) from session_key where wrapped = '\\x00'::bytea") == [left]
    assert await purge_of(store).sessions(store.project, retention_s=RETENTION_S) == left
    assert await sql(store, "select count(*) from session_item where call_id = 'req'") == [0]
    assert len(await store.all_items(fresh)) == 2


async def test_what_is_due_is_found_by_an_index(store: Store, database_url: str) -> None:
    """With 50,000 sessions and 10,000 responses and replies, none of them is passed over one by one."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "insert into session (id, project_id, created_by, updated_at) select 'sess_' || n, 'proj_' || n % 50, 'k', "
            "now() - n * interval '1 minute' from generate_series(1, 50000) n;"
            "insert into stored_response (id, project_id, created_by, model, created_s, sealed, schema_version, "
            "size_bytes, expires_at) select 'resp_' || n, 'proj_' || n % 50, 'k', 'm', 1, '', 1, 1, "
            "now() + (n - 100) * interval '1 minute' from generate_series(1, 10000) n;"
            "insert into stored_reply (project_id, key, request_hash, call_id, turn_call, expires_at) "
            "select 'proj_' || n % 50, 'k' || n, '', 'r', 'r', now() + (n - 100) * interval '1 minute' "
            "from generate_series(1, 10000) n;"
            "analyze session; analyze stored_response; analyze stored_reply"
        )
    finally:
        await connection.close()
    project = ProjectId("proj_7")
    plans: list[str] = []

    async def explained(connection: AsyncConnection, statement: str, values: dict[str, object]) -> None:
        found = await connection.execute(text(f"explain {statement}"), values)
        plans.append("\n".join(found.scalars()))

    bounds = {"project": project, "limit": 200, "passed": []}
    async with store.database.transaction(project) as connection:
        await explained(connection, FIND.text, {**bounds, "kept_s": 34 * DAY_S})
        for table in Expiring:
            due = DueRows(table, project, store.keys, grace_s=900.0)
            await explained(connection, due.find_statement.text, {**bounds, "grace_s": 900.0})
    for plan, index in zip(plans, ("session_project_updated", "stored_response_due", "stored_reply_due"), strict=True):
        assert index in plan
        assert "Seq Scan" not in plan.replace("Seq Scan on session_branch", "")
