"""Sessions as things that are made, found, changed, ended and deleted; what is said in them is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest, NotFound
from bedplate_core.ids import KeyId, ProjectId, SessionId, new_session_id
from bedplate_sessions.durable import Durable, Write
from bedplate_sessions.keys.cipher import Cipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.session import Face, NewSession, Session, SessionPage, SessionPlace, SessionStatus
from bedplate_store.database import Database

MAX_PAGE: Final = 1000

# Written once: whatever reads or writes a session asks the same question of it.
IS_EXPIRED: Final = (
    "(coalesce(session.expires_at <= now(), false) "
    "or coalesce(session.updated_at + make_interval(secs => session.idle_timeout_s) <= now(), false))"
)
IS_WRITABLE: Final = f"(session.ended_at is null and not {IS_EXPIRED})"
_COLUMNS: Final = (
    "id, face, created_at, updated_at, metadata::text as metadata, tags::text as tags, encryption_key_arn, "
    "idle_timeout_s, expires_at, legal_hold, "
    f"case when ended_at is not null then 'ended' when {IS_EXPIRED} then 'expired' else 'active' end as status"
)
_ADD: Final = text(
    "insert into session (id, project_id, created_by, face, metadata, tags, encryption_key_arn, idle_timeout_s, "
    "expires_at) values (:session, :project, :key, :face, cast(:metadata as jsonb), cast(:tags as jsonb), :arn, "
    ":idle_timeout_s, now() + make_interval(secs => :lifetime_s)) on conflict (id) do nothing"
)
_ADD_BRANCH: Final = text(
    "insert into session_branch (session_id, branch, project_id, head) values (:session, 0, :project, 0) "
    "on conflict (session_id, branch) do nothing"
)
_GET: Final = text(f"select {_COLUMNS} from session where id = :session and project_id = :project")  # noqa: S608 - constants
_LIST: Final = text(
    f"select {_COLUMNS} from session where project_id = :project "  # noqa: S608 - constants
    "and (cast(:metadata as jsonb) is null or metadata @> cast(:metadata as jsonb)) "
    "and (cast(:after_id as text) is null or (created_at, id) < (cast(:after_time as timestamptz), :after_id)) "
    "order by created_at desc, id desc limit :limit"
)
_UPDATE: Final = text(
    "update session set metadata = coalesce(cast(:metadata as jsonb), metadata), "  # noqa: S608 - constants
    "updated_at = greatest(updated_at, now()) where id = :session and project_id = :project "
    f"and {IS_WRITABLE} returning {_COLUMNS}"
)
_TAGS: Final = text(
    f"update session set tags = cast(:tags as jsonb) where id = :session and project_id = :project returning {_COLUMNS}"  # noqa: S608 - constants
)
_END: Final = text(
    "update session set ended_at = coalesce(ended_at, now()) where id = :session and project_id = :project "  # noqa: S608 - constants
    f"returning {_COLUMNS}"
)
_HOLD: Final = text(
    "update session set legal_hold = :hold where id = :session and project_id = :project "  # noqa: S608 - constants
    f"returning {_COLUMNS}"
)
_LOCK_BRANCHES: Final = text(
    "select 1 from session_branch where session_id = :session and project_id = :project order by branch for update"
)
_LOCK: Final = text(
    f"select {_COLUMNS} from session where id = :session and project_id = :project for update"  # noqa: S608 - constants
)
_DELETE: Final = (
    text("delete from stored_reply where session_id = :session and project_id = :project"),
    text("delete from stored_response where session_id = :session and project_id = :project"),
    text("delete from session where id = :session and project_id = :project"),
)
_METADATA: Final = msgspec.json.Decoder(dict[str, str])


class SessionRegistry:
    """Makes, finds, changes and deletes sessions. Safe for concurrent use within one event loop.

    Every method raises `NotFound` for an unknown session and for another project's, and `StoreUnavailable`.
    """

    def __init__(self, database: Database, durable: Durable, keys: DataKeys) -> None:
        self._database = database
        self._durable = durable
        self._keys = keys

    async def create(self, project: ProjectId, key: KeyId, new: NewSession) -> Session:
        """A new session, durable when this returns."""
        session, _, writes = await self.begin(project, key, new)
        await self._durable.commit(project, writes, what="this session")
        return await self.get(project, session)

    async def begin(self, project: ProjectId, key: KeyId, new: NewSession) -> tuple[SessionId, Cipher, Sequence[Write]]:
        """The id and the cipher of a session that does not exist before the writes were run."""
        session = new_session_id()
        cipher, keep_key = await self._keys.create(project, session)

        async def add(connection: AsyncConnection) -> None:
            row = {
                "session": session,
                "project": project,
                "key": key,
                "face": new.face.value,
                "metadata": _text(new.metadata),
                "tags": _text(new.tags),
                "arn": new.encryption_key_arn,
                "idle_timeout_s": new.idle_timeout_s,
                "lifetime_s": new.lifetime_s,
            }
            await connection.execute(_ADD, row)
            await connection.execute(_ADD_BRANCH, {"session": session, "project": project})

        return session, cipher, (add,) if keep_key is None else (keep_key, add)

    async def get(self, project: ProjectId, session: SessionId) -> Session:
        """The session."""
        async with self._database.transaction(project) as connection:
            return await find(connection, project, session)

    async def page(
        self,
        project: ProjectId,
        *,
        limit: int,
        after: SessionPlace | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SessionPage:
        """Up to `limit` (1 to 1000) sessions of the project, newest first, behind the place `after`.

        `metadata`: only sessions that have all these entries.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
        wanted = _text(metadata) if metadata else None
        async with self._database.transaction(project) as connection:
            found = await connection.execute(
                _LIST,
                {
                    "project": project,
                    "after_time": after.created_at if after is not None else None,
                    "after_id": after.id if after is not None else None,
                    "metadata": wanted,
                    "limit": limit + 1,
                },
            )
            sessions = [decoded(row) for row in found.mappings()]
        last = sessions[limit - 1] if len(sessions) > limit else None
        return SessionPage(
            sessions=tuple(sessions[:limit]),
            next_after=SessionPlace(last.created_at, last.id) if last is not None else None,
        )

    async def replace_metadata(
        self, project: ProjectId, session: SessionId, metadata: Mapping[str, str] | None
    ) -> Session:
        """The session with `metadata` in place of what it had; None only counts as activity.

        Raises `Conflict` when the session has ended or expired.
        """
        values = {"session": session, "project": project, "metadata": None if metadata is None else _text(metadata)}
        async with self._database.transaction(project) as connection:
            row = (await connection.execute(_UPDATE, values)).mappings().first()
            if row is None:
                require_writable(await find(connection, project, session))
                raise Conflict("This session changed in the meantime; try again.")
            return decoded(row)

    async def replace_tags(self, project: ProjectId, session: SessionId, tags: Mapping[str, str]) -> Session:
        """The session with `tags` in place of what it had. They are no part of its content and can always change."""
        return await self._change(_TAGS, project, session, tags=_text(tags))

    async def end(self, project: ProjectId, session: SessionId) -> Session:
        """The session, which can only be read from now on. A turn under way is still stored. Idempotent."""
        return await self._change(_END, project, session)

    async def hold(self, project: ProjectId, session: SessionId, *, hold: bool) -> Session:
        """The session, which under a legal hold nothing and nobody deletes."""
        return await self._change(_HOLD, project, session, hold=hold)

    async def delete(self, project: ProjectId, session: SessionId, *, only_inactive: bool = False) -> None:
        """Delete the session with all its content, and destroy its data key.

        Raises `Conflict` under a legal hold, and with `only_inactive` while the session is active. A turn under way
        ends in `Conflict`.
        """
        _require_deletable(await self.get(project, session), only_inactive=only_inactive)
        destroy_key = await self._keys.destroy(project, (session,))

        async def delete(connection: AsyncConnection) -> None:
            of_session = {"session": session, "project": project}
            await connection.execute(_LOCK_BRANCHES, of_session)  # in the order in which a turn takes them
            row = (await connection.execute(_LOCK, of_session)).mappings().first()
            if row is None:
                return  # an earlier attempt succeeded
            _require_deletable(decoded(row), only_inactive=only_inactive)
            if destroy_key is not None:
                await destroy_key(connection)
            for statement in _DELETE:
                await connection.execute(statement, of_session)

        await self._durable.commit(project, (delete,), what="the deletion")

    async def _change(
        self, statement: TextClause, project: ProjectId, session: SessionId, **values: str | bool
    ) -> Session:
        async with self._database.transaction(project) as connection:
            found = await connection.execute(statement, {"session": session, "project": project, **values})
            row = found.mappings().first()
        if row is None:
            raise unknown()
        return decoded(row)


async def find(connection: AsyncConnection, project: ProjectId, session: SessionId) -> Session:
    """The session, read in a transaction of its project. Raises `NotFound`."""
    found = await connection.execute(_GET, {"session": session, "project": project})
    row = found.mappings().first()
    if row is None:
        raise unknown()
    return decoded(row)


def decoded(row: RowMapping) -> Session:
    """The session in `row`."""
    return Session(
        id=SessionId(row["id"]),
        face=Face(row["face"]),
        status=SessionStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        metadata=_METADATA.decode(row["metadata"]),
        tags=_METADATA.decode(row["tags"]),
        encryption_key_arn=row["encryption_key_arn"],
        idle_timeout_s=row["idle_timeout_s"],
        expires_at=row["expires_at"],
        legal_hold=row["legal_hold"],
    )


def require_writable(session: Session) -> None:
    """Raise `Conflict` unless the session is active."""
    match session.status:
        case SessionStatus.ACTIVE:
            pass
        case SessionStatus.ENDED:
            raise Conflict("This session has ended and can only be read.")
        case SessionStatus.EXPIRED:
            raise Conflict("This session has expired and can only be read.")


def _require_deletable(session: Session, *, only_inactive: bool) -> None:
    if session.legal_hold:
        raise Conflict("This session is under a legal hold and cannot be deleted.")
    if only_inactive and session.status is SessionStatus.ACTIVE:
        raise Conflict("This session is active; end it before you delete it.")


def unknown() -> NotFound:
    """The error for a session that does not exist, or not for this project."""
    return NotFound("There is no session with this id in your project.")


def _text(values: Mapping[str, str]) -> str:
    for name, value in values.items():
        if "\0" in name or "\0" in value:  # Postgres has no text with this character in it
            raise InvalidRequest("metadata and tags cannot hold the character U+0000")
    return msgspec.json.encode(values).decode()


__all__ = [
    "IS_WRITABLE",
    "MAX_PAGE",
    "SessionRegistry",
    "decoded",
    "find",
    "require_writable",
    "unknown",
]
