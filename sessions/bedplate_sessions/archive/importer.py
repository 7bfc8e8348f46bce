"""Reads conversations in: all of an archive or nothing, under new data keys of the project that takes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest
from bedplate_core.ids import KeyId, ProjectId, SessionId, new_response_id, new_session_id
from bedplate_sessions.archive.exporter import hash_place
from bedplate_sessions.archive.lines import ArchiveSource
from bedplate_sessions.archive.outline import checked
from bedplate_sessions.archive.records import (
    NOTHING,
    BlobRecord,
    BranchRecord,
    InvocationRecord,
    ItemRecord,
    Record,
    ResponseRecord,
    SessionRecord,
    StepRecord,
)
from bedplate_sessions.keys.cipher import Cipher, PlainCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_store.database import Database
from bedplate_store.driver import sqlstate

_BATCH_ROWS: Final = 100
_BATCH_BYTES: Final = 4 * 1024 * 1024
_AT_ONCE: Final = 64
"""Records that are checked before others get a turn in the event loop."""

# The last write of an imported session is its import: its retention and its idle time begin anew.
_SESSION: Final = text(
    "insert into session (id, project_id, created_by, created_at, updated_at, face, ended_at, metadata, tags, "
    "encryption_key_arn, idle_timeout_s, expires_at, legal_hold, branches, invocations, steps) values (:session, "
    ":project, :key, :created_at, now(), :face, :ended_at, cast(:metadata as jsonb), cast(:tags as jsonb), "
    ":encryption_key_arn, :idle_timeout_s, :expires_at, :legal_hold, :branches, :invocations, :steps) "
    "on conflict (id) do nothing"
)
_BRANCH: Final = text(
    "insert into session_branch (session_id, branch, project_id, parent_branch, fork_seq, head, turn_call, turn_from, "
    "turn_input, created_at) values (:session, :branch, :project, :parent_branch, :fork_seq, :head, :turn_call, "
    ":turn_from, :turn_input, :created_at)"
)
_INVOCATION: Final = text(
    "insert into session_invocation (session_id, id, project_id, number, call_id, description, created_at) "
    "values (:session, :id, :project, :number, :call_id, :description, :created_at)"
)
_ITEM: Final = text(
    "insert into session_item (session_id, branch, seq, id, project_id, parent_seq, kind, role, sealed, "
    "schema_version, call_id, invocation_id, status, stop_reason, usage, pinned, covers_seq, created_at, deleted_at) "
    "values (:session, :branch, :seq, :id, :project, :parent_seq, :kind, :role, :sealed, :schema_version, :call_id, "
    ":invocation_id, :status, :stop_reason, cast(:usage as json), :pinned, :covers_seq, :created_at, :deleted_at)"
)
_STEP: Final = text(
    "insert into session_step (session_id, seq, id, project_id, invocation_id, step_time, content_hash, sealed, "
    "schema_version, created_at) values (:session, :seq, :id, :project, :invocation_id, :step_time, :content_hash, "
    ":sealed, :schema_version, :created_at)"
)
_BLOB: Final = text(
    "insert into session_blob (session_id, id, project_id, size_bytes, sealed, created_at) "
    "values (:session, :id, :project, :size_bytes, :sealed, :created_at)"
)
_RESPONSE: Final = text(
    "insert into stored_response (id, project_id, parent_id, created_by, model, created_s, sealed, key_owner, "
    "session_id, stop_reason, usage, schema_version, size_bytes, expires_at) values (:id, :project, "
    ":parent_id, :key, :model, :created_s, :sealed, :session, :session, :stop_reason, cast(:usage as json), "
    ":schema_version, :size_bytes, now() + make_interval(secs => :retention_s)) on conflict (id) do nothing"
)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What was read in: each session's id here by its id in the archive, and how many lines by their type."""

    sessions: Mapping[SessionId, SessionId]
    counts: Mapping[str, int]


class Importer:
    """Imports archives into a project. Safe for concurrent use within one event loop.

    `retention_s` is how long the responses of imported sessions are kept.
    """

    def __init__(self, database: Database, keys: DataKeys, *, retention_s: float) -> None:
        self._database = database
        self._keys = keys
        self._retention_s = retention_s

    async def load(self, project: ProjectId, key: KeyId, source: ArchiveSource, *, new_ids: bool = False) -> Imported:
        """Check the whole archive, then read it into `project` in one transaction; durable when this returns.

        Ids stay as they are, or with `new_ids` sessions and responses get new ones; all other ids are unique in their
        session only. `key` is noted as who made them. Raises `InvalidRequest` (`ArchiveDamaged`) for a file that is no
        whole archive, `Conflict` when a session or a response with an id of the archive exists, in whatever project,
        and `StoreUnavailable`. Nothing is there then, nor after a cancellation. Blocks the event loop for some lines at
        a time.
        """
        for number, _ in enumerate(checked(source), 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        async with self._database.transaction(project) as connection:
            writing = _Writing(connection, self._keys, project, key, new_ids=new_ids, retention_s=self._retention_s)
            try:
                await writing.all(checked(source))
            except DBAPIError as error:
                if (sqlstate(error) or "")[:2] in ("22", "23"):  # what no column takes, or what is there twice
                    raise InvalidRequest("The archive holds something that cannot be stored.") from None
                raise
        return Imported(sessions=writing.sessions, counts=dict(sorted(writing.counts.items())))


class _Writing:
    """An import under way. Rows wait until there are some more of their kind."""

    def __init__(
        self,
        connection: AsyncConnection,
        keys: DataKeys,
        project: ProjectId,
        key: KeyId,
        *,
        new_ids: bool,
        retention_s: float,
    ) -> None:
        self.sessions: dict[SessionId, SessionId] = {}
        self.counts: Counter[str] = Counter()
        self._connection = connection
        self._keys = keys
        self._project: ProjectId = project
        self._key: KeyId = key
        self._new_ids = new_ids
        self._retention_s = retention_s
        self._session = SessionId("")
        self._cipher: Cipher = PlainCipher()
        self._responses: dict[str, str] = {}
        self._statement: TextClause | None = None
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    async def all(self, records: Iterator[Record]) -> None:
        for number, record in enumerate(records, 1):
            await self._add(record)
            self.counts[str(type(record).__struct_config__.tag)] += 1
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._flush()

    async def _add(self, record: Record) -> None:
        values: dict[str, Any] = msgspec.structs.asdict(record)
        match record:
            case SessionRecord():
                await self._begin_session(record, values)
            case BranchRecord():
                await self._put(_BRANCH, values)
            case InvocationRecord():
                await self._put(_INVOCATION, values)
            case ItemRecord():
                content = bytes(record.message)
                sealed = None if content == bytes(NOTHING) else self._cipher.seal(content, record.id)
                await self._put(_ITEM, {**values, "sealed": sealed, "usage": _json(record.usage)}, len(content))
            case StepRecord():
                content = msgspec.msgpack.encode(record.blocks)
                sealed = self._cipher.seal(content, record.id)
                digest = self._cipher.seal(bytes.fromhex(record.content_hash), hash_place(record.id))
                await self._put(_STEP, {**values, "sealed": sealed, "content_hash": digest}, len(content))
            case BlobRecord():
                sealed = self._cipher.seal(record.data, record.id)
                size = len(record.data)
                await self._put(_BLOB, {**values, "sealed": sealed, "size_bytes": size}, size)
            case ResponseRecord():
                await self._flush()
                await self._add_response(record, values)
            case _:  # a header or a manifest is none of `checked`'s
                raise AssertionError(record)

    async def _begin_session(self, record: SessionRecord, values: dict[str, Any]) -> None:
        await self._flush()
        old = SessionId(record.id)
        self._session = new_session_id() if self._new_ids else old
        self._responses = {}
        self._cipher, keep_key = await self._keys.create(self._project, self._session)
        row = {
            **self._of_session(),
            **values,
            "key": self._key,
            "metadata": _json(record.metadata),
            "tags": _json(record.tags),
        }
        added = await self._connection.execute(_SESSION, row)
        if not added.rowcount:
            raise Conflict(f"There is a session {old} already; import the archive with new ids.")
        if keep_key is not None:
            await keep_key(self._connection)
        self.sessions[old] = self._session

    async def _add_response(self, record: ResponseRecord, values: dict[str, Any]) -> None:
        name = new_response_id() if self._new_ids else record.id
        self._responses[record.id] = name
        content = bytes(record.content)
        row = {
            **self._of_session(),
            **values,
            "id": name,
            "parent_id": None if record.parent_id is None else self._responses.get(record.parent_id, record.parent_id),
            "key": self._key,
            "sealed": self._cipher.seal(content, name),
            "size_bytes": len(content),
            "usage": _json(record.usage),
            "retention_s": self._retention_s,
        }
        added = await self._connection.execute(_RESPONSE, row)
        if not added.rowcount:
            raise Conflict(f"There is a response {record.id} already; import the archive with new ids.")

    def _of_session(self) -> dict[str, Any]:
        return {"session": self._session, "project": self._project}

    async def _put(self, statement: TextClause, values: dict[str, Any], size_bytes: int = 0) -> None:
        full = len(self._rows) >= _BATCH_ROWS or self._bytes + size_bytes > _BATCH_BYTES
        if statement is not self._statement or full:
            await self._flush()
        self._statement = statement
        self._rows.append({**self._of_session(), **values})
        self._bytes += size_bytes

    async def _flush(self) -> None:
        if self._statement is not None and self._rows:
            await self._connection.execute(self._statement, self._rows)
        self._rows, self._bytes = [], 0


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


__all__ = ["Imported", "Importer"]
