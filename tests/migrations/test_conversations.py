"""Version 0004 changes where a conversation's content is kept, and loses nothing of what was there before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import bedplate_migrations
from bedplate_core.ids import ProjectId, SessionId, new_key_id, new_session_id
from bedplate_core.messages import Message, Reasoning, Role, Text, ToolCall, ToolResult
from bedplate_core.response import collect
from bedplate_migrations.runner import upgrade
from bedplate_sessions.durable import Durable
from bedplate_sessions.items import ItemStatus
from bedplate_sessions.session import Face, SessionStatus
from bedplate_sessions.stored_responses import StoredResponses
from bedplate_sessions.turn_options import TurnOptions
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.sessions import Store, answer, ask, message, texts, turn

pytestmark = pytest.mark.anyio

PROJECT = ProjectId("proj_old")
SESSION, EMPTY = new_session_id(), new_session_id()
FIRST, SECOND = f"resp_{'1' * 32}", f"resp_{'2' * 32}"
SAID = (
    message("be brief", Role.SYSTEM),
    Message(role=Role.USER, parts=(Text(text='quotes " and \\ and \x00 and \U0001f600'),), name="eve"),
    Message(role=Role.ASSISTANT, parts=(Reasoning(text="so"), ToolCall(id="c", name="f", arguments='{"a": 1'))),
    Message(role=Role.TOOL, parts=(ToolResult(call_id="c", parts=(Text(text="r"),)),)),
    message("done", Role.ASSISTANT),
)


def migrated_to(url: str, revision: str) -> None:
    """Take the steps up to `revision` alone, as the gateway of that time did. Blocks."""
    config = Config()
    config.set_main_option("script_location", str(Path(bedplate_migrations.__file__).parent))

    def work(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async def run() -> None:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url))
        async with engine.begin() as connection:
            await connection.run_sync(work)
        await engine.dispose()

    asyncio.run(run())


def quoted(value: object) -> str:
    """A value as SQL, JSON for what is no text."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    written = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return "'" + written.replace("'", "''") + "'"


def insert(table: str, **values: object) -> str:
    return f"insert into {table} ({', '.join(values)}) values ({', '.join(map(quoted, values.values()))})"


def written_by_version_0003() -> list[str]:
    """Two sessions, one without items, and a chain of two responses, in the columns of that version."""
    statements = [
        insert("session", id=SESSION, project_id=PROJECT, created_by="key_1", head=len(SAID)),
        insert("session", id=EMPTY, project_id=PROJECT, created_by="key_1"),
        "update session set created_at = now() - interval '1 day', updated_at = now() - interval '1 hour'",
    ]
    for seq, said in enumerate(SAID, start=1):
        statements.append(
            insert(
                "session_item",
                session_id=SESSION,
                seq=seq,
                id=f"item_{seq:032x}",
                project_id=PROJECT,
                parent_seq=seq - 1 or None,
                role=said.role.value,
                payload=said,
                schema_version=1,
                call_id="req_1" if seq < 4 else "req_2",
                status="completed",
                stop_reason="end" if said.role is Role.ASSISTANT else None,
            )
        )
    for name, parent, question in ((FIRST, None, "one\x00"), (SECOND, FIRST, "two")):
        statements.append(
            insert(
                "stored_response",
                id=name,
                project_id=PROJECT,
                parent_id=parent,
                created_by="key_1",
                model="m",
                created_s=1,
                input=[message(question)],
                output=message(f"answer to {question}", Role.ASSISTANT),
                stop_reason="end",
                usage={"input_tokens": 1, "output_tokens": 2},
                settings={"a": [1]},
                schema_version=1,
                size_bytes=100,
                expires_at="2999-01-01",
            )
        )
    return statements


@pytest.fixture
async def old(postgres_server: PostgresServer) -> AsyncIterator[Store]:
    """A database that version 0003 wrote to and that was then brought up to date."""
    name = postgres_server.create_database(template="template0")
    url = postgres_server.url(name)
    await in_thread(migrated_to, url, "0003")
    postgres_server.run(*written_by_version_0003(), database=name)
    await in_thread(upgrade, url)
    opened = Store(DatabaseConfig(url=url), PROJECT)
    yield opened
    opened.assert_nothing_is_held()
    await opened.aclose()
    postgres_server.drop_database(name)


async def in_thread(work: Callable[..., Any], *arguments: object) -> None:
    await asyncio.to_thread(work, *arguments)


async def test_sessions_and_items_are_as_they_were(old: Store) -> None:
    items = await old.all_items(SESSION)
    assert tuple(item.message for item in items) == SAID
    assert [(item.seq, item.parent_seq, item.branch) for item in items] == [
        (seq, seq - 1 or None, 0) for seq in range(1, len(SAID) + 1)
    ]
    assert {item.status for item in items} == {ItemStatus.COMPLETED}
    assert [item.call_id for item in items] == ["req_1"] * 3 + ["req_2"] * 2
    assert await old.sessions.reader.one(PROJECT, SESSION, items[1].id) == items[1]
    assert await old.all_items(EMPTY) == ()
    found = (await old.sessions.registry.page(PROJECT, limit=10)).sessions
    assert {session.id for session in found} == {SESSION, EMPTY}
    for session in found:
        assert (session.face, session.status, session.legal_hold) == (Face.CHAT, SessionStatus.ACTIVE, False)
        assert (session.metadata, session.tags) == ({}, {})
        assert session.expires_at is None
        assert session.idle_timeout_s is None
        assert (session.updated_at - session.created_at).total_seconds() > 3600


@pytest.mark.parametrize("session", [SESSION, EMPTY], ids=["with items", "empty"])
async def test_a_session_goes_on(old: Store, session: SessionId) -> None:
    before = texts(await old.all_items(session))
    opened = await old.open(session)
    assert [each.text for each in opened.compose(ask("more")).messages] == [*(text for _, text in before), "more"]
    await opened.aclose()
    await turn(old, session, "more", "much more")
    after = [("user", "more"), ("assistant", "much more")]
    assert texts(await old.all_items(session)) == before + after
    assert [item.seq for item in await old.all_items(session)] == list(range(1, len(before) + 3))


async def test_a_session_forks_at_an_old_item(old: Store) -> None:
    items = await old.all_items(SESSION)
    await turn(old, SESSION, "else", "where", options=TurnOptions(fork_at=items[2].id))
    assert texts(await old.all_items(SESSION, 1)) == [*texts(items[:3]), ("user", "else"), ("assistant", "where")]
    assert await old.all_items(SESSION) == items


async def test_a_session_can_be_deleted(old: Store) -> None:
    await old.sessions.registry.delete(PROJECT, SESSION)
    assert [each.id for each in (await old.sessions.registry.page(PROJECT, limit=10)).sessions] == [EMPTY]
    assert await old.run("select count(*) from session_item") == [(0,)]


async def test_responses_are_as_they_were_and_can_be_built_on(old: Store) -> None:
    responses = StoredResponses(old.database, old.keys)
    for name, parent, question in ((FIRST, None, "one\x00"), (SECOND, FIRST, "two")):
        found = await responses.read(project=PROJECT, response_id=name)
        assert (found.parent_id, found.input, found.output.text) == (
            parent,
            (message(question),),
            f"answer to {question}",
        )
        assert (found.usage.input_tokens, found.usage.output_tokens) == (1, 2)
        assert msgspec.json.decode(found.settings) == {"a": [1]}
    third = f"resp_{'3' * 32}"
    opened = await responses.open_turn(
        project=PROJECT, key=new_key_id(), response_id=third, previous=SECOND, store=True, instructions=0,
        settings=lambda _: b"{}",
    )  # fmt: skip
    request = opened.compose(ask("three"))
    assert [each.text for each in request.messages] == [
        "one\x00", "answer to one\x00", "two", "answer to two", "three",
    ]  # fmt: skip
    await opened.begin(request)
    writes = opened.ending(await collect(answer("3")))
    await Durable(old.database).commit(PROJECT, writes, what="this turn")
    assert (await responses.read(project=PROJECT, response_id=third)).output.text == "3"
    await responses.delete(project=PROJECT, response_id=FIRST)
    assert (await responses.read(project=PROJECT, response_id=SECOND)).output.text == "answer to two"


async def test_their_turns_are_invocations(old: Store) -> None:
    page = await old.sessions.steps.invocations(PROJECT, SESSION, limit=10)
    assert [(each.id, each.number) for each in page.invocations] == [("2", 2), ("1", 1)]
    steps = await old.sessions.steps.page(PROJECT, SESSION, limit=10, invocation="1")
    assert len(steps.steps) == 3
