"""Marked keys and marked texts: after every kind of call they are nowhere but where they belong."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bedplate_gateway.access.principal import Role
from tests.fixtures.asgi import in_process
from tests.fixtures.gateway import RunningGateway
from tests.gateway.support import CHAT, eventually, http

TEXT = "prompt-canary-7f3a"
SQL = [
    "' or '1'='1",
    "'; drop table invocation; --",
    '"; --',
    "\\'; select pg_sleep(5) --",
    "%27%20or%201=1",
    "$1",
    "{0}",
    ":id",
]
PACKAGES = ("core", "store", "providers", "sessions", "guardrails", "gateway", "migrations")
ROOT = Path(__file__).parents[2]

GUARDED = """
kind: Project
name: canary
spec: {guardrail: safe}
---
kind: Guardrail
name: safe
project: canary
spec:
  blockedInputMessaging: Stopped.
  blockedOutputsMessaging: Stopped.
  wordPolicyConfig: {wordsConfig: [{text: prompt-canary-7f3a-word}]}
  sensitiveInformationPolicyConfig: {piiEntitiesConfig: [{type: EMAIL, action: ANONYMIZE}]}
"""


def _provoke(gateway: RunningGateway, key: str) -> list[str]:
    """Every kind of call with the marks in it; returns the bodies of the errors."""
    errors: list[str] = []
    message = {"role": "user", "content": f"{TEXT} one two three {TEXT}@mail.example"}
    bodies: list[dict[str, Any] | bytes] = [
        {"model": model, "messages": [message], "stream": stream}
        for model in ("fake/echo", "fake/error", "fake/error-midstream", "fake/cut", "fake/context-length", "no-such")
        for stream in (False, True)
    ]
    bodies += [
        {"model": "fake/echo", "messages": [{"role": "user", "content": f"{TEXT}-word"}]},
        {"model": "fake/echo", "messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}, 7]}]},
        {"model": "fake/echo", "messages": [message], "max_tokens": TEXT[:3]},
        f'{{"model": "fake/echo", "messages": [{{"role": "user", "content": "{TEXT}"'.encode(),
        f'{{"model": "fake/echo", "messages": "{TEXT}"}}'.encode(),
    ]
    with http(gateway, key) as client:
        for body in bodies:
            for headers in ({}, {"x-bedplate-session": "auto"}):
                sent: Any = {"json": body} if isinstance(body, dict) else {"content": body}
                response = client.post(CHAT, headers=headers, **sent)
                if response.status_code != 200:
                    errors.append(response.text)
        errors += [client.post("/v1/embeddings", json={"model": "fake/echo", "input": TEXT}).text]
        errors += [client.get(f"/v1/sessions/{key}/items").text, client.get("/metrics").text]
    with http(gateway, f"{key}x") as client:
        errors.append(client.get("/v1/models").text)
    with http(gateway, key, **{"x-api-key": f"{key}y"}) as client:
        errors.append(client.get("/v1/models").text)
    return errors


def test_marked_keys_and_texts_are_nowhere_they_do_not_belong(gateway: RunningGateway) -> None:
    gateway.apply_text(GUARDED)
    canaries = [gateway.create_key("canary", Role.SERVICE), gateway.create_key("default", Role.SERVICE)]
    for key in canaries:
        with http(gateway, key) as client:
            eventually(lambda client=client: client.get("/v1/models").status_code == 200, within_s=2)
    errors = [error for key in canaries for error in _provoke(gateway, key)]
    assert len(errors) > 30
    with http(gateway, gateway.admin_key) as client:
        metrics = client.get("/metrics").text
    everything = {
        "log": gateway.log.read_text(),
        "errors": "\n".join(errors),
        "metrics": metrics,
        "records": repr(gateway.query("select * from invocation")),
        "keys": repr(gateway.query("select * from api_key")),
        "resources": repr(gateway.query("select spec from resource where kind <> 'Guardrail'")),
    }
    assert '"call"' in everything["log"]
    for place, text in everything.items():
        for key in canaries:
            assert key not in text, place
            assert key.removeprefix("bp_") not in text, place
        assert gateway.settings.master_key_path.read_text().strip() not in text, place
        assert TEXT not in text, place


CRASH = """
import anyio, sys, tempfile
from pathlib import Path
from bedplate_gateway.dialects.openai.chat import ChatExchange
from bedplate_gateway.records.logs import configure_logs
from tests.fixtures.asgi import in_process

url, log_format, stream, text = sys.argv[1:]

def crash(self, *_):
    held = self.request  # a local variable that some tracebacks would print
    raise ZeroDivisionError(f"internal-canary {len(held.messages)}")

ChatExchange.stream = ChatExchange.reply = crash

async def main():
    configure_logs(log_format)
    with tempfile.TemporaryDirectory() as folder:
        async with in_process(Path(folder), url) as app:
            exchange = await app.chat("fake/echo", stream=stream == "stream", content=text)
            await app.settled(1)
            print("key", app.key, "status", exchange.status, exchange.body)

anyio.run(main)
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("stream", ["whole", "stream"])
def test_a_crash_tells_the_client_and_the_log_nothing_of_the_request(
    database_url: str, log_format: str, stream: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CRASH, database_url, log_format, stream, TEXT],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip
    told = ran.stdout.splitlines()[-1]
    key = told.split()[1]
    assert "status 500" in told
    assert "internal-canary" not in told
    assert "ZeroDivision" not in told
    assert "ZeroDivisionError: internal-canary 1" in ran.stderr
    assert TEXT not in ran.stderr
    assert key not in ran.stderr


@pytest.mark.parametrize("value", SQL)
def test_sql_in_any_place_changes_nothing(gateway: RunningGateway, value: str) -> None:
    tables = gateway.query("select count(*) as n from information_schema.tables where table_schema = 'public'")
    keys = gateway.query("select count(*) as n from api_key where revoked_at is null")
    with http(gateway, value) as client:
        assert client.get("/v1/models").status_code == 401
    with http(gateway, gateway.key) as client:
        assert client.get("/v1/models", headers={"x-api-key": value}).status_code == 401
        assert client.get(f"/v1/models/{value}").status_code == 404
        assert client.get(f"/v1/sessions/{value}/items").status_code == 404
        assert client.get("/v1/sessions/x/items", params={"after": value}).status_code == 400
        body = {"model": "fake/echo", "messages": [{"role": "user", "content": value}]}
        refused = client.post(CHAT, json=body, headers={"x-bedplate-session": value})
        assert refused.status_code in (400, 404)  # a semicolon begins a parameter of the header
        assert client.post(CHAT, json=body | {"model": value}).status_code == 404
        stored = client.post(CHAT, json=body, headers={"x-bedplate-session": "auto"})
        assert stored.json()["choices"][0]["message"]["content"] == value
        session = stored.headers["x-bedplate-session"]
        items = client.get(f"/v1/sessions/{session}/items").json()["data"]
        assert [item["parts"][0]["text"] for item in items] == [value, value]
    assert gateway.query("select count(*) as n from information_schema.tables where table_schema = 'public'") == tables
    assert gateway.query("select count(*) as n from api_key where revoked_at is null") == keys


_RUNS_SQL = {"text", "execute", "exec_driver_sql", "fetch", "fetchval", "fetchrow", "executemany", "prepare"}


_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")


def _fixed(node: ast.expr) -> bool:
    """Whether an expression is a literal or a module's constant."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _CONSTANT.fullmatch(name) is not None
        case ast.FormattedValue(value=value):
            return _fixed(value)
        case _:
            return False


def _formatted(node: ast.expr) -> bool:
    """Whether an expression is text put together from parts that are not all literals or constants."""
    match node:
        case ast.JoinedStr(values=values):
            return not all(map(_fixed, values))
        case ast.Call(func=ast.Attribute(value=ast.Name() as template, attr="format"), args=[], keywords=named):
            return not (_fixed(template) and all(_fixed(each.value) for each in named))
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            return not (isinstance(left, ast.Constant) and isinstance(right, ast.Constant))
        case ast.Call(func=ast.Attribute(attr="format" | "format_map" | "join")):
            return True
        case _:
            return False


def _built_sql(source: str) -> list[int]:
    found: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _RUNS_SQL and _formatted(node.args[0]):
                found.append(node.lineno)
    return found


_PUT_TOGETHER = {
    "sessions/bedplate_sessions/lifecycle/due_sessions.py": "one statement with and without a clause",
    "sessions/bedplate_sessions/lifecycle/due_rows.py": "two tables with the same columns, named by constants",
    "gateway/bedplate_gateway/jobs/worker.py": "the job library's own tables",
    "migrations/bedplate_migrations/versions/0004_conversations.py": "the same grants and policies for six tables",
    "migrations/bedplate_migrations/versions/0006_guardrails.py": "the same grants and policies for four tables",
    "gateway/bedplate_gateway/catalogue/guardrail_rows.py": "one statement with and without a clause",
}
"""Files with statements that are put together from more than constants, but from nothing that anybody sends."""


def test_no_statement_is_built_by_formatting() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 80
    built = {str(path.relative_to(ROOT)): _built_sql(path.read_text()) for path in files}
    assert {name for name, lines in built.items() if lines} == set(_PUT_TOGETHER)


@pytest.mark.parametrize(
    "source",
    [
        "text(f'select {x}')",
        "c.execute('a' + b)",
        "c.fetch('%s' % x)",
        "sqlalchemy.text('{}'.format(x))",
        "c.execute(' '.join(x))",
        "text(f'select {X} {x}')",
        "text(_PAGE.format(order=order))",
    ],
)
def test_the_check_for_built_statements_finds_them(source: str) -> None:
    assert _built_sql(source) == [1]


_EVALUATES = {
    "guardrails/bedplate_guardrails/worker/main.py": "imports the module of models that the command line names",
    "guardrails/bedplate_guardrails/worker/models.py": "imports models by name in the worker",
    "guardrails/bedplate_guardrails/worker/custom_validators.py": "imports what the administrator's file registers",
}
"""Files that may start a process or import by name, none of which comes from an API."""


def test_nothing_evaluates_code_or_starts_a_process_outside_the_launcher() -> None:
    forbidden = {"eval", "exec", "compile", "__import__", "system", "popen", "Popen", "import_module"}
    forbidden |= {"create_subprocess_exec", "create_subprocess_shell", "check_output", "check_call"}
    found: list[str] = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "local" in path.parts or "embedded" in path.name or path.name == "child_process.py":
                continue
            if str(path.relative_to(ROOT)) in _EVALUATES:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                receiver = getattr(getattr(node.func, "value", None), "id", "")
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name == "import_module" and isinstance(node.args[0], ast.Constant):
                    continue  # an optional package, by its name
                if name in forbidden and not (name == "compile" and receiver not in ("", "builtins")):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert found == []


@pytest.mark.anyio
async def test_no_field_of_the_api_starts_a_process(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("a process was started")

    with tempfile.TemporaryDirectory() as folder:
        async with in_process(Path(folder), database_url) as app:
            monkeypatch.setattr(subprocess, "Popen", refuse)
            monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
            monkeypatch.setattr(asyncio, "create_subprocess_shell", refuse)
            monkeypatch.setattr("os.system", refuse)
            monkeypatch.setattr("os.execv", refuse)
            monkeypatch.setattr("os.posix_spawn", refuse)
            hostile = ["$(touch x)", "`id`", "file:///etc/passwd", "__import__('os')", "{{7*7}}", "!!python/object:x"]
            for number, text in enumerate(hostile, 1):
                for extra in ({}, {"tools": [{"type": "function", "function": {"name": "run", "description": text}}]}):
                    exchange = await app.chat("fake/echo", stream=False, content=text, **extra)
                    assert exchange.status == 200, (number, exchange.body)
                    assert b"49" not in exchange.body.partition(b'"content":"')[2].partition(b'"')[0]
                for field in ("guided_regex", "response_format", "stop", "user", "metadata", "logit_bias", "command"):
                    exchange = await app.chat("fake/echo", stream=False, content="x", **{field: {"command": text}})
                    assert exchange.status in (200, 400, 404)
