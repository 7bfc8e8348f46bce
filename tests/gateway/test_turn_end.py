"""A turn around its model: the input is durable before the model is asked; the answer, its record and the end of the
turn are one transaction before the client sees the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, StoreUnavailable, UpstreamProtocolError
from bedplate_core.events import Batch, Finish
from bedplate_core.ids import SessionId, new_call_id
from bedplate_core.response import Response
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.engine import answer as owned
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.settlement import Settlements
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.recorder import Recorder
from bedplate_sessions.durable import Durable, Write
from bedplate_sessions.items import ItemStatus
from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Answer, Store, answer, ask, finish, spoken, start, texts, turn

pytestmark = pytest.mark.anyio


class Rows:
    """Takes records as the row writer would: durable at once."""

    healthy_for_admission = True

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str, int]] = []
        self.stop_reasons: list[str | None] = []

    def put(self, row: bytes, settle: Callable[[StoreUnavailable | None], None]) -> None:
        found = msgspec.json.decode(row)
        self.outcomes.append((found["id"], found["outcome"], found["http_status"]))
        self.stop_reasons.append(found["stop_reason"])
        settle(None)


class Run:
    """The end of one call on a real session, with the engine left out."""

    def __init__(self, store: Store, session: SessionId, upstream: Answer, *, deadline_s: float = 5.0) -> None:
        self.store = store
        self.session = session
        self.upstream = upstream
        self.rows = Rows()
        self.call = new_call_id()
        self.settlements = Settlements()
        self.seen: list[Batch] = []
        principal = Principal(key_id=store.key, project=store.project, role=Role.SERVICE)
        call = Call(
            id=self.call, principal=principal, dialect="openai", operation="chat",
            started_s=time.perf_counter(), timeout_s=60,
        )  # fmt: skip
        recorder = Recorder(self.rows, Metrics(CollectorRegistry()))
        durable = Durable(store.database, deadline_s=deadline_s)
        self.answer = owned.Answer(call, True, "m", recorder, self.settlements, durable)

    async def begin(self, before_end: owned.BeforeEnd | None = None) -> None:
        opened = await self.store.open(self.session, call=self.call)
        self.answer.session_id = self.session
        self.answer.hold(opened.aclose, lingers=True)
        await opened.begin(opened.compose(ask("asked")))
        self.answer.keep(opened)
        if before_end is not None:
            self.answer.before_end(before_end)
        self.answer.follow(self.upstream)

    async def read(self) -> None:
        try:
            async for batch in self.answer:
                self.seen.append(batch)
        finally:
            await self.answer.aclose()
            await self.settlements.aclose(5)

    @property
    def ended(self) -> bool:
        """Whether the client has seen the end."""
        return bool(self.seen) and isinstance(self.seen[-1][-1], Finish)

    async def records(self) -> list[tuple[object, ...]]:
        """The call's record where it was stored with the turn."""
        return await self.store.run("select outcome, session_id from invocation where id = :call", call=self.call)


@pytest.fixture
async def session(tenant: Store) -> SessionId:
    return await turn(tenant, None, "0", "answer 0")


async def test_the_end_is_shown_when_answer_record_and_turn_are_durable_and_nothing_else_waits(
    tenant: Store, session: SessionId
) -> None:
    run = Run(tenant, session, Answer((start(), *spoken("said"), finish())))
    await run.begin()
    first = await anext(run.answer)
    assert list(first) == [start(), *spoken("said")]
    assert texts(await tenant.all_items(session))[2:] == [("user", "asked")]
    assert await run.records() == []
    assert list(await anext(run.answer)) == [finish()]
    items = await tenant.all_items(session)
    assert texts(items)[2:] == [("user", "asked"), ("assistant", "said")]
    assert items[-1].call_id == run.call
    assert await run.records() == [("completed", session)]
    assert await tenant.run("select turn_call from session_branch where session_id = :s", s=session) == [(None,)]
    # The client may send its next turn the moment it has the end, before anything is closed here.
    assert len(tenant.locks) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(run.answer)
    await run.answer.aclose()
    assert run.rows.outcomes == [], "the record is written once"


async def test_a_finish_that_comes_alone_makes_no_empty_batch(tenant: Store, session: SessionId) -> None:
    run = Run(tenant, session, answer("said"))
    await run.begin()
    await run.read()
    assert [list(batch) for batch in run.seen] == [[start()], list(spoken("said")), [finish()]]


def failing(error: Exception, *, after: bool) -> owned.BeforeEnd:
    """What belongs to the end and cannot be stored."""

    async def fail(connection: AsyncConnection) -> None:
        raise error

    async def note(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql('update session set metadata = \'{"noted": "yes"}\'')

    def writes(_: Finish, response: Response) -> Sequence[Write]:
        assert response.choices[0].message.text == "said"
        return (note, fail) if after else (fail,)

    return writes


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [(Conflict("no"), "conflict", 409), (RuntimeError("broken"), "internal", 500)],
    ids=["refused", "broken"],
)
async def test_when_one_write_fails_none_is_stored_and_the_error_takes_the_ends_place(
    tenant: Store, session: SessionId, error: Exception, outcome: str, status: int, after: bool
) -> None:
    run = Run(tenant, session, answer("said"))
    await run.begin(failing(error, after=after))
    with pytest.raises(type(error)):
        await run.read()
    assert not run.ended
    assert run.upstream.closed
    assert run.rows.outcomes == [(run.call, outcome, status)]
    assert run.rows.stop_reasons == [None], "nobody was told that it ended"
    assert await run.records() == []
    items = await tenant.all_items(session)
    assert [(item.message.text, item.status) for item in items[2:]] == [
        ("asked", ItemStatus.COMPLETED),
        ("said", ItemStatus.INCOMPLETE),
    ]
    assert (await tenant.sessions.registry.get(tenant.project, session)).metadata == {}
    await turn(tenant, session, "1", "answer 1")
    assert texts(await tenant.all_items(session))[2:] == [("user", "1"), ("assistant", "answer 1")]


async def test_what_belongs_to_the_end_is_stored_with_it(tenant: Store, session: SessionId) -> None:
    async def note(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql('update session set metadata = \'{"noted": "yes"}\'')

    run = Run(tenant, session, answer("said"))
    await run.begin(lambda _finish, _response: [note])
    async for batch in run.answer:
        noted = (await tenant.sessions.registry.get(tenant.project, session)).metadata
        assert noted == ({"noted": "yes"} if isinstance(batch[-1], Finish) else {})
    await run.answer.aclose()


@pytest.mark.parametrize(
    ("upstream", "kept"),
    [
        (Answer((start(),), spoken("half"), error=UpstreamProtocolError("broke off")), ["half"]),
        (Answer((start(),), error=UpstreamProtocolError("broke off")), []),
        (Answer(error=UpstreamProtocolError("broke off")), []),
        (Answer((start(),), spoken("half")), ["half"]),
    ],
    ids=["in its middle", "before any text", "at once", "without an end"],
)
async def test_an_answer_that_breaks_off_leaves_what_had_come(
    tenant: Store, session: SessionId, upstream: Answer, kept: list[str]
) -> None:
    run = Run(tenant, session, upstream)
    await run.begin()
    with contextlib.suppress(UpstreamProtocolError):
        await run.read()
    assert not run.ended
    items = await tenant.all_items(session)
    assert [item.message.text for item in items[2:]] == ["asked", *kept]
    assert items[-1].status is (ItemStatus.INCOMPLETE if kept else ItemStatus.COMPLETED)
    assert len(run.rows.outcomes) == 1
    assert run.rows.outcomes[0][1] != "completed"


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_a_client_that_leaves_leaves_what_had_come(tenant: Store, session: SessionId, read: int) -> None:
    run = Run(tenant, session, answer("said"))
    await run.begin()
    for _ in range(read):
        await anext(run.answer)
    await run.answer.aclose()
    await run.answer.aclose()
    assert run.upstream.closed
    assert run.rows.outcomes == [(run.call, "cancelled", 499)]
    assert [item.message.text for item in await tenant.all_items(session)][2:] == ["asked", "said"][: 1 + (read == 2)]


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_call_may_be_cancelled_at_each_of_its_awaits(tenant: Store, session: SessionId, by_scope: bool) -> None:
    """One record, of the call's own outcome; the turn is whole or open, and never both or half."""
    point, reached, whole = 0, True, 0
    while reached:
        session = await turn(tenant, None, "0", "answer 0")
        run = Run(tenant, session, answer("said"))
        await run.begin()
        reached = await run_cancelled(run.read(), point, by_scope=by_scope)
        await run.answer.aclose()
        await run.settlements.aclose(5)
        tenant.assert_nothing_is_held()
        records = [str(row[0]) for row in await run.records()] + [outcome for _, outcome, _ in run.rows.outcomes]
        items = await tenant.all_items(session)
        branch = await tenant.run("select turn_call from session_branch where session_id = :s", s=session)
        if records == ["completed"]:
            whole += 1
            assert texts(items)[2:] == [("user", "asked"), ("assistant", "said")]
            assert (items[-1].status, items[-1].call_id, branch) == (ItemStatus.COMPLETED, run.call, [(None,)])
        else:
            assert not run.ended
            assert records == ["cancelled"]
            assert branch == [(run.call,)]
            assert items[-1].status is ItemStatus.INCOMPLETE or len(items) == 3
        point += 1
    assert point > 4
    assert whole > 1, "a cancellation while the end is stored comes too late"


# The whole path -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def gateway(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[InProcess, None]:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path_factory.mktemp("turns"), postgres_server.url(name)) as running:
            yield running
    finally:
        postgres_server.drop_database(name)


async def fetch(gateway: InProcess, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(gateway.url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def session_of(exchange: Exchange) -> str:
    return dict(exchange.sent[0]["headers"])[b"x-bedplate-session"].decode()


class Looking:
    """An upstream stream that has `look` run before its first event."""

    def __init__(self, stream: Any, look: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._look: Callable[[], Awaitable[None]] | None = look

    @property
    def replica(self) -> str | None:
        return self._stream.replica

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        look, self._look = self._look, None
        if look is not None:
            await look()
        return await anext(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def asked(gateway: InProcess, *, within_s: float = 5.0) -> None:
    """Wait until the model is being asked."""
    deadline = asyncio.get_running_loop().time() + within_s
    while gateway.fake.open_streams == 0:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


ITEMS = "select role, status from session_item order by session_id, seq"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_input_is_durable_before_the_model_is_asked(
    gateway: InProcess, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    seen: list[Any] = []
    generate = gateway.fake.generate

    async def look() -> None:
        seen.append(await fetch(gateway, ITEMS))
        seen.append(await fetch(gateway, "select turn_call is not null from session_branch"))
        seen.append(await fetch(gateway, "select count(*) from session_key"))
        seen.append(await fetch(gateway, "select count(*) from invocation"))

    monkeypatch.setattr(gateway.fake, "generate", lambda request, dispatch: Looking(generate(request, dispatch), look))
    exchange = await gateway.chat("fake/echo", stream=stream, session="auto")
    assert exchange.status == 200
    assert seen[:2] == [[("user", "completed")], [(True,)]]
    assert seen[3] == [(0,)]
    assert await fetch(gateway, ITEMS) == [("user", "completed"), ("assistant", "completed")]
    assert await fetch(gateway, "select turn_call from session_branch") == [(None,)]
    calls = "select i.call_id from session_item i join invocation r on r.id = i.call_id and r.outcome = 'completed'"
    assert len(await fetch(gateway, calls + " where i.role = 'assistant' and r.session_id = i.session_id")) == 1


async def refuse(gateway: InProcess, table: str, condition: str) -> None:
    """Have the database refuse such rows."""
    await fetch(
        gateway,
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$",
    )
    await fetch(
        gateway,
        f"create trigger refuse before insert on {table} for each row when ({condition}) execute function refuse()",
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("invocation", "new.outcome = 'completed'"),
        ("session_item", "new.role = 'assistant' and new.status = 'completed'"),
    ],
)
async def test_an_answer_without_its_record_and_a_record_without_its_answer_are_not_stored(
    gateway: InProcess, table: str, condition: str, stream: bool
) -> None:
    await refuse(gateway, table, condition)
    exchange = await gateway.chat("fake/echo", stream=stream, session="auto")
    assert b"[DONE]" not in exchange.body
    assert b'"finish_reason":"stop"' not in exchange.body
    assert b"refused" not in exchange.body
    assert (exchange.status == 200) == stream
    (record,) = await gateway.settled(1)
    assert (record["outcome"], record["http_status"]) == ("internal", 500)
    assert await fetch(gateway, ITEMS) == [("user", "completed"), ("assistant", "incomplete")]
    assert await fetch(gateway, "select turn_call is not null from session_branch") == [(True,)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_input_that_cannot_be_stored_asks_no_model(
    gateway: InProcess, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    models: list[str] = []
    generate = gateway.fake.generate

    def counted(request: Any, dispatch: Any) -> Any:
        models.append(request.model)
        return generate(request, dispatch)

    monkeypatch.setattr(gateway.fake, "generate", counted)
    await refuse(gateway, "session_item", "new.role = 'user'")
    exchange = await gateway.chat("fake/echo", stream=stream, session="auto")
    assert exchange.status == 500
    assert models == []
    await gateway.settled(1)
    assert await fetch(gateway, "select count(*) from session") == [(0,)]


async def test_a_session_that_ends_or_is_deleted_while_its_turn_runs(gateway: InProcess) -> None:
    exchange = await gateway.chat("fake/echo", stream=False, session="auto")
    session = session_of(exchange)

    async def meanwhile(statement: str) -> Exchange:
        running = asyncio.create_task(gateway.chat("fake/slow", stream=False, session=session))
        await asked(gateway)
        await fetch(gateway, statement)
        return await running

    assert (await meanwhile("update session set ended_at = now()")).status == 200
    assert len(await fetch(gateway, ITEMS)) == 4
    refused = await gateway.chat("fake/echo", stream=False, session=session)
    assert (refused.status, b"has ended" in refused.body) == (409, True)
    await fetch(gateway, "update session set ended_at = null")
    assert (await meanwhile("delete from session")).status == 409
    assert await fetch(gateway, ITEMS) == []
    (*_, last) = await gateway.settled(4)
    assert (last["outcome"], last["http_status"]) == ("conflict", 409)
