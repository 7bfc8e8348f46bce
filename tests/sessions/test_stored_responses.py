"""What stored responses promise: the chain in front, stored before Finish, once, and only for their own project."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from bedplate_core.errors import InvalidRequest, NotFound, StoreUnavailable, UnsupportedFeature, UpstreamProtocolError
from bedplate_core.events import Event, PartEnd, PartStart, StopReason
from bedplate_core.ids import ProjectId, new_key_id, new_project_id
from bedplate_core.messages import Message, Reasoning, Role, Text, ToolCall, ToolResult
from bedplate_core.requests import Request
from bedplate_core.response import collect
from bedplate_core.usage import Usage
from bedplate_sessions.durable import Durable
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_sessions.response_turn import ResponseTurn
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Answer, LosesAcknowledgements, answer, ask, finish, message, spoken, start

pytestmark = pytest.mark.anyio


def new_id() -> str:
    return f"resp_{secrets.token_hex(16)}"


class Kept:
    """One project's stored responses."""

    def __init__(self, database: Database, project: ProjectId, **bounds: float | int) -> None:
        self.database = database
        self.project: ProjectId = project
        self.keys = DataKeys(database, LocalKeys(name="test", keys={1: bytes(range(32))}, current=1))
        self.responses = StoredResponses(database, self.keys, **bounds)  # type: ignore[arg-type]
        self.durable = Durable(database, deadline_s=1.0)
        self.key = new_key_id()

    async def open(
        self, previous: str | None = None, *, name: str | None = None, store: bool = True, instructions: int = 0
    ) -> ResponseTurn:
        return await self.responses.open_turn(
            project=self.project,
            key=self.key,
            response_id=name or new_id(),
            previous=previous,
            store=store,
            instructions=instructions,
            settings=lambda request: msgspec.json.encode({"first": request.messages[0].text}),
        )

    async def say(
        self,
        question: str | Request,
        reply: str | Answer,
        *,
        previous: str | None = None,
        store: bool = True,
        instructions: int = 0,
        name: str | None = None,
        masked: Callable[[Request], Request] = lambda request: request,
    ) -> str:
        """One whole turn; raises what it raises. Its id."""
        name = name or new_id()
        turn = await self.open(previous, name=name, store=store, instructions=instructions)
        await turn.begin(masked(turn.compose(ask(question) if isinstance(question, str) else question)))
        await self.end(turn, reply)
        await turn.aclose()
        return name

    async def end(self, turn: ResponseTurn, reply: str | Answer) -> None:
        """Answer a turn that has begun, and make it durable."""
        response = await collect(answer(reply) if isinstance(reply, str) else reply)
        await self.durable.commit(self.project, turn.ending(response), what="this turn")

    async def composed(self, previous: str, question: str | Request, *, instructions: int = 0) -> list[tuple[str, str]]:
        turn = await self.open(previous, instructions=instructions)
        request = turn.compose(ask(question) if isinstance(question, str) else question)
        return [(each.role.value, each.text) for each in request.messages]

    async def count(self) -> int:
        async with self.database.transaction(self.project) as connection:
            found = await connection.exec_driver_sql("select count(*) from stored_response")
            return int(found.scalar_one())


@pytest.fixture
async def kept(database_config: DatabaseConfig) -> AsyncIterator[Kept]:
    database = Database(database_config)
    yield Kept(database, new_project_id())
    assert database.connections_in_use == 0
    await database.aclose()


async def test_a_stored_response_holds_its_own_input_and_answer(kept: Kept) -> None:
    first = await kept.say("one", "answer one")
    second = await kept.say("two", answer("answer two", StopReason.LENGTH), previous=first)
    stored = await kept.responses.read(project=kept.project, response_id=second)
    assert (stored.id, stored.parent_id, stored.model, stored.created_s) == (second, first, "fake/echo", 1)
    assert stored.input == (message("two"),)
    assert (stored.output.role, stored.output.text) == (Role.ASSISTANT, "answer two")
    assert (stored.stop_reason, stored.usage) == (StopReason.LENGTH, Usage(input_tokens=1, output_tokens=1))
    assert msgspec.json.decode(stored.settings) == {"first": "one"}


async def test_the_chain_goes_before_the_input_oldest_first(kept: Kept) -> None:
    first = await kept.say("one", "1")
    second = await kept.say(ask(message("mind this", Role.SYSTEM), "two"), "2", previous=first)
    await kept.say("elsewhere", "x", previous=first)
    assert await kept.composed(second, "three") == [
        ("user", "one"),
        ("assistant", "1"),
        ("system", "mind this"),
        ("user", "two"),
        ("assistant", "2"),
        ("user", "three"),
    ]


async def test_instructions_stand_first_and_are_not_carried_on(kept: Kept) -> None:
    first = await kept.say(ask(message("be brief", Role.SYSTEM), "one"), "1", instructions=1)
    assert await kept.composed(first, "two") == [("user", "one"), ("assistant", "1"), ("user", "two")]
    other = ask(message("be long", Role.SYSTEM), "two")
    assert (await kept.composed(first, other, instructions=1))[:2] == [("system", "be long"), ("user", "one")]


async def test_every_part_comes_back_as_it_was(kept: Kept) -> None:
    given = (
        Message(role=Role.USER, parts=(Text(text='quotes " and \\ and \x00 and \U0001f600'),)),
        Message(role=Role.ASSISTANT, parts=(ToolCall(id="c", name="f", arguments='{"a": 1'),)),
        Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="r"),)),)),
    )
    name = await kept.say(Request(model="m", messages=given), "1")
    assert (await kept.responses.read(project=kept.project, response_id=name)).input == given


async def test_what_is_stored_is_the_masked_request(kept: Kept) -> None:
    def mask(request: Request) -> Request:
        return msgspec.structs.replace(
            request,
            messages=tuple(
                Message(role=each.role, parts=(Text(text=each.text.replace("secret", "***")),))
                for each in request.messages
            ),
        )

    name = await kept.say(ask(message("secret rule", Role.SYSTEM), "my secret"), "fine", instructions=1, masked=mask)
    stored = await kept.responses.read(project=kept.project, response_id=name)
    assert stored.input == (message("my ***"),)
    assert msgspec.json.decode(stored.settings) == {"first": "*** rule"}


async def test_nothing_is_stored_before_the_answers_end(kept: Kept) -> None:
    turn = await kept.open(name=(name := new_id()))
    await turn.begin(turn.compose(ask("one")))
    writes = turn.ending(await collect(answer("1")))
    assert await kept.count() == 0
    await kept.durable.commit(kept.project, writes, what="this turn")
    assert (await kept.responses.read(project=kept.project, response_id=name)).output.text == "1"


async def test_nothing_is_kept_of_what_failed_or_is_not_to_be_kept(kept: Kept) -> None:
    broken = Answer((start(),), spoken("half"), error=UpstreamProtocolError("broke off"))
    with pytest.raises(UpstreamProtocolError):
        await kept.say("one", broken)
    turn = await kept.open()
    await turn.begin(turn.compose(ask("two")))
    await turn.break_off([Text(text="half")])
    await turn.establish()
    await turn.aclose()
    await kept.say("three", "fine", store=False)
    assert await kept.count() == 0


async def test_what_is_stored_is_encrypted_with_one_key_a_chain(kept: Kept) -> None:
    first = await kept.say("a secret", "a mystery")
    second = await kept.say("two", "a mystery", previous=first)
    async with kept.database.transaction(kept.project) as connection:
        found = await connection.exec_driver_sql(
            "select id, key_owner, sealed, stored_response::text from stored_response"
        )
        rows = found.all()
        keys = (await connection.exec_driver_sql("select owner from session_key")).scalars().all()
    assert {row[0]: row[1] for row in rows} == {first: first, second: first}
    assert keys == [first]
    for row in rows:
        assert row[2][:1] == b"\x01"
        assert b"mystery" not in row[2]
        assert "secret" not in row[3]
        assert "mystery" not in row[3]
    await kept.responses.delete(project=kept.project, response_id=first)
    assert (await kept.responses.read(project=kept.project, response_id=second)).output.text == "a mystery"


async def test_content_that_was_put_under_another_response_cannot_be_read(kept: Kept) -> None:
    first = await kept.say("one", "1")
    other = "resp_" + "0" * 32
    async with kept.database.transaction(kept.project) as connection:
        columns = "project_id, created_by, model, created_s, sealed, key_owner, stop_reason, usage, schema_version"
        await connection.exec_driver_sql(
            f"insert into stored_response (id, {columns}, size_bytes, expires_at) "
            f"select '{other}', {columns}, size_bytes, expires_at from stored_response where id = '{first}'"
        )
    with pytest.raises(ContentUnreadable):
        await kept.responses.read(project=kept.project, response_id=other)
    with pytest.raises(ContentUnreadable):
        await kept.open(other)
    assert (await kept.responses.read(project=kept.project, response_id=first)).output.text == "1"


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
async def test_a_turn_may_be_cancelled_at_each_of_its_awaits(kept: Kept, by_scope: bool) -> None:
    first = await kept.say("first", "1")
    answered: list[int] = []

    async def again(point: int) -> None:
        turn = await kept.open(first)
        await turn.begin(turn.compose(ask("again")))
        response = await collect(answer("reply"))
        answered.append(point)
        await kept.durable.commit(kept.project, turn.ending(response), what="this turn")

    point, reached = 0, True
    while reached:
        await kept.count()  # a connection is there: making one would be further awaits
        reached = await run_cancelled(again(point), point, by_scope=by_scope)
        assert kept.database.connections_in_use == 0
        point += 1
    assert point > 8, "a turn suspends more often than that"
    # Once the answer is there its commit begins, and no cancellation stops it.
    assert await kept.count() == 1 + len(answered)


async def test_a_commit_whose_acknowledgement_was_lost_is_repeated_without_harm(
    database_config: DatabaseConfig,
) -> None:
    database = LosesAcknowledgements(database_config)
    kept = Kept(database, new_project_id())
    turn = await kept.open(name=(name := new_id()))
    await turn.begin(turn.compose(ask("one")))
    database.lost = 2
    await kept.end(turn, "1")
    assert database.lost == 0
    assert (await kept.responses.read(project=kept.project, response_id=name)).output.text == "1"
    assert await kept.count() == 1
    await database.aclose()


async def test_without_a_database_there_is_no_end(own_server: PostgresServer) -> None:
    database = Database(DatabaseConfig(url=own_server.url("postgres"), connect_timeout_s=1.0))
    kept = Kept(database, new_project_id())
    turn = await kept.open(name=(name := new_id()))
    await turn.begin(turn.compose(ask("one")))
    await asyncio.to_thread(own_server.embedded.stop)
    with pytest.raises(StoreUnavailable, match="not stored"):
        await kept.end(turn, "1")
    own_server.embedded.start()
    with pytest.raises(NotFound):
        await kept.responses.read(project=kept.project, response_id=name)
    assert database.connections_in_use == 0
    await database.aclose()


async def test_calls_and_results_meet_across_the_chain(kept: Kept) -> None:
    calls = [ToolCall(id=each, name="f", arguments="{}") for each in ("c1", "c2")]
    asked = Request(model="m", messages=(message("x"), Message(role=Role.ASSISTANT, parts=(Reasoning(text="so"),))))
    first = await kept.say(asked, Answer((start(),), called(*calls), (finish(StopReason.TOOL),)))

    def results(*names: str) -> Request:
        messages = tuple(
            Message(role=Role.TOOL, parts=(ToolResult(call_id=each, parts=(Text(text="r"),)),)) for each in names
        )
        return Request(model="m", messages=(*messages, message("go on")))

    assert len(await kept.composed(first, results("c2", "c1"))) == 6
    for wrong in (results("c1"), results(), results("c1", "c2", "c3"), results("c1", "c1")):
        with pytest.raises(InvalidRequest) as caught:
            await kept.composed(first, wrong)
        assert caught.value.param == "input"


def called(*calls: ToolCall) -> list[Event]:
    return [event for index, call in enumerate(calls) for event in (PartStart(0, index, call), PartEnd(0, index))]


async def test_a_response_is_one_chat_with_one_choice(kept: Kept) -> None:
    turn = await kept.open()
    with pytest.raises(UnsupportedFeature):
        turn.compose(Request(model="m", prompts=("raw",)))
    with pytest.raises(UnsupportedFeature):
        turn.compose(Request(model="m", messages=(message("x"),), choices=2))
    response = await collect(answer("y"))
    request = turn.compose(ask("x"))
    with pytest.raises(RuntimeError):
        turn.ending(response)
    await turn.begin(request)
    assert len(turn.ending(response)) == 1


@pytest.fixture(params=["bedplate_app", "none"], ids=["both walls", "without row-level security"])
async def tenants(request: pytest.FixtureRequest, database_config: DatabaseConfig) -> AsyncIterator[tuple[Kept, Kept]]:
    """Two projects, as the gateway sees them and as a superuser does, whom row-level security does not bind."""
    database = Database(msgspec.structs.replace(database_config, role=request.param))
    yield Kept(database, new_project_id()), Kept(database, new_project_id())
    await database.aclose()


async def test_another_project_sees_nothing(tenants: tuple[Kept, Kept]) -> None:
    kept, other = tenants
    mine = await kept.say("one", "1")
    for attempt in (other.responses.read, other.responses.delete):
        with pytest.raises(NotFound):
            await attempt(project=other.project, response_id=mine)
    with pytest.raises(NotFound):
        await other.open(mine)
    assert (await kept.responses.read(project=kept.project, response_id=mine)).output.text == "1"


async def test_a_chain_does_not_leave_its_project(tenants: tuple[Kept, Kept]) -> None:
    kept, other = tenants
    mine = await kept.say("one", "1")
    theirs = await other.say("two", "2")
    async with kept.database.transaction(other.project) as connection:
        # Not possible through the gateway: it stores only parents that it has read.
        await connection.exec_driver_sql("set local role none")
        await connection.exec_driver_sql(f"update stored_response set parent_id = '{mine}' where id = '{theirs}'")
    with pytest.raises(NotFound, match="deleted or has expired"):
        await other.open(theirs)


@pytest.mark.parametrize("bounds", [{"max_chain": 2}, {"max_chain_bytes": 450}])
async def test_a_chain_has_bounds(database_config: DatabaseConfig, bounds: dict[str, int]) -> None:
    database = Database(database_config)
    kept = Kept(database, new_project_id(), **bounds)
    first = await kept.say("question 1", "answer")
    second = await kept.say("question 2", "answer", previous=first)
    third = await kept.say("question 3", "answer", previous=second)
    with pytest.raises(InvalidRequest) as caught:
        await kept.open(third)
    assert caught.value.param == "previous_response_id"
    await database.aclose()


@pytest.mark.parametrize("name", ["", "x", "resp_", "resp_\x00", f"resp_{'A' * 32}", f"resp_{'0' * 32}\n"])
async def test_what_is_no_id_is_not_found(kept: Kept, name: str) -> None:
    with pytest.raises(NotFound):
        await kept.responses.read(project=kept.project, response_id=name)
    with pytest.raises(NotFound):
        await kept.responses.delete(project=kept.project, response_id=name)
    with pytest.raises(NotFound) as caught:
        await kept.open(name)
    assert caught.value.param == "previous_response_id"
