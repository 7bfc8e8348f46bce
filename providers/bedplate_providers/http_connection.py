"""One HTTP/1.1 connection and one exchange over it.

A relay spends its time here, so there is no task, lock or stream object per request: the parser (httptools)
runs in `data_received`, what it finds lands in the exchange, and the exchange wakes the one task that waits
for it. Everything that arrived since the last wake-up is handed over in one piece. One timer per pool covers all
deadlines of its exchanges.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Protocol, cast

import httptools

from bedplate_providers.deadlines import Deadlines

HIGH_WATER_BYTES = 256 * 1024
"""Unread body bytes above which reading from the socket pauses until the reader has caught up."""

_DRAIN_S = 1.0
_STALE_S = 0.5


class HttpError(Exception):
    """The exchange failed. Messages are for logs; they hold no header, body or credential."""


class HttpConnectError(HttpError):
    """No connection could be made; nothing was sent."""


class HttpBusy(HttpError):
    """Every connection was in use for as long as connecting may take; nothing was sent."""


class HttpTimeout(HttpError):
    """The exchange's deadline passed."""


class HttpClosed(HttpError):
    """The connection was lost before the response was whole. `begun` says whether a byte of it had come."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


class HttpProtocolError(HttpError):
    """What came is not HTTP/1.1, or is over a limit."""


class HttpAborted(HttpError):
    """The exchange was aborted from our side."""


class ConnectionSource(Protocol):
    """Where an exchange gets its connection from and gives it back to, and who keeps its deadline."""

    deadlines: Deadlines

    def acquire(self, exchange: HttpExchange) -> HttpConnection | None:
        """A connection now, or `None` and later `exchange.connected` or `exchange.failed`."""
        ...

    def forget(self, exchange: HttpExchange) -> None:
        """`exchange` no longer waits for a connection."""
        ...

    def release(self, connection: HttpConnection) -> None:
        """`connection` finished its exchange and may serve another."""
        ...

    def lost(self, connection: HttpConnection) -> None:
        """`connection` is closed."""
        ...

    def retire_idle(self) -> None:
        """Close every idle connection: one of them proved stale."""
        ...

    def late(self) -> HttpError:
        """What to say to an exchange that waited for a connection until its deadline."""
        ...


class HttpConnection(asyncio.Protocol):
    """A connection that carries one exchange at a time."""

    def __init__(self, source: ConnectionSource, head_limit_bytes: int) -> None:
        self._source = source
        self._head_limit_bytes = head_limit_bytes
        self._transport: asyncio.Transport | None = None
        self._exchange: HttpExchange | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._closed = False
        self._paused = False
        self._whole = True
        self._overrun = False
        self._keep = False
        self._head_bytes = 0
        self._overhead_bytes = 0
        self._head_done = False
        self._framed = False
        self.uses = 0
        self.idle_since_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether an exchange may begin."""
        return self._exchange is None and self._alive

    @property
    def _alive(self) -> bool:
        """Whether the transport takes calls: uvloop's raises once it is closing, before `connection_lost` is
        told.
        """
        return not self._closed and self._transport is not None and not self._transport.is_closing()

    def begin(self, exchange: HttpExchange, request: bytes) -> None:
        """Send `request` and direct the response to `exchange`."""
        if self._transport is None or self._exchange is not None:
            raise RuntimeError("the connection is not free")
        self._exchange = exchange
        self._whole = False
        self._head_done = False
        self._framed = False
        self._head_bytes = 0
        self._overhead_bytes = 0
        self.uses += 1
        self._transport.write(request)

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused and self._transport is not None and self._alive:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the socket now, dropping what was not sent."""
        self._exchange = None
        if self._transport is not None and not self._closed:
            self._closed = True
            self._transport.abort()
            self._source.lost(self)

    def close(self) -> None:
        """`abort`, and fail the exchange under way."""
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.failed(HttpAborted("the pool is closed"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # a server does not speak unasked
            return
        exchange.begun = True
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(HttpProtocolError("the response is not HTTP/1.1"))
            return
        if self._closed:
            return
        if max(self._head_bytes, 0 if self._whole else self._overhead_bytes) > self._head_limit_bytes:
            exchange.status = 0
            self._fail(HttpProtocolError("the response head is over the limit"))
            return
        if self._whole:
            self._finish(exchange)
        elif exchange.unread_bytes > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        exchange.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._source.lost(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._head_done and not self._framed and exc is None:
            exchange.complete = True
            exchange.detached_from()
            exchange.wake()
        else:
            exchange.failed(HttpClosed("the connection was lost", begun=exchange.begun))

    # httptools

    def on_message_begin(self) -> None:
        if self._whole:
            self._overrun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done or self._exchange is None:
            return  # a trailer, or bytes past the message's end
        self._head_bytes += len(name) + len(value)
        key = name.decode("latin-1").lower()
        if key in ("content-length", "transfer-encoding"):
            self._framed = True
        headers = self._exchange.headers
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        if self._whole or self._exchange is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._exchange.headers.clear()
            self._framed = False
            return
        if status in (204, 304):
            self._framed = True
        self._exchange.status = status
        self._head_done = True
        self._overhead_bytes = 0

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None and not self._whole:
            self._exchange.feed(body)
            self._overhead_bytes = 0

    def on_message_complete(self) -> None:
        if self._head_done:
            self._whole = True
            self._keep = self._parser.should_keep_alive()  # the parser forgets with the next byte

    def _finish(self, exchange: HttpExchange) -> None:
        exchange.complete = True
        self._exchange = None
        exchange.detached_from()
        unsent = self._transport is None or not self._alive or self._transport.get_write_buffer_size() > 0
        if self._overrun or unsent or not self._keep:
            self.abort()
            return
        self.resume()
        self._source.release(self)

    def _fail(self, error: HttpError) -> None:
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.failed(error)


class HttpExchange:
    """One request and its response.

    `start` sends and returns with the response's head; then `chunk` (or `chunks`, or `read`) gives the body.
    One task at a time waits; `abort` may come from any. When `deadline_s` (on the loop's clock) passes while
    a task waits, the wait raises `HttpTimeout`. Any error, cancellation included, closes the socket at once;
    only a response that was received to its end gives the connection back for reuse.
    """

    __slots__ = (
        "_body", "_connection", "_detached", "_error", "_loop", "_over", "_request", "_sent", "_source",
        "_waiter", "begun", "complete", "deadline_s", "headers", "status", "unread_bytes",
    )  # fmt: skip

    def __init__(self, source: ConnectionSource, request: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._request = request
        self._connection: HttpConnection | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: HttpError | None = None
        self._body: list[bytes] = []
        self._over = False
        self._detached = False
        self._sent = False
        self.unread_bytes = 0
        self.begun = False
        self.complete = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.deadline_s = float("inf")

    async def start(self, connect_s: float, response_s: float) -> None:
        """Send the request and wait for the head of the response.

        A connection must be had within `connect_s`; the head must come within `response_s` of that. When a
        kept-alive connection closes right after the request was written on it and before any byte of a
        response, the server had closed it while idle: the request is sent once more, on another connection.
        A server that takes longer to close is dying over the request, which is then not repeated.

        Raises `HttpError`.
        """
        try:
            if await self._attempt(connect_s, response_s, may_repeat=True):
                self._source.retire_idle()
                self._error = None
                await self._attempt(connect_s, response_s, may_repeat=False)
        except BaseException:
            self.abort()
            raise

    def now_s(self) -> float:
        """The clock that `deadline_s` is on."""
        return self._loop.time()

    def renew_deadline(self, seconds: float) -> None:
        """Set the deadline `seconds` from now."""
        self.deadline_s = self._loop.time() + seconds

    async def chunk(self) -> bytes:
        """Everything of the body that came since the last call, waiting if there is nothing; empty at its
        end.
        """
        while not self._body:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            try:
                await self._pause()
            except BaseException:
                self.abort()
                raise
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.unread_bytes = 0
        if self._connection is not None:
            self._connection.resume()
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, in the pieces that `chunk` gives."""
        while piece := await self.chunk():
            yield piece

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `HttpProtocolError` when it is longer than `limit_bytes`."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.chunk():
            size += len(piece)
            if size > limit_bytes:
                self.abort()
                raise HttpProtocolError("the response body is over the limit")
            pieces.append(piece)
        return b"".join(pieces)

    def detach(self) -> None:
        """Nobody reads further, but the response is known to be about to end.

        The connection is kept for reuse when the end comes within a second, and closed otherwise or when
        more of a body comes.
        """
        self._body.clear()
        if self.complete or self._over:
            return
        self._detached = True
        self.deadline_s = self._loop.time() + _DRAIN_S
        self._source.deadlines.watch(self)

    def abort(self) -> None:
        """Stop in whatever phase; the socket is closed when this returns. A waiting task gets
        `HttpAborted`.
        """
        if self._over:
            return
        self._over = True
        if self._error is None and not self.complete:
            self._error = HttpAborted("aborted")
        self._body.clear()
        self._source.deadlines.forget(self)
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        else:
            self._source.forget(self)
        self.wake()

    async def aclose(self) -> None:
        """`abort` unless the response was received whole. Idempotent."""
        self.abort()

    # called by the connection and its source

    def connected(self, connection: HttpConnection) -> None:
        """A connection is there."""
        if self._over:
            self._source.release(connection)
            return
        self._connection = connection
        self.wake()

    def detached_from(self) -> None:
        """The response is whole; the connection is no longer ours."""
        self._connection = None
        self._over = True
        self._source.deadlines.forget(self)

    def feed(self, body: bytes) -> None:
        """More of the body."""
        if self._detached:
            self.abort()
            return
        self._body.append(body)
        self.unread_bytes += len(body)

    def failed(self, error: HttpError) -> None:
        """The exchange cannot go on. What came of the body before is still read."""
        if self._error is None:
            self._error = error
        self._connection = None
        self._source.deadlines.forget(self)
        self.wake()

    def wake(self) -> None:
        """Let the waiting task look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _attempt(self, connect_s: float, response_s: float, *, may_repeat: bool) -> bool:
        """Send once and wait for the head. True when the request should be sent again."""
        if self._over:
            raise HttpAborted("aborted")
        now = self._loop.time()
        self.deadline_s = now + connect_s
        self._sent = False
        connection = self._source.acquire(self)
        if connection is None:
            connection = await self._connected()
            now = self._loop.time()
        self._connection = connection
        self._sent = True
        self.deadline_s = now + response_s
        reused = connection.uses > 0
        connection.begin(self, self._request)
        while not self.status:
            await self._pause()
            error = self._error
            if error is None or self.status:
                continue  # an error after the head is met where the body is read
            lost_idle = isinstance(error, HttpClosed) and not error.begun
            if may_repeat and reused and lost_idle and self._loop.time() - now < _STALE_S:
                return True
            raise error
        return False

    async def _connected(self) -> HttpConnection:
        """A connection that may begin an exchange, when it has come."""
        while True:
            await self._pause()
            if self._error is not None:
                raise self._error
            connection, self._connection = self._connection, None
            if connection is None:
                continue
            if not connection.usable:  # it has been closed since it was handed over
                connection = self._source.acquire(self)
            if connection is not None:
                return connection

    def _pause(self) -> asyncio.Future[None]:
        """To be awaited: done when there may be something new, or the deadline has passed."""
        self._waiter = self._loop.create_future()
        if self.deadline_s != float("inf"):
            self._source.deadlines.watch(self)
        return self._waiter

    def late(self) -> None:
        """See `Watched.late`. A deadline that passes while nobody waits is met by the next wait."""
        if (self._waiter is None or self._waiter.done()) and not self._detached:
            return
        if self._error is None:
            self._error = HttpTimeout("the deadline passed") if self._sent else self._source.late()
        self.abort()


__all__ = [
    "HIGH_WATER_BYTES",
    "ConnectionSource",
    "HttpAborted",
    "HttpBusy",
    "HttpClosed",
    "HttpConnectError",
    "HttpConnection",
    "HttpError",
    "HttpExchange",
    "HttpProtocolError",
    "HttpTimeout",
]
