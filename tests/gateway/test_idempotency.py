"""A request with an idempotency key is answered once, in every dialect; whoever asks again gets the same bytes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import asyncpg
import boto3
import botocore.config
import botocore.exceptions
import httpx
import msgspec
import openai
import pytest

from bedplate_core.errors import StoreUnavailable, UpstreamUnavailable
from bedplate_providers.fake import FakeProvider
from tests.fixtures.asgi import Exchange, InProcess, Message, in_process
from tests.fixtures.cancelling import run_cancelled
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.operations import GENERATING, STREAMED, WHOLE, Operation
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.served import Served, serve

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
AUTO = {"x-bedplate-session": "auto"}
CHAT_STREAM = next(each for each in GENERATING if each.name == "chat-stream")
CHAT_WHOLE = next(each for each in GENERATING if each.name == "chat")
SOME = tuple(each for each in GENERATING if each.name in ("chat-stream", "messages", "converse-stream", "invoke"))
CONVERSE = next(each for each in GENERATING if each.name == "converse")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, in which the gateway runs."""
    return "asyncio"


async def idle(gateway: InProcess) -> None:
    """Return when nothing is kept, locked or connected; fail when that takes too long."""
    services = gateway.application.services
    async with asyncio.timeout(3):
        while len(services.kept_calls) or len(services.locks) or services.database.connections_in_use:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


class Calls:
    """Counts what the upstream is asked; the first `failures` of it fail."""

    def __init__(self) -> None:
        self.count = 0
        self.failures = 0


@pytest.fixture(scope="module")
async def running(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[InProcess, None]:
    """A gateway for all tests that need no other settings."""
    name = postgres_server.create_database()
    try:
        folder = tmp_path_factory.mktemp("running")
        async with in_process(folder, postgres_server.url(name)) as gateway:
            yield gateway
    finally:
        postgres_server.drop_database(name)


@pytest.fixture
async def gateway(running: InProcess) -> AsyncGenerator[InProcess, None]:
    """It, with nothing stored; afterwards nothing of it is held."""
    await rows(running, "truncate invocation, stored_response, stored_reply, session, session_key cascade")
    yield running
    await idle(running)
    assert running.fake.open_streams == 0
    assert not [task for task in asyncio.all_tasks() if "KeptCalls" in repr(task)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """How often the upstream was asked."""
    counted = Calls()
    generate = FakeProvider.generate

    def counting(self: FakeProvider, *arguments: Any) -> Any:
        counted.count += 1
        stream = generate(self, *arguments)
        if counted.count <= counted.failures:
            stream.fail(UpstreamUnavailable("The model is not available at the moment."))
        return stream

    monkeypatch.setattr(FakeProvider, "generate", counting)
    return counted


async def rows(gateway: InProcess, statement: str, *arguments: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(gateway.url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


def headers_of(exchange: Exchange) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in exchange.sent[0]["headers"]}


def without_ids(headers: dict[str, str]) -> dict[str, str]:
    ids = ("x-request-id", "request-id", "x-amzn-requestid", "idempotent-replayed")
    return {name: value for name, value in headers.items() if name not in ids}


async def send(
    gateway: InProcess, operation: Operation, key: str, model: str = "fake/echo", **options: Any
) -> Exchange:
    headers = {"idempotency-key": key, **options.pop("headers", {})}
    return await gateway.post(operation.path_of(model), operation.body(model), headers, **options)


def named(operations: tuple[Operation, ...]) -> Any:
    return pytest.mark.parametrize("operation", operations, ids=[each.name for each in operations])


@named(GENERATING)
async def test_a_retry_gets_the_same_bytes(gateway: InProcess, calls: Calls, operation: Operation) -> None:
    first = await send(gateway, operation, "once")
    again = await send(gateway, operation, "once")
    assert first.status == again.status == 200
    assert operation.ending in first.body
    assert again.body == first.body
    assert calls.count == 1
    assert without_ids(headers_of(again)) == without_ids(headers_of(first))
    assert "idempotent-replayed" not in headers_of(first)
    assert headers_of(again)["idempotent-replayed"] == "true"
    assert headers_of(again)["x-request-id"] != headers_of(first)["x-request-id"]
    records = await gateway.records()
    assert [(row["outcome"], row["http_status"], row["output_tokens"]) for row in records] == [
        ("completed", 200, records[0]["output_tokens"]),
        ("replayed", 200, None),
    ]
    assert {row["id"] for row in records} == {headers_of(each)["x-request-id"] for each in (first, again)}


@named(SOME)
async def test_a_retry_while_it_runs_is_attached(gateway: InProcess, calls: Calls, operation: Operation) -> None:
    exchanges = await asyncio.gather(*(send(gateway, operation, "once", "fake/slow") for _ in range(3)))
    assert calls.count == 1
    assert len({each.body for each in exchanges}) == 1
    assert operation.ending in exchanges[0].body
    replayed = [each for each in exchanges if "idempotent-replayed" in headers_of(each)]
    assert len(replayed) == 2
    outcomes = sorted(row["outcome"] for row in await gateway.records())
    assert outcomes == ["completed", "replayed", "replayed"]


@named(tuple(each for each in SOME if each.streams))
async def test_whoever_comes_in_the_middle_gets_every_byte(
    gateway: InProcess, calls: Calls, operation: Operation
) -> None:
    late: list[asyncio.Task[Exchange]] = []
    pieces: list[int] = []

    async def on_send(_: Exchange, message: Message) -> None:
        pieces.append(len(message.get("body", b"")))
        if len(pieces) == 4:
            late.append(asyncio.create_task(send(gateway, operation, "once", "fake/slow")))

    first = await send(gateway, operation, "once", "fake/slow", on_send=on_send)
    second = await late[0]
    assert second.body == first.body
    assert len(second.sent) > 3, "it is followed live, not sent in one piece"
    assert calls.count == 1


@named(GENERATING)
async def test_a_client_that_leaves_comes_back_for_the_answer(
    gateway: InProcess, calls: Calls, operation: Operation
) -> None:
    leaving = Exchange()
    task = asyncio.create_task(send(gateway, operation, "once", "fake/slow", exchange=leaving))
    await asyncio.sleep(0.05)
    leaving.disconnected.set()
    await task
    assert operation.ending not in leaving.body
    back = await send(gateway, operation, "once", "fake/slow")
    assert operation.ending in back.body
    assert calls.count == 1
    outcomes = [row["outcome"] for row in await gateway.settled(2)]
    assert sorted(outcomes) == ["completed", "replayed"]
    later = await send(gateway, operation, "once", "fake/slow")
    assert later.body == back.body


async def test_an_attached_client_that_leaves_ends_nothing(gateway: InProcess, calls: Calls) -> None:
    attached = Exchange()
    first = asyncio.create_task(send(gateway, CHAT_STREAM, "once", "fake/slow"))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(send(gateway, CHAT_STREAM, "once", "fake/slow", exchange=attached))
    await asyncio.sleep(0.02)
    attached.disconnected.set()
    await second
    assert b"[DONE]" in (await first).body
    assert sorted(row["outcome"] for row in await gateway.settled(2)) == ["cancelled", "completed"]
    assert calls.count == 1


async def test_a_slow_reader_holds_up_nobody(gateway: InProcess, calls: Calls) -> None:
    release = asyncio.Event()

    async def stuck(_: Exchange, message: Message) -> None:
        if message.get("body"):
            await release.wait()

    slow = asyncio.create_task(send(gateway, CHAT_STREAM, "once", on_send=stuck))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        quick = await send(gateway, CHAT_STREAM, "once")
    assert b"[DONE]" in quick.body
    release.set()
    assert (await slow).body == quick.body
    assert calls.count == 1


@named(SOME)
async def test_another_request_under_the_key_is_refused(gateway: InProcess, calls: Calls, operation: Operation) -> None:
    await send(gateway, operation, "once")
    other = await gateway.post(
        operation.path_of("fake/echo"), operation.body("fake/echo", "something else"), {"idempotency-key": "once"}
    )
    assert other.status == (400 if operation.dialect == "bedrock" else 422)
    assert b"idempotency key" in other.body
    assert calls.count == 1
    assert (await gateway.records())[-1]["outcome"] == "idempotency_mismatch"


async def test_another_request_while_the_first_runs_is_refused(gateway: InProcess, calls: Calls) -> None:
    first = asyncio.create_task(send(gateway, CHAT_STREAM, "once", "fake/slow"))
    await asyncio.sleep(0.02)
    other = await gateway.chat("fake/slow", stream=True, content="other")
    assert other.status == 200, "without a key it is another call"
    body = CHAT_STREAM.body("fake/slow", "other")
    refused = await gateway.post(CHAT, body, {"idempotency-key": "once"})
    assert refused.status == 422
    assert (await first).status == 200
    assert calls.count == 2


async def test_the_session_header_is_part_of_the_request(gateway: InProcess, calls: Calls) -> None:
    await send(gateway, CHAT_WHOLE, "once")
    assert (await send(gateway, CHAT_WHOLE, "once", headers=AUTO)).status == 422


@named(SOME)
async def test_an_error_gives_the_key_up(gateway: InProcess, calls: Calls, operation: Operation) -> None:
    calls.failures = 1
    failed = await send(gateway, operation, "once")
    assert failed.status == 503
    ok = await send(gateway, operation, "once")
    assert ok.status == 200
    assert operation.ending in ok.body
    assert "idempotent-replayed" not in headers_of(ok)
    assert calls.count == 2
    assert [row["outcome"] for row in await gateway.records()] == ["upstream_unavailable", "completed"]


async def test_an_error_in_the_middle_is_no_answer(gateway: InProcess, calls: Calls) -> None:
    exchanges = [await send(gateway, CHAT_STREAM, "once", "fake/error-midstream") for _ in range(2)]
    assert calls.count == 2
    for each in exchanges:
        assert b"upstream_unavailable" in each.body
        assert b"[DONE]" not in each.body


async def test_a_new_request_may_have_a_key_that_only_failed(gateway: InProcess, calls: Calls) -> None:
    calls.failures = 1
    assert (await send(gateway, CHAT_WHOLE, "once")).status == 503
    fixed = await gateway.post(CHAT, CHAT_WHOLE.body("fake/echo", "another"), {"idempotency-key": "once"})
    assert fixed.status == 200
    assert (await send(gateway, CHAT_WHOLE, "once")).status == 422


async def items(gateway: InProcess, session: str) -> list[tuple[str, str, str]]:
    found = await rows(
        gateway,
        "select role, status, call_id from session_item where session_id = $1 and status <> 'dropped' order by seq",
        session,
    )
    return [(row["role"], row["status"], row["call_id"]) for row in found]


@pytest.mark.parametrize("model", ["fake/echo", "fake/error-midstream"])
async def test_a_turn_whose_call_failed_is_taken_up(
    gateway: InProcess, calls: Calls, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """The retry goes on in the session that the first attempt began, and its question is there once."""
    calls.failures = 1 if model == "fake/echo" else 0
    first = await send(gateway, CHAT_STREAM, "once", model, headers=AUTO)
    assert b"upstream_unavailable" in first.body
    sessions = await rows(gateway, "select id from session")
    assert len(sessions) == 1
    if model != "fake/echo":
        generate = FakeProvider.generate

        def healed(self: FakeProvider, request: Any, *rest: Any) -> Any:
            return generate(self, msgspec.structs.replace(request, model="fake/echo"), *rest)

        monkeypatch.setattr(FakeProvider, "generate", healed)
    again = await send(gateway, CHAT_STREAM, "once", model, headers=AUTO)
    assert b"[DONE]" in again.body
    session = headers_of(again)["x-bedplate-session"]
    assert [row["id"] for row in await rows(gateway, "select id from session")] == [session]
    found = await items(gateway, session)
    assert [(role, status) for role, status, _ in found] == [("user", "completed"), ("assistant", "completed")]
    assert found[1][2] == headers_of(again)["x-request-id"]
    assert len(await rows(gateway, "select 1 from session_item where role = 'user'")) == 1, "it was stored once"
    branch = (await rows(gateway, "select turn_call from session_branch"))[0]
    assert branch["turn_call"] is None


async def test_turns_are_not_doubled(gateway: InProcess, calls: Calls) -> None:
    first = await send(gateway, CHAT_STREAM, "one", headers=AUTO)
    session = headers_of(first)["x-bedplate-session"]
    assert headers_of(await send(gateway, CHAT_STREAM, "one", headers=AUTO))["x-bedplate-session"] == session
    here = {"x-bedplate-session": session}
    for _ in range(3):
        await send(gateway, CHAT_WHOLE, "two", headers=here)
    assert [role for role, _, _ in await items(gateway, session)] == ["user", "assistant"] * 2
    assert calls.count == 2
    stored = await rows(gateway, "select key, session_id, key_owner, sealed from stored_reply")
    assert {row["session_id"] for row in stored} == {session}
    assert {row["key_owner"] for row in stored} == {session}
    assert all(b"one two three" not in row["sealed"] for row in stored)
    assert all(row["key"] not in ("one", "two") for row in stored)


async def test_replies_go_with_their_session(gateway: InProcess, calls: Calls) -> None:
    first = await send(gateway, CHAT_STREAM, "once", headers=AUTO)
    session = headers_of(first)["x-bedplate-session"]
    services = gateway.application.services
    project = (await rows(gateway, "select project_id from session"))[0]["project_id"]
    await services.sessions.registry.delete(project, session)  # type: ignore[arg-type]
    assert await rows(gateway, "select 1 from stored_reply") == []
    assert await rows(gateway, "select 1 from session_key") == []
    await send(gateway, CHAT_STREAM, "once", headers=AUTO)
    assert calls.count == 2


async def test_an_expired_reply_counts_as_none(gateway: InProcess, calls: Calls) -> None:
    await send(gateway, CHAT_WHOLE, "once")
    keys = await rows(gateway, "select owner from session_key where owner like 'reply_%'")
    assert len(keys) == 1
    await rows(gateway, "update stored_reply set expires_at = now() - interval '1 second'")
    again = await send(gateway, CHAT_WHOLE, "once")
    assert "idempotent-replayed" not in headers_of(again)
    assert calls.count == 2
    now = await rows(gateway, "select owner from session_key where owner like 'reply_%'")
    assert len(now) == 1
    assert now != keys, "the expired reply's data key is gone"


async def test_whoever_lost_the_key_stores_nothing(gateway: InProcess, calls: Calls) -> None:
    """A lock is lost with its connection; then the row decides."""
    first = asyncio.create_task(send(gateway, CHAT_STREAM, "once", "fake/slow", headers=AUTO))
    async with asyncio.timeout(2):
        while not await rows(gateway, "select 1 from session_item"):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    await rows(gateway, "update stored_reply set call_id = 'req_another'")
    assert b"[DONE]" not in (await first).body
    assert [row["outcome"] for row in await gateway.settled(1)] == ["conflict"]
    assert await rows(gateway, "select 1 from session_item where role = 'assistant' and status = 'completed'") == []
    assert await rows(gateway, "select 1 from stored_reply where status is not null") == []


async def test_wherever_its_client_leaves_the_call_is_made_once(gateway: InProcess, calls: Calls) -> None:
    point, reached = 0, True
    while reached and point < 40:
        key = f"left at {point}"
        reached = await run_cancelled(send(gateway, CHAT_STREAM, key, headers=AUTO), point, by_scope=point % 2 == 0)
        back = await send(gateway, CHAT_STREAM, key, headers=AUTO)
        assert b"[DONE]" in back.body
        point += 1
        assert calls.count == point
    assert point > 3
    await idle(gateway)
    assert len(await rows(gateway, "select 1 from session_item")) == 2 * point


async def test_wherever_a_call_is_ended_the_next_one_takes_it_up(gateway: InProcess, calls: Calls) -> None:
    """As a process does that stops: whatever was done by then, the conversation has the turn once in the end."""
    sessions: set[str] = set()
    for point in range(0, 120, 5):
        key = f"ended at {point}"
        first = asyncio.create_task(send(gateway, CHAT_STREAM, key, headers=AUTO))
        for _ in range(point):
            await asyncio.sleep(0)
        for task in list(gateway.application.services.kept_calls._tasks.values()):
            task.cancel()
        ended = await first
        back = await send(gateway, CHAT_STREAM, key, headers=AUTO)
        assert b"[DONE]" in back.body
        if b"[DONE]" in ended.body:
            assert back.body == ended.body
        sessions.add(headers_of(back)["x-bedplate-session"])
    await idle(gateway)
    live = await rows(gateway, "select session_id, role from session_item where status = 'completed' order by seq")
    assert {row["session_id"] for row in live} == sessions
    for session in sessions:
        assert [row["role"] for row in live if row["session_id"] == session] == ["user", "assistant"]
    assert {row["id"] for row in await rows(gateway, "select id from session")} == sessions
    assert await rows(gateway, "select 1 from session_branch where turn_call is not null") == []


async def test_without_postgres_a_key_cannot_be_had(gateway: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("The gateway's database is unavailable.", retry_after_s=5)

    monkeypatch.setattr(gateway.application.services.locks, "acquire", away)
    refused = await send(gateway, CHAT_WHOLE, "once")
    assert refused.status == 503
    assert headers_of(refused)["retry-after"] == "5"
    assert [row["outcome"] for row in await gateway.records()] == ["store_unavailable"]
    assert (await gateway.chat("fake/echo", stream=False)).status == 200


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there", "caf\u00e9", "\x7f"])
async def test_a_key_that_is_none(gateway: InProcess, calls: Calls, key: str) -> None:
    refused = await gateway.chat("fake/echo", stream=False)
    assert refused.status == 200
    scope_key = key.encode("latin-1").decode("latin-1")
    answer = await gateway.post(CHAT, CHAT_WHOLE.body("fake/echo"), {"idempotency-key": _latin(scope_key)})
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["param"] == "Idempotency-Key"
    assert calls.count == 1
    assert (await gateway.records())[-1]["outcome"] == "invalid_request"
    assert await rows(gateway, "select 1 from stored_reply") == []


class _latin(str):  # noqa: N801 - a text whose bytes are Latin-1, as headers are
    __slots__ = ()

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return str.encode(self, "latin-1")


@pytest.mark.parametrize("key", ["k" * 255, "' or 1=1; --", '"quoted, with commas"', "a b  c", "%00\\"])
async def test_odd_keys_are_keys(gateway: InProcess, calls: Calls, key: str) -> None:
    first = await send(gateway, CHAT_WHOLE, key)
    assert (await send(gateway, CHAT_WHOLE, key)).body == first.body
    assert calls.count == 1


async def test_operations_that_generate_nothing_refuse_the_key(gateway: InProcess) -> None:
    body = {"model": "fake/embed", "input": "text"}
    refused = await gateway.post("/v1/embeddings", body, {"idempotency-key": "once"})
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["param"] == "Idempotency-Key"
    titan = await gateway.post("/model/fake%2Fembed/invoke", {"inputText": "x"}, {"idempotency-key": "once"})
    assert titan.status == 400
    assert b"Idempotency-Key" in titan.body
    assert (await gateway.post("/v1/embeddings", body, {"amz-sdk-invocation-id": "x"})).status == 200


async def test_the_sdks_own_id_is_the_key_of_a_turn(gateway: InProcess, calls: Calls) -> None:
    sdk = {"amz-sdk-invocation-id": "0b9f6a5e"}
    path, body = CONVERSE.path_of("fake/echo"), CONVERSE.body("fake/echo")
    for headers in (sdk, sdk, {**sdk, **AUTO}, {**sdk, **AUTO}):
        assert (await gateway.post(path, body, headers)).status == 200
    assert calls.count == 3, "without a session nothing is kept; with one it is answered once"
    inside = {**body, "additionalModelRequestFields": {"session": "auto"}}
    for _ in range(2):
        assert (await gateway.post(path, inside, {"amz-sdk-invocation-id": "77"})).status == 200
    assert calls.count == 4
    assert len(await rows(gateway, "select 1 from session")) == 2
    chat = await gateway.post(CHAT, CHAT_WHOLE.body("fake/echo"), {**sdk, **AUTO})
    assert "idempotent-replayed" not in headers_of(chat)


async def test_keys_belong_to_projects(gateway: InProcess, calls: Calls) -> None:
    services = gateway.application.services
    await send(gateway, CHAT_WHOLE, "once")
    stored = await rows(gateway, "select project_id, key, request_hash from stored_reply")
    assert len(stored) == 1
    hidden = await services.stored_replies.read("prj_other", stored[0]["key"], None)  # type: ignore[arg-type]
    assert hidden is None


@pytest.mark.parametrize("operation", [WHOLE[0], STREAMED[0]], ids=["whole", "streamed"])
async def test_a_reply_that_is_too_large_is_given_once(
    postgres_server: PostgresServer, tmp_path: Path, calls: Calls, operation: Operation
) -> None:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path, postgres_server.url(name)) as gateway:
            replies = gateway.application.services.stored_replies
            replies._limits = msgspec.structs.replace(replies._limits, reply_bytes=64)
            first = await send(gateway, operation, "once", headers=AUTO)
            assert operation.ending in first.body
            await idle(gateway)
            again = await send(gateway, operation, "once", headers=AUTO)
            assert again.status == 413
            assert calls.count == 1
    finally:
        postgres_server.drop_database(name)


async def test_a_gateway_that_stops_finishes_what_is_kept(
    postgres_server: PostgresServer, tmp_path: Path, calls: Calls
) -> None:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path, postgres_server.url(name)) as gateway:
            leaving = Exchange()
            task = asyncio.create_task(send(gateway, CHAT_STREAM, "once", "fake/slow", exchange=leaving))
            await asyncio.sleep(0.05)
            leaving.disconnected.set()
            await task
        async with in_process(tmp_path, postgres_server.url(name)) as gateway:
            back = await send(gateway, CHAT_STREAM, "once", "fake/slow")
            assert b"[DONE]" in back.body
            assert calls.count == 1
    finally:
        postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway for the official clients."""
    with serve(postgres_server, tmp_path_factory.mktemp("served")) as running:
        yield running


def test_official_clients(served: Served) -> None:
    """What each says to another request under its key, and that its own retry is answered again."""
    served.forget()
    talk: Any = [{"role": "user", "content": "one two"}]
    extra: Any = {"extra_headers": {"Idempotency-Key": "official"}}
    gpt = openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=served.key, max_retries=0)
    said = [gpt.chat.completions.create(model="fake/echo", messages=talk, **extra) for _ in range(2)]
    assert said[0] == said[1]
    with pytest.raises(openai.UnprocessableEntityError) as mismatch:
        gpt.chat.completions.create(model="fake/echo", messages=[{"role": "user", "content": "no"}], **extra)
    assert mismatch.value.code == "idempotency_mismatch"
    claude = anthropic.Anthropic(base_url=served.base_url, api_key=served.key, max_retries=0)
    extra = {"extra_headers": {"Idempotency-Key": "official-2"}, "max_tokens": 99, "model": "fake/echo"}
    messages = [claude.messages.create(messages=talk, **extra) for _ in range(2)]
    assert messages[0] == messages[1]
    with pytest.raises(anthropic.UnprocessableEntityError):
        claude.messages.create(messages=[{"role": "user", "content": "no"}], **extra)
    assert served.upstream_calls == 2


def test_boto3_repeats_a_turn_without_doubling_it(served: Served) -> None:
    """The first attempt's answer is lost on the way; boto3 sends it again by itself."""
    served.forget()
    client = _boto3(served.base_url, served.access_key_id, served.secret_access_key)
    sent: list[str] = []

    def lose(request: Any, **_: Any) -> None:
        """Have the first attempt's answer cut off by the network, after the gateway has given it."""
        sent.append(request.headers["amz-sdk-invocation-id"])
        if len(sent) == 1:
            httpx.post(request.url, content=request.body, headers=dict(request.headers.items()), trust_env=False)
            raise botocore.exceptions.ConnectionClosedError(endpoint_url=request.url)

    client.meta.events.register("before-send.bedrock-runtime.Converse", lose)
    said: Any = [{"role": "user", "content": [{"text": "one two"}]}]
    answer = client.converse(modelId="fake/echo", messages=said, additionalModelRequestFields={"session": "auto"})
    assert answer["output"]["message"]["content"][0]["text"] == "one two"
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert served.upstream_calls == 1
    assert answer["ResponseMetadata"]["HTTPHeaders"]["idempotent-replayed"] == "true"


def _boto3(url: str, access: str, secret: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=botocore.config.Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 3}),
    )


@pytest.fixture(scope="module")
def two_gateways(postgres_server: PostgresServer) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    """Two gateway processes of one installation."""
    name = postgres_server.create_database()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first = RunningGateway(Path(one), postgres_server.url(name))
        shutil.copy(first.settings.master_key_path, Path(other))
        second = RunningGateway(Path(other), postgres_server.url(name))
        try:
            with ThreadPoolExecutor(2) as starting:
                list(starting.map(RunningGateway.start, (first, second)))
            yield first, second
        finally:
            first.stop()
            second.stop()
            postgres_server.drop_database(name)


def _ask(gateway: RunningGateway, key: str, words: int, **headers: str) -> httpx.Response:
    text = " ".join(f"w{number}" for number in range(words))
    body = {"model": "fake/slow", "stream": True, "messages": [{"role": "user", "content": text}]}
    headers |= {"authorization": f"Bearer {gateway.key}", "idempotency-key": key}
    return httpx.post(f"{gateway.base_url}{CHAT}", json=body, headers=headers, timeout=30, trust_env=False)


def test_two_processes_answer_once(two_gateways: tuple[RunningGateway, RunningGateway]) -> None:
    first, second = two_gateways
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(_ask, gateway, "both", 10, **AUTO) for gateway in (first, second, first, second)]
        answers = [each.result() for each in asked]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].content.endswith(b"data: [DONE]\n\n")
    assert len({answer.headers["x-bedplate-session"] for answer in answers}) == 1
    session = answers[0].headers["x-bedplate-session"]
    assert len(first.query("select 1 from session_item where session_id = $1", session)) == 2
    outcomes = sorted(row["outcome"] for row in first.records() if row["operation"] == "chat")
    assert outcomes == ["completed", "replayed", "replayed", "replayed"]


def test_a_killed_gateway_leaves_the_key_to_the_next(two_gateways: tuple[RunningGateway, RunningGateway]) -> None:
    """The process dies in the middle of the answer; the same request to another one goes on with the same turn."""
    first, second = two_gateways
    failed: list[BaseException] = []

    def doomed() -> None:
        try:
            _ask(first, "doomed", 80, **AUTO)
        except httpx.HTTPError as error:
            failed.append(error)

    thread = threading.Thread(target=doomed)
    thread.start()
    deadline = time.monotonic() + 10
    begun = "select session_id from stored_reply where status is null and session_id is not null"
    while not second.query(begun) or not second.query(
        "select 1 from session_item where session_id = $1", second.query(begun)[0]["session_id"]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    session = second.query(begun)[0]["session_id"]
    time.sleep(0.2)
    first.kill()
    thread.join()
    assert failed
    answer = _ask(second, "doomed", 80, **AUTO)
    first.start()
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert answer.headers["x-bedplate-session"] == session
    live = second.query(
        "select role, status from session_item where session_id = $1 and status <> 'dropped' order by seq", session
    )
    assert [(row["role"], row["status"]) for row in live] == [("user", "completed"), ("assistant", "completed")]
    again = _ask(second, "doomed", 80, **AUTO)
    assert again.content == answer.content
