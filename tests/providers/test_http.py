"""The HTTP client: reuse, limits, flow control, and what it refuses."""

from __future__ import annotations

import asyncio

import pytest

from bedplate_providers.http import HttpPool, Origin
from bedplate_providers.http_connection import (
    HIGH_WATER_BYTES,
    HttpBusy,
    HttpClosed,
    HttpConnectError,
    HttpProtocolError,
    HttpTimeout,
)
from tests.providers.wire_server import Received, Wire, WireServer, silent_port

pytestmark = pytest.mark.anyio


async def echo(wire: Wire, request: Received) -> None:
    await wire.reply("200 OK", {"path": request.path, "got": request.body.decode()})


def pool_of(server: WireServer, limit: int = 8, **settings: float) -> HttpPool:
    return HttpPool(server.url, limit=limit, connect_s=1.0, **settings)


async def fetch(pool: HttpPool, path: str = "/a", body: bytes = b"x") -> bytes:
    exchange = await pool.request("POST", path, None, body, response_s=2.0)
    assert exchange.status == 200
    return await exchange.read(1_000_000)


async def test_a_connection_is_reused_after_a_whole_body() -> None:
    async with WireServer(echo) as server:
        pool = pool_of(server)
        for _ in range(3):
            assert b'"got": "x"' in await fetch(pool)
        assert (server.accepted, pool.open_connections, pool.idle_connections) == (1, 1, 1)
        await pool.aclose()
        await server.idle()


async def test_the_head_is_ours() -> None:
    async with WireServer(echo) as server:
        pool = HttpPool(server.url + "/base/", limit=1, headers={"Authorization": "Bearer k"})
        exchange = await pool.request("POST", "/v1/x", {"X-Request-Id": "req_1"}, b"body")
        await exchange.read(1000)
        (request,) = server.requests
        assert request.path == "/base/v1/x"
        assert request.headers["host"] == server.url.removeprefix("http://")
        assert request.headers["content-length"] == "4"
        assert request.headers["authorization"] == "Bearer k"
        assert request.headers["x-request-id"] == "req_1"
        await pool.aclose()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("a", {}),
        ("/a", {"X": "a\r\nY: b"}),
        ("/a", {"X": "a\nb"}),
        ("/a", {"X\r\nY": "b"}),
        ("/a", {"X Y": "b"}),
        ("/a", {"X": "é"}),
        ("/a", {"Host": "evil"}),
        ("/a", {"content-length": "3"}),
        ("/a", {"Transfer-Encoding": "chunked"}),
    ],
)
async def test_nothing_can_be_injected_into_the_head(path: str, headers: dict[str, str]) -> None:
    pool = HttpPool("http://127.0.0.1:9", limit=1)
    with pytest.raises(ValueError):
        pool.exchange("POST", path, headers, b"")
    await pool.aclose()


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h/a?b", "http://h/#f", "//h", "http://h/a b"])
def test_an_origin_is_plain(url: str) -> None:
    with pytest.raises(ValueError):
        Origin.parse(url)


def test_the_authority_of_an_origin() -> None:
    assert Origin.parse("http://Example.com").authority == "example.com"
    assert Origin.parse("https://h:8443/x").authority == "h:8443"
    assert Origin.parse("http://[::1]:8000").authority == "[::1]:8000"


async def test_a_connection_the_server_closed_while_idle_is_noticed() -> None:
    async def once(wire: Wire, request: Received) -> None:
        await echo(wire, request)
        wire.keep = False

    async with WireServer(once) as server:
        pool = pool_of(server)
        for _ in range(3):
            await fetch(pool)
            await server.idle()
            await asyncio.sleep(0.01)
            assert pool.open_connections == 0
        assert server.accepted == 3
        await pool.aclose()


async def test_a_stale_connection_is_retried_once_on_a_fresh_one() -> None:
    """The close and the request cross: the request was written, then the connection was reset unanswered."""

    async def script(wire: Wire, request: Received) -> None:
        if request.path == "/second" and len(server.requests) == 2:
            wire.cut()
        else:
            await echo(wire, request)

    async with WireServer(script) as server:
        pool = pool_of(server)
        await fetch(pool, "/first")
        assert b"/second" in await fetch(pool, "/second")
        assert [request.path for request in server.requests] == ["/first", "/second", "/second"]
        await pool.aclose()


async def test_a_fresh_connection_that_is_cut_is_not_retried() -> None:
    async def script(wire: Wire, request: Received) -> None:
        wire.cut()

    async with WireServer(script) as server:
        pool = pool_of(server)
        with pytest.raises(HttpClosed) as caught:
            await fetch(pool)
        assert not caught.value.begun
        assert len(server.requests) == 1
        await pool.aclose()


async def test_a_server_that_dies_over_the_request_is_not_sent_it_again() -> None:
    async def script(wire: Wire, request: Received) -> None:
        if len(server.requests) == 1:
            await echo(wire, request)
        else:
            await asyncio.sleep(0.6)
            wire.cut()

    async with WireServer(script) as server:
        pool = pool_of(server)
        await fetch(pool)
        with pytest.raises(HttpClosed):
            await fetch(pool)
        assert len(server.requests) == 2
        await pool.aclose()


async def test_a_retried_request_that_is_cut_again_fails() -> None:
    async def script(wire: Wire, request: Received) -> None:
        if len(server.requests) == 1:
            await echo(wire, request)
        else:
            wire.cut()

    async with WireServer(script) as server:
        pool = pool_of(server)
        await fetch(pool)
        with pytest.raises(HttpClosed):
            await fetch(pool)
        assert len(server.requests) == 3
        await pool.aclose()


async def test_an_old_idle_connection_is_not_used() -> None:
    async with WireServer(echo) as server:
        pool = pool_of(server, keep_alive_s=0.02)
        await fetch(pool)
        await asyncio.sleep(0.05)
        await fetch(pool)
        assert server.accepted == 2
        await pool.aclose()


async def test_connections_are_bounded_and_waiters_served_in_turn() -> None:
    running = 0
    peak = 0

    async def script(wire: Wire, request: Received) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.01)
        running -= 1
        await echo(wire, request)

    async with WireServer(script) as server:
        pool = pool_of(server, limit=3)
        await asyncio.gather(*(fetch(pool, f"/{number}") for number in range(12)))
        assert (peak, server.accepted) == (3, 3)
        assert sorted(int(request.path[1:]) for request in server.requests) == list(range(12))
        assert {request.path for request in server.requests[:3]} == {"/0", "/1", "/2"}
        await pool.aclose()


async def test_waiting_for_a_connection_is_bounded() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        pool = HttpPool(server.url, limit=1, connect_s=0.1)
        first = pool.exchange("GET", "/")
        waiting = asyncio.ensure_future(first.start(1, 5))
        await asyncio.sleep(0.03)
        with pytest.raises(HttpBusy):
            await pool.request("GET", "/")
        first.abort()
        await asyncio.gather(waiting, return_exceptions=True)
        await server.idle()
        await pool.aclose()


async def test_a_waiter_that_leaves_does_not_lose_the_connection() -> None:
    release = asyncio.Event()

    async def script(wire: Wire, request: Received) -> None:
        await release.wait()
        await echo(wire, request)

    async with WireServer(script) as server:
        pool = pool_of(server, limit=1)
        first = asyncio.ensure_future(fetch(pool))
        await asyncio.sleep(0.02)
        second = asyncio.ensure_future(fetch(pool))
        third = asyncio.ensure_future(fetch(pool))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        assert await first
        assert await third
        assert server.accepted == 1
        await pool.aclose()


async def test_a_refused_connection_is_a_connect_error() -> None:
    pool = HttpPool("http://127.0.0.1:1", limit=1)
    with pytest.raises(HttpConnectError):
        await pool.request("GET", "/")
    assert (pool.open_connections, pool.connecting) == (0, 0)
    await pool.aclose()


async def test_connecting_takes_no_longer_than_it_may() -> None:
    async with silent_port() as (url, standing):
        pool = HttpPool(url, limit=1, connect_s=0.05)
        with pytest.raises(HttpConnectError):
            await pool.request("GET", "/")
        await asyncio.sleep(0.02)
        assert standing() == 0
        assert pool.connecting == 0
        await pool.aclose()


async def test_the_head_must_come_in_time() -> None:
    async def script(wire: Wire, request: Received) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: ":
            await wire.raw(bytes([byte]))
            await asyncio.sleep(0.02)

    async with WireServer(script) as server:
        pool = pool_of(server)
        with pytest.raises(HttpTimeout):
            await pool.request("GET", "/", response_s=0.1)
        await server.idle()
        await pool.aclose()


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: %s\r\n" % (n, b"a" * 100) for n in range(900)) + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_not_http_or_over_the_limit_is_refused(raw: bytes) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(raw)
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        pool = pool_of(server)
        with pytest.raises(HttpProtocolError):
            await pool.request("GET", "/", response_s=1)
        await server.idle()
        await pool.aclose()


async def test_interim_responses_are_skipped() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await echo(wire, request)

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("POST", "/a", None, b"x")
        assert exchange.status == 200
        assert "link" not in exchange.headers
        assert b'"x"' in await exchange.read(1000)
        assert pool.idle_connections == 1
        await pool.aclose()


async def test_bytes_beyond_the_response_end_the_connection() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        assert await exchange.read(10) == b"ok"
        assert pool.open_connections == 0
        await pool.aclose()


async def test_a_body_that_ends_with_the_connection() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        wire.keep = False

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        assert await exchange.read(100) == b"all of it"
        assert pool.open_connections == 0
        await pool.aclose()


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n"],
)
async def test_a_body_that_is_cut_is_an_error_after_what_came(head: bytes) -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.raw(head + b"part.")
        await asyncio.sleep(0.01)
        wire.keep = False

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        assert await exchange.chunk() == b"part."
        with pytest.raises(HttpClosed) as caught:
            await exchange.chunk()
        assert caught.value.begun
        await pool.aclose()


async def test_a_body_over_the_limit_is_refused_and_the_socket_closed() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", b"x" * 5000)

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        with pytest.raises(HttpProtocolError):
            await exchange.read(1000)
        await pool.aclose()


async def test_what_came_together_is_read_together() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(b"one", b"two", b"three")

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        await asyncio.sleep(0.05)
        assert await exchange.chunk() == b"onetwothree"
        assert await exchange.chunk() == b""
        await pool.aclose()


async def test_a_slow_reader_holds_the_sender_back() -> None:
    sent = 0
    total = 64 * 1024 * 1024

    async def script(wire: Wire, request: Received) -> None:
        nonlocal sent
        await wire.raw(f"HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n".encode())
        while sent < total:
            await wire.raw(b"x" * 65536)
            sent += 65536

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        await asyncio.sleep(0.3)
        assert exchange.unread_bytes <= HIGH_WATER_BYTES + 512 * 1024
        held_at = sent
        assert held_at < total / 2
        await asyncio.sleep(0.1)
        assert sent == held_at
        got = 0
        while piece := await exchange.chunk():
            got += len(piece)
            assert len(piece) <= HIGH_WATER_BYTES + 512 * 1024
        assert got == total
        assert pool.idle_connections == 1
        await pool.aclose()


async def test_cancelling_the_waiting_task_closes_the_socket() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        pool = pool_of(server)
        task = asyncio.ensure_future(fetch(pool))
        await asyncio.sleep(0.03)
        assert server.open == 1
        task.cancel()
        await server.idle()
        assert (pool.open_connections, pool.idle_connections) == (0, 0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await pool.aclose()


async def test_cancelling_a_task_that_waits_for_the_body_closes_the_socket() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await wire.stream(b"some", end=False)
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        pool = pool_of(server)
        exchange = await pool.request("GET", "/")
        assert await exchange.chunk() == b"some"
        task = asyncio.ensure_future(exchange.chunk())
        await asyncio.sleep(0.02)
        task.cancel()
        await server.idle()
        assert pool.open_connections == 0
        await asyncio.gather(task, return_exceptions=True)
        await pool.aclose()


async def test_closing_the_pool_fails_what_is_under_way() -> None:
    async def script(wire: Wire, request: Received) -> None:
        await asyncio.sleep(5)

    async with WireServer(script) as server:
        pool = pool_of(server)
        task = asyncio.ensure_future(fetch(pool))
        await asyncio.sleep(0.03)
        await pool.aclose()
        with pytest.raises(Exception, match="closed"):
            await task
        await server.idle()
