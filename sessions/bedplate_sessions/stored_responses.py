"""Responses that can be read again, deleted and built on, each visible to its own project only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import InvalidRequest, NotFound, StoreUnavailable
from bedplate_core.ids import KeyId, ProjectId
from bedplate_core.requests import Request
from bedplate_sessions.response_rows import Ancestor, StoredResponse, ancestor, decoded, encoded
from bedplate_sessions.response_turn import ResponseTurn
from bedplate_sessions.retried_commit import commit_retrying
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
    "insert into stored_response (id, project_id, parent_id, created_by, model, created_s, input, output, "
    "stop_reason, usage, settings, schema_version, size_bytes, expires_at) values (:id, :project, :parent, :key, "
    ":model, :created_s, cast(:input as json), cast(:output as json), :stop_reason, cast(:usage as json), "
    "cast(:settings as json), :schema_version, :size_bytes, now() + make_interval(secs => :retention_s)) "
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
    "select id, parent_id, model, created_s, input::text as input, output::text as output, stop_reason, "
    "usage::text as usage, settings::text as settings, schema_version from stored_response "
    "where id = :id and project_id = :project and expires_at > now()"
)
_DELETE = text("delete from stored_response where id = :id and project_id = :project and expires_at > now()")
# The walk carries no contents, so that a chain that is too large is found out before it is read.
_CHAIN = text(
    "with recursive chain as ("
    "select id, parent_id, 1 as depth, size_bytes as total from stored_response "
    "where id = :id and project_id = :project and expires_at > now() "
    "union all "
    "select older.id, older.parent_id, chain.depth + 1, chain.total + older.size_bytes "
    "from chain join stored_response older on older.id = chain.parent_id and older.project_id = :project "
    "and older.expires_at > now() "
    "where chain.depth <= :max_depth and chain.total <= :max_bytes) "
    "select id, parent_id, depth, total from chain order by depth desc"
)
_CONTENTS = text(
    "select id, parent_id, input::text as input, output::text as output, schema_version from stored_response "
    "where project_id = :project and id = any(:ids)"
)


class StoredResponses:
    """Opens turns that build on responses, and reads and deletes them. Safe for concurrent use in one event loop.

    `retention_s` is how long a response is kept; what it builds on is kept as long. `commit_deadline_s` bounds how
    long the end of an answer waits for Postgres to come back.
    """

    def __init__(
        self,
        database: Database,
        *,
        retention_s: float = RETENTION_S,
        max_chain: int = MAX_CHAIN,
        max_chain_bytes: int = MAX_CHAIN_BYTES,
        commit_deadline_s: float = 10.0,
    ) -> None:
        self._database = database
        self._retention_s = retention_s
        self._max_chain = max_chain
        self._max_chain_bytes = max_chain_bytes
        self._commit_deadline_s = commit_deadline_s

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
        deleted or expired; `InvalidRequest` when the chain is too long or too large; `StoreUnavailable`.
        """
        chain = () if previous is None else await self._chain(project, previous)

        async def keep(response: StoredResponse) -> None:
            await self._store(project, key, response, [each.id for each in chain])

        return ResponseTurn(
            response_id=response_id,
            chain=chain,
            instructions=instructions,
            settings=settings,
            keep=keep if store else None,
        )

    async def read(self, *, project: ProjectId, response_id: str) -> StoredResponse:
        """The response. Raises `NotFound` (the same for an unknown one and another project's), `StoreUnavailable`."""
        _require_id(response_id, None)
        async with self._database.transaction(project) as connection:
            found = await connection.execute(_READ, {"id": response_id, "project": project})
            row = found.mappings().first()
        if row is None:
            raise _unknown(None)
        return decoded(row)

    async def delete(self, *, project: ProjectId, response_id: str) -> None:
        """Remove the response and its contents for good; those that build on it can be read but not continued.

        Raises like `read`.
        """
        _require_id(response_id, None)
        async with self._database.transaction(project) as connection:
            deleted = await connection.execute(_DELETE, {"id": response_id, "project": project})
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
            found = {row["id"]: ancestor(row) for row in read.mappings()}
        if len(found) < len(ids):  # one was deleted between the two statements
            raise NotFound(f"{_PARENT}: a response that this one builds on was deleted or has expired", param=_PARENT)
        return tuple(found[each] for each in ids)

    async def _store(self, project: ProjectId, key: KeyId, response: StoredResponse, chain: Sequence[str]) -> None:
        of_project = {"project": project, "retention_s": self._retention_s}
        row = {**encoded(response), **of_project, "key": key}

        async def attempt(connection: AsyncConnection) -> None:
            # An earlier attempt whose outcome is not known has the same id: there is nothing left to do then.
            await connection.execute(_ADD, row)
            if chain:
                await connection.execute(_KEEP, {**of_project, "ids": list(chain)})

        await commit_retrying(self._database, project, attempt, deadline_s=self._commit_deadline_s, failure=_not_stored)


def _require_id(response_id: str, param: str | None) -> None:
    """Raise `NotFound` for what cannot be an id: not everything that a client sends is a text for Postgres."""
    if _ID.fullmatch(response_id) is None:
        raise _unknown(param)


def _unknown(param: str | None) -> NotFound:
    where = f"{param}: there" if param else "There"
    return NotFound(f"{where} is no response with this id in your project.", param=param)


def _not_stored(uncertain: bool) -> StoreUnavailable:
    if uncertain:
        return StoreUnavailable(
            "The gateway's database was lost while it stored this response, and it is not known whether the response "
            "is stored.",
            retry_after_s=5.0,
        )
    return StoreUnavailable("The gateway's database is unavailable; this response was not stored.", retry_after_s=5.0)


__all__ = ["MAX_CHAIN", "MAX_CHAIN_BYTES", "RETENTION_S", "StoredResponses"]
