"""The process of the local models, killed and stopped under a stream: the stream ends with an error, nothing unjudged
leaves, the record says so, and the next call is served by a new process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

SPEC = {
    "blockedInputMessaging": "no",
    "blockedOutputsMessaging": "no",
    "contentPolicyConfig": {
        "filtersConfig": [
            {"type": "VIOLENCE", "inputStrength": "NONE", "outputStrength": "LOW"},
        ]
    },
    "bedplateConfig": {"evaluationTimeoutMs": 3000},
}
RESOURCES = json.dumps({"kind": "Guardrail", "name": "models", "spec": SPEC}) + "\n"
TEXT = " ".join(f"This is sentence number {n} about a quiet walk along the river bank." for n in range(6))
HEADERS = {"x-bedplate-guardrail": "models"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> AsyncIterator[InProcess]:
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    async with in_process(tmp_path_factory.mktemp("worker"), url, resources=RESOURCES) as running:
        yield running
    postgres_server.drop_database(name)


def workers() -> list[int]:
    """The worker processes that are this process's own children."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"bedplate_guardrails.worker" in command and parent == os.getpid():
            found.append(int(entry.name))
    return found


def sent(exchange: Exchange) -> str:
    parts = [message.get("body", b"") for message in exchange.sent if message["type"] == "http.response.body"]
    return b"".join(parts).decode()


def said(exchange: Exchange) -> str:
    frames = [line[6:] for line in sent(exchange).splitlines() if line.startswith("data: {")]
    choices = [choice for frame in frames for choice in json.loads(frame).get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def spoken(app: InProcess, text: str, on_send: Any = None) -> Exchange:
    """The text, repeated word by word by the scripted model."""
    body = {"model": "fake/slow", "stream": True, "messages": [{"role": "user", "content": text}]}
    return await app.post("/v1/chat/completions", body, HEADERS, on_send=on_send)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_worker_that_goes_away_ends_the_stream_and_nothing_unjudged_leaves(app: InProcess, how: str) -> None:
    assert (await spoken(app, f"warm {how}. {TEXT}")).status == 200
    (worker,) = workers()
    pool = app.application.services.engine.evaluators.local
    stopped = False

    async def on_send(_: Exchange, message: Any) -> None:
        nonlocal stopped
        if not stopped and b'"content":' in message.get("body", b""):
            stopped = True
            os.kill(worker, signal.SIGSTOP)  # whatever is asked of it from now on is not answered

    text = f"Now {how}. {TEXT}"
    answering = asyncio.create_task(spoken(app, text, on_send))
    if how == "killed":
        for _ in range(1000):
            if stopped and pool.stats().under_way:  # type: ignore[attr-defined]  # it is the worker pool
                break
            await asyncio.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
    exchange = await answering
    body = sent(exchange)
    if exchange.status == 200:
        assert "guardrail_unavailable" in body
        assert "[DONE]" not in body
        assert text.startswith(said(exchange))
        assert len(said(exchange)) < len(text)
    else:
        assert exchange.status == 503
    record = (await app.records())[-1]
    assert record["outcome"] == "guardrail_unavailable"
    assert [verdict["action"] for verdict in json.loads(record["verdicts"])] == ["failed_closed"]
    if how == "stopped":
        os.kill(worker, signal.SIGKILL)
    for _ in range(300):
        again = await spoken(app, f"After {how}. {TEXT}")
        if "guardrail_unavailable" not in sent(again) and again.status == 200:
            break
        await asyncio.sleep(0.1)
    assert said(again) == f"After {how}. {TEXT}"
    assert workers() != [worker]
