"""Deletes what is due, in short transactions with pauses between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.due_rows import DueRows, Expiring
from bedplate_sessions.lifecycle.due_sessions import DueSessions
from bedplate_sessions.lifecycle.owners import unowned
from bedplate_sessions.lifecycle.purged import Batch, Purged
from bedplate_store.database import Database

ORPHAN_AGE_S: Final = 24 * 3600.0
"""A data key without an owner is left alone so long: its owner may be about to be stored."""

_BATCH_KEYS: Final = 500
_KEYS: Final = text(
    "select owner from session_key where project_id = :project and created_at < now() - make_interval(secs => :age_s) "
    "and owner > :after order by owner limit :limit"
)


class Due(Protocol):
    """What is due of one kind and one project."""

    async def batch(self, connection: AsyncConnection, *, passed: Collection[str]) -> Batch:
        """Find and delete one batch in a transaction of the project, without those that were `passed` over."""
        ...


def _ignored(_: object) -> None:
    """Nobody wants to know."""


class Purge:
    """Deletes what is due of one project after the other. Safe to run in several processes at once.

    Each batch is one transaction that takes only what nobody else has: whoever is killed has deleted whole sessions or
    nothing, and the next run goes on. A call that needs a row of a batch waits for that batch at most. What is under a
    legal hold stays, with its responses, replies and keys.

    `key_database` has the data keys, when they are apart. `grace_s` is how long a call may take: so long after its last
    write nothing is deleted whatever the retention, since a call may be building on it. `pause_s` lies between batches.
    """

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        *,
        key_database: Database | None = None,
        grace_s: float = 900.0,
        pause_s: float = 0.05,
    ) -> None:
        self._database = database
        self._keys = keys
        self._key_database = key_database or database
        self._grace_s = grace_s
        self._pause_s = pause_s

    async def project(
        self, project: ProjectId, *, retention_s: float, on_batch: Callable[[Purged], None] = _ignored
    ) -> Purged:
        """Delete all that is due of `project`, whose sessions are kept for `retention_s` after their last write.

        `on_batch` is told of each batch when it is durable. Raises `StoreUnavailable`; what was deleted until then
        stays deleted, which holds for a cancellation as well.
        """
        sessions = await self.sessions(
            project, retention_s=retention_s, on_batch=lambda count: on_batch(Purged(sessions=count))
        )
        responses = await self.rows(
            project, Expiring.RESPONSES, on_batch=lambda count: on_batch(Purged(responses=count))
        )
        replies = await self.rows(project, Expiring.REPLIES, on_batch=lambda count: on_batch(Purged(replies=count)))
        keys = await self.orphans(project)
        on_batch(Purged(keys=keys))
        return Purged(sessions=sessions, responses=responses, replies=replies, keys=keys)

    async def sessions(
        self, project: ProjectId, *, retention_s: float, on_batch: Callable[[int], None] = _ignored
    ) -> int:
        """Delete sessions whose last write is `retention_s` ago, with everything in them; how many. Raises likewise."""
        due = DueSessions(project, self._keys, kept_s=max(retention_s, self._grace_s))
        return await self.drain(project, due, on_batch=on_batch)

    async def rows(self, project: ProjectId, table: Expiring, *, on_batch: Callable[[int], None] = _ignored) -> int:
        """Delete responses or replies that have expired; how many. Raises likewise."""
        due = DueRows(table, project, self._keys, grace_s=self._grace_s)
        return await self.drain(project, due, on_batch=on_batch)

    async def orphans(self, project: ProjectId) -> int:
        """Delete data keys, older than a day, whose content is gone; how many. Raises likewise."""
        after, deleted = "", 0
        bounds = {"project": project, "age_s": ORPHAN_AGE_S, "limit": _BATCH_KEYS}
        while True:
            async with self._key_database.transaction(project) as connection:
                owners = list((await connection.execute(_KEYS, {**bounds, "after": after})).scalars())
            if not owners:
                return deleted
            after = owners[-1]
            async with self._database.transaction(project) as connection:
                gone = await unowned(connection, project, owners)
                if gone:
                    destroy = await self._keys.destroy(project, gone)
                    if destroy is not None:
                        await destroy(connection)
            deleted += len(gone)
            await asyncio.sleep(self._pause_s)

    async def drain(self, project: ProjectId, due: Due, *, on_batch: Callable[[int], None] = _ignored) -> int:
        """Delete what is due until nothing is; how many. What is in use now is left for the next time."""
        passed: set[str] = set()
        count = 0
        while True:
            async with self._database.transaction(project) as connection:
                batch = await due.batch(connection, passed=passed)
            if not batch.found:
                return count
            count += len(batch.deleted)
            on_batch(len(batch.deleted))
            passed |= batch.found - batch.deleted
            await asyncio.sleep(self._pause_s)


__all__ = ["ORPHAN_AGE_S", "Due", "Purge"]
