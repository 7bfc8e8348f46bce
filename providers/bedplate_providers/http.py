"""Our own HTTP/1.1 client: a keep-alive pool for one origin.

It does what a relay to a trusted upstream needs and nothing more: no redirects, no proxy from the
environment, no cookies, no content codings, no HTTP/2. `Host` and `Content-Length` are set here and nowhere
else.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from bedplate_providers.deadlines import Deadlines
from bedplate_providers.http_connection import (
    HttpAborted,
    HttpBusy,
    HttpConnectError,
    HttpConnection,
    HttpError,
    HttpExchange,
)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_PATH = re.compile(r"/[\x21-\x7e]*")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"})
_METHODS = frozenset({"GET", "POST", "DELETE"})
_MAX_TARGETS = 256


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is: scheme, host (without brackets), port, and a path prefix that may be empty."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Origin:
        """From `http://host:port/prefix`. Raises `ValueError` for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an origin is http:// or https:// with a host and an optional path")
        prefix = parts.path.rstrip("/")
        if prefix and not _PATH.fullmatch(prefix):
            raise ValueError("the path of an origin is printable ASCII without spaces")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(scheme=parts.scheme, host=parts.hostname, port=port, prefix=prefix)

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


class HttpPool:
    """Connections to one origin, at most `limit`, reused while the server keeps them.

    A connection idle for longer than `keep_alive_s` is not used again: uvicorn, which vLLM runs on, closes
    one after 5 s, and a request should not meet that. `headers` are sent with every request. Belongs to one
    event loop.
    """

    def __init__(
        self,
        origin: str,
        *,
        limit: int,
        connect_s: float = 3.0,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        keep_alive_s: float = 4.0,
        head_limit_bytes: int = 64 * 1024,
    ) -> None:
        self.origin = Origin.parse(origin)
        self._limit = limit
        self._connect_s = connect_s
        self._keep_alive_s = keep_alive_s
        self._head_limit_bytes = head_limit_bytes
        self._ssl = ssl_context
        if self.origin.scheme == "https" and ssl_context is None:
            self._ssl = ssl.create_default_context()
        self._common = f"Host: {self.origin.authority}\r\n" + header_lines(headers or {})
        self._targets: dict[tuple[str, str], str] = {}
        self._idle: list[HttpConnection] = []
        self._open: set[HttpConnection] = set()
        self._waiting: deque[HttpExchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._shut = False
        self.deadlines = Deadlines()

    @property
    def open_connections(self) -> int:
        """Connections that stand, idle ones included."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        """Connections that stand and carry nothing."""
        return len(self._idle)

    @property
    def connecting(self) -> int:
        """Connections being made."""
        return len(self._connecting)

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpExchange:
        """An exchange that has not begun; `start` begins it.

        `path` begins with `/` and is put behind the origin's prefix. Raises `ValueError` for a method, path
        or header that is malformed or ours to set, so that nothing can be injected into the head.
        """
        target = self._targets.get((method, path)) or self._target(method, path)
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        lines = header_lines(headers) if headers else ""
        return HttpExchange(self, f"{target}{lines}{length}\r\n".encode("ascii") + body)

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        response_s: float = 60.0,
    ) -> HttpExchange:
        """Send and return with the head of the response, whose body the caller reads or aborts.

        Raises `HttpError`; cancellation closes the connection.
        """
        exchange = self.exchange(method, path, headers, body)
        await exchange.start(self._connect_s, response_s)
        return exchange

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail. Idempotent."""
        self._shut = True
        for task in tuple(self._connecting):
            task.cancel()
        while self._waiting:
            self._waiting.popleft().failed(HttpAborted("the pool is closed"))
        for connection in tuple(self._open):
            connection.close()
        self.deadlines.close()
        if self._connecting:
            await asyncio.gather(*self._connecting, return_exceptions=True)

    def _target(self, method: str, path: str) -> str:
        """The part of a head that is the same for every exchange of that path, remembered: few paths are called."""
        if method not in _METHODS:
            raise ValueError("the method is not one of GET, POST, DELETE")
        if not _PATH.fullmatch(path):
            raise ValueError("a path is / and printable ASCII without spaces")
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        target = f"{method} {self.origin.prefix}{path} HTTP/1.1\r\n{self._common}"
        self._targets[method, path] = target
        return target

    # ConnectionSource

    def acquire(self, exchange: HttpExchange) -> HttpConnection | None:
        """See `ConnectionSource.acquire`."""
        if self._shut:
            raise HttpAborted("the pool is closed")
        oldest_s = asyncio.get_running_loop().time() - self._keep_alive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since_s >= oldest_s:
                return connection
            connection.abort()
        self._waiting.append(exchange)
        self._connect_more()
        return None

    def forget(self, exchange: HttpExchange) -> None:
        """See `ConnectionSource.forget`. Connections that are being made for nobody are given up."""
        if exchange in self._waiting:
            self._waiting.remove(exchange)
        surplus = len(self._connecting) - len(self._waiting)
        for task in tuple(self._connecting)[: max(surplus, 0)]:
            self._connecting.discard(task)
            task.cancel()

    def release(self, connection: HttpConnection) -> None:
        """See `ConnectionSource.release`."""
        if self._shut:
            connection.abort()
            return
        if self._waiting:
            self._waiting.popleft().connected(connection)
            return
        connection.idle_since_s = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def lost(self, connection: HttpConnection) -> None:
        """See `ConnectionSource.lost`."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._connect_more()

    def retire_idle(self) -> None:
        """See `ConnectionSource.retire_idle`."""
        while self._idle:
            self._idle.pop().abort()

    def late(self) -> HttpError:
        """See `ConnectionSource.late`."""
        if self._connecting:
            return HttpConnectError("connecting took too long")
        return HttpBusy("every connection is in use")

    @property
    def _room(self) -> bool:
        return len(self._connecting) + len(self._open) < self._limit

    def _connect_more(self) -> None:
        """Begin as many connections as exchanges wait for and the limit allows."""
        if self._shut:
            return
        while len(self._connecting) < len(self._waiting) and self._room:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)

    async def _connect(self) -> None:
        """Make one connection and give it to whoever has waited longest."""
        task = asyncio.current_task()
        error: HttpError | None = None
        connection: HttpConnection | None = None
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: HttpConnection(self, self._head_limit_bytes),
                    self.origin.host,
                    self.origin.port,
                    ssl=self._ssl,
                    server_hostname=self.origin.host if self._ssl is not None else None,
                )
        except TimeoutError:
            error = HttpConnectError("connecting took too long")
        except (OSError, UnicodeError) as failure:
            error = HttpConnectError(f"could not connect: {type(failure).__name__}")
        finally:
            if task in self._connecting:
                self._connecting.discard(task)
        if connection is not None and not connection.usable:
            error = HttpConnectError("the connection was closed at once")
        elif connection is not None:
            self._open.add(connection)
            self.release(connection)
        if error is not None and self._waiting:
            self._waiting.popleft().failed(error)
            self._connect_more()


def header_lines(headers: Mapping[str, str]) -> str:
    """`headers` as lines of a head. Raises `ValueError` naming the header for what could break out of its
    line.
    """
    lines = ""
    for name, value in headers.items():
        if not _may_be_set(name):
            raise ValueError(f"the header {name!r} may not be set")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of the header {name!r} is not printable ASCII on one line")
        lines += f"{name}: {value}\r\n"
    return lines


@lru_cache(maxsize=256)
def _may_be_set(name: str) -> bool:
    """Whether a header of that name is well formed and not ours to set. Names are few and come from our own code."""
    return _NAME.fullmatch(name) is not None and name.lower() not in _OURS


__all__ = ["HttpPool", "Origin", "header_lines"]
