"""SIGKILL of the gateway and of Postgres under twenty conversations: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import httpx
import pytest

from bedplate_gateway.database import database_config
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer

CONVERSATIONS = 20
RUN_S = 6.0
KILLS = 3


class Conversation:
    """One client: sends turns one after another, streamed and not, and remembers which were acknowledged."""

    def __init__(self, number: int, client: httpx.AsyncClient, key: str) -> None:
        self.number = number
        self.session = "auto"
        self.acknowledged: list[str] = []
        self.sent: list[str] = []
        self._client = client
        self._headers = {"authorization": f"Bearer {key}"}

    async def run(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            text = f"conversation {self.number} turn {len(self.sent)} {random.getrandbits(64):x}"
            try:
                if self.session != "auto":
                    self.sent.append(text)
                if await self._turn(text, stream=len(self.sent) % 2 == 0):
                    self.acknowledged.append(text)
            except (httpx.HTTPError, json.JSONDecodeError):
                await asyncio.sleep(0.1)

    async def _turn(self, text: str, *, stream: bool) -> bool:
        """Send one turn; True only when the client has seen its end."""
        body = {"model": "fake/slow", "stream": stream, "messages": [{"role": "user", "content": text}]}
        headers = self._headers | {"x-bedplate-session": self.session}
        async with self._client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            if response.status_code == 200 and self.session == "auto":
                self.session = response.headers["x-bedplate-session"]
                self.sent.append(text)
            content = await response.aread()
        if response.status_code != 200:
            await asyncio.sleep(0.1)
            return False
        return content.endswith(b"data: [DONE]\n\n") if stream else "choices" in json.loads(content)


async def check(gateway: RunningGateway, conversations: list[Conversation]) -> tuple[int, int]:
    """Every acknowledged turn is in its session exactly once, with its own answer; no turn is there twice."""
    connection = await asyncpg.connect(database_config(gateway.settings).url)
    acknowledged = stored = 0
    try:
        for conversation in conversations:
            rows = await connection.fetch(
                "select seq, payload from session_item where session_id = $1 order by seq", conversation.session
            )
            messages = [json.loads(row["payload"]) for row in rows]
            assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
            texts = ["".join(part["text"] for part in message["parts"]) for message in messages]
            assert texts[0::2] == texts[1::2], "each user's message is followed by its own answer"
            assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
            turns = texts[0::2]
            assert len(set(turns)) == len(turns), "a turn is doubled"
            assert set(conversation.acknowledged) <= set(turns), "an acknowledged turn is lost"
            assert set(turns) <= set(conversation.sent)
            acknowledged += len(conversation.acknowledged)
            stored += len(turns)
    finally:
        await connection.close()
    return acknowledged, stored


async def converse(gateway: RunningGateway) -> list[Conversation]:
    """Hold all conversations for `RUN_S`."""
    limits = httpx.Limits(max_connections=CONVERSATIONS * 2)
    async with httpx.AsyncClient(base_url=gateway.base_url, timeout=15, trust_env=False, limits=limits) as client:
        conversations = [Conversation(number, client, gateway.key) for number in range(CONVERSATIONS)]
        until_s = time.monotonic() + RUN_S
        await asyncio.gather(*(conversation.run(until_s) for conversation in conversations))
    return conversations


@pytest.mark.timeout(240)
@pytest.mark.parametrize("target", ["gateway", "postgres", "both"])
def test_sigkill_loses_and_doubles_no_acknowledged_turn(
    own_server: PostgresServer, tmp_path: Path, target: str
) -> None:
    gateway = RunningGateway(tmp_path, own_server.url("postgres"))
    gateway.start()
    try:
        # The clients live in a thread: what dies with its parent must be started from the main one.
        with ThreadPoolExecutor(1) as clients:
            running = clients.submit(lambda: asyncio.run(converse(gateway)))
            for _ in range(KILLS):
                time.sleep(random.uniform(0.6, 1.2))
                if target in ("gateway", "both"):
                    gateway.kill()
                if target in ("postgres", "both"):
                    own_server.signal(signal.SIGKILL)
                    own_server.restart()
                if target in ("gateway", "both"):
                    gateway.start()
            conversations = running.result()
        acknowledged, stored = asyncio.run(check(gateway, conversations))
        assert acknowledged > CONVERSATIONS, "the run shows something only when turns were acknowledged"
        assert all(conversation.acknowledged for conversation in conversations)
        print(f"{target}: {acknowledged} turns acknowledged, {stored} stored, {KILLS} kills")
        _check_records(gateway, conversations)
    finally:
        gateway.stop()


def _check_records(gateway: RunningGateway, conversations: list[Conversation]) -> None:
    """Every acknowledged turn has its record, once, whether Postgres took it at once or the spool kept it."""
    acknowledged = sum(len(conversation.acknowledged) for conversation in conversations)
    deadline = time.monotonic() + 20
    while True:
        rows = gateway.query("select id, outcome from invocation")
        completed = sum(row["outcome"] == "completed" for row in rows)
        if completed >= acknowledged or time.monotonic() > deadline:
            break
        time.sleep(0.2)  # the spool is replayed in the background
    assert completed >= acknowledged
    assert len({row["id"] for row in rows}) == len(rows)
