"""What is said in conversations is nowhere in Postgres's files, and after a deletion in no backup that can be read."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bedplate_core.ids import ProjectId, SessionId
from bedplate_migrations.runner import upgrade
from bedplate_sessions.keys.cipher import ContentUnreadable
from bedplate_sessions.keys.key_file import add_version
from tests.fixtures.asgi import Exchange, InProcess, in_process
from tests.fixtures.pictures import png
from tests.fixtures.postgres import PostgresServer, start_server

pytestmark = pytest.mark.anyio

CANARY = "canary-1f0b7c5e-plain-text"
PICTURE = base64.b64encode(png(8, 8) + CANARY.encode() * 5000).decode()
"""A picture above the size from which media have rows of their own."""


def headers(exchange: Exchange) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in exchange.sent[0]["headers"]}


async def said_everywhere(gateway: InProcess) -> str:
    """A conversation with the canary in every place that has content; its id."""
    key = {"idempotency-key": "k-1"}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    messages: list[Any] = [
        {"role": "system", "content": f"system {CANARY}"},
        {"role": "user", "content": [{"type": "text", "text": f"user {CANARY}"}, picture]},
    ]
    body = {"model": "fake/reasoning", "messages": messages, "session": "auto"}
    exchange = await gateway.post("/v1/chat/completions", body, key)
    assert exchange.status == 200, exchange.body
    session = headers(exchange)["x-bedplate-session"]
    body = {"model": "fake/split-tool-call", "session": session, "messages": [{"role": "user", "content": CANARY}]}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    exchange = await gateway.post(
        "/v1/chat/completions", {**body, "tools": [tool], "stream": True}, {"idempotency-key": "k-2"}
    )
    assert exchange.status == 200, exchange.body
    exchange = await gateway.post(
        "/v1/responses", {"model": "fake/echo", "input": f"resp {CANARY}", "instructions": CANARY}
    )
    assert exchange.status == 200, exchange.body
    previous = json.loads(exchange.body)["id"]
    await gateway.post("/v1/responses", {"model": "fake/echo", "input": CANARY, "previous_response_id": previous})
    exchange = await gateway.chat("fake/error-midstream", stream=True, content=f"{CANARY} a b c d e", session=session)
    assert exchange.status == 200
    return session


def found_in_files(server: PostgresServer) -> list[str]:
    """The files of the server, its write-ahead log with them, that hold the canary, plain or in base64."""
    server.run("checkpoint")
    wanted = [CANARY.encode(), base64.b64encode(CANARY.encode())[:20], CANARY.encode().hex().encode()]
    return [
        str(path)
        for path in server.embedded.root.rglob("*")
        if path.is_file() and any(each in path.read_bytes() for each in wanted)
    ]


@contextlib.contextmanager
def server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="bedplate-tests-") as folder:
        Path(folder).chmod(0o755)
        running = start_server(Path(folder) / "postgres", {})
        try:
            with ThreadPoolExecutor(1) as thread:  # it runs an event loop of its own
                thread.submit(upgrade, running.url("postgres")).result()
            yield running
        finally:
            running.embedded.destroy()


@contextlib.contextmanager
def backup_of(running: PostgresServer) -> Iterator[PostgresServer]:
    """A server on a copy of the files as they are now."""
    with tempfile.TemporaryDirectory(prefix="bedplate-tests-") as folder:
        Path(folder).chmod(0o755)
        running.embedded.stop()
        subprocess.run(["cp", "-a", str(running.embedded.root), f"{folder}/postgres"], check=True)
        running.restart()
        restored = start_server(Path(folder) / "postgres", {})
        try:
            yield restored
        finally:
            restored.embedded.destroy()


@contextlib.asynccontextmanager
async def gateway_on(folder: Path, running: PostgresServer, **settings: Any) -> AsyncIterator[InProcess]:
    async with in_process(folder, running.url("postgres"), **settings) as gateway:
        yield gateway


def project_of(gateway: InProcess) -> ProjectId:
    return next(iter(gateway.application.services.catalogue.snapshot.projects.values())).id


async def read(gateway: InProcess, session: str) -> str:
    page = await gateway.application.services.sessions.reader.page(project_of(gateway), SessionId(session))
    return " ".join(item.message.text for item in page.items)


async def test_no_file_of_the_database_holds_what_was_said(tmp_path: Path) -> None:
    with server() as running:
        async with gateway_on(tmp_path, running) as gateway:
            session = await said_everywhere(gateway)
            assert CANARY in await read(gateway, session)
            assert found_in_files(running) == []


async def test_the_search_finds_what_is_not_encrypted(tmp_path: Path) -> None:
    """Without which the test above would prove nothing."""
    with server() as running:
        async with gateway_on(tmp_path, running, session_keys="none") as gateway:
            await said_everywhere(gateway)
            assert found_in_files(running)


async def test_with_the_keys_apart_a_backup_of_the_content_loses_what_is_deleted(tmp_path: Path) -> None:
    with server() as content, server() as keys:
        apart = {"key_database_url": keys.url("postgres")}
        async with gateway_on(tmp_path, content, **apart) as gateway:
            deleted, kept = await said_everywhere(gateway), await said_everywhere_else(gateway)
            assert content.fetch("select 1 from session_key") == []
        with backup_of(content) as backup:
            async with gateway_on(tmp_path, content, **apart) as gateway:
                await gateway.application.services.sessions.registry.delete(project_of(gateway), SessionId(deleted))
            async with gateway_on(tmp_path, backup, **apart) as restored:
                assert await read(restored, kept) == "hello hello"
                with pytest.raises(ContentUnreadable):
                    await read(restored, deleted)


async def said_everywhere_else(gateway: InProcess) -> str:
    exchange = await gateway.chat("fake/echo", stream=False, content="hello", session="auto")
    return headers(exchange)["x-bedplate-session"]


async def test_after_a_rotation_no_older_backup_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "session.keys"
    add_version(file)
    with server() as running:
        setting = {"session_keys": f"file:{file}"}
        async with gateway_on(tmp_path, running, **setting) as gateway:
            deleted, kept = await said_everywhere(gateway), await said_everywhere_else(gateway)
        with backup_of(running) as backup:
            add_version(file)
            async with gateway_on(tmp_path, running, **setting) as gateway:
                services = gateway.application.services
                await services.sessions.registry.delete(project_of(gateway), SessionId(deleted))
                assert await services.keys.rewrap(project_of(gateway), limit=1000) > 0
            held = json.loads(file.read_text())
            del held["keys"]["1"]  # what is wrapped by it now is in backups only
            file.write_text(json.dumps(held))
            async with gateway_on(tmp_path, running, **setting) as gateway:
                assert await read(gateway, kept) == "hello hello", "rotation loses nothing that is still there"
            async with gateway_on(tmp_path, backup, **setting) as restored:
                with pytest.raises(ContentUnreadable):
                    await read(restored, deleted)


async def test_content_without_its_key_is_an_error_and_no_garbage(tmp_path: Path) -> None:
    with server() as running:
        async with gateway_on(tmp_path, running) as gateway:
            session = await said_everywhere_else(gateway)
        running.run("delete from session_key")
        async with gateway_on(tmp_path, running) as gateway:
            with pytest.raises(ContentUnreadable):
                await read(gateway, session)
            exchange = await gateway.chat("fake/echo", stream=False, session=session)
            assert exchange.status == 500
            assert gateway.fake.open_streams == 0
