"""Raw connections to Postgres: where it is, how one connects, and which failures mean that it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import asyncpg
import msgspec
import sqlalchemy.exc

from bedplate_core.errors import StoreUnavailable

logger = logging.getLogger(__name__)

APP_ROLE = "bedplate_app"
RETRY_AFTER_S = 2.0
CLIENT_CHECK_MS = 500
"""How often Postgres looks, while a statement runs or waits for a lock, whether its client is still there."""

_OUTAGE_CLASSES = frozenset({"08", "28", "40", "53", "57", "58"})
"""SQLSTATE classes that are no fault of the statement: connection, authorisation of the login, rolled back by
the server (deadlock, serialisation), out of resources, operator intervention (shutdown, statement timeout),
system. https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_OUTAGE_CODES = frozenset({"25006", "55P03"})
"""A read-only server (a standby, or a failover under way), and a lock that could not be had in time."""


class DatabaseConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How this process uses Postgres.

    `url` is a libpq URL: `postgresql://user:password@host:5432/name?sslmode=verify-full`, or with a socket's
    folder `postgresql://user:password@/name?host=/folder&port=5432`. It is a secret and not part of the
    representation. `role` is taken on by every connection, so that row-level security binds although the
    login may own the tables; the login must be a member of it. Times are seconds. Raises `ValueError` for
    another kind of URL.
    """

    url: str
    pool_size: int = 12
    connect_timeout_s: float = 3.0
    statement_timeout_s: float = 10.0
    role: str = APP_ROLE

    def __post_init__(self) -> None:
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError("the database URL must begin with postgresql://")

    def __repr__(self) -> str:
        return f"DatabaseConfig(url=<secret>, pool_size={self.pool_size}, role={self.role!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("pool_size", self.pool_size), ("role", self.role)]


class RawConnection(Protocol):
    """The part of asyncpg's `Connection` that this package uses; asyncpg itself carries no types."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Any]: ...

    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any: ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...

    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float | None = None) -> None: ...

    def terminate(self) -> None: ...


async def connect(config: DatabaseConfig, *, name: str, settings: Mapping[str, str] | None = None) -> RawConnection:
    """A new connection that acts as `config.role`; `name` is what `pg_stat_activity` shows, `settings` are
    the session's.

    Every statement is bounded twice: by the server, and half a second later by the client, for a server that
    hangs. Raises what the driver raises; `is_outage` and `unavailable` say what it means. Cancelled: nothing
    is left open.
    """
    wanted = {
        "application_name": f"bedplate {name}",
        "role": config.role,
        "statement_timeout": str(int(config.statement_timeout_s * 1000)),
        # A client that vanished, in a statement or between two, must not keep its row locks.
        "client_connection_check_interval": str(CLIENT_CHECK_MS),
        "idle_in_transaction_session_timeout": str(int(config.statement_timeout_s * 1000)),
        **(settings or {}),
    }
    async with asyncio.timeout(config.connect_timeout_s):
        connection: RawConnection = await cast(Any, asyncpg).connect(
            dsn=config.url,
            timeout=config.connect_timeout_s,
            command_timeout=config.statement_timeout_s + 0.5,
            server_settings=wanted,
        )
    return connection


def sqlstate(error: BaseException) -> str | None:
    """The five-character code that Postgres gave, through SQLAlchemy or not; None where it gave none."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return getattr(error.orig, "sqlstate", None)
    return getattr(error, "sqlstate", None)


def is_outage(error: BaseException) -> bool:
    """Whether `error` says that Postgres is away, hangs or refuses work, rather than that a statement is
    wrong.
    """
    if isinstance(error, StoreUnavailable | OSError | TimeoutError | sqlalchemy.exc.TimeoutError):
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig.__cause__ if error.orig is not None else None
        return is_outage(cause) if cause is not None else _is_outage_code(sqlstate(error))
    if isinstance(error, asyncpg.InternalClientError):
        # asyncpg raises `cannot switch to state ...` when the server dies in the middle of a statement.
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "lost" in str(error)
    return _is_outage_code(sqlstate(error))


def _is_outage_code(code: str | None) -> bool:
    return code is not None and (code[:2] in _OUTAGE_CLASSES or code in _OUTAGE_CODES)


def unavailable(error: BaseException) -> StoreUnavailable:
    """What a client may be told about the outage `error`; the rest goes to the log."""
    if isinstance(error, StoreUnavailable):
        return error
    logger.warning("postgres is unavailable: %s (%s)", type(error).__name__, sqlstate(error) or "no code")
    return StoreUnavailable("The gateway's database is unavailable; try again shortly.", retry_after_s=RETRY_AFTER_S)


__all__ = ["APP_ROLE", "DatabaseConfig", "RawConnection", "connect", "is_outage", "sqlstate", "unavailable"]
