"""Which data keys have nothing left to open."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId

# A chain of responses is sealed under the key of its first one, and a reply may be under its session's.
_UNOWNED: Final = text(
    "select owner from unnest(cast(:owners as text[])) as owner where not exists ("
    "select from session where id = owner and project_id = :project) and not exists ("
    "select from stored_response where key_owner = owner and project_id = :project) and not exists ("
    "select from stored_response where id = owner and key_owner is null and project_id = :project) and not exists ("
    "select from stored_reply where key_owner = owner and project_id = :project)"
)


async def unowned(connection: AsyncConnection, project: ProjectId, owners: Collection[str]) -> Sequence[str]:
    """Those of `owners` whose content is all gone, as a transaction of the project sees it."""
    if not owners:
        return ()
    found = await connection.execute(_UNOWNED, {"project": project, "owners": list(owners)})
    return list(found.scalars())


__all__ = ["unowned"]
