"""Postgres away, hung or not migrated: what goes on, what is refused, and what is made good afterwards."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.access.principal import Role
from bedplate_gateway.settings import Settings, environment_of
from tests.fixtures.asgi import Exchange, in_process
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.postgres import PostgresServer
from tests.gateway.support import CHAT, MESSAGES, eventually, http, own_gateway, sdk


@pytest.fixture
def exposed(own_server: PostgresServer) -> Iterator[RunningGateway]:
    """A gateway whose Postgres belongs to the test."""
    with own_gateway(own_server, database="postgres") as running:
        yield running


def _stop(server: PostgresServer) -> None:
    server.embedded.stop()


def _hang(server: PostgresServer) -> None:
    server.signal(signal.SIGSTOP)


def _start(server: PostgresServer) -> None:
    assert server.embedded.start() == server.address


def _resume(server: PostgresServer) -> None:
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize(("take_away", "bring_back"), [(_stop, _start), (_hang, _resume)], ids=["stopped", "hung"])
def test_without_postgres_stateless_calls_go_on_and_sessions_are_refused(
    exposed: RunningGateway,
    own_server: PostgresServer,
    take_away: Callable[[PostgresServer], None],
    bring_back: Callable[[PostgresServer], None],
) -> None:
    began = sdk(exposed).chat.completions.with_raw_response.create(
        model="fake/echo", messages=MESSAGES, extra_headers={"x-bedplate-session": "auto"}
    )
    session = began.headers["x-bedplate-session"]
    late_key = exposed.create_key("default", Role.SERVICE)
    revoked = exposed.create_key("default", Role.SERVICE)
    eventually(lambda: _status(exposed, late_key) == 200 and _status(exposed, revoked) == 200, within_s=2)
    take_away(own_server)

    ids = [began.headers["x-request-id"]]
    for stream in (False, True, False, True):
        started = time.monotonic()
        raw = sdk(exposed).chat.completions.with_raw_response.create(
            model="fake/echo", messages=MESSAGES, stream=stream
        )
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)  # type: ignore[union-attr]
            assert text == "one two three"
        assert time.monotonic() - started < 5
        ids.append(raw.headers["x-request-id"])
    with http(exposed, exposed.key) as client:
        error = client.post(CHAT, json={"model": "fake/error", "messages": MESSAGES})
        assert error.status_code == 503
        ids.append(error.headers["x-request-id"])

    for name in ("auto", session):
        started = time.monotonic()
        with pytest.raises(openai.InternalServerError) as caught:
            sdk(exposed).chat.completions.create(
                model="fake/echo", messages=MESSAGES, extra_headers={"x-bedplate-session": name}
            )
        assert time.monotonic() - started < 10
        assert (caught.value.status_code, caught.value.code) == (503, "store_unavailable")
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.request_id is not None
        ids.append(caught.value.request_id)
    with http(exposed, exposed.key) as client:
        started = time.monotonic()
        items = client.get(f"/v1/sessions/{session}/items")
        assert time.monotonic() - started < 10
        assert (items.status_code, items.json()["error"]["code"]) == (503, "store_unavailable")
        assert "retry-after" in items.headers
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert (ready.json()["status"], ready.json()["database"]) == ("ready", "unavailable")
        assert client.get("/healthz").status_code == 200

    bring_back(own_server)
    eventually(lambda: _stored(exposed, ids) == len(ids), within_s=20)
    time.sleep(0.5)
    rows = exposed.query("select id, outcome, count(*) over () as n from invocation where id = any($1::text[])", ids)
    assert len(rows) == len(ids)
    outcomes = {row["id"]: row["outcome"] for row in rows}
    assert [outcomes[one] for one in ids] == [
        *["completed"] * 5,
        "upstream_unavailable",
        "store_unavailable",
        "store_unavailable",
    ]
    eventually(lambda: _continues(exposed, session), within_s=10)
    exposed.query("update api_key set revoked_at = now() where hint = $1", revoked[-4:])
    new_key = exposed.create_key("default", Role.SERVICE)
    eventually(lambda: _status(exposed, revoked) == 401 and _status(exposed, new_key) == 200, within_s=15)
    assert _status(exposed, late_key) == 200


def _status(gateway: RunningGateway, key: str) -> int:
    with http(gateway, key) as client:
        return client.get("/v1/models").status_code


def _stored(gateway: RunningGateway, ids: list[str]) -> int:
    return len(gateway.query("select id from invocation where id = any($1::text[])", ids))


def _continues(gateway: RunningGateway, session: str) -> bool:
    with http(gateway, gateway.key, **{"x-bedplate-session": session}) as client:
        return client.post(CHAT, json={"model": "fake/echo", "messages": MESSAGES}).status_code == 200


def _serve(home: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`bedplate serve`, which is expected to refuse."""
    settings = Settings(home=home, cache=home / "cache", port=1, database_url=url)
    ensure_master_key(settings.master_key_path)
    return subprocess.run(
        [sys.executable, "-m", "bedplate_gateway", "serve", *arguments],
        env=environment_of(settings) | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_serve_refuses_a_database_that_is_not_migrated(postgres_server: PostgresServer, tmp_path: Path) -> None:
    postgres_server.run("create database bare")
    try:
        refused = _serve(tmp_path, postgres_server.url("bare"))
    finally:
        postgres_server.drop_database("bare")
    assert refused.returncode == 1
    assert "run bedplate migrate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serve_refuses_a_revision_from_the_future(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    try:
        postgres_server.run("update alembic_version set version_num = '9999'", database=name)
        refused = _serve(tmp_path, postgres_server.url(name))
    finally:
        postgres_server.drop_database(name)
    assert refused.returncode == 1
    assert "'9999'" in refused.stderr
    assert "newer version" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serve_refuses_an_unreachable_database(tmp_path: Path) -> None:
    refused = _serve(tmp_path, "postgresql://someone:pass-canary@127.0.0.1:1/none")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "pass-canary" not in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("host", "administrator"),
    [
        ("0.0.0.0", "none"),
        ("::", "none"),
        ("10.0.0.1", "none"),
        ("0.0.0.0", "revoked"),
        ("0.0.0.0", "expired"),
        ("0.0.0.0", "only a service key"),
    ],
)
def test_serve_on_a_public_address_needs_an_administrator(
    postgres_server: PostgresServer, tmp_path: Path, host: str, administrator: str
) -> None:
    name = postgres_server.create_database()
    columns = "id, project_id, name, role, key_hash, hint"
    role = "service" if administrator == "only a service key" else "administrator"
    statements = [
        "insert into project (id, name) values ('proj_1', 'default')",
        f"insert into api_key ({columns}) values ('key_1', 'proj_1', 'a', '{role}', '\\x00', 'abcd')",
    ]
    if administrator == "revoked":
        statements.append("update api_key set revoked_at = now()")
    if administrator == "expired":
        statements.append("update api_key set expires_at = now() - interval '1 second'")
    try:
        if administrator != "none":
            postgres_server.run(*statements, database=name)
        refused = _serve(tmp_path, postgres_server.url(name), "--host", host)
    finally:
        postgres_server.drop_database(name)
    assert refused.returncode == 1
    assert "no administrator" in refused.stderr
    assert "bedplate keys create" in refused.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_upstream_that_never_answers_is_a_timeout(database_url: str, stream: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with in_process(Path(folder), database_url, response_timeout_s=0.4) as app:
            exchange = await app.chat("fake/hang", stream=stream)
            (record,) = await app.settled(1)
            assert exchange.status == 504
            assert b'"upstream_timeout"' in exchange.body
            assert (record["outcome"], record["http_status"]) == ("upstream_timeout", 504)


@pytest.mark.anyio
async def test_an_answer_that_takes_too_long_ends_in_an_error_frame(database_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with in_process(Path(folder), database_url, response_timeout_s=0.4) as app:
            exchange = await app.chat("fake/slow", stream=True, content="word " * 500)
            (record,) = await app.settled(1)
            assert exchange.status == 200
            assert b'"upstream_timeout"' in exchange.body
            assert b"[DONE]" not in exchange.body
            assert exchange.sent[-1]["more_body"] is False
            assert record["outcome"] == "upstream_timeout"


@pytest.mark.anyio
async def test_a_client_that_reads_too_slowly_counts_as_gone(database_url: str) -> None:
    async def stuck(exchange: Exchange, message: dict[str, Any]) -> None:
        if b"word" in message.get("body", b""):
            await asyncio.Event().wait()

    with tempfile.TemporaryDirectory() as folder:
        async with in_process(Path(folder), database_url, response_timeout_s=0.4) as app:
            exchange = await app.chat("fake/slow", stream=True, content="word " * 500, on_send=stuck)
            (record,) = await app.settled(1)
            assert b"error" not in exchange.body
            assert (record["outcome"], record["http_status"]) == ("cancelled", 499)
