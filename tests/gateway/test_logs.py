"""What a process writes to standard error: one JSON object a line, in the same form whoever writes it."""

from __future__ import annotations

import json
import subprocess
import sys

WRITES = """
import asyncio, logging
from datetime import UTC, datetime
import structlog
from prometheus_client import CollectorRegistry
from bedplate_gateway.records.logs import configure_logs
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.record import CallRecord
from bedplate_gateway.records.recorder import Recorder

class Rows:
    healthy_for_admission = True
    def put(self, row, settle):
        settle(None)

def record(number):
    return CallRecord(
        id=f"req_{number}", project_id="p", key_id="k", dialect="openai", operation="chat", stream=False,
        started_at=datetime.now(UTC), total_ms=1.25, outcome="completed",
    )

async def main():
    recorder = Recorder(Rows(), Metrics(CollectorRegistry()))
    await asyncio.gather(*(recorder.write(record(number)) for number in range(3)))
    await asyncio.sleep(0)
    structlog.stdlib.get_logger("bedplate.own").warning("ours", number=1)
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.stdlib.get_logger("bedplate.own").exception("crashed")
    logging.getLogger("other").error("theirs")

configure_logs("json")
asyncio.run(main())
"""


def test_every_line_is_an_object_with_event_logger_level_and_time() -> None:
    ran = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]

    assert [line["event"] for line in lines] == ["call", "call", "call", "ours", "crashed", "theirs"]
    assert [line["level"] for line in lines] == ["info", "info", "info", "warning", "error", "error"]
    assert [line["logger"] for line in lines] == ["bedplate.call"] * 3 + ["bedplate.own"] * 2 + ["other"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert [line["call_id"] for line in lines[:3]] == ["req_0", "req_1", "req_2"]
    assert lines[0]["total_ms"] == 1.2
    assert "ZeroDivisionError" in lines[4]["exception"]
