"""A generation over the wire: what is sent, how it fails, and that the socket is closed when nobody
listens.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable

import pytest

from bedplate_core.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_core.events import Finish, Start
from bedplate_core.requests import Dispatch, EmbedRequest, TokenPrompt
from bedplate_core.usage import Usage
from bedplate_providers.base import Timeouts
from bedplate_providers.credential import Credential
from bedplate_providers.vllm import VllmServer
from tests.providers.drive import DISPATCH, chat, run
from tests.providers.vllm_streams import DONE, ROLE, chat_chunk, event, hello
from tests.providers.wire_server import Received, Script, Wire, WireServer, silent_port

pytestmark = pytest.mark.anyio

QUICK = Timeouts(connect_s=0.5, first_event_s=0.15, idle_s=0.15, total_s=5)


def says(*pieces: bytes) -> Script:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(*pieces)

    return script


def replies(status: str, body: object, **headers: str) -> Script:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply(status, body, **headers)

    return script


def says_no(status: int, message: str, param: str | None = None) -> Script:
    error = {"message": message, "type": "SomeError", "param": param, "code": status}
    return replies(f"{status} No", {"error": error})


async def test_what_is_sent_and_what_comes_back() -> None:
    async with WireServer(says(*hello())) as server:
        vllm = VllmServer(server.url, credential=Credential("k3y"))
        for _ in range(3):
            result = await run(vllm.generate(chat(), DISPATCH))
            assert result.error is None
            assert result.response.choices[0].message.text == "Hello, wörld"
            await asyncio.sleep(0.01)
        request = server.requests[0]
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer k3y"
        assert request.headers["x-request-id"] == "req_1"
        assert request.json["stream"] is True
        assert request.json["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
        assert request.json["cache_salt"] == "salt-1"
        assert server.accepted == 1
        await vllm.aclose()


async def test_what_comes_in_one_read_is_one_batch() -> None:
    async with WireServer(says(b"".join(hello()))) as server:
        vllm = VllmServer(server.url)
        result = await run(vllm.generate(chat(), DISPATCH))
        assert len(result.batches) == 1
        assert isinstance(result.events[0], Start)
        assert isinstance(result.events[-1], Finish)
        await vllm.aclose()


async def test_the_connection_is_kept_when_the_end_of_the_body_comes_later() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(*hello(), end=False)
        await asyncio.sleep(0.02)
        await wire.raw(b"0\r\n\r\n")

    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        for _ in range(2):
            assert (await run(vllm.generate(chat(), DISPATCH))).error is None
            await asyncio.sleep(0.05)
        assert server.accepted == 1
        await vllm.aclose()


async def test_a_server_that_goes_on_after_done_loses_the_connection() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(*hello(), end=False)
        await asyncio.sleep(0.02)
        await wire.chunk(b"data: more\n\n")
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        assert (await run(vllm.generate(chat(), DISPATCH))).error is None
        await asyncio.sleep(0.03)
        await server.idle()
        await vllm.aclose()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (says_no(400, "bad temperature", "temperature"), InvalidRequest),
        (says_no(400, "the maximum context length is 9"), ContextLengthExceeded),
        (replies("401 Unauthorized", {"error": "Unauthorized"}), UpstreamRejected),
        (replies("403 Forbidden", b"<html>"), UpstreamRejected),
        (says_no(404, "The model `m` does not exist."), UpstreamRejected),
        (replies("429 Too Many Requests", {}, retry_after="7"), RateLimited),
        (says_no(500, "a policy"), UpstreamUnavailable),
        (replies("503 Service Unavailable", b""), UpstreamUnavailable),
        (replies("302 Found", b"", location="http://elsewhere/"), UpstreamProtocolError),
        (replies("200 OK", {"choices": []}), UpstreamProtocolError),
    ],
)  # fmt: skip
async def test_refusals_before_the_stream(script: Script, kind: type[GatewayError]) -> None:
    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        result = await run(vllm.generate(chat(), DISPATCH))
        assert type(result.error) is kind
        assert result.events == []
        if kind is RateLimited:
            assert result.error.retry_after_s == 7
        if kind is InvalidRequest:
            assert (result.error.param, result.error.message) == ("temperature", "bad temperature")
        assert len(server.requests) == 1
        await vllm.aclose()


async def cut_in_the_stream(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:3], end=False)
    wire.cut()


async def ends_without_done(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:-1])


async def malformed(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:2], b"data: {oops\n\n", *hello()[2:])


async def two_finishes(wire: Wire, request: Received) -> None:
    good = hello()
    await wire.stream(*good[:5], good[4], *good[5:])


async def error_in_the_middle(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:3], event({"error": {"message": "/srv/secret died", "code": 500}}), DONE)


async def breaks_the_chunking(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:3], end=False)
    await wire.raw(b"zz\r\n")
    await asyncio.sleep(5)


async def one_huge_event(wire: Wire, request: Received) -> None:
    await wire.stream(ROLE, end=False)
    while True:
        await wire.chunk(b"data: " + b"x" * 65536)


@pytest.mark.parametrize(
    "script",
    [
        cut_in_the_stream,
        ends_without_done,
        malformed,
        two_finishes,
        error_in_the_middle,
        breaks_the_chunking,
        one_huge_event,
    ],
)
async def test_a_stream_that_goes_wrong_ends_in_an_error_and_never_in_a_finish(script: Script) -> None:
    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        result = await run(vllm.generate(chat(), DISPATCH))
        assert type(result.error) is UpstreamProtocolError
        assert "secret" not in str(result.error)
        assert isinstance(result.events[0], Start)
        assert not any(isinstance(each, Finish) for each in result.events)
        assert vllm.pool.open_connections == vllm.pool.idle_connections
        await vllm.aclose()
        await server.idle()


async def silent(wire: Wire, request: Received) -> None:
    await asyncio.sleep(5)


async def silent_after_the_head(wire: Wire, request: Received) -> None:
    await wire.stream(end=False)
    await asyncio.sleep(5)


async def silent_in_the_middle(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:3], end=False)
    await asyncio.sleep(5)


async def only_comments(wire: Wire, request: Received) -> None:
    await wire.stream(*hello()[:2], end=False)
    while True:
        await wire.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.03)


async def for_ever(wire: Wire, request: Received) -> None:
    await wire.stream(ROLE, end=False)
    while True:
        await wire.chunk(chat_chunk({"content": "x"}))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "timeouts", "started"),
    [
        (silent, QUICK, False),
        (silent_after_the_head, QUICK, False),
        (silent_in_the_middle, QUICK, True),
        (only_comments, QUICK, True),
        (for_ever, Timeouts(connect_s=1, first_event_s=1, idle_s=1, total_s=0.3), True),
    ],
)
async def test_every_phase_is_bounded(script: Script, timeouts: Timeouts, started: bool) -> None:
    async with WireServer(script) as server:
        vllm = VllmServer(server.url, timeouts=timeouts)
        begun = asyncio.get_running_loop().time()
        result = await run(vllm.generate(chat(), DISPATCH))
        took = asyncio.get_running_loop().time() - begun
        assert type(result.error) is UpstreamTimeout
        assert bool(result.events) is started
        assert took < 0.8
        await server.idle()
        await vllm.aclose()


async def test_an_unreachable_server_is_unavailable() -> None:
    vllm = VllmServer("http://127.0.0.1:1")
    result = await run(vllm.generate(chat(), DISPATCH))
    assert isinstance(result.error, UpstreamUnavailable)
    assert result.error.retryable
    await vllm.aclose()


async def test_a_server_that_closes_without_a_word_is_unavailable() -> None:
    async def script(wire: Wire, request: Received) -> None:
        wire.cut()

    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        result = await run(vllm.generate(chat(), DISPATCH))
        assert isinstance(result.error, UpstreamUnavailable)
        await vllm.aclose()


PHASES = {
    "waiting for the head": silent,
    "waiting for the first event": silent_after_the_head,
    "in the middle": silent_in_the_middle,
}


async def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came about")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["aclose from another task", "cancel"])
async def test_leaving_closes_the_socket_at_once(phase: str, how: str) -> None:
    async with WireServer(PHASES[phase]) as server:
        vllm = VllmServer(server.url)
        stream = vllm.generate(chat(), DISPATCH)
        reading = asyncio.ensure_future(run(stream)) if how != "cancel" else asyncio.ensure_future(_read(stream))
        await wait_for(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.02)
        assert server.open == 1
        if how == "cancel":
            reading.cancel()
        else:
            await stream.aclose()
            assert vllm.pool.open_connections == 0
        await server.idle()
        assert (vllm.pool.open_connections, vllm.pool.idle_connections, vllm.pool.connecting) == (0, 0, 0)
        with pytest.raises((asyncio.CancelledError, ValueError)):
            await reading
        await vllm.aclose()


async def _read(stream: object) -> None:
    async for _ in stream:  # type: ignore[attr-defined]
        pass


async def test_leaving_between_two_batches_closes_the_socket_at_once() -> None:
    async with WireServer(silent_in_the_middle) as server:
        vllm = VllmServer(server.url)
        stream = vllm.generate(chat(), DISPATCH)
        await stream.__anext__()
        await stream.aclose()
        await server.idle()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        await vllm.aclose()


@pytest.mark.parametrize("how", ["aclose from another task", "cancel"])
async def test_leaving_while_connecting_closes_the_socket_at_once(how: str) -> None:
    async with silent_port() as (url, standing):
        vllm = VllmServer(url, timeouts=Timeouts(connect_s=5))
        stream = vllm.generate(chat(), DISPATCH)
        reading = asyncio.ensure_future(_read(stream))
        await wait_for(lambda: standing() == 1)
        if how == "cancel":
            reading.cancel()
        else:
            await stream.aclose()
        await asyncio.sleep(0.05)
        assert standing() == 0
        assert vllm.pool.connecting == 0
        await asyncio.gather(reading, return_exceptions=True)
        await vllm.aclose()


async def test_a_stream_that_was_never_read_sends_nothing() -> None:
    async with WireServer(silent) as server:
        vllm = VllmServer(server.url)
        stream = vllm.generate(chat(), DISPATCH)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert server.accepted == 0
        await vllm.aclose()


async def test_a_hundred_streams_left_at_random_leak_nothing() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(end=False)
        for piece in hello():
            await wire.chunk(piece)
            await asyncio.sleep(0.003)
        await wire.raw(b"0\r\n\r\n")

    async with WireServer(script) as server:
        vllm = VllmServer(server.url, max_connections=16)

        async def one(number: int) -> None:
            stream = vllm.generate(chat(), Dispatch(call_id=f"req_{number}"))
            task = asyncio.ensure_future(_read(stream))
            await asyncio.sleep(number % 40 / 1000)
            if number % 2:
                task.cancel()
            else:
                await stream.aclose()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(one(number) for number in range(100)))
        assert (await run(vllm.generate(chat(), DISPATCH))).error is None
        assert vllm.pool.open_connections <= 16
        await vllm.aclose()
        await server.idle()


async def test_embeddings() -> None:
    def packed(*values: float) -> str:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()

    data = [{"index": 1, "embedding": packed(0.5, -2.0)}, {"index": 0, "embedding": packed(1.0, 0.25)}]
    usage = {"prompt_tokens": 6, "total_tokens": 6, "completion_tokens": 0}
    async with WireServer(replies("200 OK", {"data": data, "usage": usage})) as server:
        vllm = VllmServer(server.url)
        request = EmbedRequest(model="e", inputs=("a", "b"), dimensions=2)
        result = await vllm.embed(request, DISPATCH)
        assert result.vectors == ((1.0, 0.25), (0.5, -2.0))
        assert result.usage == Usage(input_tokens=6)
        sent = server.requests[0]
        assert sent.path == "/v1/embeddings"
        assert sent.json == {
            "model": "e",
            "input": ["a", "b"],
            "dimensions": 2,
            "encoding_format": "base64",
            "cache_salt": "salt-1",
        }
        tokens = EmbedRequest(model="e", inputs=(TokenPrompt((1, 2)), TokenPrompt((3,))))
        await vllm.embed(tokens, DISPATCH)
        assert server.requests[1].json["input"] == [[1, 2], [3]]
        await vllm.aclose()


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": "!"}]},
        {"data": [{"index": 1, "embedding": "AAAAAA=="}]},
        {"data": [{"index": 0, "embedding": "AAA="}]},
    ],
)  # fmt: skip
async def test_embeddings_that_are_not_vectors(body: object) -> None:
    async with WireServer(replies("200 OK", body)) as server:
        vllm = VllmServer(server.url)
        with pytest.raises(UpstreamProtocolError):
            await vllm.embed(EmbedRequest(model="e", inputs=("a",)), DISPATCH)
        await vllm.aclose()


async def test_health_and_models() -> None:
    async def script(wire: Wire, request: Received) -> None:
        if request.path == "/health":
            await wire.reply("200 OK", b"")
        else:
            await wire.reply(
                "200 OK", {"data": [{"id": "a", "parent": None, "max_model_len": 10}, {"id": "l", "parent": "a"}]}
            )

    async with WireServer(script) as server:
        vllm = VllmServer(server.url)
        await vllm.ping()
        cards = await vllm.models()
        assert [(card.id, card.parent, card.max_model_len) for card in cards] == [("a", None, 10), ("l", "a", None)]
        server.script = replies("503 Service Unavailable", b"")
        with pytest.raises(UpstreamUnavailable):
            await vllm.ping()
        await vllm.aclose()
