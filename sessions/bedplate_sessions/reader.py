"""Reading items along a branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import NotFound
from bedplate_core.ids import ItemId, ProjectId, SessionId
from bedplate_sessions.branches import Line, Segment, read_line
from bedplate_sessions.item_rows import ITEM_COLUMNS, blob_ids, decoded, with_blobs
from bedplate_sessions.items import Item, ItemPage
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.registry import find
from bedplate_store.database import Database

MAX_PAGE: Final = 1000

# One index scan for each segment, each no longer than the page: a long session costs what a short one does.
_PAGE: Final = (
    "select page.* from unnest(cast(:branches as int[]), cast(:above as bigint[]), cast(:upto as bigint[])) "  # noqa: S608 - constants
    "as segment(branch, above, upto) cross join lateral ("
    f"select {ITEM_COLUMNS} from session_item where session_id = :session and project_id = :project "
    "and branch = segment.branch and seq > segment.above and seq <= segment.upto "
    "and status <> 'dropped' and deleted_at is null and (:summaries or kind <> 'summary') "
    "order by seq {order} limit :limit) as page "
    "order by page.seq {order} limit :limit"
)
_OLDEST_FIRST: Final = text(_PAGE.format(order="asc"))
_NEWEST_FIRST: Final = text(_PAGE.format(order="desc"))
_ONE: Final = text(
    f"select {ITEM_COLUMNS} from session_item where session_id = :session and project_id = :project and id = :item "  # noqa: S608 - constants
    "and status <> 'dropped' and deleted_at is null and kind <> 'summary'"
)
_BLOBS: Final = text(
    "select id, sealed from session_blob where session_id = :session and project_id = :project and id = any(:ids)"
)


class ItemReader:
    """Reads what sessions hold. Safe for concurrent use within one event loop."""

    def __init__(self, database: Database, keys: DataKeys) -> None:
        self._database = database
        self._keys = keys

    async def page(
        self,
        project: ProjectId,
        session: SessionId,
        *,
        branch: int = 0,
        after_seq: int = 0,
        before_seq: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> ItemPage:
        """Up to `limit` (1 to 1000) items of the conversation numbered above `after_seq` and below `before_seq`.

        Raises `NotFound` for an unknown session or branch, and `StoreUnavailable`.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
        async with self._database.transaction(project) as connection:
            await find(connection, project, session)
            line = await read_line(connection, project, session, branch)
            upto = line.head if before_seq is None else min(line.head, before_seq - 1)
            items = await self.read(
                connection,
                project,
                session,
                line.upto(upto),
                after_seq=after_seq,
                limit=limit + 1,
                newest_first=newest_first,
            )
        return ItemPage(items=tuple(items[:limit]), has_more=len(items) > limit)

    async def one(self, project: ProjectId, session: SessionId, item: ItemId) -> Item:
        """One item, of any branch. Raises `NotFound` (also for an item of another session), `StoreUnavailable`."""
        async with self._database.transaction(project) as connection:
            await find(connection, project, session)
            found = await connection.execute(_ONE, {"session": session, "project": project, "item": item})
            row = found.mappings().first()
            if row is None:
                raise NotFound("There is no item with this id in the session.")
            cipher = await self._keys.cipher(project, session, connection)
            return (await self._filled(connection, project, session, cipher, [decoded(row, cipher)]))[0]

    async def line(self, connection: AsyncConnection, project: ProjectId, session: SessionId, branch: int) -> Line:
        """The branch, read in a transaction of its project. Raises `NotFound`."""
        return await read_line(connection, project, session, branch)

    async def read(
        self,
        connection: AsyncConnection,
        project: ProjectId,
        session: SessionId,
        segments: Sequence[Segment],
        *,
        after_seq: int = 0,
        limit: int,
        newest_first: bool,
        summaries: bool = False,
    ) -> list[Item]:
        """Up to `limit` items of `segments` numbered above `after_seq`, in a transaction of the project.

        `summaries`: those as well, which nobody said.
        """
        values = {
            "session": session,
            "project": project,
            "branches": [segment.branch for segment in segments],
            "above": [max(segment.above, after_seq) for segment in segments],
            "upto": [segment.upto for segment in segments],
            "limit": limit,
            "summaries": summaries,
        }
        found = await connection.execute(_NEWEST_FIRST if newest_first else _OLDEST_FIRST, values)
        rows = found.mappings().all()
        if not rows:
            return []
        cipher = await self._keys.cipher(project, session, connection)
        return await self._filled(connection, project, session, cipher, [decoded(row, cipher) for row in rows])

    async def _filled(
        self,
        connection: AsyncConnection,
        project: ProjectId,
        session: SessionId,
        cipher: Cipher,
        items: Sequence[Item],
    ) -> list[Item]:
        wanted = [each for item in items for each in blob_ids(item.message)]
        if not wanted:
            return list(items)
        found = await connection.execute(_BLOBS, {"session": session, "project": project, "ids": wanted})
        blobs = {row["id"]: cipher.open(row["sealed"], row["id"]) for row in found.mappings()}
        return [msgspec.structs.replace(item, message=with_blobs(item.message, blobs)) for item in items]


__all__ = ["MAX_PAGE", "ItemReader"]
