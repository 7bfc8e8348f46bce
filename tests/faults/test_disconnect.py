"""However a client leaves, the upstream is released and there is exactly one record. Asserted inside the event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fixtures.asgi import Exchange, InProcess, Message, in_process

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


def leave_at(nth_body: int) -> object:
    """Disconnect when the n-th piece of the body is sent; 0 is the response's start."""
    seen = -1

    async def on_send(exchange: Exchange, message: Message) -> None:
        nonlocal seen
        seen += 1
        if seen == nth_body:
            exchange.disconnected.set()
        await asyncio.sleep(0)

    return on_send


async def fail_at_start(exchange: Exchange, message: Message) -> None:
    raise OSError("the peer is gone")


@pytest.mark.parametrize("resources", ["", BLOCKING], ids=["bare", "guarded"])
@pytest.mark.parametrize("session", [None, "auto"], ids=["stateless", "session"])
@pytest.mark.parametrize("nth", [0, 1, 3])
async def test_client_leaves_during_the_stream(
    tmp_path: Path, database_url: str, nth: int, session: str | None, resources: str
) -> None:
    async with in_process(tmp_path, database_url, resources=resources) as gateway:
        await gateway.chat("fake/slow", stream=True, session=session, on_send=leave_at(nth))  # type: ignore[arg-type]
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["fake/hang", "fake/slow-first"])
async def test_client_leaves_before_the_first_event(
    tmp_path: Path, database_url: str, model: str, stream: bool
) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        exchange = Exchange()
        call = asyncio.create_task(gateway.chat(model, stream=stream, exchange=exchange))
        while gateway.fake.open_streams == 0:  # noqa: ASYNC110 - what is waited for is inside the application
            await asyncio.sleep(0.01)
        exchange.disconnected.set()
        await asyncio.wait_for(call, 1)
        assert exchange.sent == []
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_client_leaves_while_a_whole_answer_is_made(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        exchange = Exchange()
        call = asyncio.create_task(gateway.chat("fake/slow", stream=False, exchange=exchange))
        await asyncio.sleep(0.05)
        exchange.disconnected.set()
        await asyncio.wait_for(call, 1)
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_client_leaves_after_the_stream(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        exchange = await gateway.chat("fake/echo", stream=True, session="auto")
        exchange.disconnected.set()
        rows = await gateway.settled(1)
        assert exchange.body.endswith(b"data: [DONE]\n\n")
        assert [row["outcome"] for row in rows] == ["completed"]


async def test_client_that_stops_reading_and_then_leaves(tmp_path: Path, database_url: str) -> None:
    """The pump waits in `send`; leaving must reach it there."""

    async def stall(exchange: Exchange, message: Message) -> None:
        if message["type"] == "http.response.body":
            asyncio.get_running_loop().call_later(0.05, exchange.disconnected.set)
            await asyncio.Event().wait()

    async with in_process(tmp_path, database_url) as gateway:
        await asyncio.wait_for(gateway.chat("fake/slow", stream=True, on_send=stall), 2)
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_client_that_reads_too_slowly_is_let_go(tmp_path: Path, database_url: str) -> None:
    async def stall(exchange: Exchange, message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with in_process(tmp_path, database_url, response_timeout_s=0.3) as gateway:
        await asyncio.wait_for(gateway.chat("fake/slow", stream=True, on_send=stall), 2)
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_connection_that_fails_at_the_first_byte(tmp_path: Path, database_url: str) -> None:
    """The answer's events were never iterated, so no generator's `finally` can be relied on."""
    async with in_process(tmp_path, database_url, resources=BLOCKING) as gateway:
        with pytest.raises(Exception):  # noqa: B017 - whatever the server makes of it
            await gateway.chat("fake/slow", stream=True, session="auto", on_send=fail_at_start)
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_server_that_stops_cancels_and_records(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        call = asyncio.create_task(gateway.chat("fake/slow", stream=True, content="word " * 200))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        rows = await gateway.settled(1)
        assert [row["outcome"] for row in rows] == ["cancelled"]


async def test_session_is_free_again_after_its_client_left(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        first = await gateway.chat("fake/echo", stream=True, session="auto")
        session = dict(first.sent[0]["headers"])[b"x-bedplate-session"].decode()
        await gateway.chat("fake/slow", stream=True, session=session, on_send=leave_at(2))  # type: ignore[arg-type]
        again = await asyncio.wait_for(gateway.chat("fake/echo", stream=False, session=session), 2)
        assert again.status == 200
        rows = await gateway.settled(3)
        assert [row["outcome"] for row in rows] == ["completed", "cancelled", "completed"]


async def test_error_in_the_middle_of_a_stream_is_a_frame_and_no_clean_end(tmp_path: Path, database_url: str) -> None:
    async with in_process(tmp_path, database_url) as gateway:
        for model, outcome in [("fake/error-midstream", "upstream_unavailable"), ("fake/cut", "upstream_protocol")]:
            exchange = await gateway.chat(model, stream=True)
            assert exchange.status == 200
            assert b'"error"' in exchange.body
            assert b"[DONE]" not in exchange.body
            rows = await gateway.settled(1)
            assert rows[-1]["outcome"] == outcome


async def test_a_hundred_clients_leaving_at_random_leak_nothing(tmp_path: Path, database_url: str) -> None:
    async def one(gateway: InProcess, number: int) -> None:
        exchange = Exchange()
        call = asyncio.create_task(
            gateway.chat("fake/slow", stream=number % 2 == 0, exchange=exchange, session="auto" if number % 3 else None)
        )
        await asyncio.sleep((number % 20) / 100)
        exchange.disconnected.set()
        await asyncio.wait_for(call, 5)

    async with in_process(tmp_path, database_url) as gateway:
        before = len(asyncio.all_tasks())
        await asyncio.gather(*(one(gateway, number) for number in range(100)))
        rows = await gateway.settled(100, within_s=5)
        assert len(rows) == 100
        assert {row["outcome"] for row in rows} <= {"cancelled", "completed"}
        assert gateway.application.services.database.connections_in_use == 0
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) <= before
