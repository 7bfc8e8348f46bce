"""The page on architecture says what really happens: one request is traced through the code it names."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from bedplate_gateway.app import Application
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
GUARDRAIL = """
kind: Guardrail
name: careful
spec:
  blockedInputMessaging: Not here.
  blockedOutputsMessaging: Not here.
  wordPolicyConfig: {wordsConfig: [{text: heliotrope}]}
---
kind: Project
name: default
spec: {guardrail: careful}
"""


class Step(NamedTuple):
    """A function that the page names, by its file in the repository."""

    file: str
    function: str


def steps() -> list[Step]:
    """The steps of the numbered list, in order."""
    section = PAGE.read_text().split("## One request", 1)[1].split("\n## ", 1)[0]
    numbered = re.findall(r"^\d+\. (?:.+\n)(?: {3}.+\n)*", section, re.MULTILINE)
    assert len(numbered) >= 7
    named = re.findall(r"\[`[\w/]+\.py`\]\(\.\./([\w/]+\.py)\) `([\w.]+)`", "".join(numbered))
    return [Step(*each) for each in named]


class Trace:
    """The first call of every function of ours, in order."""

    def __init__(self) -> None:
        self.calls: dict[Step, int] = {}

    def __enter__(self) -> Trace:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and "/bedplate_" in code.co_filename:
            path = Path(code.co_filename)
            if path.is_relative_to(ROOT):
                function = code.co_qualname.rpartition("<locals>.")[2]
                self.calls.setdefault(Step(str(path.relative_to(ROOT)), function), len(self.calls))


@pytest.fixture
def prepared(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway that is set up, with a guardrail, and not started."""
    name = postgres_server.create_database()
    gateway = RunningGateway(tmp_path, postgres_server.url(name))
    gateway.apply_text(GUARDRAIL)
    yield gateway
    postgres_server.drop_database(name)


async def trace_one_request(gateway: RunningGateway) -> tuple[Trace, list[Any]]:
    """Stream one turn of a new session through the whole application, and say what was called and sent."""
    application = Application(gateway.settings)
    body = {"model": "fake/echo", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"gateway"),
            (b"authorization", f"Bearer {gateway.key}".encode()),
            (b"content-type", b"application/json"),
            (b"x-bedplate-session", b"auto"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }
    requests = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async with application.litestar.lifespan():
        with Trace() as trace:
            await application.asgi(scope, receive, send)  # type: ignore[arg-type]  # a scope is a dictionary
    return trace, sent


def test_a_request_passes_the_named_functions_in_the_order_of_the_page(prepared: RunningGateway) -> None:
    trace, sent = asyncio.run(trace_one_request(prepared))
    assert sent[0]["status"] == 200
    assert b"[DONE]" in sent[-1]["body"]
    wanted = steps()
    assert len(wanted) >= 20
    missing = [step for step in wanted if step not in trace.calls]
    assert not missing, f"the page names what such a request does not call: {missing}"
    assert wanted == sorted(wanted, key=trace.calls.__getitem__)
