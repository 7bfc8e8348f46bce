"""Legal holds, and sessions as files that can be checked and read in again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, get, post, put
from litestar.connection import Request
from litestar.params import FromPath, Parameter
from litestar.response import Stream

from bedplate_core.ids import SessionId
from bedplate_gateway.access.principal import Action
from bedplate_gateway.database import database_config
from bedplate_gateway.web.authorization import ACTION
from bedplate_gateway.web.edge import principal_of
from bedplate_gateway.web.services import services_of
from bedplate_sessions.archive.exporter import Exporter
from bedplate_sessions.archive.importer import Importer
from bedplate_sessions.archive.lines import ArchiveBytes
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.registry import unknown

MEDIA_TYPE = "application/jsonl"


class SessionHold(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a session is under a legal hold: then nothing and nobody deletes it, its responses or its replies."""

    id: str
    object: Literal["session.hold"] = "session.hold"
    legal_hold: bool


class ImportedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was read in: its id here, and in the archive."""

    id: str
    archive_id: str


class SessionImport(msgspec.Struct, frozen=True, kw_only=True):
    """What was read in. `counts` are lines of the archive by their type."""

    object: Literal["session.import"] = "session.import"
    sessions: tuple[ImportedSession, ...]
    counts: dict[str, int]


@put(
    "/v1/sessions/{session_id:str}/hold",
    opt={ACTION: Action.MANAGE_SESSIONS},
    summary="Lay a legal hold on a session",
    description="Nothing deletes the session, its stored responses or its kept replies while the hold lasts.",
    tags=["Sessions"],
    operation_id="holdSession",
)
async def hold_session(request: Request[Any, Any, Any], session_id: FromPath[str]) -> SessionHold:
    """Lay a hold on one session."""
    return await _hold(request, session_id, hold=True)


@delete(
    "/v1/sessions/{session_id:str}/hold",
    status_code=200,
    opt={ACTION: Action.MANAGE_SESSIONS},
    summary="End a session's legal hold",
    description="The session's retention counts again, from its last write. Idempotent.",
    tags=["Sessions"],
    operation_id="releaseSession",
)
async def release_session(request: Request[Any, Any, Any], session_id: FromPath[str]) -> SessionHold:
    """End the hold of one session."""
    return await _hold(request, session_id, hold=False)


@get(
    "/v1/sessions/{session_id:str}/export",
    opt={ACTION: Action.MANAGE_SESSIONS},
    summary="Export a session",
    description=(
        "The session with everything in it, decrypted, as JSON Lines: a header, the session, its branches, "
        "invocations, items, steps, media and stored responses as they were at one moment, and a manifest with counts "
        "and hashes. "
        "An answer without its manifest broke off and is no archive."
    ),
    tags=["Sessions"],
    operation_id="exportSession",
    media_type=MEDIA_TYPE,
)
async def export_session(request: Request[Any, Any, Any], session_id: FromPath[str]) -> Stream:
    """One session's archive."""
    services = services_of(request)
    exporter = Exporter(database_config(services.settings), services.keys)
    name = _session(session_id)
    archive = exporter.export(principal_of(request.scope).project, name)
    try:
        # With the first line it is known that there is such a session: errors have a status until then.
        first = await anext(archive)
    except BaseException:
        await archive.aclose()
        raise
    headers = {"content-disposition": f'attachment; filename="{name}.jsonl"'}
    return Stream(_rest(first, archive), media_type=MEDIA_TYPE, headers=headers)


@post(
    "/v1/sessions/import",
    status_code=200,
    opt={ACTION: Action.MANAGE_SESSIONS},
    summary="Import sessions",
    description=(
        "Reads an archive into your project, sealed under new keys: all of it or, on an error, nothing. Its manifest "
        "and every line are checked first. Ids stay as they are, and one that exists is a conflict, unless `new_ids` "
        "is true: then sessions and responses get new ones. Retention begins anew."
    ),
    tags=["Sessions"],
    operation_id="importSessions",
)
async def import_sessions(
    request: Request[Any, Any, Any],
    new_ids: Annotated[bool, Parameter(description="Give sessions and responses new ids")] = False,
) -> SessionImport:
    """Read an archive in."""
    services = services_of(request)
    principal = principal_of(request.scope)
    retention_s = (
        services.catalogue.snapshot.sessions(principal.project).retention_s or services.settings.session_retention_s
    )
    importer = Importer(services.database, services.keys, retention_s=retention_s)
    source = ArchiveBytes(await request.body())
    imported = await importer.load(principal.project, principal.key_id, source, new_ids=new_ids)
    return SessionImport(
        sessions=tuple(ImportedSession(id=new, archive_id=old) for old, new in imported.sessions.items()),
        counts=dict(imported.counts),
    )


async def _hold(request: Request[Any, Any, Any], session_id: str, *, hold: bool) -> SessionHold:
    registry = services_of(request).sessions.registry
    session = await registry.hold(principal_of(request.scope).project, _session(session_id), hold=hold)
    return SessionHold(id=session.id, legal_hold=session.legal_hold)


async def _rest(first: bytes, archive: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(archive):
        yield first
        async for line in archive:
            yield line


def _session(text: str) -> SessionId:
    """The session that any of the three forms of its id names. Raises `NotFound`."""
    name = session_of(text)
    if name is None:
        raise unknown()
    return name


SESSION_ARCHIVE_ROUTES = (hold_session, release_session, export_session, import_sessions)

__all__ = ["SESSION_ARCHIVE_ROUTES"]
