"""The sessions of all projects, each visible to its own project only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import NotFound
from bedplate_core.ids import CallId, KeyId, ProjectId, SessionId, new_session_id
from bedplate_sessions.commit import TurnCommit
from bedplate_sessions.items import History, Item, ItemPage, decode, history
from bedplate_sessions.turn import Turn
from bedplate_store.database import Database
from bedplate_store.locks import HeldLock, KeyedLocks

MAX_PAGE = 1000

_CREATE = text(
    "insert into session (id, project_id, created_by) values (:session, :project, :key)",
)
_EXISTS = text("select 1 from session where id = :session and project_id = :project")
_ITEMS = text(
    "select id, seq, call_id, payload::text as payload, schema_version, status, stop_reason, created_at "
    "from session_item where session_id = :session and project_id = :project and branch = 0 and seq > :after "
    "order by seq limit :limit"
)


class Sessions:
    """Opens turns on sessions and reads what they hold. Safe for concurrent use within one event loop.

    `commit_deadline_s` bounds how long the end of a turn waits for Postgres to come back; see `Turn.follow`.
    """

    def __init__(self, database: Database, locks: KeyedLocks, *, commit_deadline_s: float = 10.0) -> None:
        self._database = database
        self._locks = locks
        self._commit_deadline_s = commit_deadline_s

    async def open_turn(
        self, *, project: ProjectId, session: SessionId | None, call: CallId, key: KeyId, wait_s: float = 30.0
    ) -> Turn:
        """Begin a turn of `call` on `session`, or on a new session for None; whoever gets it closes it.

        A new session's row is committed at once. A turn that is already running is waited for, up to
        `wait_s`. Raises `NotFound` (the same for an unknown session and another project's), `Conflict` if the
        other turn did not end in time, `StoreUnavailable`. If it raises or is cancelled, no lock is held.
        """
        new = session is None
        name = new_session_id() if session is None else session
        lock = await self._locks.acquire(("session", project, name), wait_s=wait_s)
        try:
            if new:
                past = await self._create(project, name, key)
            else:
                past = await self._load(project, name)
            return self._turn(lock, project, name, call, past)
        except BaseException:
            await lock.release()
            raise

    async def items(self, *, project: ProjectId, session: SessionId, after_seq: int = 0, limit: int = 100) -> ItemPage:
        """Up to `limit` (1 to 1000) items with a `seq` above `after_seq`, in order.

        Raises `NotFound` like `open_turn`, and `StoreUnavailable`.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
        async with self._database.transaction(project) as connection:
            await _require(connection, project, session)
            items = await _read(connection, project, session, after_seq=after_seq, limit=limit + 1)
        return ItemPage(items=tuple(items[:limit]), has_more=len(items) > limit)

    async def exists(self, *, project: ProjectId, session: SessionId) -> bool:
        """Whether `project` has this session. Raises `StoreUnavailable`."""
        async with self._database.transaction(project) as connection:
            return await _exists(connection, project, session)

    async def _create(self, project: ProjectId, session: SessionId, key: KeyId) -> History:
        async with self._database.transaction(project) as connection:
            await connection.execute(_CREATE, {"session": session, "project": project, "key": key})
        return History()

    async def _load(self, project: ProjectId, session: SessionId) -> History:
        async with self._database.transaction(project) as connection:
            await _require(connection, project, session)
            return history(await _read(connection, project, session, after_seq=0, limit=None))

    def _turn(self, lock: HeldLock, project: ProjectId, session: SessionId, call: CallId, past: History) -> Turn:
        commit = TurnCommit(
            self._database, project=project, session=session, call=call, deadline_s=self._commit_deadline_s
        )
        return Turn(session=session, past=past, lock=lock, commit=commit)


async def _exists(connection: AsyncConnection, project: ProjectId, session: SessionId) -> bool:
    found = await connection.execute(_EXISTS, {"session": session, "project": project})
    return found.first() is not None


async def _require(connection: AsyncConnection, project: ProjectId, session: SessionId) -> None:
    if not await _exists(connection, project, session):
        raise NotFound("There is no session with this id in your project.")


async def _read(
    connection: AsyncConnection, project: ProjectId, session: SessionId, *, after_seq: int, limit: int | None
) -> Sequence[Item]:
    found = await connection.execute(
        _ITEMS, {"session": session, "project": project, "after": after_seq, "limit": limit}
    )
    return [decode(row) for row in found.mappings()]


__all__ = ["Sessions"]
