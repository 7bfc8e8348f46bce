"""A few minutes of mixed load: nothing leaks, nothing is missing from the records. Run by `make test-long`."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import httpx
import pytest

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MODELS = ("fake/echo", "fake/slow", "fake/burst", "fake/error", "fake/error-midstream", "fake/cut", "fake/reasoning")
CLIENTS = 24
WARM_UP_S = 20.0
RUN_S = 160.0
SAMPLES = 8
GUARDRAIL = """
kind: Guardrail
name: soak
project: default
spec:
  blockedInputMessaging: refused
  blockedOutputsMessaging: refused
  wordPolicyConfig: {wordsConfig: [{text: pineapple}]}
  sensitiveInformationPolicyConfig: {piiEntitiesConfig: [{type: EMAIL, action: ANONYMIZE}]}
---
kind: Project
name: default
spec: {guardrail: soak}
"""


class Tally:
    """What the clients did: answered calls, and calls they walked away from."""

    def __init__(self) -> None:
        self.answered = 0
        self.left = 0


async def client_loop(gateway: RunningGateway, client: httpx.AsyncClient, until_s: float, tally: Tally) -> None:
    session = "auto"
    while time.monotonic() < until_s:
        model = random.choice(MODELS)
        words = random.choice(("one two three", "mail me at a.b@example.org please", "a pineapple", "word " * 200))
        headers = {"authorization": f"Bearer {gateway.key}"}
        if random.random() < 0.5:
            headers["x-bedplate-session"] = session if random.random() < 0.9 else "auto"
        body = {
            "model": model,
            "stream": random.random() < 0.6,
            "max_tokens": 64,
            "messages": [{"role": "user", "content": words}],
        }
        try:
            async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
                session = response.headers.get("x-bedplate-session", session)
                if random.random() < 0.1:
                    tally.left += 1
                    continue
                await response.aread()
                tally.answered += 1
        except httpx.HTTPError:
            tally.left += 1


def resident_kib(pid: int) -> int:
    """Resident memory of a process and its children."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(resident_kib(int(child)) for child in children)


def test_mixed_load_for_minutes_leaks_nothing(postgres_server: PostgresServer, tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path, postgres_server.url(postgres_server.create_database()))
    gateway.apply_text(GUARDRAIL)
    gateway.start()
    assert gateway.process is not None
    tally = Tally()
    memory: list[int] = []

    async def run() -> None:
        limits = httpx.Limits(max_connections=CLIENTS * 2)
        async with httpx.AsyncClient(base_url=gateway.base_url, timeout=60, trust_env=False, limits=limits) as client:
            until_s = time.monotonic() + WARM_UP_S + RUN_S
            loops = [asyncio.create_task(client_loop(gateway, client, until_s, tally)) for _ in range(CLIENTS)]
            await asyncio.sleep(WARM_UP_S)
            for _ in range(SAMPLES):
                await asyncio.sleep(RUN_S / SAMPLES)
                memory.append(resident_kib(gateway.process.pid))
            await asyncio.gather(*loops)

    try:
        asyncio.run(run())
        deadline = time.monotonic() + 10
        while len(gateway.records()) < tally.answered and time.monotonic() < deadline:
            time.sleep(0.2)
        records = gateway.records()
        print(f"{tally.answered} answered, {tally.left} left, {len(records)} records, memory KiB {memory}")
        assert tally.answered <= len(records) <= tally.answered + tally.left
        assert len({record["id"] for record in records}) == len(records)
        head, tail = sum(memory[:3]) / 3, sum(memory[-3:]) / 3
        assert tail <= head * 1.05, f"memory grew from {head:.0f} to {tail:.0f} KiB"
        metrics = httpx.get(
            f"{gateway.base_url}/metrics", headers={"authorization": f"Bearer {gateway.admin_key}"}, trust_env=False
        ).text
        assert "bedplate_calls_in_flight 0.0" in metrics
    finally:
        gateway.stop()
