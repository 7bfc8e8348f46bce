"""A server that speaks vLLM's wire from a script, and misbehaves as it is told to.

It is written on asyncio streams and shares no code with the client under test.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self


class Received:
    """One request as it came."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


SSE = "text/event-stream; charset=utf-8"


class Wire:
    """One connection, from the server's side. `content_type` is that of its streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content_type: str = SSE) -> None:
        self.reader = reader
        self.writer = writer
        self.content_type = content_type
        self.keep = True

    async def raw(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def stream(self, *pieces: bytes, status: str = "200 OK", end: bool = True) -> None:
        """A chunked event stream, one write per piece."""
        await self.raw(
            f"HTTP/1.1 {status}\r\ncontent-type: {self.content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        for piece in pieces:
            await self.chunk(piece)
        if end:
            await self.raw(b"0\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def reply(self, status: str, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.raw(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n{lines}\r\n".encode()
            + data
        )

    async def peer_gone(self) -> None:
        """Return when the client has closed."""
        while await self.reader.read(65536):
            pass

    def cut(self) -> None:
        """Close the socket now."""
        self.keep = False
        self.writer.transport.abort()


Script = Callable[[Wire, Received], Awaitable[None]]


class WireServer:
    """Runs `script` for every request. `open` counts connections that stand, `accepted` all that ever did."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None, content_type: str = SSE) -> None:
        self.script = script
        self.context = context
        self.content_type = content_type
        self.requests: list[Received] = []
        self.open = 0
        self.accepted = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        assert not self.failures, self.failures

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def idle(self, within_s: float = 0.05) -> None:
        """Return when no connection is open; fail after `within_s`."""
        end = asyncio.get_running_loop().time() + within_s
        while self.open:
            assert asyncio.get_running_loop().time() < end, f"{self.open} connections still open"
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.accepted += 1
        wire = Wire(reader, writer, self.content_type)
        try:
            while wire.keep:
                request = await _read(reader)
                if request is None:
                    break
                self.requests.append(request)
                await self._answer(wire, request)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, wire: Wire, request: Received) -> None:
        """Run the script; stop it when the client goes, as uvicorn does."""
        script = asyncio.ensure_future(self.script(wire, request))
        gone = asyncio.ensure_future(_gone(wire.reader))
        try:
            await asyncio.wait({script, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not script.done():
                raise ConnectionResetError
            script.result()
        finally:
            script.cancel()
            gone.cancel()
            await asyncio.gather(script, gone, return_exceptions=True)


async def _gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110  (StreamReader has no event for it)
        await asyncio.sleep(0.002)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@asynccontextmanager
async def silent_port() -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """A port that accepts and never says anything: a TLS handshake with it stays under way.

    Gives its https URL and how many connections stand.
    """
    standing: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        standing.add(writer)
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            standing.discard(writer)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: len(standing)
    finally:
        server.close()
        for writer in tuple(standing):
            writer.transport.abort()
        await asyncio.sleep(0)
