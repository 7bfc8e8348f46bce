"""Adding and removing single tags of a session, each in one statement, so that two clients at once lose nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import text

from bedplate_core.errors import QuotaExceeded
from bedplate_core.ids import ProjectId, SessionId
from bedplate_sessions.registry import find, unknown
from bedplate_store.database import Database

MAX_TAGS: Final = 200
"""The most tags of one session."""

_ADD: Final = text(
    "update session set tags = tags || cast(:tags as jsonb) where id = :session and project_id = :project "
    "and (select count(*) from jsonb_object_keys(tags || cast(:tags as jsonb))) <= :max returning 1"
)
_REMOVE: Final = text(
    "update session set tags = tags - cast(:keys as text[]) where id = :session and project_id = :project returning 1"
)


class SessionTags:
    """Tags are no part of a session's content: they can change whatever its status, and a change is no activity.

    Safe for concurrent use within one event loop. Every method raises `NotFound` for an unknown session and another
    project's, and `StoreUnavailable`. What they do can be done twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, project: ProjectId, session: SessionId, tags: Mapping[str, str]) -> None:
        """Set these tags and keep the others. Raises `QuotaExceeded` when there would be more than `MAX_TAGS`."""
        values = {
            "session": session,
            "project": project,
            "tags": msgspec.json.encode(tags).decode(),
            "max": MAX_TAGS,
        }
        async with self._database.transaction(project) as connection:
            if (await connection.execute(_ADD, values)).first() is None:
                await find(connection, project, session)
                raise QuotaExceeded(f"tags: a session has at most {MAX_TAGS} tags", param="tags")

    async def remove(self, project: ProjectId, session: SessionId, keys: Sequence[str]) -> None:
        """Remove the tags with these keys; those that there are not do not matter."""
        values = {"session": session, "project": project, "keys": list(keys)}
        async with self._database.transaction(project) as connection:
            if (await connection.execute(_REMOVE, values)).first() is None:
                raise unknown()


__all__ = ["MAX_TAGS", "SessionTags"]
