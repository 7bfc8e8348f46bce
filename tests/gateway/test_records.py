"""One call, one record: whatever happened, what was consumed, and durable before the client is told that it ended."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import asyncpg
import openai
import pytest

from bedplate_gateway.access.principal import Role
from bedplate_gateway.database import database_config
from bedplate_gateway.version import VERSION
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, MESSAGES, count_records, eventually, http, record_of, sdk

GUARDRAIL = """
kind: Project
name: guarded
spec: {guardrail: safe}
---
kind: Guardrail
name: safe
project: guarded
spec:
  blockedInputMessaging: The question was stopped.
  blockedOutputsMessaging: The answer was stopped.
  wordPolicyConfig: {wordsConfig: [{text: forbidden}, {text: unspeakable, inputEnabled: false}]}
"""


@pytest.fixture(scope="module")
def guarded_key(gateway: RunningGateway) -> str:
    gateway.apply_text(GUARDRAIL)
    key = gateway.create_key("guarded", Role.SERVICE)

    def taken_up() -> bool:
        with http(gateway, key) as client:
            return client.get("/v1/models").status_code == 200

    eventually(taken_up, within_s=2)
    return key


def _project(gateway: RunningGateway, name: str) -> str:
    return str(gateway.query("select id from project where name = $1", name)[0]["id"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_that_succeeds(gateway: RunningGateway, stream: bool) -> None:
    before = count_records(gateway)
    headers = {"x-bedplate-session": "auto"}
    raw = sdk(gateway).chat.completions.with_raw_response.create(
        model="fake/slow", messages=MESSAGES, stream=stream, extra_headers=headers
    )
    answer: Any = raw.parse()
    if stream:
        for _ in answer:
            pass
    record = record_of(gateway, raw.headers["x-request-id"])
    assert count_records(gateway) == before + 1
    assert record | {"started_at": 0, "first_event_ms": 0, "total_ms": 0, "key_id": 0, "versions": 0} == {
        "id": raw.headers["x-request-id"],
        "project_id": _project(gateway, "default"),
        "key_id": 0,
        "dialect": "openai",
        "operation": "chat",
        "model": "fake/slow",
        "provider": "fake",
        "upstream_model": "fake/slow",
        "replica": None,
        "session_id": raw.headers["x-bedplate-session"],
        "stream": stream,
        "started_at": 0,
        "first_event_ms": 0,
        "total_ms": 0,
        "outcome": "completed",
        "error_code": None,
        "http_status": 200,
        "stop_reason": "end",
        "input_tokens": 3,
        "output_tokens": 3,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "verdicts": "[]",
        "guardrails": "[]",
        "versions": 0,
    }
    assert json.loads(record["versions"]) == {"gateway": VERSION, "model": "fake/slow:1"}
    assert record["key_id"].startswith("key_")
    assert 0 < record["first_event_ms"] < record["total_ms"] < 10_000
    if not stream:
        assert answer.usage.prompt_tokens == record["input_tokens"]
        assert answer.usage.completion_tokens == record["output_tokens"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("text", "message", "side"),
    [
        ("a forbidden thing", "The question was stopped.", "input"),
        ("an unspeakable thing", "The answer was stopped.", "output"),
    ],
)
def test_a_blocked_call_is_completed_with_its_verdicts(
    gateway: RunningGateway, guarded_key: str, stream: bool, text: str, message: str, side: str
) -> None:
    before = count_records(gateway)
    raw = sdk(gateway, guarded_key).chat.completions.with_raw_response.create(
        model="fake/echo", messages=[{"role": "user", "content": text}], stream=stream
    )
    answer: Any = raw.parse()
    if stream:
        said = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    else:
        said = answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "content_filter"
    assert said.endswith(message)
    assert text not in said
    record = record_of(gateway, raw.headers["x-request-id"])
    assert count_records(gateway) == before + 1
    assert (record["outcome"], record["stop_reason"], record["http_status"]) == ("completed", "guardrail", 200)
    assert f'"side": "{side}"' in record["verdicts"].replace('":"', '": "')
    assert "safe:DRAFT.1" in record["versions"]
    assert text not in record["verdicts"]
    uses = json.loads(record["guardrails"])
    assert [(use["side"], use["name"], use["intervened"]) for use in uses][-1] == (side, "safe", True)
    assert uses[0]["units"]["word"] == 1
    assert uses[0]["chars"] == len(text)
    assert text not in record["guardrails"]
    assert (uses[-1]["hold_back_bytes"] is None) == (side == "input")


def test_embeddings_and_their_refusal(gateway: RunningGateway) -> None:
    before = count_records(gateway)
    raw = sdk(gateway).embeddings.with_raw_response.create(model="fake/embed", input=["one two", "three"])
    record = record_of(gateway, raw.headers["x-request-id"])
    assert (record["operation"], record["outcome"], record["stream"]) == ("embeddings", "completed", False)
    assert (record["input_tokens"], record["model"], record["provider"]) == (3, "fake/embed", "fake")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk(gateway).embeddings.create(model="fake/echo", input="one")
    assert caught.value.request_id is not None
    assert record_of(gateway, caught.value.request_id)["outcome"] == "unsupported_feature"
    assert count_records(gateway) == before + 2


def test_completions(gateway: RunningGateway) -> None:
    raw = sdk(gateway).completions.with_raw_response.create(model="fake/echo", prompt="one two")
    record = record_of(gateway, raw.headers["x-request-id"])
    assert (record["operation"], record["outcome"], record["output_tokens"]) == ("completion", "completed", 2)


def test_a_client_that_leaves_a_stream(gateway: RunningGateway) -> None:
    with (
        http(gateway, gateway.key) as client,
        client.stream(
            "POST",
            CHAT,
            json={"model": "fake/slow", "stream": True, "messages": [{"role": "user", "content": "a " * 500}]},
        ) as response,
    ):
        call_id = response.headers["x-request-id"]
        next(response.iter_bytes())
    eventually(lambda: bool(gateway.query("select 1 from invocation where id = $1", call_id)), within_s=2)
    record = record_of(gateway, call_id)
    assert (record["outcome"], record["http_status"], record["stop_reason"]) == ("cancelled", 499, None)
    assert record["first_event_ms"] is not None
    assert 0 < record["output_tokens"] < 500


def test_a_burst_of_calls_has_as_many_records(gateway: RunningGateway) -> None:
    ids: list[str] = []

    def call(number: int) -> None:
        model = ("fake/echo", "fake/error", "no-such-model")[number % 3]
        with http(gateway, gateway.key) as client:
            response = client.post(CHAT, json={"model": model, "messages": MESSAGES, "stream": number % 2 == 0})
            ids.append(response.headers["x-request-id"])

    before = count_records(gateway)
    threads = [threading.Thread(target=call, args=[number]) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 30
    assert count_records(gateway) == before + 30
    rows = gateway.query("select id from invocation where id = any($1::text[])", ids)
    assert {row["id"] for row in rows} == set(ids)


class LockedTable:
    """Keeps the table of records locked from a thread of its own, as a stuck maintenance job would."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._locked = threading.Event()
        self._release = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()))

    async def _hold(self) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                await connection.execute("lock table invocation in access exclusive mode")
                self._locked.set()
                await asyncio.to_thread(self._release.wait)
        finally:
            await connection.close()

    def release(self) -> None:
        self._release.set()

    def __enter__(self) -> LockedTable:
        self._thread.start()
        assert self._locked.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._thread.join()


def _timed_lines(gateway: RunningGateway) -> tuple[str, list[tuple[float, str]]]:
    """A short stream: its call id, and every line with the seconds that it took to arrive."""
    started = time.monotonic()
    with (
        http(gateway, gateway.key) as client,
        client.stream("POST", CHAT, json={"model": "fake/echo", "messages": MESSAGES, "stream": True}) as response,
    ):
        lines = [(time.monotonic() - started, line) for line in response.iter_lines() if line]
        return response.headers["x-request-id"], lines


def _check_order(lines: list[tuple[float, str]], *, end_after_s: float) -> None:
    """The text came at once, the end not before `end_after_s`."""
    spoken = [at for at, line in lines if '"content":" three"' in line]
    stopped = [at for at, line in lines if '"finish_reason":"stop"' in line]
    done = [at for at, line in lines if line == "data: [DONE]"]
    assert len(spoken) == len(stopped) == len(done) == 1, lines
    assert spoken[0] < 0.5
    assert end_after_s <= stopped[0] <= done[0] < end_after_s + 4


def test_the_end_of_a_stream_waits_for_its_record_and_nothing_else_does(gateway: RunningGateway) -> None:
    with LockedTable(database_config(gateway.settings).url) as lock:
        threading.Timer(0.9, lock.release).start()
        call_id, lines = _timed_lines(gateway)
    _check_order(lines, end_after_s=0.8)
    assert record_of(gateway, call_id)["outcome"] == "completed"


def test_a_whole_answer_waits_for_its_record(gateway: RunningGateway) -> None:
    with LockedTable(database_config(gateway.settings).url) as lock:
        started = time.monotonic()
        threading.Timer(0.8, lock.release).start()
        raw = sdk(gateway).chat.completions.with_raw_response.create(model="fake/echo", messages=MESSAGES)
        assert time.monotonic() - started >= 0.8
    assert record_of(gateway, raw.headers["x-request-id"])["outcome"] == "completed"


def test_the_metrics_agree_with_the_records(gateway: RunningGateway) -> None:
    def calls() -> float:
        with http(gateway, gateway.admin_key) as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("bedplate_calls_total{"))

    assert calls() == count_records(gateway)
    unknown = "no-such-model-but-a-label-of-its-own"
    with http(gateway, gateway.key) as client:
        client.post(CHAT, json={"model": unknown, "messages": MESSAGES})
    with http(gateway, gateway.admin_key) as client:
        text = client.get("/metrics").text
    assert unknown not in text
    assert calls() == count_records(gateway)


def test_a_record_that_postgres_does_not_take_goes_to_the_spool_and_is_not_lost(gateway: RunningGateway) -> None:
    with LockedTable(database_config(gateway.settings).url):
        call_id, lines = _timed_lines(gateway)
        _check_order(lines, end_after_s=1.0)
        spooled = [path for path in gateway.settings.spool_path.rglob("*") if path.is_file()]
        assert any(call_id.encode() in path.read_bytes() for path in spooled)
    eventually(lambda: bool(gateway.query("select 1 from invocation where id = $1", call_id)), within_s=10)
    assert record_of(gateway, call_id)["outcome"] == "completed"
