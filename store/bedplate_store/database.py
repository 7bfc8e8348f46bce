"""Short transactions on Postgres, each inside one project: the only way to a connection on the path of a
request.

Row-level security is the second wall between projects. Every connection acts as a role that owns nothing, and
every transaction says which project it is for, so a statement that forgets its `where project_id = ...` finds
only that project's rows. The price is one more round trip a transaction.

A dead, hung or refusing Postgres is always `StoreUnavailable`, in bounded time. What is wrong with a
statement or its data stays SQLAlchemy's error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_store.driver import (
    RETRY_AFTER_S,
    DatabaseConfig,
    RawConnection,
    connect,
    is_outage,
    unavailable,
)
from bedplate_store.shield import uninterrupted

ROLLBACK_TIMEOUT_S = 1.0
_SET = text("select set_config(:name, :value, true)")


class CommitUncertain(StoreUnavailable):
    """The connection broke while COMMIT was under way: the transaction may or may not have happened."""


class Database:
    """A pool of connections to one Postgres. Safe for concurrent use within one event loop.

    Nothing is connected before the first transaction, so that a gateway can start while Postgres is away.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            # Parameters are what people wrote; SQLAlchemy would put them into the text of its errors.
            hide_parameters=True,
            pool_size=config.pool_size,
            max_overflow=0,
            pool_timeout=config.connect_timeout_s,
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)

    @asynccontextmanager
    async def transaction(self, project: ProjectId | None) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction that sees the rows of `project`, or with None no project's rows at all.

        Commits at the end of the block, rolls back if the block raises or is cancelled. Raises
        `StoreUnavailable` within `connect_timeout_s` if no connection can be had, and when Postgres is lost,
        hangs or times out later; `CommitUncertain` when that happens during COMMIT. A cancellation during
        COMMIT arrives after it.
        """
        async with self._transaction("bedplate.project", project or "") as connection:
            yield connection

    @asynccontextmanager
    async def installation(self) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction that may read the records of all projects; for the operator's own reports, never for
        a tenant.

        Sessions and their items stay invisible. Commits and raises like `transaction`.
        """
        async with self._transaction("bedplate.scope", "installation") as connection:
            yield connection

    async def ping(self) -> None:
        """One round trip to Postgres. Raises `StoreUnavailable`."""
        async with self.transaction(None) as connection:
            await connection.execute(text("select 1"))

    async def aclose(self) -> None:
        """Close the connections that are not in use; those in use close when their transaction ends."""
        await uninterrupted(self._engine.dispose())

    @property
    def connections_in_use(self) -> int:
        """How many connections are inside a transaction now."""
        checked_out: Any = getattr(self._engine.pool, "checkedout", None)
        return int(checked_out()) if checked_out is not None else 0

    async def _connect(self) -> Any:
        return await connect(self._config, name="pool")

    @asynccontextmanager
    async def _transaction(self, setting: str, value: str) -> AsyncGenerator[AsyncConnection, None]:
        connection = await self._acquire()
        try:
            await connection.execute(_SET, {"name": setting, "value": value})
            yield connection
        except BaseException as error:
            await uninterrupted(self._give_up(connection, lost=is_outage(error)))
            if isinstance(error, StoreUnavailable) or not (isinstance(error, Exception) and is_outage(error)):
                raise
            raise unavailable(error) from error
        await uninterrupted(self._commit(connection))

    async def _acquire(self) -> AsyncConnection:
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                return await self._engine.connect()
        except Exception as error:
            # Whatever keeps us from connecting, a wrong password included, is an outage to the client.
            raise unavailable(error) from error

    async def _commit(self, connection: AsyncConnection) -> None:
        try:
            await connection.commit()
        except Exception as error:
            # The state of a connection whose COMMIT failed is not worth finding out.
            await _discard(connection)
            if not is_outage(error):
                raise
            unavailable(error)
            raise CommitUncertain(
                "The gateway's database was lost while it stored the result; it may or may not be stored.",
                retry_after_s=RETRY_AFTER_S,
            ) from error
        finally:
            await self._release(connection)

    async def _give_up(self, connection: AsyncConnection, *, lost: bool) -> None:
        if not lost:
            try:
                async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                    await connection.rollback()
            except Exception:
                lost = True
        if lost:
            await _discard(connection)
        await self._release(connection)

    async def _release(self, connection: AsyncConnection) -> None:
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                await connection.close()
        except Exception:
            await _discard(connection)


async def _discard(connection: AsyncConnection) -> None:
    """Throw the connection away without waiting for its server, which may hang."""
    if connection.closed or connection.invalidated:
        return
    raw = await connection.get_raw_connection()
    driver: RawConnection | None = raw.driver_connection
    if driver is not None:
        driver.terminate()
    await connection.invalidate()


def _refuse_closed(dbapi_connection: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
    """Pass over connections that died while idle; costs no round trip."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError("the connection was closed while it was idle")


__all__ = ["CommitUncertain", "Database", "DatabaseConfig"]
