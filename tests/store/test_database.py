"""Transactions end in bounded time, leak nothing, and see one project."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import new_project_id
from bedplate_store.database import CommitUncertain, Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

COUNT = text("select count(*) from project")
ADD = text("insert into project (id, name) values (:name, :name)")
SLEEP = text("select pg_sleep(:seconds)")

SLOW_COMMIT = (
    "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$",
    "create constraint trigger slow after insert on project deferrable initially deferred "
    "for each row execute function slow()",
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(DatabaseConfig(url=database_url, pool_size=2))
    yield opened
    assert opened.connections_in_use == 0
    await opened.aclose()


async def count(database: Database) -> int:
    async with database.transaction(None) as connection:
        return int((await connection.execute(COUNT)).scalar_one())


async def add(database: Database, name: str, *, then: Callable[[], Awaitable[object]] | None = None) -> None:
    async with database.transaction(None) as connection:
        await connection.execute(ADD, {"name": name})
        if then is not None:
            await then()


async def sleep(database: Database, seconds: float) -> None:
    async with database.transaction(None) as connection:
        await connection.execute(SLEEP, {"seconds": seconds})


async def test_a_block_that_ends_is_committed_and_one_that_raises_is_not(database: Database) -> None:
    await add(database, "kept")

    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await add(database, "dropped", then=fail)
    assert await count(database) == 1


async def test_every_transaction_acts_as_the_role_that_owns_nothing(database: Database) -> None:
    project = new_project_id()
    async with database.transaction(project) as connection:
        row = (await connection.execute(text("select current_user, current_setting('bedplate.project')"))).one()
    assert tuple(row) == ("bedplate_app", project)
    async with database.transaction(None) as connection:
        setting = await connection.execute(text("select current_setting('bedplate.project', true)"))
        assert not setting.scalar_one()


async def test_an_error_of_the_statement_stays_what_it_is(database: Database) -> None:
    async with database.transaction(None) as connection:
        with pytest.raises(ProgrammingError):
            await connection.execute(text("select nothing from nowhere"))
    await add(database, "confidential")
    with pytest.raises(DBAPIError) as failed:
        await add(database, "confidential")
    assert "confidential" not in str(failed.value)
    assert await count(database) == 1


@pytest.mark.parametrize("kind", ["task", "scope"])
async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_is_free(database: Database, kind: str) -> None:
    inside = asyncio.Event()

    async def work(statement: bool) -> None:
        async with database.transaction(None) as connection:
            await connection.execute(ADD, {"name": "dropped"})
            inside.set()
            if statement:
                await connection.execute(SLEEP, {"seconds": 20})
            await anyio.sleep_forever()

    began = time.monotonic()
    for statement in (False, True, False, True):
        inside.clear()
        if kind == "task":
            task = asyncio.create_task(work(statement))
            await inside.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(work, statement)
                await inside.wait()
                await asyncio.sleep(0.02)
                group.cancel_scope.cancel()
        assert database.connections_in_use == 0
    # Each round inserts the same unique name, so it waits for what the one before may have left on the
    # server.
    assert time.monotonic() - began < 4
    assert await count(database) == 0


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_transaction_may_be_cancelled_at_each_of_its_awaits(
    database: Database, postgres_server: PostgresServer, by_scope: bool
) -> None:
    point, reached = 0, True
    while reached:
        reached = await run_cancelled(add(database, f"{point}"), point, by_scope=by_scope)
        assert database.connections_in_use == 0
        point += 1
    assert point > 5
    await asyncio.sleep(0.1)
    open_now = "select count(*) from pg_stat_activity where application_name = 'bedplate pool'"
    assert postgres_server.fetch(open_now)[0][0] <= 2, "connections are left open on the server"
    assert await count(database) >= 1


async def test_a_cancellation_between_two_statements_costs_no_connection(database_url: str) -> None:
    database = Database(DatabaseConfig(url=database_url, pool_size=1))

    async def backend() -> int:
        async with database.transaction(None) as connection:
            return int((await connection.execute(text("select pg_backend_pid()"))).scalar_one())

    before = await backend()
    with anyio.move_on_after(0.1):
        await add(database, "dropped", then=anyio.sleep_forever)
    assert await backend() == before
    assert await count(database) == 0
    await database.aclose()


async def test_a_cancellation_during_commit_arrives_after_it(
    postgres_server: PostgresServer, database_url: str, database: Database
) -> None:
    await run_as_owner(database_url, SLOW_COMMIT)
    task = asyncio.create_task(add(database, "kept"))
    await asyncio.sleep(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) == 1


async def run_as_owner(url: str, statements: tuple[str, ...]) -> None:
    owner = Database(DatabaseConfig(url=url, role="none"))
    async with owner.transaction(None) as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await owner.aclose()


@pytest.mark.parametrize("place", ["no socket", "no port", "silent port"])
async def test_a_postgres_that_is_not_there_is_an_outage_in_bounded_time(place: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if place == "no port":
            silent.close()
        host = f"?host={tmp_path}" if place == "no socket" else ""
        server = "" if place == "no socket" else f"127.0.0.1:{port}"
        url = f"postgresql://someone:s3cret@{server}/name{host}"
        database = Database(DatabaseConfig(url=url, connect_timeout_s=0.5, pool_size=1))
        began = time.monotonic()
        outages = await asyncio.gather(database.ping(), database.ping(), return_exceptions=True)
        # The second waits for the first one's place in the pool, and no longer than the first for all that.
        assert time.monotonic() - began < 0.9
        for outage in outages:
            assert isinstance(outage, StoreUnavailable)
            assert outage.retry_after_s
            assert "s3cret" not in outage.message
        assert database.connections_in_use == 0
        await database.aclose()


async def test_a_wrong_password_or_a_missing_role_is_an_outage_to_the_client(
    database_url: str, postgres_server: PostgresServer
) -> None:
    wrong = database_url.replace(postgres_server.address.password, "wrong")
    for config in (DatabaseConfig(url=wrong), DatabaseConfig(url=database_url, role="no_such_role")):
        database = Database(config)
        with pytest.raises(StoreUnavailable):
            await database.ping()
        await database.aclose()


async def test_no_free_connection_is_an_outage(database_url: str) -> None:
    database = Database(DatabaseConfig(url=database_url, pool_size=1, connect_timeout_s=0.3))
    async with database.transaction(None):
        with pytest.raises(StoreUnavailable):
            await database.ping()
    await database.ping()
    await database.aclose()


async def test_a_statement_that_takes_too_long_is_an_outage(database_url: str) -> None:
    database = Database(DatabaseConfig(url=database_url, statement_timeout_s=0.2))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await sleep(database, 20)
    assert time.monotonic() - began < 1.0
    await database.ping()
    await database.aclose()


async def test_a_hung_postgres_is_an_outage_in_bounded_time(own_server: PostgresServer) -> None:
    url = own_server.url("postgres")
    database = Database(DatabaseConfig(url=url, statement_timeout_s=0.5, connect_timeout_s=0.5))
    await database.ping()
    own_server.signal(signal.SIGSTOP)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await database.ping()
        assert time.monotonic() - began < 2.5
        assert database.connections_in_use == 0
    own_server.signal(signal.SIGCONT)
    await database.ping()

    async def stop() -> None:
        own_server.signal(signal.SIGSTOP)

    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable):
            await add(database, "dropped", then=stop)
    own_server.signal(signal.SIGCONT)
    await database.ping()
    await database.aclose()


async def test_a_killed_postgres_is_an_outage_and_the_pool_recovers(own_server: PostgresServer) -> None:
    database = Database(DatabaseConfig(url=own_server.url("postgres"), pool_size=3))
    await asyncio.gather(*(database.ping() for _ in range(3)))

    async def kill() -> None:
        own_server.signal(signal.SIGKILL)

    with pytest.raises(StoreUnavailable):
        await add(database, "dropped", then=kill)
    with pytest.raises(StoreUnavailable):
        await database.ping()
    own_server.restart()
    await asyncio.gather(*(database.ping() for _ in range(3)))
    assert await count(database) == 0
    own_server.signal(signal.SIGKILL)
    own_server.restart()
    await asyncio.sleep(0.05)
    await asyncio.gather(*(database.ping() for _ in range(3)))  # what died while idle is passed over
    task = asyncio.create_task(add(database, "dropped", then=lambda: asyncio.sleep(0.2)))
    await asyncio.sleep(0.1)
    own_server.signal(signal.SIGTERM)
    with pytest.raises(StoreUnavailable):
        await task
    assert database.connections_in_use == 0
    await database.aclose()


async def test_a_commit_that_breaks_is_said_to_be_uncertain(own_server: PostgresServer) -> None:
    url = own_server.url("postgres")
    await run_as_owner(url, SLOW_COMMIT)
    database = Database(DatabaseConfig(url=url))
    task = asyncio.create_task(add(database, "perhaps"))
    await asyncio.sleep(0.3)
    own_server.signal(signal.SIGKILL)
    with pytest.raises(CommitUncertain):
        await task
    assert database.connections_in_use == 0
    await database.aclose()


def test_the_url_is_a_secret_and_must_be_postgres() -> None:
    config = DatabaseConfig(url="postgresql://someone:s3cret@host/name")
    assert "s3cret" not in repr(config)
    assert "s3cret" not in str(config)
    with pytest.raises(ValueError, match="must begin with") as refused:
        DatabaseConfig(url="mysql://someone:s3cret@host/name")
    assert "s3cret" not in str(refused.value)
