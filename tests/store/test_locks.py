"""One holder at a time, in one process and between processes, and nothing is left behind."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.errors import Conflict, StoreUnavailable
from bedplate_store.driver import DatabaseConfig
from bedplate_store.locks import KeyedLocks, key_bytes, lock_number
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

KEY = ("session", "proj_a", "sess_1")


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[tuple[KeyedLocks, KeyedLocks]]:
    """The locks of two gateways."""
    config = DatabaseConfig(url=database_url)
    one, other = KeyedLocks(config), KeyedLocks(config)
    yield one, other
    assert (len(one), len(other)) == (0, 0)
    await one.aclose()
    await other.aclose()


def advisory_locks(server: PostgresServer) -> int:
    return int(server.fetch("select count(*) from pg_locks where locktype = 'advisory'")[0][0])


async def test_two_holders_never_overlap(pair: tuple[KeyedLocks, KeyedLocks]) -> None:
    inside = most = 0

    async def hold(locks: KeyedLocks) -> None:
        nonlocal inside, most
        async with locks.hold(KEY, wait_s=20):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(hold(locks) for _ in range(8) for locks in pair))
    assert most == 1


async def test_other_keys_do_not_wait(pair: tuple[KeyedLocks, KeyedLocks]) -> None:
    async with pair[0].hold(KEY, wait_s=0), pair[0].hold((*KEY, "2"), wait_s=0), pair[1].hold(("x",), wait_s=0):
        pass


@pytest.mark.parametrize("where", [0, 1], ids=["same process", "other process"])
async def test_a_lock_that_is_not_free_in_time_is_a_conflict(pair: tuple[KeyedLocks, KeyedLocks], where: int) -> None:
    async with pair[0].hold(KEY, wait_s=0):
        began = time.monotonic()
        with pytest.raises(Conflict, match="Another turn is running"):
            await pair[where].acquire(KEY, wait_s=0.2)
        assert 0.15 < time.monotonic() - began < 1.0
    async with pair[where].hold(KEY, wait_s=0.2):
        pass


async def test_waiters_of_one_process_are_served_in_order(pair: tuple[KeyedLocks, KeyedLocks]) -> None:
    served: list[int] = []

    async def hold(number: int) -> None:
        async with pair[0].hold(KEY, wait_s=5):
            served.append(number)

    async with pair[0].hold(KEY, wait_s=0):
        tasks = [asyncio.create_task(hold(number)) for number in range(10)]
        await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    assert served == list(range(10))


async def test_a_cancelled_waiter_leaves_nothing(
    pair: tuple[KeyedLocks, KeyedLocks], postgres_server: PostgresServer
) -> None:
    for delay_s in (0, 0.0002, 0.0005, 0.001, 0.002, 0.004, 0.01) * 3:
        task = asyncio.create_task(pair[0].acquire(KEY, wait_s=5))
        await asyncio.sleep(delay_s)
        if not task.cancel():
            await task.result().release()
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(pair[0]) == 0
        async with pair[1].hold(KEY, wait_s=0):
            pass
    with anyio.move_on_after(0.05):
        async with pair[1].hold(KEY, wait_s=0):
            await pair[0].acquire(KEY, wait_s=5)
    assert advisory_locks(postgres_server) == 0


async def test_releasing_twice_gives_back_once(pair: tuple[KeyedLocks, KeyedLocks]) -> None:
    held = await pair[0].acquire(KEY, wait_s=0)
    await held.release()
    async with pair[1].hold(KEY, wait_s=0.2):
        await held.release()
        with pytest.raises(Conflict):
            await pair[0].acquire(KEY, wait_s=0)


async def test_a_lost_connection_frees_its_locks_and_a_late_release_takes_none_away(
    pair: tuple[KeyedLocks, KeyedLocks], postgres_server: PostgresServer
) -> None:
    held = await pair[0].acquire(KEY, wait_s=0)
    postgres_server.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bedplate locks'"
    )
    async with pair[1].hold(KEY, wait_s=2):
        # The first process has a new connection by now; its old lock must not be unlocked on it.
        async with pair[0].hold(("other",), wait_s=1):
            await held.release()
        with pytest.raises(Conflict):
            await pair[0].acquire(KEY, wait_s=0.1)
    async with pair[0].hold(KEY, wait_s=1):
        pass


async def test_a_hung_postgres_costs_a_whole_line_of_callers_one_timeout(own_server: PostgresServer) -> None:
    config = DatabaseConfig(url=own_server.url("postgres"), connect_timeout_s=0.5, statement_timeout_s=0.5)
    locks = KeyedLocks(config)
    async with locks.hold(KEY, wait_s=0):
        own_server.signal(signal.SIGSTOP)
        began = time.monotonic()
        ended = await asyncio.gather(
            *(locks.acquire((str(number),), wait_s=30) for number in range(20)), return_exceptions=True
        )
        assert time.monotonic() - began < 2.5
        assert all(isinstance(each, StoreUnavailable) for each in ended)
    own_server.signal(signal.SIGCONT)
    async with locks.hold(KEY, wait_s=1):
        pass
    assert len(locks) == 0
    await locks.aclose()


@given(st.lists(st.lists(st.text(max_size=4), max_size=4).map(tuple), min_size=2, max_size=2, unique=True))
def test_no_two_keys_have_the_same_bytes(keys: list[tuple[str, ...]]) -> None:
    assert key_bytes(keys[0]) != key_bytes(keys[1])


def test_moving_a_boundary_makes_another_lock() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("c", "ab")]
    assert all(lock_number(one) != lock_number(other) for one, other in itertools.combinations(parts, 2))
