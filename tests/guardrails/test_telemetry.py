"""Nothing that runs in a worker looks a name up or connects, and a worker needs no network."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import yaml

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    GroundingTask,
    Task,
    Topic,
    TopicsTask,
    Validated,
    ValidatorTask,
)
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings
from tests.guardrails.test_pool import workers

pytestmark = pytest.mark.anyio

HOOK = """
import os, sys

def refuse(event, arguments):
    if event in REFUSED:
        with open(LOG, "a") as log:
            log.write(f"{event} {arguments!r}\\n")
        raise OSError(101, "Network is unreachable")

REFUSED = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}
LOG = os.environ["NETWORK_LOG"]
sys.addaudithook(refuse)
"""
VALIDATOR = """
import socket
from typing import Any
from guardrails import Validator, register_validator
from guardrails.validator_base import FailResult, PassResult

@register_validator(name="tests/network", data_type="string")
class Network(Validator):
    def _validate(self, value: Any, metadata: dict[str, Any]) -> Any:
        if value == "connect":
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        return FailResult(error_message="no") if value == "bad" else PassResult()
"""


def without_network(folder: Path) -> dict[str, str]:
    """An environment in which the worker's Python refuses the network and writes down who asked."""
    (folder / "sitecustomize.py").write_text(HOOK)
    (folder / "network_validator.py").write_text(VALIDATOR)
    path = os.pathsep.join([str(folder), *(path for path in sys.path if path)])
    return {
        "PYTHONPATH": path,
        "NETWORK_LOG": str(folder / "asked"),
        "HOME": str(folder),
        "OTEL_SDK_DISABLED": "false",
        "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds after which an exporter would send
    }


def inet_sockets(pid: int) -> set[str]:
    """The sockets of a process that are not of this machine's own (Unix) kind, also those of native code."""
    own = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    inodes: set[str] = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        inodes |= {f"socket:[{line.split()[9]}]" for line in lines}
    return own & inodes


async def test_validators_and_guardrails_ai_send_nothing(tmp_path: Path) -> None:
    """Without a file in the home directory that would switch telemetry off, and with OpenTelemetry left on."""
    registry = tmp_path / "validators.yaml"
    registry.write_text(yaml.safe_dump([{"name": "network", "validator": "network_validator:Network"}]))
    before = workers()
    pool = WorkerPool(PoolSettings(validators_file=registry, environment=without_network(tmp_path)))
    try:
        tasks = [ValidatorTask(name="network", text=text) for text in ("good", "bad") * 20]
        results = await pool.evaluate("a", tasks, timeout_s=30)
        assert results == [Validated(passed=True), Validated(passed=False, reason="no")] * 20
        await asyncio.sleep(1.2)  # an exporter would send in batches, by a thread of its own
        (worker,) = workers() - before
        assert not inet_sockets(worker)
        assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()
        with pytest.raises(EvaluationFailed):
            await pool.evaluate("a", [ValidatorTask(name="network", text="connect")], timeout_s=30)
        assert "192.0.2.1" in (tmp_path / "asked").read_text()  # the hook does see what connects
    finally:
        await pool.aclose()


async def test_the_models_that_are_installed_send_nothing(tmp_path: Path) -> None:
    every: dict[str, Task] = {
        "content": ContentTask(text="a rose", types=("HATE",)),
        "topics": TopicsTask(text="a rose", topics=(Topic(name="gold", definition="buying and selling gold"),)),
        "entities": EntitiesTask(text="My name is Ada Lovelace.", kinds=("NAME", "ADDRESS")),
        "grounding": GroundingTask(
            source="A rose is red.", query="What is red?", answer="A rose.", types=("GROUNDING",)
        ),
    }
    before = workers()
    pool = WorkerPool(PoolSettings(environment=without_network(tmp_path)))
    models = pool.capabilities().models
    try:
        tasks = [task for kind, task in every.items() if kind in models]
        assert len(await pool.evaluate("a", tasks, timeout_s=60)) == len(tasks)
        await asyncio.sleep(0.3)
        assert not any(map(inet_sockets, workers() - before))
        assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()
    finally:
        await pool.aclose()
