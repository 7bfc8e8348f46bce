"""Upstreams that fail, stall and lie, of every kind: the call ends in an error of ours, never in a `Finish`, within its
time, and the socket is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bedplate_core.errors import (
    GatewayError,
    InvalidRequest,
    RateLimited,
    UpstreamProtocolError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_core.events import EventStream, Finish, Start
from bedplate_providers import upstream_stream
from bedplate_providers.base import Timeouts
from bedplate_providers.upstream_errors import ReplicaLost, ReplicaUnreachable
from tests.providers.drive import DISPATCH, Run, run
from tests.providers.upstreams import KINDS, AnyProvider, Kind, pool_of
from tests.providers.wire_server import Received, Script, Wire, WireServer, silent_port

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)]

SLOW = Timeouts(connect_s=1, first_event_s=5, idle_s=5, total_s=20)
QUICK = Timeouts(connect_s=0.5, first_event_s=0.15, idle_s=0.15, total_s=5)


def says(*pieces: bytes, end: bool = True, then: Callable[[Wire], Awaitable[None]] | None = None) -> Script:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(*pieces, end=end)
        if then is not None:
            await then(wire)

    return script


async def stall(wire: Wire) -> None:
    await asyncio.sleep(5)


async def cut(wire: Wire) -> None:
    wire.cut()


async def one(kind: Kind, script: Script, timeouts: Timeouts = SLOW) -> Run:
    """One call against `script`. Nothing of it is left when it is over: no connection under way, no open socket but one
    that can be used again.
    """
    async with WireServer(script, content_type=kind.content_type) as server, asyncio.timeout(4):
        provider = kind.make(server.url, timeouts)
        result = await run(provider.generate(kind.request, DISPATCH))
        assert len(server.requests) == 1
        await asyncio.sleep(0.02)
        pool = pool_of(provider)
        assert (pool.connecting, pool.open_connections) == (0, pool.idle_connections)
        assert server.open == pool.idle_connections
        await provider.aclose()
        await server.idle()
    return result


async def test_the_good_stream_is_good(kind: Kind) -> None:
    result = await one(kind, says(*kind.good))
    assert result.error is None
    assert isinstance(result.events[-1], Finish)


SPOILT: dict[str, Callable[[Kind], Script]] = {
    "cut before the first event": lambda kind: says(end=False, then=cut),
    "cut in the middle": lambda kind: says(*kind.good[:4], end=False, then=cut),
    "cut before the last event": lambda kind: says(*kind.good[:-1], end=False, then=cut),
    "ends without anything": lambda kind: says(),
    "ends in the middle": lambda kind: says(*kind.good[:4]),
    "ends before the last event": lambda kind: says(*kind.good[:-1]),
    "ends in the last event": lambda kind: says(*kind.good[:-1], kind.good[-1][:-2]),
    "malformed JSON": lambda kind: says(*kind.good[:2], kind.wrap(b"{oops"), *kind.good[2:]),
    "JSON of another shape": lambda kind: says(*kind.good[:2], kind.wrap(b"[1,2]"), *kind.good[2:]),
    "not UTF-8": lambda kind: says(*kind.good[:2], kind.wrap(b'{"a": "\xff"}'), *kind.good[2:]),
    "no finish": lambda kind: says(*kind.good[: kind.finish], *kind.good[kind.finish + 1 :]),
    "two finishes": lambda kind: says(*kind.good[: kind.finish + 1], *kind.good[kind.finish :]),
    "text after the finish": lambda kind: says(*kind.good[: kind.finish + 1], kind.good[3], *kind.good[kind.finish :]),
    "error in the middle": lambda kind: says(*kind.good[:4], kind.error, *kind.good[4:]),
    "error before the last event": lambda kind: says(*kind.good[:-1], kind.error, kind.good[-1]),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_spoilt_stream_is_an_error_and_never_a_finish(kind: Kind, how: str) -> None:
    result = await one(kind, SPOILT[how](kind))
    assert type(result.error) is UpstreamProtocolError
    assert "secret" not in result.error.message
    assert "10.0.0.7" not in result.error.message
    assert not any(isinstance(event, Finish) for event in result.events)
    if "first" not in how and "anything" not in how:
        assert isinstance(result.events[0], Start)


async def test_an_error_event_at_once_may_go_elsewhere(kind: Kind) -> None:
    result = await one(kind, says(kind.error))
    assert isinstance(result.error, UpstreamUnavailable)
    assert result.error.retryable
    assert "secret" not in result.error.message
    assert result.events == []


async def test_an_event_without_end_is_given_up(kind: Kind) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(*kind.good[:3], end=False)
        await wire.chunk(kind.huge)
        while True:
            await wire.chunk(b"x" * 65536)

    result = await one(kind, script)
    assert type(result.error) is UpstreamProtocolError
    assert isinstance(result.events[0], Start)


async def test_broken_chunking_is_an_error(kind: Kind) -> None:
    async def broken(wire: Wire) -> None:
        await wire.raw(b"zz\r\n")
        await asyncio.sleep(5)

    result = await one(kind, says(*kind.good[:4], end=False, then=broken))
    assert type(result.error) is UpstreamProtocolError


def only_comments(kind: Kind) -> Callable[[Wire], Awaitable[None]]:
    async def comment(wire: Wire) -> None:
        while True:
            await wire.chunk(kind.comment)
            await asyncio.sleep(0.03)

    return comment


async def silent(wire: Wire, request: Received) -> None:
    await asyncio.sleep(5)


@pytest.mark.parametrize(
    ("script", "started"),
    [
        (lambda kind: silent, False),
        (lambda kind: says(end=False, then=stall), False),
        (lambda kind: says(end=False, then=only_comments(kind)), False),
        (lambda kind: says(*kind.good[:4], end=False, then=stall), True),
        (lambda kind: says(*kind.good[:4], end=False, then=only_comments(kind)), True),
        (lambda kind: says(*kind.good[:-1], end=False, then=stall), True),
    ],
    ids=["no head", "no event", "comments only", "stalls", "comments in the middle", "stalls before the end"],
)
async def test_silence_is_bounded(kind: Kind, script: Callable[[Kind], Script], started: bool) -> None:
    begun = asyncio.get_running_loop().time()
    result = await one(kind, script(kind), QUICK)
    assert type(result.error) is UpstreamTimeout
    assert bool(result.events) is started
    assert asyncio.get_running_loop().time() - begun < 1


async def test_the_whole_call_is_bounded(kind: Kind) -> None:
    async def for_ever(wire: Wire) -> None:
        while True:
            await wire.chunk(kind.good[3])
            await asyncio.sleep(0.02)

    timeouts = Timeouts(connect_s=1, first_event_s=1, idle_s=1, total_s=0.3)
    result = await one(kind, says(*kind.good[:3], end=False, then=for_ever), timeouts)
    assert type(result.error) is UpstreamTimeout
    assert result.events


async def test_refused_connections_are_unavailable(kind: Kind) -> None:
    provider = kind.make("http://127.0.0.1:1", SLOW)
    assert (await provider.health()).ok
    result = await run(provider.generate(kind.request, DISPATCH))
    assert type(result.error) is ReplicaUnreachable
    assert result.error.retryable
    assert not (await provider.health()).ok
    await provider.aclose()


async def test_a_connection_closed_without_a_word_is_unavailable(kind: Kind) -> None:
    async def script(wire: Wire, request: Received) -> None:
        wire.cut()

    result = await one(kind, script)
    assert type(result.error) is ReplicaLost


STATUSES: list[tuple[str, type[GatewayError]]] = [
    ("302 Found", UpstreamProtocolError),
    ("401 Unauthorized", UpstreamRejected),
    ("403 Forbidden", UpstreamRejected),
    ("404 Not Found", UpstreamRejected),
    ("408 Request Timeout", UpstreamTimeout),
    ("429 Too Many Requests", RateLimited),
    ("500 Internal Server Error", UpstreamUnavailable),
    ("502 Bad Gateway", UpstreamUnavailable),
    ("503 Service Unavailable", UpstreamUnavailable),
    ("504 Gateway Timeout", UpstreamTimeout),
    ("529 Overloaded", UpstreamUnavailable),
]


@pytest.mark.parametrize("body", ["structured", "empty", "a page"])
@pytest.mark.parametrize(("status", "expected"), STATUSES, ids=[status for status, _ in STATUSES])
async def test_statuses(kind: Kind, status: str, expected: type[GatewayError], body: str) -> None:
    bodies: dict[str, Any] = {
        "structured": kind.refusal("secret: a policy of k3y"),
        "empty": b"",
        "a page": b"<html>secret</html>",
    }

    async def script(wire: Wire, request: Received) -> None:
        await wire.reply(status, bodies[body])

    result = await one(kind, script)
    assert type(result.error) is expected
    assert "secret" not in result.error.message
    assert result.events == []


async def test_a_client_error_is_passed_on_clean(kind: Kind) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("400 Bad Request", kind.refusal("that is wrong in /srv/engine/main.py at 10.1.2.3:80"))

    result = await one(kind, script)
    assert type(result.error) is InvalidRequest
    assert result.error.message == "that is wrong in ... at ..."


@pytest.mark.parametrize(("sent", "read"), [("7", 7), ("0.5", 0.5), ("Thu, 01 Jan 2015 00:00:00 GMT", 0), ("soon", 1)])
async def test_how_long_to_wait_is_passed_on(kind: Kind, sent: str, read: float) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("429 Too Many Requests", kind.refusal("slow down"), retry_after=sent)

    result = await one(kind, script)
    assert type(result.error) is RateLimited
    assert result.error.retry_after_s == read


async def test_an_answer_that_is_not_streamed_is_an_error(kind: Kind) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", {"choices": []})

    result = await one(kind, script)
    assert type(result.error) is UpstreamProtocolError


async def test_a_refusal_whose_body_does_not_come_is_still_classified(kind: Kind) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(b"HTTP/1.1 429 No\r\ncontent-length: 1000\r\n\r\n{")
        wire.cut()

    result = await one(kind, script)
    assert type(result.error) is RateLimited


async def test_a_refusal_whose_body_stalls_is_not_waited_for(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_stream, "PROBE_S", 0.1)

    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(b"HTTP/1.1 429 No\r\ncontent-length: 1000\r\n\r\n{")
        await asyncio.sleep(5)

    begun = asyncio.get_running_loop().time()
    assert type((await one(kind, script)).error) is RateLimited
    assert asyncio.get_running_loop().time() - begun < 2


PHASES: dict[str, Callable[[Kind], Script]] = {
    "waiting for the head": lambda kind: silent,
    "waiting for the first event": lambda kind: says(end=False, then=stall),
    "in the middle": lambda kind: says(*kind.good[:4], end=False, then=stall),
    "before the end": lambda kind: says(*kind.good[:-1], end=False, then=stall),
}


async def drain(stream: EventStream) -> None:
    async for _ in stream:
        pass


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came about")


def released(provider: AnyProvider) -> bool:
    pool = pool_of(provider)
    return (pool.open_connections, pool.idle_connections, pool.connecting) == (0, 0, 0)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["aclose from another task", "cancel"])
async def test_leaving_closes_the_socket_at_once(kind: Kind, phase: str, how: str) -> None:
    async with WireServer(PHASES[phase](kind), content_type=kind.content_type) as server:
        provider = kind.make(server.url, SLOW)
        stream = provider.generate(kind.request, DISPATCH)
        reading = asyncio.ensure_future(drain(stream))
        await until(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.02)
        assert server.open == 1
        if how == "cancel":
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        else:
            await stream.aclose()
        assert released(provider)
        await server.idle()
        await asyncio.gather(reading, return_exceptions=True)
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        await provider.aclose()


async def test_leaving_between_two_batches_closes_the_socket_at_once(kind: Kind) -> None:
    async with WireServer(PHASES["in the middle"](kind), content_type=kind.content_type) as server:
        provider = kind.make(server.url, SLOW)
        stream = provider.generate(kind.request, DISPATCH)
        await stream.__anext__()
        await stream.aclose()
        assert released(provider)
        await server.idle()
        await provider.aclose()


@pytest.mark.parametrize("how", ["aclose from another task", "cancel"])
async def test_leaving_while_connecting_closes_the_socket_at_once(kind: Kind, how: str) -> None:
    async with silent_port() as (url, standing):
        provider = kind.make(url, SLOW)
        stream = provider.generate(kind.request, DISPATCH)
        reading = asyncio.ensure_future(drain(stream))
        await until(lambda: standing() == 1)
        if how == "cancel":
            reading.cancel()
        else:
            await stream.aclose()
        await until(lambda: standing() == 0)
        assert pool_of(provider).connecting == 0
        await asyncio.gather(reading, return_exceptions=True)
        await provider.aclose()


async def test_a_stream_that_was_never_read_sends_nothing(kind: Kind) -> None:
    async with WireServer(silent) as server:
        provider = kind.make(server.url, SLOW)
        stream = provider.generate(kind.request, DISPATCH)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert server.accepted == 0
        await provider.aclose()


async def test_closing_the_provider_ends_its_streams(kind: Kind) -> None:
    async with WireServer(PHASES["in the middle"](kind), content_type=kind.content_type) as server:
        provider = kind.make(server.url, SLOW)
        reading = asyncio.ensure_future(run(provider.generate(kind.request, DISPATCH)))
        await until(lambda: len(server.requests) == 1)
        await asyncio.sleep(0.02)
        await provider.aclose()
        assert isinstance((await reading).error, GatewayError)
        await server.idle()


async def test_the_socket_is_closed_as_soon_as_it_is_known_that_the_stream_is_spoilt(kind: Kind) -> None:
    script = says(b"".join(kind.good[:4]) + kind.wrap(b"{oops"), end=False, then=stall)
    async with WireServer(script, content_type=kind.content_type) as server:
        provider = kind.make(server.url, SLOW)
        stream = provider.generate(kind.request, DISPATCH)
        assert isinstance((await stream.__anext__())[0], Start)
        assert released(provider)
        with pytest.raises(UpstreamProtocolError):
            await stream.__anext__()
        await provider.aclose()
