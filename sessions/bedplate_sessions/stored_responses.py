"""Responses that can be read again, deleted and built on, each visible to its own project only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest, NotFound
from bedplate_core.ids import KeyId, ProjectId, SessionId
from bedplate_core.requests import Request
from bedplate_sessions.durable import Write
from bedplate_sessions.keys.cipher import Cipher, PlainCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.response_rows import RESPONSE_COLUMNS, Ancestor, StoredResponse, ancestor, decoded, encoded
from bedplate_sessions.response_turn import Keep, ResponseTurn
from bedplate_store.database import Database

RETENTION_S: Final = 30 * 24 * 3600.0
"""How long a response is kept after it, or one that builds on it, was stored."""

MAX_CHAIN: Final = 1000
"""How many responses a new one may build on."""

MAX_CHAIN_BYTES: Final = 64 * 1024 * 1024
"""How much those responses may hold together, as stored."""

_ID: Final = re.compile(r"resp_[0-9a-f]{32}")
_PARENT: Final = "previous_response_id"

_ADD = text(
    "insert into stored_response (id, project_id, parent_id, created_by, model, created_s, sealed, key_owner, "
    "session_id, stop_reason, usage, schema_version, size_bytes, expires_at) values (:id, :project, :parent, :key, "
    ":model, :created_s, :sealed, :owner, :session, :stop_reason, cast(:usage as json), "
    ":schema_version, :size_bytes, now() + make_interval(secs => :retention_s)) "
    "on conflict (id) do nothing"
)
# Once a day at most for each: a row that is rewritten with every turn would make long conversations slow. A row that is
# locked is being kept by another turn; waiting for it could end in a deadlock.
_KEEP = text(
    "update stored_response set expires_at = now() + make_interval(secs => :retention_s) where id in ("
    "select id from stored_response where project_id = :project and id = any(:ids) "
    "and expires_at < now() + make_interval(secs => :retention_s) - interval '1 day' for update skip locked)"
)
_READ = text(
    f"select {RESPONSE_COLUMNS} from stored_response "  # noqa: S608 - constants
    "where id = :id and project_id = :project and expires_at > now()"
)
# Whoever deletes the last response of a chain destroys the chain's key, which a new response was sealed under.
_HOLD_PARENT = text("select 1 from stored_response where id = :parent and project_id = :project for key share")
_OWNER = text(
    "select key_owner, session_id, coalesce((select legal_hold from session where session.id = session_id "
    "and session.project_id = :project for share), false) as legal_hold "
    "from stored_response where id = :id and project_id = :project and expires_at > now()"
)
# In order, so that two deletions of a chain wait for each other and the later one finds itself to be the last.
_LOCK_CHAIN = text(
    "select id from stored_response where project_id = :project and key_owner = :owner order by id for update"
)
_OTHERS = text("select 1 from stored_response where project_id = :project and key_owner = :owner and id <> :id limit 1")
_DELETE = text("delete from stored_response where id = :id and project_id = :project and expires_at > now()")
# The walk carries no contents, so that a chain that is too large is found out before it is read.
_CHAIN = text(
    "with recursive chain as ("
    "select id, parent_id, session_id, 1 as depth, size_bytes as total from stored_response "
    "where id = :id and project_id = :project and expires_at > now() "
    "union all "
    "select older.id, older.parent_id, older.session_id, chain.depth + 1, chain.total + older.size_bytes "
    "from chain join stored_response older on older.id = chain.parent_id and older.project_id = :project "
    "and older.expires_at > now() "
    "where chain.depth <= :max_depth and chain.total <= :max_bytes) "
    "select id, parent_id, session_id, depth, total from chain order by depth desc"
)
_CONTENTS = text(
    f"select {RESPONSE_COLUMNS} from stored_response "  # noqa: S608 - constants
    "where project_id = :project and id = any(:ids)"
)


class StoredResponses:
    """Opens turns that build on responses, and reads and deletes them. Safe for concurrent use in one event loop.

    `retention_s` says how long a project's responses are kept; what one builds on is kept as long as it.
    """

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        *,
        retention_s: Callable[[ProjectId], float] = lambda _: RETENTION_S,
        max_chain: int = MAX_CHAIN,
        max_chain_bytes: int = MAX_CHAIN_BYTES,
    ) -> None:
        self._database = database
        self._keys = keys
        self._retention_s = retention_s
        self._max_chain = max_chain
        self._max_chain_bytes = max_chain_bytes

    async def open_turn(
        self,
        *,
        project: ProjectId,
        key: KeyId,
        response_id: str,
        previous: str | None,
        store: bool,
        instructions: int,
        settings: Callable[[Request], bytes],
    ) -> ResponseTurn:
        """The turn that will answer as `response_id`, building on the response `previous` and those before it.

        `instructions` is how many of the request's first messages are instructions: they stand before everything
        else and are not carried on. `settings` makes what is stored beside the answer from the request as the policy
        let it through. Raises `NotFound` when `previous`, or one that it builds on, is unknown, another project's,
        deleted or expired; `InvalidRequest` when the chain is too long or too large, or `previous` is part of a
        conversation; `StoreUnavailable`.
        """
        chain = () if previous is None else await self._chain(project, previous)
        keep = await self._keep(project, key, response_id, chain) if store else None
        return ResponseTurn(
            response_id=response_id, chain=chain, instructions=instructions, settings=settings, keep=keep
        )

    async def keep_in_session(self, project: ProjectId, key: KeyId, session: SessionId) -> Keep:
        """How responses that are turns of `session` are stored: under its key, and deleted with it.

        Raises `StoreUnavailable` and `ContentUnreadable`.
        """
        cipher = await self._keys.cipher(project, session)

        def keep(response: StoredResponse) -> Write:
            row = {"project": project, "key": key, "owner": session, "session": session}
            return self._store(project, {**encoded(response, cipher), **row}, (), None)

        return keep

    async def _keep(self, project: ProjectId, key: KeyId, response_id: str, chain: Sequence[Ancestor]) -> Keep:
        """How a response is stored: under the key of its chain, or under a new one."""
        owners = [each.key_owner for each in chain if each.key_owner is not None]
        keep_key = None
        if owners:
            owner = owners[-1]
            cipher = await self._keys.cipher(project, owner)
        else:
            owner = response_id
            cipher, keep_key = await self._keys.create(project, owner)

        def keep(response: StoredResponse) -> Write:
            row = {"project": project, "key": key, "owner": owner, "session": None}
            return self._store(project, {**encoded(response, cipher), **row}, [each.id for each in chain], keep_key)

        return keep

    async def read(self, *, project: ProjectId, response_id: str) -> StoredResponse:
        """The response. Raises `NotFound` (the same for an unknown one and another project's), `StoreUnavailable`."""
        _require_id(response_id, None)
        async with self._database.transaction(project) as connection:
            found = await connection.execute(_READ, {"id": response_id, "project": project})
            row = found.mappings().first()
            if row is None:
                raise _unknown(None)
            return decoded(row, await self._cipher(project, row["key_owner"], connection))

    async def delete(self, *, project: ProjectId, response_id: str) -> None:
        """Remove the response and its contents for good; those that build on it can be read but not continued.

        With the last response of a chain its data key is destroyed. Raises like `read`, and `Conflict` for a response
        of a conversation that is under a legal hold.
        """
        _require_id(response_id, None)
        this = {"id": response_id, "project": project}
        async with self._database.transaction(project) as connection:
            found = (await connection.execute(_OWNER, this)).mappings().first()
            if found is None:
                raise _unknown(None)
            if found["legal_hold"]:
                raise Conflict("This response belongs to a conversation under a legal hold and cannot be deleted.")
            owner = found["key_owner"]
            if owner is not None and found["session_id"] is None:
                of_chain = {**this, "owner": owner}
                await connection.execute(_LOCK_CHAIN, of_chain)
                if (await connection.execute(_OTHERS, of_chain)).first() is None:
                    destroy_key = await self._keys.destroy(project, (owner,))
                    if destroy_key is not None:
                        await destroy_key(connection)
            deleted = await connection.execute(_DELETE, this)
            if deleted.rowcount == 0:
                raise _unknown(None)

    async def _chain(self, project: ProjectId, previous: str) -> Sequence[Ancestor]:
        """The response `previous` and all it builds on, oldest first."""
        _require_id(previous, _PARENT)
        bounds = {"max_depth": self._max_chain, "max_bytes": self._max_chain_bytes}
        async with self._database.transaction(project) as connection:
            walked = await connection.execute(_CHAIN, {"id": previous, "project": project, **bounds})
            steps = walked.mappings().all()
            if not steps:
                raise _unknown(_PARENT)
            oldest = steps[0]
            if steps[-1]["session_id"] is not None:
                raise InvalidRequest(
                    f"{_PARENT}: this response is part of a conversation; send `conversation` to go on with it",
                    param=_PARENT,
                )
            if oldest["depth"] > self._max_chain:
                raise InvalidRequest(
                    f"{_PARENT}: this conversation has more than {self._max_chain} responses; begin another",
                    param=_PARENT,
                )
            if oldest["total"] > self._max_chain_bytes:
                raise InvalidRequest(
                    f"{_PARENT}: this conversation holds more than {self._max_chain_bytes} bytes; begin another",
                    param=_PARENT,
                )
            if oldest["parent_id"] is not None:
                raise NotFound(
                    f"{_PARENT}: a response that this one builds on was deleted or has expired", param=_PARENT
                )
            ids = [step["id"] for step in steps]
            read = await connection.execute(_CONTENTS, {"project": project, "ids": ids})
            rows = read.mappings().all()
            ciphers = {
                owner: await self._cipher(project, owner, connection) for owner in {row["key_owner"] for row in rows}
            }
            found = {row["id"]: ancestor(row, ciphers[row["key_owner"]]) for row in rows}
        if len(found) < len(ids):  # one was deleted between the two statements
            raise NotFound(f"{_PARENT}: a response that this one builds on was deleted or has expired", param=_PARENT)
        return tuple(found[each] for each in ids)

    async def _cipher(self, project: ProjectId, owner: str | None, connection: AsyncConnection) -> Cipher:
        """The owner's cipher. A row of version 0003 has no owner and is not encrypted."""
        return PlainCipher() if owner is None else await self._keys.cipher(project, owner, connection)

    def _store(
        self,
        project: ProjectId,
        row: dict[str, str | int | bytes | None],
        chain: Sequence[str],
        keep_key: Write | None,
    ) -> Write:
        values = {**row, "retention_s": self._retention_s(project)}
        kept = {"project": project, "retention_s": self._retention_s(project), "ids": list(chain)}

        async def store(connection: AsyncConnection) -> None:
            if keep_key is not None:
                await keep_key(connection)
            # An earlier attempt whose outcome is not known has the same id: there is nothing left to do then.
            if (await connection.execute(_ADD, values)).rowcount and chain:
                if (await connection.execute(_HOLD_PARENT, values)).first() is None:
                    raise Conflict("The response that this one builds on was deleted; this one was not stored.")
                await connection.execute(_KEEP, kept)

        return store


def _require_id(response_id: str, param: str | None) -> None:
    """Raise `NotFound` for what cannot be an id: not everything that a client sends is a text for Postgres."""
    if _ID.fullmatch(response_id) is None:
        raise _unknown(param)


def _unknown(param: str | None) -> NotFound:
    where = f"{param}: there" if param else "There"
    return NotFound(f"{where} is no response with this id in your project.", param=param)


__all__ = ["MAX_CHAIN", "MAX_CHAIN_BYTES", "RETENTION_S", "StoredResponses"]
