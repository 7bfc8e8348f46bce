"""Items that are added to a session without asking a model, and items that are taken out of it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, NotFound
from bedplate_core.ids import CallId, ItemId, KeyId, ProjectId, SessionId
from bedplate_core.messages import Message, RedactedReasoning
from bedplate_sessions.durable import Write
from bedplate_sessions.item_rows import ITEM_COLUMNS, blob_ids, decoded
from bedplate_sessions.items import Item, ItemKind, NewItem
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.registry import IS_WRITABLE, find, require_writable
from bedplate_sessions.session import NewSession, Session
from bedplate_sessions.store import Sessions
from bedplate_sessions.turn_writes import Place, TurnWrites
from bedplate_store.database import Database
from bedplate_store.locks import KeyedLocks

MAIN_BRANCH: Final = 0
"""A conversation is the branch that its session began with."""

REMOVED: Final = RedactedReasoning(data=b"", origin="bedplate/removed")
"""Stands where a part of a message was deleted, so that what is left keeps its place in the message.

Reasoning of that kind is sent to its origin only, so this is never sent to anyone.
"""

# What is appended is a turn without an answer: it is over as soon as its items are there.
_CLOSE: Final = text(
    "update session_branch set turn_call = null, turn_from = null, turn_input = null "
    "where session_id = :session and project_id = :project and branch = :branch and turn_call = :turn "
    "and head = :head"
)
# Locks the session's row, so that neither a legal hold nor the session's end comes between the check and the deletion.
_CHANGE: Final = text(
    "update session set updated_at = greatest(updated_at, now()) "  # noqa: S608 - constants
    f"where id = :session and project_id = :project and {IS_WRITABLE} and not legal_hold returning 1"
)
_LOCK_ITEM: Final = text(
    f"select {ITEM_COLUMNS}, payload is not null as has_payload from session_item "  # noqa: S608 - constants
    "where session_id = :session and project_id = :project and branch = :branch and id = :item "
    "and status <> 'dropped' and deleted_at is null for update"
)
_OF_ITEM: Final = "where session_id = :session and project_id = :project and id = :item"
_REPLACE: Final = text(f"update session_item set sealed = :sealed {_OF_ITEM}")  # noqa: S608 - constants
_DELETE: Final = text(f"update session_item set sealed = null, deleted_at = now() {_OF_ITEM}")  # noqa: S608 - constants
_FORGET_PAYLOAD: Final = text(f"update session_item set payload = null {_OF_ITEM}")  # noqa: S608 - constants
_DELETE_BLOBS: Final = text(
    "delete from session_blob where session_id = :session and project_id = :project and id = any(:ids)"
)


class ConversationItems:
    """Adds items to the main branch of sessions and deletes them. Safe for concurrent use within one event loop.

    Every method raises `NotFound` for an unknown session and for another project's, `Conflict` for one that has ended
    or expired, and `StoreUnavailable`; nothing is stored then, unless the error says that it is not known.
    """

    def __init__(self, database: Database, locks: KeyedLocks, keys: DataKeys, sessions: Sessions) -> None:
        self._database = database
        self._locks = locks
        self._keys = keys
        self._sessions = sessions

    async def create(
        self, project: ProjectId, key: KeyId, new: NewSession, messages: Sequence[Message], *, call: CallId
    ) -> Session:
        """A new session that holds `messages`, in one transaction: both are there or neither."""
        registry = self._sessions.registry
        session, cipher, made = await registry.begin(project, key, new)
        place = Place(project=project, session=session, branch=MAIN_BRANCH, turn=call)
        added = _additions(place, cipher, messages, head=0, began_after=0) if messages else ()
        await self._sessions.durable.commit(project, (*made, *added), what="this conversation")
        return await registry.get(project, session)

    async def append(
        self, project: ProjectId, session: SessionId, messages: Sequence[Message], *, call: CallId, wait_s: float
    ) -> Sequence[Item]:
        """The items that `messages`, at least one, have become at the end of the conversation.

        They are one invocation under the name of `call`. A turn that is running is waited for up to `wait_s` seconds;
        one that broke off is dropped, as the next turn would have done. Raises `Conflict` as well when the other turn
        did not end in time or the conversation has gone on meanwhile. A cancellation arrives after the end.
        """
        lock = await self._locks.acquire(("session", project, session, str(MAIN_BRANCH)), wait_s=wait_s)
        try:
            async with self._database.transaction(project) as connection:
                require_writable(await find(connection, project, session))
                line = await self._sessions.reader.line(connection, project, session, MAIN_BRANCH)
                cipher = await self._keys.cipher(project, session, connection)
            began_after = line.head if line.turn is None else line.turn.began_after
            place = Place(project=project, session=session, branch=MAIN_BRANCH, turn=call)
            added = _additions(place, cipher, messages, head=line.head, began_after=began_after)
            stored: list[Item] = []

            async def read(connection: AsyncConnection) -> None:
                now = await self._sessions.reader.line(connection, project, session, MAIN_BRANCH)
                stored[:] = await self._sessions.reader.read(
                    connection,
                    project,
                    session,
                    now.upto(line.head + len(messages)),
                    after_seq=line.head,
                    limit=len(messages),
                    newest_first=False,
                )

            await self._sessions.durable.commit(project, (*added, read), what="these items")
            return stored
        finally:
            await lock.release()

    async def delete(
        self,
        project: ProjectId,
        session: SessionId,
        item: ItemId,
        without: Callable[[Message], Message | None],
    ) -> None:
        """Destroy what `without` leaves out of the item's message; None: all of it, and the item is gone.

        Its large media are named only in the message that `without` is given. No turn is waited for: one that is
        running goes on with what it has read. Raises `NotFound` for an item that is not in the conversation and what
        `without` raises, and `Conflict` under a legal hold.
        """
        of_session = {"session": session, "project": project}
        of_item = {**of_session, "item": item}
        async with self._database.transaction(project) as connection:
            if (await connection.execute(_CHANGE, of_session)).first() is None:
                raise _refusal(await find(connection, project, session))
            found = await connection.execute(_LOCK_ITEM, {**of_item, "branch": MAIN_BRANCH})
            row = found.mappings().first()
            if row is None or row["kind"] != ItemKind.MESSAGE:
                raise NotFound("There is no item with this id in the conversation.")
            cipher = await self._keys.cipher(project, session, connection)
            message = decoded(row, cipher).message
            left = without(message)
            if left is None:
                await connection.execute(_DELETE, of_item)
            else:
                sealed = cipher.seal(msgspec.json.encode(left), item)
                await connection.execute(_REPLACE, {**of_item, "sealed": sealed})
            if row["has_payload"]:
                await connection.execute(_FORGET_PAYLOAD, of_item)
            unused = set(blob_ids(message)) - set(() if left is None else blob_ids(left))
            if unused:
                await connection.execute(_DELETE_BLOBS, {**of_session, "ids": sorted(unused)})


def _additions(
    place: Place, cipher: Cipher, messages: Sequence[Message], *, head: int, began_after: int
) -> Sequence[Write]:
    """The writes of a turn that begins with `messages` behind `head` and is over."""
    begun, writes = TurnWrites(place, cipher).begin(
        [NewItem(message=message) for message in messages], head=head, began_after=began_after
    )
    values = {
        "session": place.session,
        "project": place.project,
        "branch": place.branch,
        "turn": place.turn,
        "head": begun.head,
    }

    async def close(connection: AsyncConnection) -> None:
        # No row when an earlier attempt had succeeded and the conversation has gone on since.
        await connection.execute(_CLOSE, values)

    return (*writes, close)


def _refusal(session: Session) -> Conflict:
    """Why nothing can be deleted from the session. Raises it when it has ended or expired."""
    require_writable(session)
    if session.legal_hold:
        return Conflict("This session is under a legal hold: nothing can be deleted from it.")
    return Conflict("This session changed in the meantime; try again.")


__all__ = ["MAIN_BRANCH", "REMOVED", "ConversationItems"]
