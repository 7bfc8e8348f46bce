"""A watch tells once that the client left, and nothing after it was stopped. Asserted inside the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bedplate_gateway.web.disconnect_watch import DisconnectWatch

pytestmark = pytest.mark.anyio


class Server:
    """What a server's `receive` does: it waits until there is something to say."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.messages: list[dict[str, Any]] = []
        self.waiting = 0

    def say(self, kind: str) -> None:
        self.messages.append({"type": kind})
        self.told.set()

    async def receive(self) -> Any:
        self.waiting += 1
        try:
            while not self.messages:
                self.told.clear()
                await self.told.wait()
                await asyncio.sleep(0)
            return self.messages.pop(0)
        finally:
            self.waiting -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_tells_once_when_the_client_leaves() -> None:
    server = Server()
    left: list[int] = []
    watch = DisconnectWatch(server.receive, lambda: left.append(1))
    await settle()
    assert (left, server.waiting) == ([], 1)

    server.say("http.request")
    await settle()
    assert (left, server.waiting) == ([], 1)

    server.say("http.disconnect")
    await settle()
    server.say("http.disconnect")
    await settle()
    assert (left, server.waiting) == ([1], 0)
    watch.stop()


async def test_a_client_that_has_left_already_is_told_at_once() -> None:
    server = Server()
    left: list[int] = []
    server.say("http.disconnect")
    DisconnectWatch(server.receive, lambda: left.append(1))
    assert left == [1]


@pytest.mark.parametrize("said_before", [False, True])
async def test_stopped_it_tells_nothing_and_waits_for_nothing(said_before: bool) -> None:
    server = Server()
    left: list[int] = []
    watch = DisconnectWatch(server.receive, lambda: left.append(1))
    if said_before:
        server.say("http.disconnect")  # its callback is scheduled, and comes after the stop
    watch.stop()
    watch.stop()
    if not said_before:
        server.say("http.disconnect")
    await settle()
    assert (left, server.waiting) == ([], 0)
