"""A load generator over raw connections with keep-alive, in the caller's event loop.

It parses no more of an answer than its status and its end, so that one core can keep another one busy.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from bench.upstream import content_length

_SYSTEM = (
    "You are the support assistant of a shop for outdoor equipment. Answer in at most three sentences, name the order "
    "if there is one, and never promise a date that the carrier has not confirmed."
)
_TURNS = (
    ("user", "Hello, I ordered a tent and two sleeping bags last Tuesday and have not heard anything since then."),
    ("assistant", "Thank you for asking. Your order was packed on Wednesday and handed to the carrier that evening."),
    ("user", "The tracking page has said 'in transit' for three days now. Is that normal for a parcel of this size?"),
    ("assistant", "Bulky parcels are often scanned only at the depot. The next scan usually comes within a day or so."),
)
_QUESTION = (
    "We leave for the mountains on Saturday morning. When will the parcel arrive, and can I pick it up at the depot "
    "myself if it does not come in time?"
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go: a port of the loopback address, the API key to send, if any, and the model's name."""

    port: int
    model: str
    key: str | None = None

    def request(self, *, stream: bool) -> bytes:
        """A chat of a system message, four turns and a question: about 1.1 KB of body."""
        messages = [{"role": "system", "content": _SYSTEM}]
        messages += [{"role": role, "content": text} for role, text in _TURNS]
        messages.append({"role": "user", "content": _QUESTION})
        asked = {"model": self.model, "messages": messages, "temperature": 0.2, "max_tokens": 256, "stream": stream}
        body = json.dumps(asked, separators=(",", ":")).encode()
        authorization = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{authorization}"
            f"Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Client(asyncio.Protocol):
    """One connection. `send` sends a request; `answered(client)` is called when its answer is whole."""

    def __init__(self, request: bytes, answered: Callable[[Client], None]) -> None:
        self._request = request
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._left: int | None = None
        self._in_body = False
        self.due_s = 0.0
        self.first_s = 0.0
        self.error: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self.error = "the connection was closed"

    def send(self, due_s: float | None = None) -> None:
        """Send the next request; it counts from `due_s`, when it should have been sent, or from now."""
        if self._transport is None:
            raise RuntimeError("not connected")
        self._in_body = False
        self._tail = b""
        self.due_s = time.perf_counter() if due_s is None else due_s
        self.first_s = 0.0
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            data = self._tail + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._tail = data
                return
            if not data.startswith(b"HTTP/1.1 200"):
                self.error = data[:600].decode("latin-1")
            self._in_body = True
            head = data[: end + 2]
            chunked = b"transfer-encoding: chunked" in head.lower()
            self._left = None if chunked else content_length(head)
            self._tail = b""
            data = data[end + 4 :]
        if data and not self.first_s:
            self.first_s = time.perf_counter()
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._answered(self)
            return
        last = data if len(data) >= 5 else self._tail + data
        self._tail = last[-5:]
        if self._tail == b"0\r\n\r\n":
            self._answered(self)

    def close(self) -> None:
        """Close the connection."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in the window: whole answers, its length in seconds, and for each answer the milliseconds until
    it was whole and until its first byte of body."""

    answers: int
    seconds: float
    times_ms: list[float]
    first_ms: list[float]

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The time within which `share` (0 to 1) of the answers came."""
        return _percentile(self.times_ms, share)

    def first_percentile_ms(self, share: float) -> float:
        """The same until the first byte of body."""
        return _percentile(self.first_ms, share)


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class LoadError(Exception):
    """An answer was not 200, or a connection broke."""


async def saturate(
    target: Target,
    *,
    stream: bool,
    connections: int,
    warm_s: float,
    window_s: float,
    stagger_s: float = 0.0,
    at_edge: Callable[[], None] = lambda: None,
) -> Window:
    """Keep `connections` requests under way; measure for `window_s` after `warm_s`.

    The first requests are spread over `stagger_s`. `at_edge` is called when the window begins and when it ends.
    """
    state = _State()

    def answered(client: Client) -> None:
        state.note(client)
        if client.error is None:
            client.send()

    clients = await _connect(target, stream, connections, answered)
    try:
        loop = asyncio.get_running_loop()
        for number, client in enumerate(clients):
            loop.call_later(stagger_s * number / connections, client.send)
        await asyncio.sleep(max(warm_s, stagger_s))
        return await _measure(state, clients, window_s, at_edge)
    finally:
        for client in clients:
            client.close()


async def steady(
    target: Target, *, stream: bool, per_s: float, warm_s: float, window_s: float, connections: int = 64
) -> Window:
    """Send `per_s` requests a second, whether earlier ones are answered or not; measure for `window_s`.

    A request that finds no connection free waits for one, and its time runs from when it was due: a system that stands
    still for a moment is charged for everyone who came meanwhile.
    """
    state = _State()
    free: list[Client] = []
    waiting: deque[float] = deque()

    def answered(client: Client) -> None:
        state.note(client)
        if waiting and client.error is None:
            client.send(waiting.popleft())
        else:
            free.append(client)

    clients = await _connect(target, stream, connections, answered)
    free += clients
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    began_s, offset_s = loop.time(), time.perf_counter() - loop.time()
    sent = 0

    def tick() -> None:
        nonlocal timer, sent
        while (due_s := began_s + sent / per_s) <= loop.time():
            sent += 1
            if free:
                free.pop().send(due_s + offset_s)
            else:
                waiting.append(due_s + offset_s)
        timer = loop.call_at(began_s + sent / per_s, tick)

    tick()
    try:
        await asyncio.sleep(warm_s)
        return await _measure(state, clients, window_s, lambda: None)
    finally:
        if timer is not None:
            timer.cancel()
        for client in clients:
            client.close()


class _State:
    def __init__(self) -> None:
        self.measuring = False
        self.times_ms: list[float] = []
        self.first_ms: list[float] = []

    def note(self, client: Client) -> None:
        """Count an answer, if the window is open."""
        if self.measuring:
            self.times_ms.append((time.perf_counter() - client.due_s) * 1000)
            self.first_ms.append((client.first_s - client.due_s) * 1000)


async def _connect(target: Target, stream: bool, connections: int, answered: Callable[[Client], None]) -> list[Client]:
    request = target.request(stream=stream)
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(request, answered), "127.0.0.1", target.port)
        clients.append(client)
    return clients


async def _measure(state: _State, clients: list[Client], window_s: float, at_edge: Callable[[], None]) -> Window:
    at_edge()
    began_s = time.perf_counter()
    state.measuring = True
    await asyncio.sleep(window_s)
    state.measuring = False
    seconds = time.perf_counter() - began_s
    at_edge()
    broken = next((client.error for client in clients if client.error is not None), None)
    if broken is not None:
        raise LoadError(broken)
    if not state.times_ms:
        raise LoadError("no answer came in the window")
    return Window(answers=len(state.times_ms), seconds=seconds, times_ms=state.times_ms, first_ms=state.first_ms)
