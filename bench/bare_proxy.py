"""The least that a proxy in Python can do: frame the upstream's answer and pass it on, over connections that are kept.

No authentication, no parsing of a body, no record: the floor that the gateway is compared with. The same relay is
offered as a plain ASGI application, behind a Litestar `@asgi` handler and behind a Litestar route, to see what the
framework costs. `UPSTREAM_PORT` in the environment says where the upstream is.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any, cast

from litestar import Litestar, asgi, post
from litestar.connection import Request
from litestar.types import ASGIApp

from bench.upstream import content_length


class UpstreamConnection(asyncio.Protocol):
    """A connection to the upstream; pieces of an answer's body go to `pieces`, None ends them."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._left: int | None = None
        self._in_body = False
        self._pieces: deque[bytes | None] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.content_type = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pieces.append(None)
        self._wake()

    def begin(self, request: bytes) -> None:
        """Send a request."""
        assert self.transport is not None
        self._buffer = b""
        self._in_body = False
        self._pieces.clear()
        self.transport.write(request)

    async def piece(self) -> bytes | None:
        """The next piece of the body, None at its end; the head has been read when this returns."""
        while not self._pieces:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._pieces.popleft()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self._in_body:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self._head(data[: end + 2])
            data = data[end + 4 :]
        if self._left is None:
            self._unchunk(data)
        else:
            self._left -= len(data)
            self._pieces.append(data)
            if self._left <= 0:
                self._pieces.append(None)
        if self._pieces:
            self._wake()

    def _head(self, head: bytes) -> None:
        self._in_body = True
        self.status = int(head[9:12])
        lower = head.lower()
        at = lower.find(b"\r\ncontent-type:")
        self.content_type = head[at + 15 : head.find(b"\r\n", at + 2)].strip()
        self._left = None if b"transfer-encoding: chunked" in lower else content_length(head)

    def _unchunk(self, data: bytes) -> None:
        found: list[bytes] = []
        at = 0
        while True:
            line = data.find(b"\r\n", at)
            if line < 0:
                break
            size = int(data[at:line], 16)
            if len(data) < line + 2 + size + 2:
                break
            if size == 0:
                self._pieces.append(b"".join(found))
                self._pieces.append(None)
                return
            found.append(data[line + 2 : line + 2 + size])
            at = line + 4 + size
        self._buffer = data[at:]
        if found:
            self._pieces.append(b"".join(found))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Relay:
    """An ASGI application that passes a request's body to the upstream and the answer back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[UpstreamConnection] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        await self.serve(body, send)

    async def serve(self, body: bytes, send: Any) -> None:
        """Relay one request."""
        connection = self._idle.pop() if self._idle else await self._connect()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.begin(head.encode() + body)
        piece = await connection.piece()
        headers = [(b"content-type", connection.content_type)]
        await send({"type": "http.response.start", "status": connection.status, "headers": headers})
        while piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await connection.piece()
        self._idle.append(connection)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(UpstreamConnection, "127.0.0.1", self._port)
        return connection


def plain() -> Any:
    """The relay itself."""
    return Relay(int(os.environ["UPSTREAM_PORT"]))


def litestar_asgi() -> Any:
    """The relay as a Litestar `@asgi` handler."""
    relay = Relay(int(os.environ["UPSTREAM_PORT"]))

    @asgi("/v1/chat/completions", copy_scope=False)
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        await relay(scope, receive, send)

    return Litestar(route_handlers=[chat], openapi_config=None, logging_config=None)


def litestar_route() -> Any:
    """The relay behind a Litestar route that returns a ready ASGI application, as the gateway's routes do."""
    relay = Relay(int(os.environ["UPSTREAM_PORT"]))

    @post("/v1/chat/completions", status_code=200, sync_to_thread=False)
    def chat() -> ASGIApp:
        return relay

    return Litestar(route_handlers=[chat], openapi_config=None, logging_config=None)


def litestar_request() -> Any:
    """As `litestar_route`, but the route asks for the request and has Litestar read the body."""
    relay = Relay(int(os.environ["UPSTREAM_PORT"]))

    @post("/v1/chat/completions", status_code=200)
    async def chat(request: Request[Any, Any, Any]) -> ASGIApp:
        async def respond(scope: Any, receive: Any, send: Any) -> None:
            await relay.serve(await request.body(), send)

        return respond

    return Litestar(route_handlers=[chat], openapi_config=None, logging_config=None)
