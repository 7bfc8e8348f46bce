"""One picture of a session while turns go on: transactions that see the moment they began."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from bedplate_core.ids import ProjectId
from bedplate_store.driver import DatabaseConfig, RawConnection, connect, is_outage, unavailable

IDLE_TIMEOUT_S: Final = 60.0
"""How long whoever takes an export may pause; then Postgres ends the transaction, and the export breaks off."""

_SETTINGS: Final = {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "idle_in_transaction_session_timeout": str(int(IDLE_TIMEOUT_S * 1000)),
}


class Snapshots:
    """Transactions of one project on a connection of its own, one after the other.

    Not on the pool: an export lasts as long as its reader takes, and must not keep a connection from requests.
    """

    def __init__(self, connection: RawConnection, project: ProjectId) -> None:
        self._connection = connection
        self._project: ProjectId = project

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[RawConnection, None]:
        """A transaction that sees what was there when its first statement ran, and can only read."""
        await self._connection.execute("begin")
        # The project comes with the transaction, as everywhere; row-level security asks for it.
        await self._connection.fetchval("select set_config('bedplate.project', $1, true)", self._project)
        yield self._connection
        await self._connection.execute("commit")


@asynccontextmanager
async def snapshots(config: DatabaseConfig, project: ProjectId) -> AsyncGenerator[Snapshots, None]:
    """Connect; closed at the end of the block. Raises `StoreUnavailable`, also when Postgres is lost meanwhile."""
    connection: RawConnection | None = None
    try:
        connection = await connect(config, name="export", settings=_SETTINGS)
        yield Snapshots(connection, project)
    except Exception as error:
        if connection is None or is_outage(error):
            raise unavailable(error) from error
        raise
    finally:
        if connection is not None:
            connection.terminate()


__all__ = ["IDLE_TIMEOUT_S", "Snapshots", "snapshots"]
