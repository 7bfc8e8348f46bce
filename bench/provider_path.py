"""What the provider path costs: pool, parser and events, beside a raw connection that relays the same bytes.

    python bench/provider_path.py [--requests 2000] [--events 64]

Prints CPU microseconds of the client's process per request and per event (user + system), for an answer of
one chunk and for one of `--events` chunks sent in one burst. The upstream is a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import cast

import msgspec
import uvloop

from bedplate_core.messages import Message, Role, Text
from bedplate_core.requests import Dispatch, Request, Sampling
from bedplate_providers.endpoints import VllmEndpoint
from bedplate_providers.fleet import VllmFleet
from bedplate_providers.http import HttpPool

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def _answer(events: int) -> bytes:
    """A whole response of `events` text chunks, as vLLM frames it."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000, "model": "m"}
    pieces: list[bytes] = []
    for number in range(events):
        usage = {"prompt_tokens": 20, "total_tokens": 20 + number, "completion_tokens": number}
        last = number == events - 1
        choice = {
            "index": 0,
            "delta": {"content": " word"},
            "logprobs": None,
            "finish_reason": "stop" if last else None,
        }
        pieces.append(b"data: " + msgspec.json.encode({**base, "choices": [choice], "usage": usage}) + b"\n\n")
    pieces.append(b"data: [DONE]\n\n")
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class _Upstream(asyncio.Protocol):
    """Answers every request with the same bytes, the burst in one write."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)


def _serve(ready: Connection, events: int) -> None:
    async def main() -> None:
        answer = _answer(events)
        server = await asyncio.get_running_loop().create_server(lambda: _Upstream(answer), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class _Raw(asyncio.Protocol):
    """The least there is: write a request, wait for the bytes that end its answer."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.tail = data[-5:]
        if self.tail == b"0\r\n\r\n" and self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


async def _measure(name: str, call: Callable[[], Awaitable[None]], requests: int, events: int) -> float:
    for _ in range(200):
        await call()
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(requests):
        await call()
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - begun
    cpu_us = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / requests * 1e6
    print(f"{name:34s} {events:4d} events  {cpu_us:8.1f} us CPU/request  {took / requests * 1e6:8.1f} us wall/request")
    return cpu_us


async def _bench(port: int, requests: int, events: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}"
    _, raw = await asyncio.get_running_loop().create_connection(_Raw, "127.0.0.1", port)
    body = b"x" * 1090

    async def bare() -> None:
        raw.waiter = asyncio.get_running_loop().create_future()
        raw.transport.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 1090\r\n\r\n" + body)
        await raw.waiter

    pool = HttpPool(url, limit=4)

    async def pooled() -> None:
        exchange = await pool.request("POST", "/v1/chat/completions", None, body)
        while await exchange.chunk():
            pass

    fleet = VllmFleet("bench", VllmEndpoint(urls=(url,)))
    message = Message(role=Role.USER, parts=(Text(text="word " * 200),))
    request = Request(model="m", messages=(message,), sampling=Sampling(max_tokens=64, temperature=0.5))
    dispatch = Dispatch(call_id="req_1", cache_salt="salt")

    async def whole() -> None:
        stream = fleet.generate(request, dispatch)
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()

    costs = {
        name: await _measure(name, call, requests, events)
        for name, call in (("raw connection", bare), ("our pool", pooled), ("provider, to events", whole))
    }
    raw.transport.close()
    await pool.aclose()
    await fleet.aclose()
    return costs


def main() -> None:
    """Run both sizes and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--events", type=int, default=64)
    options = parser.parse_args()
    costs: dict[int, dict[str, float]] = {}
    for events in (1, options.events):
        ours, theirs = multiprocessing.Pipe()
        upstream = multiprocessing.Process(target=_serve, args=(theirs, events), daemon=True)
        upstream.start()
        costs[events] = uvloop.run(_bench(ours.recv(), options.requests, events))
        upstream.terminate()
        upstream.join()
    few, many = costs[1], costs[options.events]
    print(f"the pool adds {few['our pool'] - few['raw connection']:.1f} us a request")
    for name in ("our pool", "provider, to events"):
        print(f"{name}: {(many[name] - few[name]) / (options.events - 1):.2f} us an event")


if __name__ == "__main__":
    main()
