"""What calls with an idempotency key answered, so that a retry gets the same bytes again.

A key belongs to whoever holds its lock (`bedplate_store.locks`). Its row is made before the call runs and filled in the
transaction that makes the call's turn and record durable, so there is never one without the other. A row that is not
filled when its lock is free belongs to a call that ended in an error, or whose process died: the next one takes it
over, and with it the turn that was begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, IdempotencyMismatch, PayloadTooLarge
from bedplate_core.ids import CallId, ProjectId, SessionId
from bedplate_sessions.durable import Write
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.limits import SessionLimits
from bedplate_store.database import Database

_OWNER_PREFIX: Final = "reply_"
_HEADERS: Final = msgspec.json.Decoder(dict[str, str])

_OF_KEY: Final = "project_id = :project and key = :key"
_SAME: Final = "stored_reply.expires_at > now() and stored_reply.request_hash = excluded.request_hash"
_CLAIM: Final = text(
    f"with old as (select key_owner from stored_reply where {_OF_KEY}), "  # noqa: S608 - constants
    "claimed as (insert into stored_reply "
    "(project_id, key, request_hash, call_id, turn_call, expires_at) "
    "values (:project, :key, :request_hash, :call, :call, now() + make_interval(secs => :retention_s)) "
    "on conflict (project_id, key) do update set request_hash = excluded.request_hash, call_id = excluded.call_id, "
    f"turn_call = case when {_SAME} then stored_reply.turn_call else excluded.turn_call end, "
    f"session_id = case when {_SAME} then stored_reply.session_id end, "
    "key_owner = null, status = null, headers = null, sealed = null, created_at = now(), "
    "expires_at = excluded.expires_at "
    "where stored_reply.status is null or stored_reply.expires_at <= now() "
    "returning turn_call, session_id) "
    "select claimed.turn_call, (select key_owner from old) as key_owner, "
    "(select id from session where id = claimed.session_id and project_id = :project) as session_id from claimed"
)
_NOTE: Final = text(
    f"update stored_reply set session_id = :session where {_OF_KEY} and call_id = :call and status is null"  # noqa: S608 - constants
)
_END: Final = text(
    "update stored_reply set status = :status, headers = cast(:headers as json), sealed = :sealed, "  # noqa: S608 - constants
    "session_id = :session, key_owner = :owner, expires_at = now() + make_interval(secs => :retention_s) "
    f"where {_OF_KEY} and call_id = :call and status is null"
)
# What was settled in the call's place has another status than the call's own reply.
_ENDED: Final = text(
    f"select 1 from stored_reply where {_OF_KEY} and call_id = :call and status = :status"  # noqa: S608 - constants
)
_READ: Final = text(
    "select request_hash, status, headers::text as headers, sealed, key_owner from stored_reply "  # noqa: S608 - constants
    f"where {_OF_KEY} and expires_at > now()"
)
_BEGIN: Final = text(
    "insert into stored_reply (project_id, key, request_hash, call_id, turn_call, session_id, key_owner, headers, "
    "sealed, expires_at) values (:project, :key, :request_hash, :call, :call, :session, :owner, "
    "cast(:headers as json), :sealed, now() + make_interval(secs => :retention_s)) "
    "on conflict (project_id, key) do nothing"
)
_STANDING: Final = text(
    "select status, headers::text as headers, sealed, key_owner from stored_reply "  # noqa: S608 - constants
    f"where {_OF_KEY} and expires_at > now()"
)
_SETTLE: Final = text(
    "update stored_reply set status = :status, headers = cast(:headers as json), sealed = :sealed "  # noqa: S608 - constants
    f"where {_OF_KEY} and status is null"
)
_DELETE: Final = text(f"delete from stored_reply where {_OF_KEY} returning key_owner")  # noqa: S608 - constants


class StoredReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer as it was sent: status, headers with lower-case names, and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What there is under a key: while its call is running, what is shown of it until it has answered."""

    running: bool
    reply: StoredReply


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A key that `call` is to answer.

    `turn` is the first call with the key, whose turn this one takes up; None when it is the first itself. `session` is
    the session that an earlier one had begun for it, if there is one still. `owner` has the data key that the reply is
    to be sealed under, where that is settled already.
    """

    project: ProjectId
    key: str
    call: CallId
    turn: CallId | None
    session: SessionId | None
    owner: str | None = None


class StoredReplies:
    """The replies of all projects, each visible to its own project only. Safe for concurrent use in one event loop.

    `key` is always a name that the caller made of the client's key; the client's own is not stored. Replies are kept
    for `limits.reply_retention_s` after they were given; one larger than `limits.reply_bytes` is only noted as given.
    """

    def __init__(self, database: Database, keys: DataKeys, *, limits: SessionLimits | None = None) -> None:
        self._database = database
        self._keys = keys
        self._limits = limits or SessionLimits()

    async def claim(self, project: ProjectId, key: str, request_hash: bytes, call: CallId) -> Claim | StoredReply:
        """The key for `call`, or what was answered under it. To be asked by the holder of the key's lock.

        A key whose reply has expired, or that another request held without an answer, counts as new. Raises
        `IdempotencyMismatch` when another request was answered under it, `PayloadTooLarge` when the reply was too large
        to be kept, `StoreUnavailable`, and `ContentUnreadable`.
        """
        values = {**_place(project, key), "request_hash": request_hash, "call": call, **self._retention}
        async with self._database.transaction(project) as connection:
            row = (await connection.execute(_CLAIM, values)).mappings().first()
            if row is None:
                found = await self._read(connection, project, key, request_hash)
                if found is None:
                    raise Conflict("The answer to this idempotency key is being removed; try again.", retry_after_s=1.0)
                return found
            await self._destroy_key(connection, project, row["key_owner"])
            turn, session = row["turn_call"], row["session_id"]
        return Claim(
            project=project,
            key=key,
            call=call,
            turn=None if turn == call else CallId(turn),
            session=None if session is None else SessionId(session),
        )

    async def read(self, project: ProjectId, key: str, request_hash: bytes | None) -> StoredReply | None:
        """What was answered under the key; None when nothing was, or not yet.

        With a `request_hash`, raises `IdempotencyMismatch` also while another request is being answered. Raises like
        `claim` otherwise.
        """
        async with self._database.transaction(project) as connection:
            return await self._read(connection, project, key, request_hash)

    async def note_session(self, claim: Claim, session: SessionId) -> None:
        """Remember that the call is about to begin `session`, for whoever takes the key over.

        Raises `StoreUnavailable`.
        """
        async with self._database.transaction(claim.project) as connection:
            await connection.execute(
                _NOTE, {**_place(claim.project, claim.key), "call": claim.call, "session": session}
            )

    def ending(self, claim: Claim, reply: StoredReply, session: SessionId | None) -> Write:
        """What keeps `reply`, for the transaction of the call's end.

        `session` is the session that the call was a turn of: the reply is sealed under its key and deleted with it.
        Running the write raises `Conflict` when another call has taken the key over, or the session was deleted.
        """
        fits = len(reply.body) <= self._limits.reply_bytes
        own = _own_key(claim.call)
        owner = claim.owner or ((session or own) if fits else None)
        made: list[tuple[Cipher, Write | None]] = []

        async def cipher(connection: AsyncConnection) -> Cipher:
            known = claim.owner or session
            if known is not None:
                return await self._keys.cipher(claim.project, known, connection)
            if not made:  # once: an earlier attempt may have stored it
                made.append(await self._keys.create(claim.project, own))
            sealing, keep_key = made[0]
            if keep_key is not None:
                await keep_key(connection)
            return sealing

        async def store(connection: AsyncConnection) -> None:
            sealed = (await cipher(connection)).seal(reply.body, claim.key) if fits else None
            place = {**_place(claim.project, claim.key), "call": claim.call}
            values = {
                **place,
                **self._retention,
                "status": reply.status,
                "headers": msgspec.json.encode(reply.headers).decode(),
                "sealed": sealed,
                "session": session,
                "owner": owner,
            }
            if (await connection.execute(_END, values)).rowcount:
                return
            if (await connection.execute(_ENDED, {**place, "status": reply.status})).first() is None:
                raise Conflict("Another call with this idempotency key has taken over; send it again.")

        return store

    async def begin(
        self,
        project: ProjectId,
        key: str,
        call: CallId,
        shown: StoredReply,
        session: SessionId | None = None,
    ) -> tuple[Claim, Write]:
        """A claim of a key that nobody else knows yet, and the write that makes it durable.

        `shown` is what there is to see under the key until the call has answered. `session`: see `ending`. Raises
        `StoreUnavailable` and `ContentUnreadable`.
        """
        owner: str = session or f"{_own_key(call)}_background"  # the call's own may be that of its key
        keep_key: Write | None = None
        if session is not None:
            cipher = await self._keys.cipher(project, session)
        else:
            cipher, keep_key = await self._keys.create(project, owner)
        values = {
            **_place(project, key),
            **self._retention,
            "request_hash": b"",
            "call": call,
            "session": session,
            "owner": owner,
            "headers": msgspec.json.encode(shown.headers).decode(),
            "sealed": cipher.seal(shown.body, key),
        }

        async def begin(connection: AsyncConnection) -> None:
            if keep_key is not None:
                await keep_key(connection)
            await connection.execute(_BEGIN, values)

        return Claim(project=project, key=key, call=call, turn=None, session=session, owner=owner), begin

    async def standing(self, project: ProjectId, key: str) -> Standing | None:
        """What there is under a key that `begin` made; None when there is nothing.

        Raises `PayloadTooLarge` when the reply was too large to be kept, `StoreUnavailable`, `ContentUnreadable`.
        """
        async with self._database.transaction(project) as connection:
            row = (await connection.execute(_STANDING, _place(project, key))).mappings().first()
            if row is None:
                return None
            reply = await self._opened(connection, project, key, row)
        return Standing(running=row["status"] is None, reply=reply)

    async def settle(self, project: ProjectId, key: str, reply: StoredReply) -> bool:
        """Put `reply` under a key that `begin` made, whose call is running; whether it still was.

        That call cannot end well any more: what it would store is refused. The reply's status is not 200. Raises
        `StoreUnavailable` and `ContentUnreadable`.
        """
        async with self._database.transaction(project) as connection:
            row = (await connection.execute(_STANDING, _place(project, key))).mappings().first()
            if row is None or row["status"] is not None:
                return False
            cipher = await self._keys.cipher(project, row["key_owner"], connection)
            values = {
                **_place(project, key),
                "status": reply.status,
                "headers": msgspec.json.encode(reply.headers).decode(),
                "sealed": cipher.seal(reply.body, key),
            }
            return (await connection.execute(_SETTLE, values)).rowcount > 0

    def deletion(self, project: ProjectId, key: str) -> Write:
        """What removes the reply and, where it has one of its own, its data key."""

        async def delete(connection: AsyncConnection) -> None:
            row = (await connection.execute(_DELETE, _place(project, key))).mappings().first()
            if row is not None:
                await self._destroy_key(connection, project, row["key_owner"])

        return delete

    @property
    def _retention(self) -> dict[str, float]:
        return {"retention_s": self._limits.reply_retention_s}

    async def _read(
        self, connection: AsyncConnection, project: ProjectId, key: str, request_hash: bytes | None
    ) -> StoredReply | None:
        row = (await connection.execute(_READ, _place(project, key))).mappings().first()
        if row is None:
            return None
        if request_hash is not None and row["request_hash"] != request_hash:
            raise IdempotencyMismatch(
                "This idempotency key was used for another request; use a new key for a new request.",
                param="Idempotency-Key",
            )
        if row["status"] is None:
            return None
        return await self._opened(connection, project, key, row)

    async def _opened(self, connection: AsyncConnection, project: ProjectId, key: str, row: RowMapping) -> StoredReply:
        if row["sealed"] is None:
            raise PayloadTooLarge(
                f"The answer to this request was given and was too large to be kept ({self._limits.reply_bytes} bytes "
                "at most). If it was a turn of a session, the session has it.",
                param="Idempotency-Key",
            )
        cipher = await self._keys.cipher(project, row["key_owner"], connection)
        return StoredReply(
            status=row["status"] or 0, headers=_HEADERS.decode(row["headers"]), body=cipher.open(row["sealed"], key)
        )

    async def _destroy_key(self, connection: AsyncConnection, project: ProjectId, owner: str | None) -> None:
        """Destroy the data key of a reply that goes, unless it is the key of something that stays."""
        if owner is not None and owner.startswith(_OWNER_PREFIX):
            destroy = await self._keys.destroy(project, (owner,))
            if destroy is not None:
                await destroy(connection)


def _own_key(call: CallId) -> str:
    return f"{_OWNER_PREFIX}{call.removeprefix('req_')}"


def _place(project: ProjectId, key: str) -> dict[str, object]:
    return {"project": project, "key": key}


__all__ = ["Claim", "Standing", "StoredReplies", "StoredReply"]
