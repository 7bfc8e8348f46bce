"""One holder at a time for a key, among all gateway processes on one Postgres.

A lock is a session-level advisory lock on the one connection that each process keeps for this, so a killed
process frees its locks with its connection. If that connection is lost, so are the locks, and **holders are
not told**: a lock keeps honest turns apart, while what must never go wrong is guarded by a compare-and-set
where the result is stored.

Waiters of one process queue in order. Between processes there is no queue: the first of each asks again and
again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from bedplate_core.errors import Conflict
from bedplate_store.driver import DatabaseConfig, RawConnection, connect, unavailable
from bedplate_store.shield import uninterrupted

ROUND_TRIP_TIMEOUT_S = 3.0
POLL_S = (0.025, 0.1)
"""How long to wait before asking again, at random between the two, so that processes do not march in step."""


class _Queue:
    """The waiters and the holder of one key within this process."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _Claim:
    """One caller's way to a lock: whether it holds its place in this process, and the connection that has the
    lock.
    """

    __slots__ = ("connection", "in_line", "number", "queue")

    def __init__(self, number: int, queue: _Queue) -> None:
        self.number = number
        self.queue = queue
        self.in_line = False
        self.connection: RawConnection | None = None


class HeldLock:
    """A lock that is held until `release`."""

    def __init__(self, give_back: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._give_back = give_back
        self._released = False

    async def release(self) -> None:
        """Give the lock back. Idempotent; never raises because of Postgres, where a lost lock is free by
        itself.
        """
        if not self._released:
            self._released = True
            await uninterrupted(self._give_back())


class KeyedLocks:
    """The locks of one process. Connects when the first lock is asked for; `aclose` frees what is held."""

    def __init__(self, config: DatabaseConfig) -> None:
        # A statement here is a lookup in shared memory: what takes longer is an outage.
        limit_s = min(ROUND_TRIP_TIMEOUT_S, config.statement_timeout_s)
        self._config = msgspec.structs.replace(config, statement_timeout_s=limit_s)
        self._queues: dict[int, _Queue] = {}
        self._connection: RawConnection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._failures = 0

    def __len__(self) -> int:
        """How many keys are held or waited for in this process."""
        return len(self._queues)

    async def acquire(self, key: tuple[str, ...], *, wait_s: float) -> HeldLock:
        """Take the lock `key`, waiting up to `wait_s`; whoever gets it calls `release`.

        Raises `Conflict` if it is not free in time and `StoreUnavailable` if Postgres is away. If it raises
        or is cancelled, nothing is held.
        """
        number = lock_number(key)
        queue = self._queues.setdefault(number, _Queue())
        queue.users += 1
        claim = _Claim(number, queue)
        try:
            await self._wait_for(claim, wait_s)
        except BaseException:
            await uninterrupted(self._give_back(claim))
            raise
        return HeldLock(partial(self._give_back, claim))

    @asynccontextmanager
    async def hold(self, key: tuple[str, ...], *, wait_s: float) -> AsyncGenerator[None, None]:
        """Hold the lock `key` for a block. Raises like `acquire`."""
        held = await self.acquire(key, wait_s=wait_s)
        try:
            yield
        finally:
            await held.release()

    async def aclose(self) -> None:
        """Close the connection, which frees every lock of this process."""
        await uninterrupted(self._close())

    async def _close(self) -> None:
        async with self._one_at_a_time:
            connection, self._connection = self._connection, None
            if connection is not None:
                try:
                    await connection.close(timeout=1.0)
                except Exception:
                    connection.terminate()

    async def _wait_for(self, claim: _Claim, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await claim.queue.lock.acquire()
                claim.in_line = True
                while True:
                    # Uninterrupted, so that a lock that was granted to a cancelled caller is known and given
                    # back.
                    await uninterrupted(self._ask(claim))
                    if claim.connection is not None:
                        return
                    await asyncio.sleep(random.uniform(*POLL_S))  # noqa: S311 - spreads load, guards nothing
        except TimeoutError:
            if claim.connection is None:
                raise Conflict(
                    "Another turn is running in this session; wait for it to finish.", retry_after_s=1.0
                ) from None

    async def _ask(self, claim: _Claim) -> None:
        """Ask once; sets `claim.connection` if the lock was free."""
        failures = self._failures
        async with self._one_at_a_time:
            if failures != self._failures:
                # Whoever lines up behind an attempt that fails, fails with it: a hung Postgres costs one
                # timeout.
                raise unavailable(ConnectionError("the attempt before this one failed"))
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._config, name="locks")
                connection = self._connection
                free = await connection.fetchval("select pg_try_advisory_lock($1)", claim.number)
            except Exception as error:
                self._failures += 1
                self._drop()
                raise unavailable(error) from error
            if free:
                claim.connection = connection

    async def _give_back(self, claim: _Claim) -> None:
        try:
            if claim.connection is not None:
                await self._unlock(claim.number, claim.connection)
        finally:
            if claim.in_line:
                claim.queue.lock.release()
            claim.queue.users -= 1
            if claim.queue.users == 0:
                del self._queues[claim.number]

    async def _unlock(self, number: int, connection: RawConnection) -> None:
        async with self._one_at_a_time:
            if connection is not self._connection:
                return  # that connection is gone and its locks with it
            try:
                await connection.fetchval("select pg_advisory_unlock($1)", number)
            except Exception:
                self._failures += 1
                self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def lock_number(key: tuple[str, ...]) -> int:
    """The 64-bit number that stands for `key`: a hash over its parts, each with its length before it.

    Without the lengths `("a", "bc")` and `("ab", "c")` would be one lock, and one tenant could hold
    another's.
    """
    digest = hashlib.blake2b(key_bytes(key), digest_size=8, person=b"bedplate-lock")
    return int.from_bytes(digest.digest(), "big", signed=True)


def key_bytes(key: tuple[str, ...]) -> bytes:
    """`key` as bytes that no other tuple of texts has."""
    parts = [part.encode() for part in key]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


__all__ = ["HeldLock", "KeyedLocks", "key_bytes", "lock_number"]
