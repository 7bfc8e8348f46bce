"""The two transactions of a turn, each one statement that happens once or not at all.

`begin` moves the branch's head from what the turn is built on over the turn's own input, and notes that a turn is open.
`ending` moves it on over the answer and notes that none is. Whoever comes second finds the head moved. When the outcome
of a COMMIT is not known the same statement is simply run again: it waits for a forgotten one that may still hold the
row, and if the head is then where this very turn would have put it, the earlier attempt had succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict
from bedplate_core.ids import CallId, ItemId, ProjectId, SessionId, new_item_id
from bedplate_core.messages import SCHEMA_VERSION
from bedplate_sessions.durable import Write
from bedplate_sessions.item_rows import Blob, sealed_message
from bedplate_sessions.items import NewItem
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.registry import IS_WRITABLE, find, require_writable

_TOUCH: Final = "update session set updated_at = greatest(updated_at, now())"
_OF_BRANCH: Final = "session_id = :session and project_id = :project and branch = :branch"
# The items' columns are arrays, so that a turn is one statement and one round trip whatever it holds.
_ITEMS: Final = (
    "insert into session_item (session_id, branch, project_id, call_id, invocation_id, schema_version, seq, id, "
    "parent_seq, kind, role, sealed, status, stop_reason, usage, pinned, covers_seq) "
    "select cast(:session as text), cast(:branch as int), cast(:project as text), cast(:call as text), "
    "cast(:invocation as text), cast(:schema_version as smallint), item.seq, item.id, item.parent_seq, item.kind, "
    "item.role, item.sealed, item.status, item.stop_reason, cast(item.usage as json), item.pinned, item.covers_seq "
    "from unnest(cast(:seqs as bigint[]), cast(:ids as text[]), cast(:parents as bigint[]), cast(:kinds as text[]), "
    "cast(:roles as text[]), cast(:sealed as bytea[]), cast(:statuses as text[]), cast(:reasons as text[]), "
    "cast(:usages as text[]), cast(:pinned as boolean[]), cast(:covers as bigint[])) "
    "as item(seq, id, parent_seq, kind, role, sealed, status, stop_reason, usage, pinned, "
    "covers_seq)"
)
_BEGIN: Final = text(
    "with moved as (update session_branch set head = :head, turn_call = :turn, turn_from = :began_after, "  # noqa: S608 - constants
    f"turn_input = :head where {_OF_BRANCH} and head = :expected returning 1), "
    f"touched as ({_TOUCH}, invocations = invocations + 1 where id = :session and project_id = :project "
    f"and {IS_WRITABLE} and exists (select from moved) returning invocations), "
    "invoked as (insert into session_invocation (session_id, id, project_id, number, call_id) "
    "select cast(:session as text), cast(:invocation as text), cast(:project as text), invocations, "
    "cast(:call as text) from touched on conflict (session_id, id) do nothing), "
    f"dropped as (update session_item set status = 'dropped' where {_OF_BRANCH} and seq > :began_after "
    "and seq <= :expected and exists (select from touched)), "
    f"added as ({_ITEMS} where exists (select from touched)) "
    "select (select count(*) from moved), (select count(*) from touched)"
)
_RESUME: Final = text(
    "with moved as (update session_branch set turn_input = :input_end "  # noqa: S608 - constants
    f"where {_OF_BRANCH} and head = :expected and turn_call = :turn returning 1), "
    f"dropped as (update session_item set status = 'dropped' where {_OF_BRANCH} and seq > :input_end "
    "and seq <= :expected and exists (select from moved)) "
    "select count(*) from moved"
)
_END: Final = text(
    "with moved as (update session_branch set head = :head, turn_call = null, turn_from = null, "  # noqa: S608 - constants
    f"turn_input = null where {_OF_BRANCH} and head = :expected and turn_call = :turn returning 1), "
    f"touched as ({_TOUCH} where id = :session and project_id = :project and exists (select from moved)), "
    f"added as ({_ITEMS} where exists (select from moved)) "
    "select count(*) from moved"
)
_BREAK_OFF: Final = text(
    f"with moved as (update session_branch set head = :head where {_OF_BRANCH} and head = :expected "  # noqa: S608 - constants
    "and turn_call = :turn returning 1), "
    f"added as ({_ITEMS} where exists (select from moved)) "
    "select count(*) from moved"
)
_STORED: Final = text("select 1 from session_item where session_id = :session and project_id = :project and id = :id")
_ADD_BLOB: Final = text(
    "insert into session_blob (session_id, id, project_id, size_bytes, sealed) "
    "values (:session, :id, :project, :size_bytes, :sealed) on conflict (session_id, id) do nothing"
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where items go. `turn` is the turn's own id: its first call's, whichever call takes it up again."""

    project: ProjectId
    session: SessionId
    branch: int
    turn: CallId

    @property
    def invocation(self) -> str:
        """The turn as an invocation: 32 hexadecimal digits."""
        return self.turn.removeprefix("req_")


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A turn as it stands in the branch: the last seq of its input, and that of the head."""

    input_end: int
    head: int


class TurnWrites:
    """The writes of one turn. What they store is fixed when they are made, so running one again changes nothing."""

    def __init__(self, place: Place, cipher: Cipher) -> None:
        self._place = place
        self._cipher = cipher

    def begin(self, items: Sequence[NewItem], *, head: int, began_after: int) -> tuple[Begun, Sequence[Write]]:
        """Add the turn's input behind `head`, its first item's parent being the item `began_after`.

        Items between the two are dropped from the conversation. Raises `Conflict` when the branch has gone on, or the
        session has ended, expired or been deleted.
        """
        place = self._place
        rows, blobs = self._rows(items, head=head, parent=began_after, call=place.turn)
        values = {
            **rows,
            "head": head + len(items),
            "expected": head,
            "began_after": began_after,
            "turn": place.turn,
        }

        async def begin(connection: AsyncConnection) -> None:
            moved, touched = (await connection.execute(_BEGIN, values)).one()
            if moved and touched:
                return
            if not moved and await self._is_stored(connection, rows):
                return
            require_writable(await find(connection, place.project, place.session))
            raise Conflict("The session has gone on in the meantime; this turn was not stored.")

        return Begun(input_end=head + len(items), head=head + len(items)), (begin, *self._blob_writes(blobs))

    def resume(self, *, input_end: int, head: int) -> tuple[Begun, Sequence[Write]]:
        """Take up the turn again whose input is there already; what was stored of its answer is dropped."""
        values = {**self._of_branch(), "expected": head, "input_end": input_end, "turn": self._place.turn}

        async def resume(connection: AsyncConnection) -> None:
            if not (await connection.execute(_RESUME, values)).scalar_one():
                raise Conflict("The session has gone on in the meantime.")

        return Begun(input_end=input_end, head=head), (resume,)

    def ending(self, items: Sequence[NewItem], begun: Begun, *, call: CallId) -> Sequence[Write]:
        """Add the answer that `call` gave, and close the turn. Raises `Conflict` when the branch has gone on.

        The answer's id is the call's, so that it is the same wherever the answer is shown.
        """
        first = ItemId(f"item_{call.removeprefix('req_')}")
        rows, blobs = self._rows(items, head=begun.head, parent=begun.input_end, call=call, first=first)
        values = {**rows, "head": begun.head + len(items), "expected": begun.head, "turn": self._place.turn}

        async def end(connection: AsyncConnection) -> None:
            moved = (await connection.execute(_END, values)).scalar_one()
            if not moved and not await self._is_stored(connection, rows):
                raise Conflict("The session has gone on in the meantime; this turn was not stored.")

        return (end, *self._blob_writes(blobs))

    def break_off(self, item: NewItem, begun: Begun, *, call: CallId) -> Sequence[Write]:
        """Add what there is of an answer that broke off; the turn stays open for the next one to drop or continue."""
        rows, blobs = self._rows([item], head=begun.head, parent=begun.input_end, call=call)
        values = {**rows, "head": begun.head + 1, "expected": begun.head, "turn": self._place.turn}

        async def break_off(connection: AsyncConnection) -> None:
            moved = (await connection.execute(_BREAK_OFF, values)).scalar_one()
            if not moved and not await self._is_stored(connection, rows):
                raise Conflict("The session has gone on in the meantime.")

        return (break_off, *self._blob_writes(blobs))

    def _of_branch(self) -> dict[str, object]:
        place = self._place
        return {"session": place.session, "project": place.project, "branch": place.branch}

    def _rows(
        self, items: Sequence[NewItem], *, head: int, parent: int, call: CallId, first: ItemId | None = None
    ) -> tuple[dict[str, object], Sequence[Blob]]:
        """The items' columns, numbered from behind `head`, each the parent of the next; `first` is the first's id."""
        ids: list[ItemId] = [new_item_id() for _ in items]
        if first is not None and ids:
            ids[0] = first
        blobs: list[Blob] = []
        sealed: list[bytes] = []
        for item, name in zip(items, ids, strict=True):
            content, large = sealed_message(item.message, name, self._cipher)
            sealed.append(content)
            blobs.extend(large)
        seqs = list(range(head + 1, head + 1 + len(items)))
        rows: dict[str, object] = {
            **self._of_branch(),
            "call": call,
            "invocation": self._place.invocation,
            "schema_version": SCHEMA_VERSION,
            "seqs": seqs,
            "ids": ids,
            "parents": [parent or None, *seqs[:-1]][: len(items)],
            "kinds": [item.kind.value for item in items],
            "roles": [item.message.role.value for item in items],
            "sealed": sealed,
            "statuses": [item.status.value for item in items],
            "reasons": [item.stop_reason.value if item.stop_reason else None for item in items],
            "usages": [msgspec.json.encode(item.usage).decode() if item.usage else None for item in items],
            "pinned": [item.pinned for item in items],
            "covers": [item.covers_seq for item in items],
        }
        return rows, blobs

    def _blob_writes(self, blobs: Sequence[Blob]) -> Sequence[Write]:
        if not blobs:
            return ()
        place = self._place
        rows = [
            {
                "session": place.session,
                "project": place.project,
                "id": blob.id,
                "size_bytes": len(blob.data),
                "sealed": self._cipher.seal(blob.data, blob.id),
            }
            for blob in blobs
        ]

        async def add(connection: AsyncConnection) -> None:
            await connection.execute(_ADD_BLOB, rows)

        return (add,)

    async def _is_stored(self, connection: AsyncConnection, rows: dict[str, object]) -> bool:
        """Whether an earlier attempt at these very rows succeeded: their ids are made once."""
        ids = rows["ids"]
        if not isinstance(ids, list) or not ids:
            return False
        found = await connection.execute(_STORED, {**self._of_branch(), "id": ids[0]})
        return found.first() is not None


__all__ = ["Begun", "Place", "TurnWrites"]
