"""Writes conversations out, a page at a time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bedplate_core.ids import ProjectId, SessionId
from bedplate_core.messages import SCHEMA_VERSION
from bedplate_core.usage import Usage
from bedplate_sessions.archive.lines import LineWriter
from bedplate_sessions.archive.records import (
    FORMAT,
    NOTHING,
    BlobRecord,
    BranchRecord,
    Header,
    InvocationRecord,
    ItemRecord,
    Record,
    ResponseRecord,
    SessionRecord,
    StepRecord,
)
from bedplate_sessions.archive.snapshots import Snapshots, snapshots
from bedplate_sessions.item_rows import require_known
from bedplate_sessions.keys.cipher import Cipher, PlainCipher
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.registry import unknown
from bedplate_sessions.response_rows import RESPONSE_COLUMNS
from bedplate_sessions.steps import StepBlock
from bedplate_store.driver import DatabaseConfig, RawConnection

_SESSIONS_AT_ONCE: Final = 200
_BLOCKS: Final = msgspec.msgpack.Decoder(tuple[StepBlock, ...])

_OF_SESSION: Final = "where session_id = $1 and project_id = $2"
_LIST: Final = (
    "select created_at, id from session where project_id = $1 "
    "and (cast($2 as timestamptz) is null or (created_at, id) > ($2, $3)) order by created_at, id limit $4"
)
_SESSION: Final = (
    "select id, face, created_at, updated_at, ended_at, metadata::text as metadata, tags::text as tags, "
    "encryption_key_arn, idle_timeout_s, expires_at, legal_hold, branches, invocations, steps from session "
    "where id = $1 and project_id = $2"
)
_BRANCHES: Final = (
    "select branch, parent_branch, fork_seq, head, turn_call, turn_from, turn_input, created_at from session_branch "  # noqa: S608 - constants
    f"{_OF_SESSION} and branch > $3 order by branch limit 200"
)
_INVOCATIONS: Final = (
    "select id, number, call_id, description, created_at from session_invocation "  # noqa: S608 - constants
    f"{_OF_SESSION} and number > $3 order by number limit 200"
)
# Pages are small where a row may hold megabytes.
_ITEMS: Final = (
    "select id, branch, seq, parent_seq, kind, role, call_id, invocation_id, status, stop_reason, "  # noqa: S608 - constants
    "usage::text as usage, pinned, covers_seq, schema_version, created_at, deleted_at, "
    r"coalesce(sealed, '\x00'::bytea || convert_to(payload::text, 'UTF8')) as sealed from session_item "
    f"{_OF_SESSION} and (branch, seq) > ($3, $4) order by branch, seq limit 25"
)
_STEPS: Final = (
    "select id, seq, invocation_id, step_time, schema_version, content_hash, created_at, sealed from session_step "  # noqa: S608 - constants
    f"{_OF_SESSION} and seq > $3 order by seq limit 4"
)
_BLOBS: Final = f"select id, created_at, sealed from session_blob {_OF_SESSION} and id > $3 order by id limit 1"  # noqa: S608 - constants
_RESPONSES: Final = (
    f"select {RESPONSE_COLUMNS} from stored_response {_OF_SESSION} "  # noqa: S608 - constants
    "and (created_s, id) > ($3, $4) order by created_s, id limit 8"
)


class Exporter:
    """Exports sessions of a project. Safe for concurrent use within one event loop; each export has a connection.

    `config` is the database with the content, `keys` opens it.
    """

    def __init__(self, config: DatabaseConfig, keys: DataKeys) -> None:
        self._config = config
        self._keys = keys

    async def export(self, project: ProjectId, session: SessionId | None = None) -> AsyncGenerator[bytes, None]:
        """The lines of an archive of the session, or of all sessions of the project, oldest first.

        Every session is as it was at one moment, whatever is written meanwhile; sessions that come or go while a
        project is exported may be missing. A few rows are in memory at a time. Raises `NotFound` before the first line,
        and later `StoreUnavailable` and `ContentUnreadable`: what was given until then has no manifest, and is no
        archive. To be closed when it is not read to its end.
        """
        writer = LineWriter()
        now = datetime.now(UTC)
        header = writer.line(Header(format=FORMAT, schema_version=SCHEMA_VERSION, project=project, created_at=now))
        async with snapshots(self._config, project) as source:
            if session is None:
                yield header
            async with aclosing(_sessions(source, project, session)) as names:
                async for name in names:
                    async with source.snapshot() as connection:
                        records = self._records(connection, project, name, required=session is not None)
                        async with aclosing(records):
                            async for record in records:
                                if session is not None and isinstance(record, SessionRecord):
                                    yield header
                                yield writer.line(record)
        yield writer.manifest()

    async def _records(
        self, connection: RawConnection, project: ProjectId, session: SessionId, *, required: bool
    ) -> AsyncGenerator[Record, None]:
        found = await connection.fetch(_SESSION, session, project)
        if not found:
            if required:
                raise unknown()
            return  # deleted since it was listed
        yield _session(found[0])
        cipher = await self._keys.cipher(project, session)

        def page(statement: str) -> Callable[..., Any]:
            return lambda *after: connection.fetch(statement, session, project, *after)

        async for row in _rows(page(_BRANCHES), lambda row: (row["branch"],), (-1,)):
            yield BranchRecord(**row)
        async for row in _rows(page(_INVOCATIONS), lambda row: (row["number"],), (-1,)):
            yield InvocationRecord(**row)
        async for row in _rows(page(_ITEMS), lambda row: (row["branch"], row["seq"]), (-1, 0)):
            yield _item(row, cipher)
        async for row in _rows(page(_STEPS), lambda row: (row["seq"],), (-1,)):
            yield _step(row, cipher)
        async for row in _rows(page(_BLOBS), lambda row: (row["id"],), ("",)):
            yield _blob(row, cipher)
        async for row in _rows(page(_RESPONSES), lambda row: (row["created_s"], row["id"]), (-1, "")):
            yield _response(row, await self._cipher_of(project, row["key_owner"], cipher, session))

    async def _cipher_of(self, project: ProjectId, owner: str | None, cipher: Cipher, session: SessionId) -> Cipher:
        if owner is None:
            return PlainCipher()
        return cipher if owner == session else await self._keys.cipher(project, owner)


async def _sessions(
    source: Snapshots, project: ProjectId, session: SessionId | None
) -> AsyncGenerator[SessionId, None]:
    if session is not None:
        yield session
        return
    after: tuple[datetime | None, str] = (None, "")
    while True:
        async with source.snapshot() as connection:
            rows = await connection.fetch(_LIST, project, *after, _SESSIONS_AT_ONCE)
        for row in rows:
            yield SessionId(row["id"])
        if len(rows) < _SESSIONS_AT_ONCE:
            return
        after = (rows[-1]["created_at"], rows[-1]["id"])


async def _rows(
    page: Callable[..., Any], place: Callable[[Any], tuple[Any, ...]], after: tuple[Any, ...]
) -> AsyncIterator[Any]:
    """The rows of all pages; `place` is what the page after a row begins behind."""
    while True:
        rows: Sequence[Any] = await page(*after)
        if not rows:
            return
        for row in rows:
            yield dict(row)
        after = place(rows[-1])


def _session(row: Any) -> SessionRecord:
    values: Any = dict(row)
    for name in ("metadata", "tags"):
        values[name] = msgspec.json.decode(values[name], type=dict[str, str])
    return SessionRecord(**values)


def _usage(text: str | None) -> Usage | None:
    return None if text is None else msgspec.json.decode(text, type=Usage)


def _item(values: Any, cipher: Cipher) -> ItemRecord:
    require_known(values["schema_version"])
    sealed: bytes | None = values.pop("sealed")
    values["usage"] = _usage(values["usage"])
    message = NOTHING
    if sealed is not None and values["deleted_at"] is None:
        message = msgspec.Raw(cipher.open(sealed, values["id"]))
    return ItemRecord(**values, message=message)


def _step(values: Any, cipher: Cipher) -> StepRecord:
    require_known(values["schema_version"])
    blocks = _BLOCKS.decode(cipher.open(values.pop("sealed"), values["id"]))
    values["content_hash"] = cipher.open(values["content_hash"], hash_place(values["id"])).hex()
    return StepRecord(**values, blocks=blocks)


def _blob(row: Any, cipher: Cipher) -> BlobRecord:
    data = cipher.open(row["sealed"], row["id"])
    digest = hashlib.sha256(data).hexdigest()
    return BlobRecord(id=row["id"], sha256=digest, created_at=row["created_at"], data=data)


def _response(row: Any, cipher: Cipher) -> ResponseRecord:
    require_known(row["schema_version"])
    return ResponseRecord(
        id=row["id"],
        parent_id=row["parent_id"],
        model=row["model"],
        created_s=row["created_s"],
        stop_reason=row["stop_reason"],
        usage=_usage(row["usage"]),
        schema_version=row["schema_version"],
        content=msgspec.Raw(cipher.open(row["sealed"], row["id"])),
    )


def hash_place(step: str) -> str:
    """Where the hash of a step's content is sealed for."""
    return f"{step}.hash"


__all__ = ["Exporter", "hash_place"]
