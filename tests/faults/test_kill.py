"""SIGKILL of the gateway and of Postgres under twenty conversations: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import http

CONVERSATIONS = 20
RUN_S = 6.0
GRACE_S = 30.0
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
        # A slow machine may need longer for two turns; without them there is nothing to check.
        while time.monotonic() < (until_s if len(self.acknowledged) > 1 else until_s + GRACE_S):
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


class Kept(NamedTuple):
    """One item of a session, as a client reads it."""

    role: str
    text: str
    status: str
    call: str


def kept_of(gateway: RunningGateway, session: str) -> list[Kept]:
    """The whole conversation."""
    with http(gateway, gateway.key) as client:
        page = client.get(f"/v1/sessions/{session}/items?limit=1000").raise_for_status().json()
    assert not page["has_more"]
    seqs = [item["seq"] for item in page["data"]]
    assert seqs == sorted(set(seqs))
    return [
        Kept(item["role"], "".join(part["text"] for part in item["parts"]), item["status"], item["call_id"])
        for item in page["data"]
    ]


def check(gateway: RunningGateway, conversations: list[Conversation]) -> tuple[int, set[str]]:
    """Every acknowledged turn is in its session exactly once, with its own answer; no turn is there twice.

    A last turn that broke off has not ended; all before it were dropped. How many turns were acknowledged, and the
    calls whose answers are stored.
    """
    calls = set[str]()
    for conversation in conversations:
        items = kept_of(gateway, conversation.session)
        if items and items[-1].role == "user":
            items = items[:-1]
        elif items and items[-1].status == "incomplete":
            items = items[:-2]
        assert [item.role for item in items] == ["user", "assistant"] * (len(items) // 2)
        assert {item.status for item in items} == {"completed"}
        turns = [item.text for item in items[0::2]]
        assert turns == [item.text for item in items[1::2]], "each user's message is followed by its own answer"
        assert len(set(turns)) == len(turns), "a turn is doubled"
        assert set(conversation.acknowledged) <= set(turns), "an acknowledged turn is lost"
        assert set(turns) <= set(conversation.sent)
        stored = [item.call for item in items[1::2]]
        assert not calls & set(stored)
        calls |= set(stored)
    return sum(len(conversation.acknowledged) for conversation in conversations), calls


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
        acknowledged, calls = check(gateway, conversations)
        assert acknowledged > CONVERSATIONS, "the run shows something only when turns were acknowledged"
        assert all(conversation.acknowledged for conversation in conversations)
        print(f"{target}: {acknowledged} turns acknowledged, {len(calls)} stored, {KILLS} kills")
        check_records(gateway, calls)
    finally:
        gateway.stop()


def check_records(gateway: RunningGateway, calls: set[str]) -> None:
    """Every answer that is stored has its record, once: the two are one transaction."""
    rows = gateway.query("select id, outcome from invocation")
    outcomes = {row["id"]: row["outcome"] for row in rows}
    assert len(outcomes) == len(rows)
    assert {outcomes.get(call) for call in calls} == {"completed"}
