"""Responses in the background: they are made while nobody waits, can be looked at, followed, cancelled and deleted."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_gateway.dialects.openai.responses_background import EventsAfter
from bedplate_sessions.stored_replies import StoredReply
from tests.fixtures.asgi import Exchange, InProcess, Message, in_process
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.served import Served, serve

pytestmark = pytest.mark.anyio

RESPONSES = "/v1/responses"
WORDS = " ".join(f"word{number}" for number in range(12))


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
        async with in_process(folder, postgres_server.url(name)) as gateway:
            yield gateway
    finally:
        postgres_server.drop_database(name)


@pytest.fixture
async def gateway(running: InProcess) -> AsyncGenerator[InProcess, None]:
    """It, with nothing stored; afterwards nothing of it is held."""
    await rows(running, "truncate invocation, stored_response, stored_reply, session, session_key cascade")
    yield running
    services = running.application.services
    async with asyncio.timeout(3):
        while len(services.kept_calls) or len(services.locks) or services.database.connections_in_use:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert running.fake.open_streams == 0


@pytest.fixture
async def client(gateway: InProcess) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client that gets whole answers."""
    transport = httpx.ASGITransport(gateway.application.asgi)  # type: ignore[arg-type]  # Litestar's type of the same
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
        yield client


async def rows(gateway: InProcess, statement: str, *arguments: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(gateway.url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


def body_of(model: str = "fake/slow", **fields: Any) -> dict[str, Any]:
    return {"model": model, "input": WORDS, "background": True, **fields}


async def made(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await client.post(RESPONSES, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ended(client: httpx.AsyncClient, response_id: str) -> dict[str, Any]:
    """The response once it runs no longer."""
    async with asyncio.timeout(5):
        while True:
            answer = (await client.get(f"{RESPONSES}/{response_id}")).json()
            if answer["status"] != "in_progress":
                return answer
            await asyncio.sleep(0.02)


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def numbers(events: bytes) -> list[int]:
    return [json.loads(frame.partition(b"data: ")[2])["sequence_number"] for frame in events.split(b"\n\n") if frame]


async def test_it_answers_at_once_and_is_made_meanwhile(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of())
    assert begun["status"] == "in_progress"
    assert begun["background"] is True
    assert begun["output"] == []
    shown = (await client.get(f"{RESPONSES}/{begun['id']}")).json()
    assert shown == begun
    done = await ended(client, begun["id"])
    assert done["status"] == "completed"
    assert done["background"] is True
    assert text_of(done) == WORDS
    records = await gateway.settled(1)
    assert [(row["outcome"], row["operation"]) for row in records] == [("completed", "responses")]
    assert records[0]["id"].removeprefix("req_") == begun["id"].removeprefix("resp_")
    listed = (await client.get(f"{RESPONSES}/{begun['id']}/input_items")).json()
    assert listed["data"][0]["content"][0]["text"] == WORDS
    following = {"model": "fake/echo", "input": "and?", "previous_response_id": begun["id"]}
    assert (await client.post(RESPONSES, json=following)).status_code == 200


async def test_nothing_readable_is_stored(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of(instructions="canary instructions"))
    while_running = await rows(gateway, "select sealed, key_owner from stored_reply")
    await ended(client, begun["id"])
    stored = while_running + await rows(gateway, "select sealed, key_owner from stored_reply")
    assert len(stored) == 2
    for row in stored:
        assert b"canary" not in row["sealed"]
        assert b"word1" not in row["sealed"]


async def test_a_stream_can_be_left_and_followed_later(gateway: InProcess, client: httpx.AsyncClient) -> None:
    leaving = Exchange()
    seen: list[bytes] = []

    async def on_send(exchange: Exchange, message: Message) -> None:
        seen.append(message.get("body", b""))
        if len(seen) == 6:
            exchange.disconnected.set()

    await gateway.post(RESPONSES, body_of(stream=True), on_send=on_send, exchange=leaving)
    first = b"".join(seen)
    last = numbers(first)[-1]
    response_id = json.loads(first.split(b"data: ")[1].partition(b"\n")[0])["response"]["id"]
    url = f"{RESPONSES}/{response_id}"
    live = await client.get(url, params={"stream": "true", "starting_after": last})
    assert live.headers["content-type"].startswith("text/event-stream")
    assert b"response.completed" in live.content
    everything = first + live.content
    assert numbers(everything) == list(range(len(numbers(everything))))
    await gateway.settled(1)
    again = await client.get(url, params={"stream": "true"})
    assert again.content == everything
    for after in (0, last, numbers(everything)[-1]):
        rest = await client.get(url, params={"stream": "true", "starting_after": after})
        assert numbers(rest.content) == list(range(after + 1, len(numbers(everything))))
    assert text_of((await client.get(url)).json()) == WORDS


async def test_following_is_live(gateway: InProcess, client: httpx.AsyncClient) -> None:
    """Two follow from different places while it runs; each gets the events as they come."""
    leaving = Exchange()
    posted = asyncio.create_task(gateway.post(RESPONSES, body_of(stream=True), exchange=leaving))
    async with asyncio.timeout(3):
        while not await rows(gateway, "select 1 from stored_reply"):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    key = (await rows(gateway, "select key from stored_reply"))[0]["key"]
    response_id = key.removeprefix("response:")
    url = f"{RESPONSES}/{response_id}"
    whole, part = await asyncio.gather(
        client.get(url, params={"stream": "true"}),
        client.get(url, params={"stream": "true", "starting_after": 3}),
    )
    assert (await posted).body == whole.content
    assert whole.content.endswith(part.content)
    assert numbers(part.content)[0] == 4


async def test_a_running_one_is_cancelled(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of("fake/hang"))
    async with asyncio.timeout(2):
        while not gateway.fake.open_streams:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    for _ in range(2):
        cancelled = await client.post(f"{RESPONSES}/{begun['id']}/cancel")
        assert cancelled.status_code == 200
        assert cancelled.json()["status"] == "cancelled"
    assert [row["outcome"] for row in await gateway.settled(1)] == ["cancelled"]
    assert (await client.get(f"{RESPONSES}/{begun['id']}")).json() == {**begun, "status": "cancelled"}
    assert await rows(gateway, "select 1 from stored_response") == []
    refused = await client.get(f"{RESPONSES}/{begun['id']}", params={"stream": "true"})
    assert refused.status_code == 400


async def test_followers_of_a_cancelled_one_are_told(gateway: InProcess, client: httpx.AsyncClient) -> None:
    posted = asyncio.create_task(gateway.post(RESPONSES, body_of(stream=True)))
    async with asyncio.timeout(3):
        while not (found := await rows(gateway, "select key from stored_reply")):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    response_id = found[0]["key"].removeprefix("response:")
    assert (await client.post(f"{RESPONSES}/{response_id}/cancel")).json()["status"] == "cancelled"
    stream = (await posted).body
    assert b"event: error" in stream
    assert b"The response was cancelled." in stream
    assert b"response.completed" not in stream


async def test_one_cancelled_elsewhere_stores_nothing(gateway: InProcess, client: httpx.AsyncClient) -> None:
    """The process that makes it does not know yet; its end finds out, and leaves nothing of the turn either."""
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    begun = await made(client, body_of(conversation=conversation))
    project = (await rows(gateway, "select project_id from stored_reply"))[0]["project_id"]
    cancelled = StoredReply(status=499, headers={"content-type": "application/json"}, body=b'{"status": "cancelled"}')
    replies = gateway.application.services.stored_replies
    assert await replies.settle(project, f"response:{begun['id']}", cancelled)
    assert [row["outcome"] for row in await gateway.settled(1, within_s=1.9)] == ["conflict"]
    assert (await client.get(f"{RESPONSES}/{begun['id']}")).json() == {"status": "cancelled"}
    assert await rows(gateway, "select 1 from stored_response") == []
    assert await rows(gateway, "select 1 from session_item where role = 'assistant' and status = 'completed'") == []


async def test_what_has_ended_is_not_cancelled(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of("fake/echo"))
    done = await ended(client, begun["id"])
    late = await client.post(f"{RESPONSES}/{begun['id']}/cancel")
    assert (late.status_code, late.json()) == (200, done)
    plain = await made(client, {"model": "fake/echo", "input": "a"})
    assert (await client.post(f"{RESPONSES}/{plain['id']}/cancel")).status_code == 400
    unknown = await client.post(f"{RESPONSES}/resp_{'0' * 32}/cancel")
    assert unknown.status_code == 404


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["fake/error", "fake/error-midstream", "fake/rate-limited"])
async def test_one_that_fails_says_so(gateway: InProcess, client: httpx.AsyncClient, model: str, stream: bool) -> None:
    await client.post(RESPONSES, json=body_of(model, stream=stream))
    response_id = (await rows(gateway, "select key from stored_reply"))[0]["key"].removeprefix("response:")
    failed = await ended(client, response_id)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == ("rate_limit_exceeded" if model == "fake/rate-limited" else "server_error")
    assert failed["error"]["message"]
    assert len(await gateway.settled(1)) == 1
    assert await rows(gateway, "select 1 from stored_response") == []


async def test_what_is_known_before_is_said_at_once(gateway: InProcess, client: httpx.AsyncClient) -> None:
    faults = [
        (body_of(store=False), {}, 400, "background"),
        (body_of("fake/none"), {}, 404, "model"),
        (body_of(previous_response_id=f"resp_{'0' * 32}"), {}, 404, "previous_response_id"),
        (body_of(background="yes"), {}, 400, "background"),
        (body_of(), {"x-bedplate-session": "auto"}, 400, "background"),
        (body_of(stream=True), {"idempotency-key": "k"}, 400, "Idempotency-Key"),
    ]
    for body, headers, status, param in faults:
        answer = await client.post(RESPONSES, json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert len(await gateway.settled(len(faults))) == len(faults)
    assert await rows(gateway, "select 1 from stored_reply where key like 'response:%'") == []
    for query in (
        {"starting_after": "1"},
        {"stream": "true", "starting_after": "x"},
        {"stream": "true", "starting_after": "-1"},
    ):
        assert (await client.get(f"{RESPONSES}/resp_{'0' * 32}", params=query)).status_code == 400
    assert (await client.get(f"{RESPONSES}/resp_{'0' * 32}", params={"stream": "true"})).status_code == 404


async def test_a_running_one_cannot_be_built_on(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of())
    following = {"model": "fake/echo", "input": "and?", "previous_response_id": begun["id"]}
    early = await client.post(RESPONSES, json=following)
    assert early.status_code == 400
    assert early.json()["error"]["param"] == "previous_response_id"
    await ended(client, begun["id"])
    assert (await client.post(RESPONSES, json=following)).status_code == 200


async def test_a_deleted_one_is_gone_and_stopped(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = await made(client, body_of("fake/hang"))
    gone = await client.delete(f"{RESPONSES}/{begun['id']}")
    assert gone.json() == {"id": begun["id"], "object": "response", "deleted": True}
    assert (await client.get(f"{RESPONSES}/{begun['id']}")).status_code == 404
    assert (await client.delete(f"{RESPONSES}/{begun['id']}")).status_code == 404
    await gateway.settled(1)
    done = await made(client, body_of("fake/echo", stream=False))
    await ended(client, done["id"])
    assert (await client.delete(f"{RESPONSES}/{done['id']}")).status_code == 200
    assert (await client.get(f"{RESPONSES}/{done['id']}")).status_code == 404
    for table in ("stored_reply", "stored_response", "session_key"):
        assert await rows(gateway, f"select 1 from {table}") == [], table


async def test_a_key_makes_one_response(gateway: InProcess, client: httpx.AsyncClient) -> None:
    begun = [await made(client, body_of(), **{"idempotency-key": "once"}) for _ in range(3)]
    assert begun[0] == begun[1] == begun[2]
    await ended(client, begun[0]["id"])
    assert await made(client, body_of(), **{"idempotency-key": "once"}) == begun[0]
    outcomes = sorted(row["outcome"] for row in await gateway.settled(4))
    assert outcomes == ["completed", "replayed", "replayed", "replayed"]


async def test_a_turn_of_a_conversation(gateway: InProcess, client: httpx.AsyncClient) -> None:
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    begun = await made(client, body_of(conversation=conversation))
    done = await ended(client, begun["id"])
    assert done["conversation"] == {"id": conversation}
    items = (await client.get(f"/v1/conversations/{conversation}/items", params={"order": "asc"})).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant"]
    owners = await rows(gateway, "select key_owner, session_id from stored_reply")
    assert owners[0]["key_owner"] == owners[0]["session_id"]
    assert (await client.delete(f"/v1/conversations/{conversation}")).status_code == 200
    assert (await client.get(f"{RESPONSES}/{begun['id']}")).status_code == 404
    for table in ("stored_reply", "stored_response", "session_key"):
        assert await rows(gateway, f"select 1 from {table}") == [], table


async def test_a_gateway_that_stops_finishes_it(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    try:
        async with in_process(tmp_path, postgres_server.url(name)) as gateway:
            posted = await gateway.post(RESPONSES, body_of())
        async with in_process(tmp_path, postgres_server.url(name), drain_timeout_s=0) as gateway:
            connection = await asyncpg.connect(gateway.url)
            assert await connection.fetchval("select count(*) from stored_response") == 1
            await connection.close()
            assert json.loads(posted.body)["status"] == "in_progress"
            hanging = json.loads((await gateway.post(RESPONSES, body_of("fake/hang"))).body)["id"]
        async with in_process(tmp_path, postgres_server.url(name)) as gateway:
            connection = await asyncpg.connect(gateway.url)
            status = await connection.fetchval("select status from stored_reply where key = $1", f"response:{hanging}")
            assert status == 500
            await connection.close()
    finally:
        postgres_server.drop_database(name)


@given(st.data(), st.integers(0, 30))
def test_leaving_out_events_does_not_depend_on_pieces(data: st.DataObject, after: int) -> None:
    frames = [b'event: e\ndata: {"sequence_number":%d}\n\n' % number for number in range(20)]
    cuts = sorted(data.draw(st.sets(st.integers(1, 19))))
    leave_out = EventsAfter(after)
    pieces = [b"".join(frames[begin:end]) for begin, end in zip([0, *cuts], [*cuts, 20], strict=True)]
    assert b"".join(leave_out(piece) for piece in pieces) == b"".join(frames[after + 1 :])


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway for the official client."""
    with serve(postgres_server, tmp_path_factory.mktemp("served")) as running:
        yield running


def test_the_official_client(served: Served) -> None:
    """As OpenAI's guide has it: begin, poll; stream, break off, go on after the last event; cancel."""
    with openai.OpenAI(base_url=f"{served.base_url}/v1", api_key=served.key, max_retries=0) as client:
        begun = client.responses.create(model="fake/slow", input=WORDS, background=True)
        assert begun.status == "in_progress"
        while begun.status in ("queued", "in_progress"):
            time.sleep(0.05)
            begun = client.responses.retrieve(begun.id)
        assert begun.output_text == WORDS
        events = client.responses.create(model="fake/slow", input=WORDS, background=True, stream=True)
        taken: list[Any] = []
        for event in events:
            taken.append(event)
            if len(taken) == 5:
                break
        events.close()
        response_id = taken[0].response.id
        rest = client.responses.retrieve(response_id, stream=True, starting_after=taken[-1].sequence_number)
        taken += list(rest)
        assert [event.sequence_number for event in taken] == list(range(len(taken)))
        assert taken[-1].type == "response.completed"
        assert taken[-1].response.output_text == WORDS
        with client.responses.stream(response_id=response_id, starting_after=2) as stream:
            assert stream.get_final_response().output_text == WORDS
        hanging = client.responses.create(model="fake/hang", input="a", background=True)
        assert client.responses.cancel(hanging.id).status == "cancelled"
        assert client.responses.retrieve(hanging.id).status == "cancelled"


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


def _until(check: Callable[[], bool], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_process(two_gateways: tuple[RunningGateway, RunningGateway]) -> None:
    first, second = (
        openai.OpenAI(base_url=f"{each.base_url}/v1", api_key=each.key, max_retries=0) for each in two_gateways
    )
    text = " ".join(f"w{number}" for number in range(60))
    events = first.responses.create(model="fake/slow", input=text, background=True, stream=True)
    begun: Any = next(iter(events)).response
    assert second.responses.retrieve(begun.id).status == "in_progress"
    later = list(second.responses.retrieve(begun.id, stream=True, starting_after=0))
    assert later[-1].type == "response.completed"
    assert later[0].sequence_number == 1
    assert second.responses.retrieve(begun.id).output_text == text
    hanging = first.responses.create(model="fake/hang", input="a", background=True)
    assert second.responses.cancel(hanging.id).status == "cancelled"
    assert first.responses.retrieve(hanging.id).status == "cancelled"
    call = hanging.id.replace("resp_", "req_")
    outcome = "select outcome from invocation where id = $1"
    _until(lambda: two_gateways[1].query(outcome, call) == [{"outcome": "cancelled"}])
    other = openai.OpenAI(base_url=f"{two_gateways[0].base_url}/v1", api_key=two_gateways[0].other_key, max_retries=0)
    for attempt in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
        with pytest.raises(openai.NotFoundError):
            attempt(begun.id)
        with pytest.raises(openai.NotFoundError):
            attempt(hanging.id)


def test_a_response_whose_process_died_has_failed(two_gateways: tuple[RunningGateway, RunningGateway]) -> None:
    doomed, second = two_gateways
    first = openai.OpenAI(base_url=f"{doomed.base_url}/v1", api_key=doomed.key, max_retries=0)
    begun = first.responses.create(model="fake/hang", input="a", background=True)
    client = openai.OpenAI(base_url=f"{second.base_url}/v1", api_key=second.key, max_retries=0)
    assert client.responses.retrieve(begun.id).status == "in_progress"
    doomed.kill()
    _until(lambda: client.responses.retrieve(begun.id).status == "failed")
    error = client.responses.retrieve(begun.id).error
    assert error is not None
    assert "died" in error.message
    doomed.start()
