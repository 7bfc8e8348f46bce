"""A call as a turn of a conversation, in every dialect: how it names one, and what it may ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bedplate_core.ids import SessionId
from bedplate_core.messages import Role
from bedplate_core.requests import Dispatch, Request
from bedplate_providers.fake import FakeProvider
from bedplate_sessions.face_ids import conversation_id, session_uuid
from tests.fixtures.asgi import Exchange, InProcess, Message, in_process

pytestmark = pytest.mark.anyio

RESOURCES = """
kind: Model
name: small
spec: {provider: fake, upstream_model: fake/echo, attempts: 1, profile: {context_tokens: 100}}
---
kind: Model
name: middle
spec: {provider: fake, upstream_model: fake/echo, attempts: 1, profile: {context_tokens: 300}}
"""


@pytest.fixture
async def gateway(tmp_path: Path, database_url: str) -> AsyncIterator[InProcess]:
    async with in_process(tmp_path, database_url, resources=RESOURCES) as running:
        yield running
        assert running.fake.open_streams == 0
        services = running.application.services
        assert len(services.locks) == 0
        async with asyncio.timeout(2):
            while services.database.connections_in_use:  # noqa: ASYNC110 - the catalogue may be reading; it has no event
                await asyncio.sleep(0.01)


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, Dispatch]]:
    """What the scripted provider was asked for, in order."""
    seen: list[tuple[Request, Dispatch]] = []
    generate = FakeProvider.generate

    def spied(self: FakeProvider, request: Request, dispatch: Dispatch) -> Any:
        seen.append((request, dispatch))
        return generate(self, request, dispatch)

    monkeypatch.setattr(FakeProvider, "generate", spied)
    return seen


def headers(exchange: Exchange) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in exchange.sent[0]["headers"]}


def body(exchange: Exchange) -> Any:
    return json.loads(exchange.body)


def chat_body(content: str, **fields: object) -> dict[str, object]:
    return {"model": "fake/echo", "messages": [{"role": "user", "content": content}], **fields}


async def items(gateway: InProcess, session: str, branch: int = 0) -> list[tuple[str, str]]:
    """What the conversation holds, as (role, text)."""
    services = gateway.application.services
    project = next(iter(services.catalogue.snapshot.projects.values())).id
    page = await services.sessions.reader.page(project, SessionId(session), branch=branch)
    return [(item.message.role.value, item.message.text) for item in page.items]


async def count(gateway: InProcess, table: str) -> int:
    connection = await asyncpg.connect(gateway.url)
    try:
        return await connection.fetchval(f"select count(*) from {table}")
    finally:
        await connection.close()


async def begun(gateway: InProcess, *questions: str) -> str:
    """A conversation with these turns."""
    session = "auto"
    for question in questions:
        exchange = await gateway.chat("fake/echo", stream=False, content=question, session=session)
        assert exchange.status == 200, exchange.body
        session = headers(exchange)["x-bedplate-session"]
    return session


CONVERSE = {"messages": [{"role": "user", "content": [{"text": "two"}]}]}
TURNS: dict[str, tuple[str, dict[str, object]]] = {
    "chat": ("/v1/chat/completions", chat_body("two")),
    "messages": ("/v1/messages", chat_body("two", max_tokens=50)),
    "converse": ("/model/fake%2Fecho/converse", CONVERSE),
}


@pytest.mark.parametrize("dialect", TURNS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_turn_by_header_or_by_field_is_the_same(gateway: InProcess, dialect: str, stream: bool) -> None:
    path, given = TURNS[dialect]
    if stream:
        path, given = (f"{path}-stream", given) if dialect == "converse" else (path, {**given, "stream": True})
    for name in (lambda session: session, conversation_id, session_uuid):
        session = await begun(gateway, "one")
        exchange = await gateway.post(path, given, {"x-bedplate-session": name(SessionId(session))})
        assert exchange.status == 200, exchange.body
        assert headers(exchange)["x-bedplate-session"] == session
        field = {"session": name(SessionId(session))}
        asked = {**given, "additionalModelRequestFields": field} if dialect == "converse" else {**given, **field}
        exchange = await gateway.post(path, asked)
        assert exchange.status == 200, exchange.body
        said = [("user", "one"), ("assistant", "one"), *[("user", "two"), ("assistant", "two")] * 2]
        assert await items(gateway, session) == said


async def test_auto_in_a_field_begins_a_conversation(gateway: InProcess) -> None:
    exchange = await gateway.post("/v1/chat/completions", chat_body("one", session={"id": "auto"}))
    session = headers(exchange)["x-bedplate-session"]
    assert await items(gateway, session) == [("user", "one"), ("assistant", "one")]


WRONG: dict[str, tuple[object, int]] = {
    "unknown parameter": ({"id": "auto", "colour": "red"}, 400),
    "unknown mode": ({"id": "auto", "on_busy": "hope"}, 400),
    "no id": ({"branch": 1}, 400),
    "a number": (7, 400),
    "branch of a new one": ({"id": "auto", "branch": 1}, 400),
    "unknown session": ("sess_" + "0" * 32, 404),
    "no form of an id": ("../../etc", 404),
    "NUL": ("sess_\0", 404),
    "unknown branch": ({"branch": 7}, 404),
    "unknown item": ({"fork_at": "item_" + "0" * 32}, 404),
    "item with NUL": ({"fork_at": "a\0"}, 404),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_names_no_conversation_is_refused_and_nothing_is_written(gateway: InProcess, case: str) -> None:
    given, status = WRONG[case]
    session = await begun(gateway, "one")
    if isinstance(given, dict) and set(given) <= {"branch", "fork_at"} and case != "no id":
        given = {"id": session, **given}
    before = [await count(gateway, table) for table in ("session", "session_item", "session_branch", "session_key")]
    exchange = await gateway.post("/v1/chat/completions", chat_body("two", session=given))
    assert (exchange.status, body(exchange)["error"].get("param")) in [(status, "session"), (404, None)], exchange.body
    after = [await count(gateway, table) for table in ("session", "session_item", "session_branch", "session_key")]
    assert before == after
    [*_, record] = await gateway.settled(2)
    assert record["http_status"] == status


async def test_header_and_field_together_are_refused(gateway: InProcess) -> None:
    exchange = await gateway.post(
        "/v1/chat/completions", chat_body("one", session="auto"), {"x-bedplate-session": "auto"}
    )
    assert (exchange.status, body(exchange)["error"]["param"]) == (400, "session")


async def test_the_word_session_elsewhere_is_no_field(gateway: InProcess) -> None:
    exchange = await gateway.post(
        "/v1/chat/completions", chat_body('he said "session" twice', metadata={"session": "x"})
    )
    assert exchange.status == 200
    assert "x-bedplate-session" not in headers(exchange)


async def test_the_parameters_of_the_header_are_those_of_the_field(gateway: InProcess) -> None:
    session = await begun(gateway, "one", "two")
    exchange = await gateway.chat("fake/echo", stream=False, content="x", session=f"{session}; on_busy = reject ; pin")
    assert exchange.status == 200, exchange.body
    for wrong in (
        f"{session}; on_busy=maybe",
        f"{session}; pin=perhaps",
        f"{session};branch=-1",
        f"{session};id={session}",
    ):
        exchange = await gateway.chat("fake/echo", stream=False, content="x", session=wrong)
        assert (exchange.status, body(exchange)["error"]["param"]) == (400, "x-bedplate-session"), wrong


async def busy(gateway: InProcess, session: str) -> tuple[asyncio.Task[Exchange], Exchange]:
    """A turn that is under way and does not end by itself."""
    started = asyncio.Event()

    async def on_send(_: Exchange, message: Message) -> None:
        if message.get("body"):
            started.set()

    exchange = Exchange()
    task = asyncio.create_task(
        gateway.chat("fake/hang", stream=True, content="wait", session=session, on_send=on_send, exchange=exchange)
    )
    async with asyncio.timeout(5):
        while not started.is_set() and await count(gateway, "session_item") < 3:  # noqa: ASYNC110 - a table has no event
            await asyncio.sleep(0.02)
    return task, exchange


async def test_two_turns_at_once(gateway: InProcess) -> None:
    session = await begun(gateway, "one")
    task, exchange = await busy(gateway, session)
    refused = await gateway.post("/v1/chat/completions", chat_body("no", session={"id": session, "on_busy": "reject"}))
    assert refused.status == 409
    aside = await gateway.post("/v1/chat/completions", chat_body("aside", session={"id": session, "on_busy": "branch"}))
    assert (aside.status, headers(aside)["x-bedplate-branch"]) == (200, "1")
    waits = asyncio.create_task(gateway.chat("fake/echo", stream=False, content="after", session=session))
    await asyncio.sleep(0.2)
    assert not waits.done()
    exchange.disconnected.set()
    await task
    assert (await waits).status == 200
    said = [("user", "one"), ("assistant", "one")]
    assert await items(gateway, session) == [*said, ("user", "after"), ("assistant", "after")]
    assert await items(gateway, session, 1) == [*said, ("user", "aside"), ("assistant", "aside")]


async def test_an_answer_that_broke_off_is_kept_until_the_next_turn_says_what_becomes_of_it(gateway: InProcess) -> None:
    session = await begun(gateway, "one")
    for choice, kept in (("continue", True), ("drop", False)):
        before = await items(gateway, session)
        broken = await gateway.chat("fake/error-midstream", stream=True, content="a b c d e f", session=session)
        assert b"error" in broken.body
        partial = (await items(gateway, session))[len(before) :]
        assert [role for role, _ in partial] == ["user", "assistant"]
        assert "a b c d e f".startswith(partial[1][1].strip())
        await gateway.post(
            "/v1/chat/completions", chat_body("go on", session={"id": session, "on_interrupted": choice})
        )
        now = [("user", "go on"), ("assistant", "go on")]
        assert await items(gateway, session) == [*before, *(partial if kept else []), *now]


async def test_a_fork_begins_at_an_item_and_shares_what_was_before(gateway: InProcess) -> None:
    session = await begun(gateway, "one", "two", "three")
    services = gateway.application.services
    project = next(iter(services.catalogue.snapshot.projects.values())).id
    page = await services.sessions.reader.page(project, SessionId(session))
    before = await count(gateway, "session_item")
    exchange = await gateway.post(
        "/v1/chat/completions", chat_body("else", session={"id": session, "fork_at": page.items[1].id})
    )
    assert headers(exchange)["x-bedplate-branch"] == "1"
    assert await count(gateway, "session_item") == before + 2
    await gateway.post("/v1/chat/completions", chat_body("on", session={"id": session, "branch": 1}))
    assert [text for role, text in await items(gateway, session, 1) if role == "user"] == ["one", "else", "on"]
    assert [text for role, text in await items(gateway, session) if role == "user"] == ["one", "two", "three"]


LONG = " ".join(["word"] * 20)


def report(exchange: Exchange) -> dict[str, str]:
    found = headers(exchange).get("x-bedplate-context")
    return {} if found is None else dict(part.split("=") for part in found.split(";"))


async def test_a_history_that_does_not_fit_loses_its_oldest_turns_and_says_so(gateway: InProcess) -> None:
    session = headers(await gateway.post("/v1/chat/completions", chat_body("Be brief.", session="auto")))[
        "x-bedplate-session"
    ]
    dropped = 0
    for number in range(6):
        exchange = await gateway.post(
            "/v1/chat/completions",
            {
                "model": "small",
                "max_tokens": 20,
                "session": session,
                "messages": [{"role": "system", "content": "sys"}, {"role": "user", "content": f"{LONG} {number}"}],
            },
        )
        assert exchange.status == 200, exchange.body
        assert body(exchange)["usage"]["prompt_tokens"] <= 80
        dropped = int(report(exchange).get("dropped", 0))
    assert dropped > 0
    assert len(await items(gateway, session)) == 2 + 1 + 12, "what a model is not told is still kept"


async def test_what_is_pinned_is_told_to_the_model_however_long_ago(
    gateway: InProcess, asked_for: list[tuple[Request, Dispatch]]
) -> None:
    exchange = await gateway.post("/v1/chat/completions", chat_body("pinned fact", session={"id": "auto", "pin": True}))
    session = headers(exchange)["x-bedplate-session"]
    for number in range(6):
        asked = {**chat_body(f"{LONG} {number}", session=session, max_tokens=20), "model": "small"}
        exchange = await gateway.post("/v1/chat/completions", asked)
    assert int(report(exchange)["dropped"]) > 0
    texts = [message.text for message in asked_for[-1][0].messages]
    assert texts[0] == "pinned fact"
    assert f"{LONG} 0" not in texts


async def test_with_none_the_model_is_sent_all(gateway: InProcess) -> None:
    session = await begun(gateway, *[f"{LONG} {number}" for number in range(4)])
    asked = {**chat_body("x", session={"id": session, "context": "none"}), "model": "small"}
    exchange = await gateway.post("/v1/chat/completions", asked)
    assert body(exchange)["usage"]["prompt_tokens"] == 4 * 42 + 1
    assert report(exchange) == {}


async def test_a_summary_stands_for_what_does_not_fit(
    gateway: InProcess, asked_for: list[tuple[Request, Dispatch]]
) -> None:
    session = await begun(gateway, "say: the gist", *[f"{LONG} {number}" for number in range(7)])
    choice = {"id": session, "context": "summarize", "summary_model": "fake/script"}
    asked_for.clear()
    for number in range(2):
        asked = {**chat_body(f"x {number}", session=choice, max_tokens=20), "model": "middle"}
        exchange = await gateway.post("/v1/chat/completions", asked)
        assert (exchange.status, report(exchange)["summarized"]) == (200, "true")
    summary, first, second = [request for request, _ in asked_for]
    assert "say: the gist" in summary.messages[-1].text
    for request in (first, second):
        assert request.messages[0].role is Role.SYSTEM
        assert "the gist" in request.messages[0].text
        assert all("say: the gist" not in message.text for message in request.messages[1:])
    assert await count(gateway, "session_item where kind = 'summary'") == 1
    said = [text for role, text in await items(gateway, session) if role == "user"]
    assert said == ["say: the gist", *[f"{LONG} {number}" for number in range(7)], "x 0", "x 1"]
    operations = [record["operation"] for record in await gateway.records()]
    assert operations.count("summary") == 1, "it is a call of its own, on record"


async def test_without_a_summary_the_history_is_cut(gateway: InProcess) -> None:
    session = await begun(gateway, *[f"{LONG} {number}" for number in range(4)])
    choice = {"id": session, "context": "summarize", "summary_model": "no/model"}
    asked = {**chat_body("x", session=choice, max_tokens=20), "model": "small"}
    exchange = await gateway.post("/v1/chat/completions", asked)
    assert (exchange.status, report(exchange)["summarized"]) == (200, "false")
    assert await count(gateway, "session_item where kind = 'summary'") == 0


async def test_a_turn_reaches_the_upstream_with_a_salt_and_an_affinity_of_its_session(
    gateway: InProcess, asked_for: list[tuple[Request, Dispatch]]
) -> None:
    one, other = await begun(gateway, "one", "two"), await begun(gateway, "one")
    await gateway.chat("fake/echo", stream=False)
    first, second, third, without = [dispatch for _, dispatch in asked_for]
    assert first.affinity == second.affinity == one
    assert third.affinity == other
    assert without.affinity is None
    assert first.cache_salt == second.cache_salt is not None
    assert len({first.cache_salt, third.cache_salt, without.cache_salt}) == 3
    assert one not in str(first.cache_salt)
