"""Makes a turn durable exactly once, also when the connection breaks while it does.

One transaction moves the session's head from what the turn was built on to where the turn ends, and adds the
items. Whoever comes second finds the head moved. When the outcome of a COMMIT is not known, the same
transaction is simply run again: its first statement waits for a forgotten one that may still hold the row,
and if the head is then where this very call would have put it, the earlier attempt had succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, StoreUnavailable
from bedplate_core.events import StopReason
from bedplate_core.ids import CallId, ProjectId, SessionId, new_item_id
from bedplate_core.messages import SCHEMA_VERSION, Message
from bedplate_sessions.items import ItemStatus, encode
from bedplate_sessions.retried_commit import commit_retrying
from bedplate_store.database import Database

_MOVE_HEAD = text(
    "update session set head = :head, updated_at = now() "
    "where id = :session and project_id = :project and head = :expected returning 1"
)
_STORED = text(
    "select 1 from session_item where session_id = :session and project_id = :project and branch = 0 "
    "and seq = :seq and call_id = :call"
)
_ADD = text(
    "insert into session_item (session_id, branch, seq, id, project_id, parent_seq, role, payload, "
    "schema_version, call_id, status, stop_reason) values (:session, 0, :seq, :id, :project, :parent_seq, :role, "
    "cast(:payload as json), :schema_version, :call, :status, :stop_reason)"
)


_Row: TypeAlias = dict[str, str | int | None]


class NewItem(msgspec.Struct, frozen=True, kw_only=True):
    """A message to add, not yet numbered."""

    message: Message
    status: ItemStatus = ItemStatus.COMPLETED
    stop_reason: StopReason | None = None


class TurnCommit:
    """Stores the turn of one call on one session."""

    def __init__(
        self, database: Database, *, project: ProjectId, session: SessionId, call: CallId, deadline_s: float
    ) -> None:
        self._database = database
        self._project: ProjectId = project
        self._session: SessionId = session
        self._call: CallId = call
        self._deadline_s = deadline_s

    async def store(self, items: Sequence[NewItem], *, after: int) -> None:
        """Add `items` (at least one) behind the item numbered `after`, which must be the session's last.

        Returns when they are durable, and does so as well if an earlier attempt for the same call had stored
        them. Tries again while Postgres is away, until `deadline_s` is over; a connection or a COMMIT under
        way then still has the time-outs of its own. Raises `Conflict` if the session has gone on meanwhile
        (nothing is stored) and `StoreUnavailable`, whose message says whether the turn may be stored.
        """
        rows = [self._row(item, after + number) for number, item in enumerate(items, start=1)]
        await commit_retrying(
            self._database,
            self._project,
            partial(self._attempt, rows=rows, after=after),
            deadline_s=self._deadline_s,
            failure=_not_stored,
        )

    async def _attempt(self, connection: AsyncConnection, rows: Sequence[_Row], *, after: int) -> None:
        of_session = {"session": self._session, "project": self._project}
        moved = await connection.execute(_MOVE_HEAD, {**of_session, "expected": after, "head": after + len(rows)})
        if moved.first() is None:
            stored = await connection.execute(_STORED, {**of_session, "seq": after + 1, "call": self._call})
            if stored.first() is not None:
                return
            raise Conflict("The session has gone on in the meantime; this turn was not stored.")
        await connection.execute(_ADD, rows)

    def _row(self, item: NewItem, seq: int) -> _Row:
        return {
            "session": self._session,
            "project": self._project,
            "seq": seq,
            "id": new_item_id(),
            "parent_seq": seq - 1 or None,
            "role": item.message.role.value,
            "payload": encode(item.message),
            "schema_version": SCHEMA_VERSION,
            "call": self._call,
            "status": item.status.value,
            "stop_reason": item.stop_reason.value if item.stop_reason is not None else None,
        }


def _not_stored(uncertain: bool) -> StoreUnavailable:
    if uncertain:
        return StoreUnavailable(
            "The gateway's database was lost while it stored this turn, and it is not known whether the turn "
            "is stored; read the session before you send it again.",
            retry_after_s=5.0,
        )
    return StoreUnavailable("The gateway's database is unavailable; this turn was not stored.", retry_after_s=5.0)


__all__ = ["NewItem", "TurnCommit"]
