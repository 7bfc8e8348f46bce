"""A change is announced within moments, and none is missed for long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from bedplate_store.driver import DatabaseConfig
from bedplate_store.listener import Listener
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

CHANNEL = "bedplate_config"
CHANGES = (
    "insert into project (id, name) values ('p', 'p')",
    "insert into api_key (id, project_id, name, role, key_hash, hint) values ('k', 'p', 'k', 'service', 'h', 'h')",
    "insert into resource (kind, name, spec, revision, source, updated_by) values ('a', 'b', '{}', 1, 'c', 'd')",
    "update api_key set revoked_at = now()",
    "delete from resource",
)


class Counter:
    """Counts calls; the first `failures` of them raise."""

    def __init__(self, failures: int = 0) -> None:
        self.calls = 0
        self.failures = failures

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise RuntimeError("not this time")


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the code under test
            await asyncio.sleep(0.01)


def database_of(url: str) -> str:
    return url.rpartition("@/")[2].partition("?")[0]


@pytest.mark.parametrize("failures", [0, 2])
async def test_every_change_of_the_configuration_is_announced(
    postgres_server: PostgresServer, database_url: str, failures: int
) -> None:
    counter = Counter(failures)
    listener = Listener(DatabaseConfig(url=database_url), CHANNEL, counter)
    await listener.start()
    await until(lambda: counter.calls == 1)
    for number, change in enumerate(CHANGES, start=2):
        postgres_server.run(change, database=database_of(database_url))
        await until(lambda number=number: counter.calls == number, within_s=1.0)
    await asyncio.sleep(0.1)
    assert counter.calls == len(CHANGES) + 1
    await listener.aclose()
    await listener.aclose()
    assert (
        postgres_server.fetch("select 1 from pg_stat_activity where application_name like 'bedplate listener%'") == []
    )


async def test_a_burst_of_changes_is_few_calls(postgres_server: PostgresServer, database_url: str) -> None:
    counter = Counter()
    listener = Listener(DatabaseConfig(url=database_url), CHANNEL, counter)
    await listener.start()
    await until(lambda: counter.calls == 1)
    postgres_server.run(*[f"notify {CHANNEL}, '{number}'" for number in range(200)], database=database_of(database_url))
    await until(lambda: counter.calls > 1)
    await asyncio.sleep(0.1)
    assert counter.calls < 10
    await listener.aclose()


async def test_without_notifications_it_still_looks_now_and_then(database_url: str) -> None:
    counter = Counter()
    listener = Listener(DatabaseConfig(url=database_url), CHANNEL, counter, refresh_s=0.1)
    await listener.start()
    await until(lambda: counter.calls >= 3)
    await listener.aclose()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_happened_while_the_connection_was_lost_is_not_missed(
    own_server: PostgresServer, how: signal.Signals
) -> None:
    counter = Counter()
    config = DatabaseConfig(url=own_server.url("postgres"), statement_timeout_s=0.3, connect_timeout_s=0.5)
    listener = Listener(config, CHANNEL, counter, refresh_s=0.3)
    await listener.start()
    await until(lambda: counter.calls >= 1)
    own_server.signal(how)
    lost_at = counter.calls
    await asyncio.sleep(1.5)
    before = counter.calls
    assert before <= lost_at + 1, "a dead connection is found out, not trusted"
    if how is signal.SIGKILL:
        own_server.restart()
    else:
        own_server.signal(signal.SIGCONT)
    await until(lambda: counter.calls > before, within_s=10)
    await listener.aclose()
