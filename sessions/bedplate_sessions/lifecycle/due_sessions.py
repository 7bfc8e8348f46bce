"""Sessions whose retention is over, deleted a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId, SessionId
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.owners import unowned
from bedplate_sessions.lifecycle.purged import Batch

BATCH_SESSIONS: Final = 200
BATCH_ROWS: Final = 2000

# Expired sessions and ended ones take no more writes: for every session it is the last write that counts.
_IS_DUE: Final = "not legal_hold and updated_at < now() - make_interval(secs => :kept_s)"
# Roughly how many rows go with each, so that a batch of long sessions holds fewer of them.
FIND: Final = text(
    "select id, 1 + steps + invocations + (select coalesce(sum(head - fork_seq), 0) from session_branch "  # noqa: S608 - constants
    "where session_id = session.id and project_id = :project) as size from session "
    f"where project_id = :project and {_IS_DUE} and not id = any(:passed) order by updated_at limit :limit"
)
# In a turn's own order, its branch before the session, and waiting for nobody: no turn and no purge can deadlock.
_BRANCHES: Final = text(
    "select session_id, branch from session_branch where project_id = :project and session_id = any(:ids)"
)
_LOCK_BRANCHES: Final = text(f"{_BRANCHES.text} for update skip locked")
# A turn, a hold or a purge may have come since they were found.
_LOCK: Final = text(
    f"select id from session where project_id = :project and id = any(:ids) and {_IS_DUE} for update skip locked"  # noqa: S608 - constants
)
_DELETE_REPLIES: Final = text(
    "delete from stored_reply where project_id = :project and session_id = any(:ids) returning key_owner"
)
_DELETE_RESPONSES: Final = text(
    "delete from stored_response where project_id = :project and session_id = any(:ids) returning key_owner"
)
_DELETE: Final = text("delete from session where project_id = :project and id = any(:ids)")


class Candidate(msgspec.Struct, frozen=True):
    """A session that was due when it was looked for, and about how many rows it has."""

    id: SessionId
    rows: int


class DueSessions:
    """Finds and deletes the sessions of one project that were last written more than `kept_s` seconds ago."""

    def __init__(self, project: ProjectId, keys: DataKeys, *, kept_s: float) -> None:
        self._project: ProjectId = project
        self._keys = keys
        self._kept_s = kept_s

    async def batch(self, connection: AsyncConnection, *, passed: Collection[str]) -> Batch:
        """Find and delete one batch in a transaction of the project. Nothing found: nothing more is due."""
        found = await self.find(connection, passed=passed)
        deleted = await self.delete(connection, found)
        return Batch(found=frozenset(each.id for each in found), deleted=frozenset(deleted))

    async def find(self, connection: AsyncConnection, *, passed: Collection[str]) -> Sequence[Candidate]:
        """The next batch without those that were `passed` over, longest unwritten first; empty when none is left.

        At most 200 sessions of about 2,000 rows together; a session that has more is a batch alone.
        """
        found = await connection.execute(
            FIND,
            {"project": self._project, "kept_s": self._kept_s, "passed": list(passed), "limit": BATCH_SESSIONS},
        )
        batch: list[Candidate] = []
        left = BATCH_ROWS
        for row in found.mappings():
            candidate = Candidate(SessionId(row["id"]), int(row["size"]))
            left -= candidate.rows
            if batch and left < 0:
                break
            batch.append(candidate)
        return batch

    async def delete(self, connection: AsyncConnection, batch: Sequence[Candidate]) -> Sequence[SessionId]:
        """Delete those of `batch` that are still due and that nobody is writing to, with everything in them.

        Returns which. Their data keys go in the same transaction, or before it when keys are apart. Waits for no lock
        on a session or a branch.
        """
        locked = await self._locked(connection, [candidate.id for candidate in batch]) if batch else ()
        if not locked:
            return ()
        values = {"project": self._project, "ids": locked}
        owners: set[str] = set(locked)
        for statement in (_DELETE_REPLIES, _DELETE_RESPONSES):
            owners.update(owner for owner in (await connection.execute(statement, values)).scalars() if owner)
        await connection.execute(_DELETE, values)
        destroy = await self._keys.destroy(self._project, await unowned(connection, self._project, owners))
        if destroy is not None:
            await destroy(connection)
        return locked

    async def _locked(self, connection: AsyncConnection, ids: Sequence[SessionId]) -> Sequence[SessionId]:
        values = {"project": self._project, "ids": list(ids)}
        free = {tuple(row) for row in await connection.execute(_LOCK_BRANCHES, values)}
        busy = {row[0] for row in await connection.execute(_BRANCHES, values) if tuple(row) not in free}
        found = await connection.execute(
            _LOCK, {"project": self._project, "kept_s": self._kept_s, "ids": [each for each in ids if each not in busy]}
        )
        return [SessionId(each) for each in found.scalars()]


__all__ = ["BATCH_ROWS", "BATCH_SESSIONS", "FIND", "Candidate", "DueSessions"]
