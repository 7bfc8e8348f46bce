"""However a client leaves, in every dialect: the upstream is released, there is exactly one record, and no response is
kept that it did not get; of a session's turn what had come is kept until the next one. Asserted inside the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.fixtures.asgi import Exchange, InProcess, Message, OnSend, in_process
from tests.fixtures.operations import GENERATING, STREAMED, TEXT, WHOLE, Operation
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

BLOCKING = """
kind: Guardrail
name: words
project: default
spec:
  blockedInputMessaging: refused
  blockedOutputsMessaging: refused
  wordPolicyConfig: {wordsConfig: [{text: pineapple}]}
---
kind: Project
name: default
spec: {guardrail: words}
"""

AGAIN = """
kind: Model
name: again
spec: {provider: fake, upstream_model: fake/error, attempts: 3}
---
kind: Model
name: elsewhere
spec: {provider: fake, upstream_model: fake/rate-limited, attempts: 1, fallbacks: [fake/hang]}
"""
"""`again` fails and is tried again after a second's pause; `elsewhere` fails and its fallback never begins."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, in which the gateway runs."""
    return "asyncio"


@pytest.fixture(scope="module")
async def running(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[InProcess, None]:
    """A gateway for all tests that need no other settings."""
    name = postgres_server.create_database()
    try:
        folder = tmp_path_factory.mktemp("running")
        async with in_process(folder, postgres_server.url(name), resources=AGAIN) as gateway:
            yield gateway
    finally:
        postgres_server.drop_database(name)


@pytest.fixture
async def gateway(running: InProcess) -> InProcess:
    """It, with nothing on record and nothing stored."""
    connection = await asyncpg.connect(running.url)
    try:
        await connection.execute("truncate invocation, stored_response")
    finally:
        await connection.close()
    return running


TURNS = tuple(operation for operation in STREAMED if operation.recorded != "completion")
"""Text completions are no conversation."""


def every(operations: tuple[Operation, ...]) -> pytest.MarkDecorator:
    """Once for each of these operations."""
    return pytest.mark.parametrize("operation", operations, ids=[operation.name for operation in operations])


def leave_at(nth: int) -> OnSend:
    """Disconnect when the n-th message is sent; 0 is the response's start."""
    seen = -1

    async def on_send(exchange: Exchange, message: Message) -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            exchange.disconnected.set()
        await asyncio.sleep(0)

    return on_send


def fail_at(nth: int) -> OnSend:
    """Raise as some servers do for a peer that is gone, from the n-th message on; 0 is the response's start."""
    seen = -1

    async def on_send(exchange: Exchange, message: Message) -> None:
        nonlocal seen
        seen += 1
        if seen >= nth:
            raise OSError("the peer is gone")

    return on_send


async def leave_at_the_end(exchange: Exchange, message: Message) -> None:
    """Disconnect while the last piece of the body is sent."""
    if message["type"] == "http.response.body" and not message["more_body"]:
        exchange.disconnected.set()
        await asyncio.sleep(0.01)


async def stall(exchange: Exchange, message: Message) -> None:
    """Never take a piece of the body."""
    if message["type"] == "http.response.body":
        await asyncio.Event().wait()


async def stall_and_leave(exchange: Exchange, message: Message) -> None:
    """Take no piece of the body, and disconnect a moment later."""
    if message["type"] == "http.response.body":
        asyncio.get_running_loop().call_later(0.05, exchange.disconnected.set)
        await asyncio.Event().wait()


async def call(gateway: InProcess, operation: Operation, model: str, **how: Any) -> Exchange:
    return await gateway.post(operation.path_of(model), operation.body(model), **how)


async def kept(gateway: InProcess) -> int:
    """How many responses are stored."""
    connection = await asyncpg.connect(gateway.url)
    try:
        return int(await connection.fetchval("select count(*) from stored_response"))
    finally:
        await connection.close()


async def left_nothing(gateway: InProcess, operation: Operation, outcome: str, tasks: int) -> None:
    """Within a second: exactly one record, with that outcome; no stream, task or connection; nothing stored.

    `tasks` is how many there were before the call.
    """
    rows = await gateway.settled(1)
    assert [(row["outcome"], row["dialect"], row["operation"], row["stream"]) for row in rows] == [
        (outcome, operation.dialect, operation.recorded, operation.streams)
    ]
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await until(lambda: gateway.application.services.database.connections_in_use == 0)
    assert await kept(gateway) == (operation.stores and outcome == "completed")
    assert len(await gateway.records()) == 1


async def until(holds: Callable[[], bool], *, within_s: float = 1.0) -> None:
    """Wait for what happens inside the application; fail when it takes too long."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def ended(work: Awaitable[Exchange], exchange: Exchange) -> None:
    """The client of `exchange` leaves; `work` serves it no longer than a second."""
    exchange.disconnected.set()
    await asyncio.wait_for(work, 1)


# Every operation -----------------------------------------------------------------------------------------------------


@every(GENERATING)
async def test_client_that_stays_gets_all_of_it(gateway: InProcess, operation: Operation) -> None:
    """What the other tests compare with: the marks of a whole answer are there, and a response is stored."""
    tasks = len(asyncio.all_tasks())
    exchange = await call(gateway, operation, "fake/slow")
    assert exchange.status == 200
    assert operation.ending in exchange.body
    await left_nothing(gateway, operation, "completed", tasks)


@every(GENERATING)
@pytest.mark.parametrize("model", ["fake/hang", "fake/slow-first"])
async def test_client_leaves_before_the_first_event(gateway: InProcess, operation: Operation, model: str) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = Exchange()
    work = asyncio.create_task(call(gateway, operation, model, exchange=exchange))
    await until(lambda: gateway.fake.open_streams == 1)
    await ended(work, exchange)
    assert exchange.sent == []
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(STREAMED)
@pytest.mark.parametrize("nth", [0, 1, 3])
async def test_client_leaves_during_the_stream(gateway: InProcess, operation: Operation, nth: int) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = await asyncio.wait_for(call(gateway, operation, "fake/slow", on_send=leave_at(nth)), 1)
    assert operation.ending not in exchange.body
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(WHOLE)
async def test_client_leaves_while_a_whole_answer_is_made(gateway: InProcess, operation: Operation) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = Exchange()
    work = asyncio.create_task(call(gateway, operation, "fake/slow", exchange=exchange))
    await until(lambda: gateway.fake.open_streams == 1)
    await asyncio.sleep(0.03)
    await ended(work, exchange)
    assert exchange.sent == []
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(GENERATING)
async def test_client_leaves_with_the_last_piece(gateway: InProcess, operation: Operation) -> None:
    """The call is complete by then, and so is its record."""
    tasks = len(asyncio.all_tasks())
    exchange = await call(gateway, operation, "fake/echo", on_send=leave_at_the_end)
    assert operation.ending in exchange.body
    await left_nothing(gateway, operation, "completed", tasks)


@every(STREAMED)
async def test_client_that_stops_reading_and_then_leaves(gateway: InProcess, operation: Operation) -> None:
    """The pump waits in `send`; leaving must reach it there."""
    tasks = len(asyncio.all_tasks())
    await asyncio.wait_for(call(gateway, operation, "fake/slow", on_send=stall_and_leave), 1)
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(STREAMED)
async def test_client_that_reads_too_slowly_is_let_go(tmp_path: Path, database_url: str, operation: Operation) -> None:
    async with in_process(tmp_path, database_url, response_timeout_s=0.3) as gateway:
        tasks = len(asyncio.all_tasks())
        await asyncio.wait_for(call(gateway, operation, "fake/slow", on_send=stall), 1.3)
        await left_nothing(gateway, operation, "cancelled", tasks)


@every(GENERATING)
@pytest.mark.parametrize("nth", [0, 1])
async def test_connection_that_fails_as_it_is_written_to(gateway: InProcess, operation: Operation, nth: int) -> None:
    """At 0 the answer's events were never iterated, so no generator's `finally` can be relied on."""
    tasks = len(asyncio.all_tasks())
    with pytest.raises(Exception):  # noqa: B017 - whatever the server makes of it
        await asyncio.wait_for(call(gateway, operation, "fake/slow", on_send=fail_at(nth)), 1)
    await left_nothing(gateway, operation, "cancelled" if operation.streams else "completed", tasks)


@every(GENERATING)
async def test_server_that_stops_cancels_and_records(gateway: InProcess, operation: Operation) -> None:
    tasks = len(asyncio.all_tasks())
    work = asyncio.create_task(call(gateway, operation, "fake/slow"))
    await until(lambda: gateway.fake.open_streams == 1)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(TURNS)
async def test_server_that_stops_as_its_client_leaves_records_all_the_same(
    gateway: InProcess, operation: Operation
) -> None:
    """What a call owes once it has ended is out of reach of whoever is cancelled meanwhile; a session's turn, whose
    lock is given back to the database, has to wait for that.
    """
    tasks = len(asyncio.all_tasks())
    exchange = Exchange()
    session = {"x-bedplate-session": "auto"}
    work = asyncio.create_task(call(gateway, operation, "fake/hang", exchange=exchange, headers=session))
    await until(lambda: gateway.fake.open_streams == 1)
    exchange.disconnected.set()
    while not work.done():
        await asyncio.sleep(0)
        work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(GENERATING)
@pytest.mark.parametrize(
    ("model", "outcome"), [("fake/error-midstream", "upstream_unavailable"), ("fake/cut", "upstream_protocol")]
)
async def test_error_in_the_middle_is_no_clean_end(
    gateway: InProcess, operation: Operation, model: str, outcome: str
) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = await call(gateway, operation, model)
    assert (exchange.status == 200) == operation.streams
    assert operation.ending not in exchange.body
    await left_nothing(gateway, operation, outcome, tasks)


@every(GENERATING)
async def test_client_leaves_in_the_pause_between_attempts(
    gateway: InProcess, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = Exchange()
    asked = count_generations(gateway, monkeypatch)
    work = asyncio.create_task(call(gateway, operation, "again", exchange=exchange))
    await until(lambda: asked == ["fake/error"] and gateway.fake.open_streams == 0)
    await asyncio.sleep(0.05)
    await ended(work, exchange)
    assert exchange.sent == []
    assert asked == ["fake/error"]
    await left_nothing(gateway, operation, "cancelled", tasks)


@every(GENERATING)
async def test_client_leaves_while_a_fallback_is_waited_for(
    gateway: InProcess, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    tasks = len(asyncio.all_tasks())
    exchange = Exchange()
    asked = count_generations(gateway, monkeypatch)
    work = asyncio.create_task(call(gateway, operation, "elsewhere", exchange=exchange))
    await until(lambda: asked == ["fake/rate-limited", "fake/hang"] and gateway.fake.open_streams == 1)
    await ended(work, exchange)
    assert exchange.sent == []
    await left_nothing(gateway, operation, "cancelled", tasks)


def count_generations(gateway: InProcess, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The upstream models that are asked in this test from here on, in order."""
    asked: list[str] = []
    generate = gateway.fake.generate

    def counted(request: Any, dispatch: Any) -> Any:
        asked.append(request.model)
        return generate(request, dispatch)

    monkeypatch.setattr(gateway.fake, "generate", counted)
    return asked


# Conversations that the gateway keeps --------------------------------------------------------------------------------


async def item_statuses(gateway: InProcess, headers: dict[str, str]) -> list[str]:
    """The statuses of the items of the session that `headers` name."""
    connection = await asyncpg.connect(gateway.url)
    try:
        rows = await connection.fetch(
            "select status from session_item where session_id = $1 order by seq", headers["x-bedplate-session"]
        )
        return [row["status"] for row in rows]
    finally:
        await connection.close()


async def leave_a_turn(gateway: InProcess, operation: Operation) -> None:
    """A session's second turn is left, and its third goes on from the first."""
    first = await call(gateway, operation, "fake/echo", headers={"x-bedplate-session": "auto"})
    session = {"x-bedplate-session": dict(first.sent[0]["headers"])[b"x-bedplate-session"].decode()}
    await asyncio.wait_for(call(gateway, operation, "fake/slow", headers=session, on_send=leave_at(2)), 1)
    await gateway.settled(2)
    statuses = ["completed", "completed", "completed", "incomplete"]
    assert await item_statuses(gateway, session) in (statuses, statuses[:3])
    again = await asyncio.wait_for(call(gateway, operation, "fake/echo", headers=session), 2)
    assert operation.ending in again.body
    rows = await gateway.settled(3)
    assert [row["outcome"] for row in rows] == ["completed", "cancelled", "completed"]
    assert rows[2]["input_tokens"] == 3 * len(TEXT.split())
    shown = [status for status in await item_statuses(gateway, session) if status != "dropped"]
    assert shown == ["completed"] * 4
    assert await kept(gateway) == 0


@every(TURNS)
async def test_turn_of_a_session_that_is_left(gateway: InProcess, operation: Operation) -> None:
    await leave_a_turn(gateway, operation)


async def test_guarded_turn_that_is_left(tmp_path: Path, database_url: str) -> None:
    """One stage more between upstream and client, which must let go as well."""
    async with in_process(tmp_path, database_url, resources=BLOCKING) as gateway:
        await leave_a_turn(gateway, TURNS[0])
        with pytest.raises(Exception):  # noqa: B017 - whatever the server makes of it
            await gateway.chat("fake/slow", stream=True, session="auto", on_send=fail_at(0))
        rows = await gateway.settled(4)
        assert rows[3]["outcome"] == "cancelled"


async def test_a_hundred_clients_leaving_at_random_leak_nothing(gateway: InProcess) -> None:
    async def one(number: int) -> None:
        operation = GENERATING[number % len(GENERATING)]
        in_session = number % 3 and operation.recorded != "completion"
        exchange = Exchange()
        headers = {"x-bedplate-session": "auto"} if in_session else {}
        work = asyncio.create_task(call(gateway, operation, "fake/slow", exchange=exchange, headers=headers))
        await asyncio.sleep((number % 20) / 100)
        exchange.disconnected.set()
        await asyncio.wait_for(work, 5)

    before = len(asyncio.all_tasks())
    await asyncio.gather(*(one(number) for number in range(100)))
    rows = await gateway.settled(100, within_s=5)
    assert len(rows) == 100
    assert {row["outcome"] for row in rows} <= {"cancelled", "completed"}
    await until(lambda: gateway.application.services.database.connections_in_use == 0)
    await until(lambda: len(asyncio.all_tasks()) <= before)
