"""What several tests of the gateway's surface need: official clients, raw requests, and the record of a call."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer

MESSAGES: Any = [{"role": "user", "content": "one two three"}]
CHAT = "/v1/chat/completions"


def sdk(gateway: RunningGateway, key: str | None = None, *, path: str = "/v1") -> openai.OpenAI:
    """The official client, without its retries."""
    return openai.OpenAI(base_url=f"{gateway.base_url}{path}", api_key=key or gateway.key, max_retries=0, timeout=30.0)


def http(gateway: RunningGateway, key: str | None = None, **headers: str) -> httpx.Client:
    """A plain client; `key` goes into the Authorization header, nothing does without it."""
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return httpx.Client(base_url=gateway.base_url, headers=headers, timeout=30.0, trust_env=False)


def record_of(gateway: RunningGateway, call_id: str) -> dict[str, Any]:
    """The record of a call; fails unless there is exactly one."""
    rows = gateway.query("select * from invocation where id = $1", call_id)
    assert len(rows) == 1, (call_id, rows)
    return rows[0]


def count_records(gateway: RunningGateway) -> int:
    """How many records there are."""
    return int(gateway.query("select count(*) as n from invocation")[0]["n"])


def eventually(check: Callable[[], bool], *, within_s: float) -> float:
    """Wait until `check` holds and return how long that took; fail when it does not."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - started


def raw_exchange(gateway: RunningGateway, request: bytes, *, timeout_s: float = 10.0) -> bytes:
    """Everything the gateway answers to `request` until it closes the connection or is silent after an answer."""
    with socket.create_connection(("127.0.0.1", gateway.settings.port), timeout=timeout_s) as connection:
        connection.sendall(request)
        received = b""
        connection.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := connection.recv(65536):
                received += data
                connection.settimeout(0.3)
        return received


@contextlib.contextmanager
def own_gateway(server: PostgresServer, *, database: str | None = None, **environ: str) -> Iterator[RunningGateway]:
    """A gateway for one test, on a database of its own or on `database`, with more environment variables."""
    name = database or server.create_database()
    with tempfile.TemporaryDirectory(prefix="bedplate-gateway-") as folder:
        running = RunningGateway(Path(folder), server.url(name), environ=environ)
        running.start()
        try:
            yield running
        finally:
            running.stop()
            if database is None:
                server.drop_database(name)
