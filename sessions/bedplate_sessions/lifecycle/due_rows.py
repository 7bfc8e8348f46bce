"""Stored responses and replies whose time is over, deleted a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.owners import unowned
from bedplate_sessions.lifecycle.purged import Batch

BATCH_ROWS: Final = 2000

_EXPIRED: Final = "expires_at < now() - make_interval(secs => :grace_s)"
_SESSIONS: Final = text("select id from session where project_id = :project and id = any(:sessions)")
# `share` keeps a legal hold from being laid on a session between this look and the end of the transaction.
_NOT_HELD: Final = text(f"{_SESSIONS.text} and not legal_hold for share skip locked")


class Expiring(Enum):
    """A table with rows that expire: its name, the column that tells its rows apart, and whose key a row is under."""

    RESPONSES = ("stored_response", "id", "coalesce(key_owner, id)")
    REPLIES = ("stored_reply", "key", "key_owner")


class Expired(msgspec.Struct, frozen=True):
    """A row that had expired when it was looked for, and the session that it belongs to."""

    id: str
    session: str | None


class DueRows:
    """Finds and deletes the rows of one project that expired more than `grace_s` seconds ago."""

    def __init__(self, table: Expiring, project: ProjectId, keys: DataKeys, *, grace_s: float) -> None:
        name, column, owner = table.value
        self._project: ProjectId = project
        self._keys = keys
        self._grace_s = grace_s
        of_project = f"from {name} where project_id = :project"
        # What is held is left out here already, so that many such rows are not looked at one by one in every run.
        self.find_statement = text(
            f"select {column} as id, session_id {of_project} and {_EXPIRED} and not {column} = any(:passed) "  # noqa: S608 - names of ours
            f"and not exists (select from session where id = {name}.session_id and project_id = :project "
            "and legal_hold) order by expires_at limit :limit"
        )
        # The time may have been extended since, by a response that builds on this one.
        self._delete = text(
            f"delete {of_project} and {column} in (select {column} {of_project} and {column} = any(:ids) "
            f"and {_EXPIRED} for update skip locked) returning {column} as id, {owner} as owner"
        )

    async def batch(self, connection: AsyncConnection, *, passed: Collection[str]) -> Batch:
        """Find and delete one batch in a transaction of the project. Nothing found: nothing more is due."""
        found = await self.find(connection, passed=passed)
        deleted = await self.delete(connection, found)
        return Batch(found=frozenset(each.id for each in found), deleted=frozenset(deleted))

    async def find(self, connection: AsyncConnection, *, passed: Collection[str]) -> Sequence[Expired]:
        """Up to 2,000 rows without those that were `passed` over and those under a legal hold, oldest first."""
        found = await connection.execute(
            self.find_statement,
            {"project": self._project, "grace_s": self._grace_s, "passed": list(passed), "limit": BATCH_ROWS},
        )
        return [Expired(row["id"], row["session_id"]) for row in found.mappings()]

    async def delete(self, connection: AsyncConnection, batch: Sequence[Expired]) -> Sequence[str]:
        """Delete those of `batch` that are still expired, not under a legal hold, and that nobody is writing to.

        Returns which. The data keys that then have nothing left to open go with them. Waits for no lock.
        """
        free = await self._free(connection, {each.session for each in batch if each.session is not None})
        ids = [each.id for each in batch if each.session is None or each.session in free]
        if not ids:
            return ()
        values = {"project": self._project, "grace_s": self._grace_s, "ids": ids}
        rows = (await connection.execute(self._delete, values)).mappings().all()
        owners = {row["owner"] for row in rows if row["owner"] is not None}
        destroy = await self._keys.destroy(self._project, await unowned(connection, self._project, owners))
        if destroy is not None:
            await destroy(connection)
        return [row["id"] for row in rows]

    async def _free(self, connection: AsyncConnection, sessions: set[str]) -> set[str]:
        """Those of `sessions` that do not exist any more, or are not under a legal hold, and are locked here."""
        if not sessions:
            return set()
        values = {"project": self._project, "sessions": list(sessions)}
        not_held = set((await connection.execute(_NOT_HELD, values)).scalars())
        return not_held | (sessions - set((await connection.execute(_SESSIONS, values)).scalars()))


__all__ = ["BATCH_ROWS", "DueRows", "Expired", "Expiring"]
