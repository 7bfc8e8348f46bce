"""Rows are durable when `append` returns, whatever Postgres does; nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest

from bedplate_core.errors import StoreUnavailable
from bedplate_store.driver import DatabaseConfig
from bedplate_store.row_writer import RowWriter
from bedplate_store.spool import Spool
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://bedplate:none@/none?host=/nonexistent&port=5432"


def row(number: int, **fields: object) -> bytes:
    return msgspec.json.encode({"id": f"req_{number}", "outcome": "completed", **fields})


async def stored(url: str) -> list[str]:
    """The ids in the table, as the superuser sees them."""
    connection = await asyncpg.connect(url)
    try:
        return [each["id"] for each in await connection.fetch("select id from invocation order by id")]
    finally:
        await connection.close()


async def until_stored(url: str, count: int, *, within_s: float = 10.0) -> list[str]:
    deadline = time.monotonic() + within_s
    while True:
        ids = await stored(url)
        if len(ids) >= count or time.monotonic() > deadline:
            assert len(ids) == count
            return ids
        await asyncio.sleep(0.05)


@pytest.fixture
def config(database_url: str) -> DatabaseConfig:
    return DatabaseConfig(url=database_url)


@pytest.fixture
async def writer(config: DatabaseConfig, tmp_path: Path) -> AsyncIterator[RowWriter]:
    opened = RowWriter(config, table="invocation", spool=tmp_path / "spool")
    await opened.start()
    yield opened
    await opened.aclose()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spooled(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]


async def test_a_row_is_in_postgres_when_append_returns(writer: RowWriter, database_url: str) -> None:
    await writer.append(row(1, input_tokens=3, verdicts=[{"policy": "p"}], started_at="2026-01-01T00:00:00Z"))
    connection = await asyncpg.connect(database_url)
    found = await connection.fetchrow("select input_tokens, verdicts::text, started_at::date::text from invocation")
    await connection.close()
    assert tuple(found) == (3, '[{"policy": "p"}]', "2026-01-01")


async def test_rows_that_wait_together_are_one_commit(writer: RowWriter, database_url: str) -> None:
    await writer.append(row(0))
    await asyncio.gather(*(writer.append(row(number)) for number in range(1, 400)))
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from invocation") == 400
    assert await connection.fetchval("select count(distinct xmin::text) from invocation") <= 3
    await connection.close()


async def test_a_row_that_is_there_is_not_doubled(writer: RowWriter, database_url: str, tmp_path: Path) -> None:
    await writer.append(row(1))
    await asyncio.gather(writer.append(row(1)), writer.append(row(2)))
    assert await stored(database_url) == ["req_1", "req_2"]
    assert files(tmp_path / "spool") == []


async def occupied(writer: RowWriter) -> asyncio.Task[None]:
    """The writer with a first row under way, so that those that follow have to wait."""
    task = asyncio.create_task(writer.append(row(0)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_cancelled_caller_leaves_its_row(writer: RowWriter, database_url: str) -> None:
    first = await occupied(writer)
    task = asyncio.create_task(writer.append(row(1)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(first, task, return_exceptions=True)
    await writer.append(row(2))
    assert task.cancelled()
    assert await stored(database_url) == ["req_0", "req_1", "req_2"]


async def test_a_poison_row_blocks_nobody(writer: RowWriter, database_url: str, tmp_path: Path) -> None:
    rows = [row(number) for number in range(100)]
    rows[41] = row(41, input_tokens="many")
    rows[77] = msgspec.json.encode({"id": "req_77"})  # without its outcome
    await asyncio.gather(*(writer.append(each) for each in rows))
    assert set(await stored(database_url)) == {f"req_{number}" for number in range(100) if number not in (41, 77)}
    aside = [msgspec.json.decode(line) for line in (tmp_path / "spool/invocation.rejected").read_bytes().splitlines()]
    assert sorted(each["row"]["id"] for each in aside) == ["req_41", "req_77"]
    assert writer.healthy_for_admission


async def test_a_nul_character_does_not_erase_the_record(writer: RowWriter, database_url: str) -> None:
    await writer.append(row(1, model="a\x00b"))
    assert await stored(database_url) == ["req_1"]


async def test_without_postgres_rows_are_synced_to_the_spool_and_replayed_later(
    config: DatabaseConfig, database_url: str, tmp_path: Path
) -> None:
    away = RowWriter(DatabaseConfig(url=NOWHERE), table="invocation", spool=tmp_path)
    await away.start()
    await asyncio.gather(*(away.append(row(number)) for number in range(600)))
    assert len(spooled(tmp_path)) == 600
    assert away.healthy_for_admission
    await away.aclose()
    back = RowWriter(config, table="invocation", spool=tmp_path)
    await back.start()
    await until_stored(database_url, 600)
    await back.append(row(600))
    await back.aclose()
    assert spooled(tmp_path) == []
    assert files(tmp_path) == []


async def test_a_spool_that_another_process_holds_is_left_alone(
    config: DatabaseConfig, database_url: str, tmp_path: Path
) -> None:
    held = Spool(tmp_path, "invocation", limit_bytes=1 << 20)
    held.open()
    held.append([row(1)])
    writer = RowWriter(config, table="invocation", spool=tmp_path)
    await writer.start()
    await writer.append(row(2))
    await asyncio.sleep(0.3)
    assert await stored(database_url) == ["req_2"]
    await writer.aclose()
    held.close()


def leave_behind(folder: Path, *, torn: bytes) -> None:
    """Two rows and the beginning of a third in the spool of a process that is then killed."""
    program = (
        "import os, time; from pathlib import Path; from bedplate_store.spool import Spool\n"
        f"spool = Spool(Path({str(folder)!r}), 'invocation', limit_bytes=1 << 20); spool.open()\n"
        f"spool.append([{row(1)!r}, {row(2)!r}]); os.write(spool._descriptor, {torn!r})\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.kill()
    child.wait()
    child.stdout.close()


async def test_the_rows_of_a_killed_process_are_replayed_but_for_a_torn_last_line(
    config: DatabaseConfig, database_url: str, tmp_path: Path
) -> None:
    leave_behind(tmp_path, torn=b'{"id": "req_3", "outc')
    writer = RowWriter(config, table="invocation", spool=tmp_path)
    await writer.start()
    assert await until_stored(database_url, 2) == ["req_1", "req_2"]
    await writer.aclose()


async def test_a_full_spool_refuses_and_stops_admission(tmp_path: Path) -> None:
    writer = RowWriter(DatabaseConfig(url=NOWHERE), table="invocation", spool=tmp_path, spool_bytes=100)
    await writer.start()
    await writer.append(row(1))
    await writer.append(row(2))
    with pytest.raises(StoreUnavailable) as refused:
        await writer.append(row(3))
    assert refused.value.retry_after_s
    assert not writer.healthy_for_admission
    await writer.aclose()


async def test_without_a_spool_rows_are_refused_while_postgres_is_away() -> None:
    writer = RowWriter(DatabaseConfig(url=NOWHERE), table="invocation", spool=None)
    await writer.start()
    assert writer.healthy_for_admission
    with pytest.raises(StoreUnavailable):
        await writer.append(row(1))
    assert not writer.healthy_for_admission
    await writer.aclose()
    with pytest.raises(StoreUnavailable):
        await writer.append(row(2))


async def test_a_table_that_is_missing_is_no_reason_to_throw_rows_away(
    config: DatabaseConfig, postgres_server: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("alter table invocation rename to elsewhere")
    writer = RowWriter(config, table="invocation", spool=tmp_path)
    await writer.start()
    await writer.append(row(1))
    assert len(spooled(tmp_path)) == 1
    await connection.execute("alter table elsewhere rename to invocation")
    await connection.close()
    assert await until_stored(database_url, 1) == ["req_1"]
    await writer.aclose()


async def test_closing_stores_what_waits(config: DatabaseConfig, database_url: str, tmp_path: Path) -> None:
    writer = RowWriter(config, table="invocation", spool=tmp_path)
    await writer.start()
    first = await occupied(writer)
    tasks = [asyncio.create_task(writer.append(row(number))) for number in range(1, 50)]
    await asyncio.sleep(0)
    await writer.aclose()
    async with asyncio.timeout(1):
        await asyncio.gather(first, *tasks)
    assert len(await stored(database_url)) == 50


async def test_closing_while_postgres_hangs_leaves_what_waits_in_the_spool(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    url = own_server.url("postgres")
    writer = RowWriter(DatabaseConfig(url=url), table="invocation", spool=tmp_path, deadline_s=30)
    await writer.start()
    await writer.append(row(100))
    own_server.signal(signal.SIGSTOP)
    first = await occupied(writer)
    tasks = [asyncio.create_task(writer.append(row(number))) for number in range(1, 50)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await writer.aclose(deadline_s=0.3)
    assert time.monotonic() - began < 3
    await asyncio.gather(first, *tasks)
    assert len(spooled(tmp_path)) == 50
    own_server.signal(signal.SIGCONT)


def test_a_table_name_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="not the name of a table"):
        RowWriter(DatabaseConfig(url=NOWHERE), table="invocation; drop table x", spool=None)


def test_a_file_removed_between_opening_and_locking_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may take a new file for a dead one's in that moment, and remove it."""
    spool = Spool(tmp_path, "invocation", limit_bytes=1 << 20)
    spool.open()
    real, removed = fcntl.flock, list[str]()

    def flock(descriptor: int, operation: int) -> None:
        if not removed:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            removed.append(path)
            os.unlink(path)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    spool.append([row(1)])
    assert removed
    assert spooled(tmp_path) == [row(1)]
    spool.close()


async def test_a_hung_postgres_delays_a_row_by_the_deadline_only(own_server: PostgresServer, tmp_path: Path) -> None:
    url = own_server.url("postgres")
    writer = RowWriter(DatabaseConfig(url=url), table="invocation", spool=tmp_path, deadline_s=0.5)
    await writer.start()
    await writer.append(row(0))
    own_server.signal(signal.SIGSTOP)
    began = time.monotonic()
    await writer.append(row(1))
    assert time.monotonic() - began < 1.5
    began = time.monotonic()
    await writer.append(row(2))
    assert time.monotonic() - began < 0.5, "once Postgres is known to hang, nobody waits for it"
    own_server.signal(signal.SIGCONT)
    assert await until_stored(url, 3) == ["req_0", "req_1", "req_2"]
    await writer.aclose()


async def test_no_acknowledged_row_is_lost_when_postgres_is_killed(own_server: PostgresServer, tmp_path: Path) -> None:
    url = own_server.url("postgres")
    writer = RowWriter(DatabaseConfig(url=url), table="invocation", spool=tmp_path)
    await writer.start()
    acknowledged = 0
    running = True

    async def load(lane: int) -> None:
        nonlocal acknowledged
        number = 0
        while running:
            await writer.append(row(lane * 1_000_000 + number))
            number += 1
            acknowledged += 1

    lanes = [asyncio.create_task(load(lane)) for lane in range(8)]
    for _ in range(3):
        await asyncio.sleep(0.3)
        own_server.signal(signal.SIGKILL)
        await asyncio.sleep(0.2)
        own_server.restart()
    await asyncio.sleep(0.3)
    running = False
    await asyncio.gather(*lanes)
    assert acknowledged > 100
    assert len(await until_stored(url, acknowledged)) == acknowledged
    await writer.aclose()
    assert files(tmp_path) == []
