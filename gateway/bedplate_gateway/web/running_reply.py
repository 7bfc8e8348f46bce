"""An answer as it comes, for everybody who asked for it, from its first byte on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bedplate_core.errors import GatewayError
from bedplate_core.ids import CallId
from bedplate_gateway.dialects.base import WireReply


class RunningReply:
    """What a call has answered so far. One writer; any number of readers, each at its own pace, never holding it up.

    `begin`, then `add` for each piece, then `end`; or `whole` for all three. `call` is the call whose record the writer
    owes: that of the request that began it, or None once it is found that an earlier one had been answered. `error` is
    what the call ended with, if it did not end well. Keep-alive frames are no part of it: `keep_alive` is one.
    """

    __slots__ = (
        "_chunks", "_waiters", "begun", "call", "ended", "error", "headers", "keep_alive", "request_hash", "size_bytes",
        "status", "streams",
    )  # fmt: skip

    def __init__(self, request_hash: bytes, call: CallId) -> None:
        self.request_hash = request_hash
        self.call: CallId | None = call
        self.error: GatewayError | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.keep_alive = b""
        self.streams = False
        self.begun = False
        self.ended = False
        self.size_bytes = 0
        self._chunks: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self, status: int, headers: Mapping[str, str], *, keep_alive: bytes = b"") -> None:
        """A stream begins. `headers` have lower-case names and no request id, which each request has of its own."""
        self.status, self.headers, self.keep_alive = status, headers, keep_alive
        self.streams = self.begun = True
        self._wake()

    def add(self, data: bytes) -> None:
        """More of the body."""
        if data:
            self._chunks.append(data)
            self.size_bytes += len(data)
            self._wake()

    def end(self) -> None:
        """There will be no more. Idempotent."""
        if not self.ended:
            self.ended = True
            self._wake()

    def whole(self, reply: WireReply) -> None:
        """The answer is all there."""
        self.status = reply.status
        self.headers = reply.headers
        self.begun = True
        self.add(reply.body)
        self.end()

    @property
    def body(self) -> bytes:
        """All of the body so far."""
        return b"".join(self._chunks)

    async def beginning(self) -> None:
        """Return when the answer has begun, or has ended without."""
        while not self.begun and not self.ended:
            await self._changed()

    async def ending(self) -> None:
        """Return when the answer has ended."""
        while not self.ended:
            await self._changed()

    async def read(self, position: int) -> tuple[bytes, int, bool]:
        """What follows `position` (0 is the beginning), where that ends, and whether it is the last.

        Waits until there is something. Pieces are never divided.
        """
        while position == len(self._chunks) and not self.ended:
            await self._changed()
        fresh = self._chunks[position:]
        return (fresh[0] if len(fresh) == 1 else b"".join(fresh)), position + len(fresh), self.ended

    async def _changed(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


__all__ = ["RunningReply"]
