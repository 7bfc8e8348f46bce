"""Several worker processes behind one port count and stop as one gateway."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer

CALLS = 30


def test_two_workers_share_their_metrics_and_stop_together(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    gateway = RunningGateway(tmp_path, postgres_server.url(name), workers=2)
    gateway.start()
    try:
        body = {"model": "fake/echo", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {gateway.key}"}
        for _ in range(CALLS):  # a connection each, so that both workers get some
            answer = httpx.post(
                f"{gateway.base_url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=10
            )
            assert answer.status_code == 200
        admin = {"authorization": f"Bearer {gateway.admin_key}"}
        metrics = httpx.get(f"{gateway.base_url}/metrics", headers=admin, trust_env=False).text
        assert f'outcome="completed",stop_reason="end"}} {CALLS}.0' in metrics
        assert len(gateway.records()) == CALLS
        assert gateway.process is not None
        children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
        assert len(children) >= 2
    finally:
        gateway.stop()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.05)
    postgres_server.drop_database(name)
