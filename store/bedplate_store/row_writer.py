"""Many small rows, each durable before its caller goes on, at the price of few commits.

A commit costs the disk some milliseconds whether it carries one row or five hundred. One task per process
takes whatever rows are waiting and stores them with one statement; rows that arrive meanwhile are the next
batch. Nobody waits for a timer, and a busy process commits as often as an idle one.

While Postgres is away, rows go to the spool and their callers go on; a second task asks Postgres from time to
time and moves the spool over. Rows carry ids and Postgres ignores one it has, so "was it stored?" never needs
an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from bedplate_core.errors import StoreUnavailable
from bedplate_store.driver import (
    RETRY_AFTER_S,
    DatabaseConfig,
    RawConnection,
    connect,
    sqlstate,
)
from bedplate_store.shield import uninterrupted
from bedplate_store.spool import Spool, SpoolFile, SpoolFull

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
MAX_WAITING_ROWS = 20_000
SPOOL_BYTES = 256 << 20
RETRY_S = (0.1, 5.0)
"""The first wait before Postgres is asked again and the longest; each is twice the one before."""
LOOK_FOR_LEFTOVERS_S = 30.0

Settle: TypeAlias = Callable[[StoreUnavailable | None], None]
"""Told how a row ended: None when it is durable."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_DATA_ERRORS = frozenset({"21", "22", "23"})
"""SQLSTATE classes that blame the row: cardinality, data, integrity. All others blame the schema or the
server, and the rows wait in the spool until that is mended."""


class RowWriter:
    """Stores rows of one table, which has a column `id` with a unique index.

    `spool` is a folder of this machine for when Postgres is away, shared by all its processes; None means
    that rows are refused then. A batch that is not stored within `deadline_s` goes to the spool. Start it
    once, inside the event loop.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        *,
        table: str,
        spool: Path | None,
        spool_bytes: int = SPOOL_BYTES,
        deadline_s: float = 2.0,
    ) -> None:
        if _IDENTIFIER.fullmatch(table) is None:
            raise ValueError(f"{table!r} is not the name of a table")
        self._config = config
        self._statement = (
            f"insert into {table} select * from json_populate_recordset(null::{table}, $1::json) "  # noqa: S608 - checked above
            "on conflict (id) do nothing"
        )
        self._table = table
        self._deadline_s = deadline_s
        self._spool = Spool(spool, table, limit_bytes=spool_bytes) if spool is not None else None
        self._waiting: deque[tuple[bytes, Settle]] = deque()
        self._wake = asyncio.Event()
        self._trouble = asyncio.Event()
        self._away = False
        self._closing = False
        self._connection: RawConnection | None = None
        self._drain: asyncio.Task[None] | None = None
        self._recover: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take rows. Needs no Postgres. Raises `OSError` if the spool's folder cannot be used."""
        if self._spool is not None:
            await asyncio.to_thread(self._spool.open)
        self._drain = asyncio.create_task(self._drain_forever(), name=f"{self._table} writer")
        self._recover = asyncio.create_task(self._recover_forever(), name=f"{self._table} replay")

    async def append(self, row: bytes) -> None:
        """Store `row`, a JSON object in one line whose names are columns; return when it is durable.

        Durable is committed in Postgres or synced to the spool. Fields that are no columns are ignored,
        columns that are no fields become null. Raises `StoreUnavailable` if it could be neither. Cancelled:
        the row is stored all the same. A row that Postgres refuses for its content is logged and set aside,
        and counts as kept.
        """
        kept = asyncio.get_running_loop().create_future()

        def settle(error: StoreUnavailable | None) -> None:
            if kept.done():
                return  # the caller was cancelled
            if error is None:
                kept.set_result(None)
            else:
                kept.set_exception(error)

        self.put(row, settle)
        await kept

    def put(self, row: bytes, settle: Settle) -> None:
        """As `append`, without waiting: `settle` is told when `row` is durable, or that it is lost.

        Raises `StoreUnavailable` at once when the row cannot be taken; `settle` is not called then.
        """
        if b"\n" in row:
            raise ValueError("a row is one line of JSON")
        if self._drain is None or self._closing or len(self._waiting) >= MAX_WAITING_ROWS:
            raise _refusal()
        self._waiting.append((row, settle))
        self._wake.set()

    @property
    def healthy_for_admission(self) -> bool:
        """Whether a row appended now could be kept; if not, no call should begin that will need one."""
        if self._closing or len(self._waiting) >= MAX_WAITING_ROWS:
            return False
        return not self._away or (self._spool is not None and not self._spool.is_full)

    async def aclose(self, *, deadline_s: float = 5.0) -> None:
        """Store what waits, in Postgres if that takes no longer than `deadline_s`, else in the spool; then
        stop.
        """
        if not self._closing:
            self._closing = True
            await uninterrupted(self._close(deadline_s))

    async def _close(self, deadline_s: float) -> None:
        self._wake.set()
        if self._drain is not None:
            await asyncio.wait([self._drain], timeout=deadline_s)
            if not self._drain.done():
                # The statement under way fails at once, and it and all that follow take the way to the spool.
                self._away = True
                self._disconnect()
                await asyncio.wait([self._drain])
        if self._recover is not None:
            self._recover.cancel()
            await asyncio.wait([self._recover])
        self._disconnect()
        if self._spool is not None:
            await asyncio.to_thread(self._spool.close)

    async def _drain_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                count = min(len(self._waiting), BATCH_ROWS)
                batch = [self._waiting.popleft() for _ in range(count)]
                error = await self._keep([row for row, _ in batch])
                for _, settle in batch:
                    try:
                        settle(error)
                    except Exception:
                        logger.exception("what follows a row of %s failed", self._table)
            if self._closing:
                return

    async def _keep(self, rows: Sequence[bytes]) -> StoreUnavailable | None:
        """Make `rows` durable somewhere; the error to tell their callers if that cannot be done."""
        if not self._away:
            try:
                async with asyncio.timeout(self._deadline_s):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await self._connect()
                    await self._insert(self._connection, rows)
                return None
            except Exception as error:
                self._lose(error)
        if self._spool is None:
            return _refusal()
        try:
            await asyncio.to_thread(self._spool.append, rows)
        except (SpoolFull, OSError) as error:
            logger.error("%d rows of %s are lost: %s", len(rows), self._table, error)
            return _refusal()
        self._trouble.set()
        return None

    def _lose(self, error: Exception) -> None:
        logger.warning(
            "%s rows go to the spool: %s (%s)",
            self._table,
            type(error).__name__,
            sqlstate(error) or "no code",
        )
        self._away = True
        self._disconnect()
        self._trouble.set()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _connect(self) -> RawConnection:
        # Postgres reads a row to see whether its id is there, so the policy that lets records be read must
        # apply.
        settings = {"synchronous_commit": "on", "bedplate.scope": "installation"}
        return await connect(self._config, name=f"{self._table} writer", settings=settings)

    async def _insert(self, connection: RawConnection, rows: Sequence[bytes]) -> None:
        """Store `rows`, setting aside the ones that Postgres refuses for their content. Raises all other
        errors.
        """
        try:
            await connection.execute(self._statement, f"[{b','.join(rows).decode()}]")
        except Exception as error:
            if (sqlstate(error) or "")[:2] not in _DATA_ERRORS and not isinstance(error, UnicodeDecodeError):
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._insert(connection, rows[:middle])
                await self._insert(connection, rows[middle:])
            elif rb"\u0000" in rows[0]:
                # Postgres has no U+0000 in texts. A client that sends one must not thereby erase its record.
                await self._insert(connection, [rows[0].replace(rb"\u0000", rb"\ufffd")])
            else:
                await self._reject(rows[0], f"{type(error).__name__} {sqlstate(error)}")

    async def _reject(self, row: bytes, reason: str) -> None:
        logger.error("a row of %s was refused and set aside: %s", self._table, reason)
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.reject, row, reason)
            except (SpoolFull, OSError) as error:
                logger.error("a row of %s is lost: %s", self._table, error)

    async def _recover_forever(self) -> None:
        wait_s = RETRY_S[0]
        while True:
            self._trouble.clear()
            try:
                await self._replay()
            except Exception as error:
                logger.warning("postgres is still away for %s: %s", self._table, type(error).__name__)
            else:
                if not await self._trouble_within(LOOK_FOR_LEFTOVERS_S):
                    wait_s = RETRY_S[0]
                    continue
            # A Postgres that answers but is too slow to store is asked less and less often as well.
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_S[1])

    async def _trouble_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._trouble.wait()
        except TimeoutError:
            return False

    async def _replay(self) -> None:
        """Move every file of the spool to Postgres; afterwards rows go there directly again."""
        spooled = self._take()
        if spooled is None and not self._away:
            return
        connection: RawConnection | None = None
        try:
            connection = await self._connect()
            await connection.fetchval("select 1")
            while spooled is not None:
                for batch in spooled.batches(BATCH_ROWS):
                    await self._insert(connection, batch)
                spooled.remove()
                spooled = self._take()
        finally:
            if spooled is not None:
                spooled.release()
            if connection is not None:
                connection.terminate()
        self._away = False

    def _take(self) -> SpoolFile | None:
        return self._spool.take() if self._spool is not None else None


def _refusal() -> StoreUnavailable:
    return StoreUnavailable(
        "The gateway cannot keep its record of this call at the moment; try again shortly.",
        retry_after_s=RETRY_AFTER_S,
    )


__all__ = ["RowWriter", "Settle"]
