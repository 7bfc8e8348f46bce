"""Brings a database to the schema this code was written for, or refuses.

All missing steps run in one transaction under an advisory lock: two gateways that start together do not
collide, and a step that fails leaves the database as it was. Alembic reads the steps from this package's own
folder, so that an installed wheel needs no configuration file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")

LOCK_KEY = 0x6265_6470_6C61_7465  # "bedplate"
LOCK_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10.0


class MigrationError(Exception):
    """The database does not have the schema this code needs, and cannot be given it. Says what to do about
    it.
    """


def upgrade(url: str) -> None:
    """Take every missing step, in one transaction; nothing if there is none.

    `url` is `postgresql://...` (a socket's folder as `?host=`); its login owns the tables afterwards and
    becomes a member of the role that the gateway acts as. Waits up to 60 s for another process that is
    migrating, and for locks on the tables. Raises `MigrationError`: nothing has changed then. Blocks; not for
    use inside an event loop other than from a worker thread.
    """
    _run(url, _upgrade)


def revision_state(url: str) -> tuple[str | None, str]:
    """The revision the database has (None: it is empty) and the one this code wants.

    Raises `MigrationError` if the database cannot be reached, or has a revision unknown to this code. Blocks
    like `upgrade`.
    """
    return _run(url, _state)


def _run(url: str, work: Callable[[Connection], T]) -> T:
    try:
        return asyncio.run(_in_transaction(url, work))
    except MigrationError:
        raise
    except Exception as error:
        raise MigrationError(f"the database could not be brought up to date: {_reason(error)}") from error


async def _in_transaction(url: str, work: Callable[[Connection], T]) -> T:
    async def connect() -> Any:
        return await cast(Any, asyncpg).connect(  # asyncpg carries no types
            dsn=url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"application_name": "bedplate migrations", "statement_timeout": "0"},
        )

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    connection.execute(text("select set_config('lock_timeout', :limit, true)"), {"limit": f"{LOCK_TIMEOUT_S}s"})
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    current, head = _state(connection)
    if current == head:
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _state(connection: Connection) -> tuple[str | None, str]:
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    if head is None:
        raise MigrationError("this installation of bedplate has no migrations in it; reinstall it")
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise MigrationError(
            f"the database is at revision {current!r}, which this version of bedplate does not know (it "
            f"knows up to {head!r}): a newer version has been here; run that one, or restore an older backup"
        )
    return current, head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _reason(error: Exception) -> str:
    """The words of the driver, or of the step that refused, without SQLAlchemy's statement and parameters."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    return str(cause).strip() or type(cause).__name__


__all__ = ["MigrationError", "revision_state", "upgrade"]
