"""Every query on guardrails, their versions and what is enforced.

A connection that writes acts for one project: inside `Database.transaction`, or after `act_for` in a transaction of
the installation, which otherwise only reads.
"""

from __future__ import annotations

import secrets
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSON, JSONObject
from bedplate_gateway.catalogue.guardrail_index import GuardrailEntry, GuardrailIndex, Version

KIND: Final = "Guardrail"
API_SOURCE: Final = "api"
MAX_GUARDRAILS: Final = 100
"""Of one project, as Bedrock's quota."""

MAX_VERSIONS: Final = 20
"""Of one guardrail at a time, as Bedrock's quota."""

_ID_CHARS: Final = string.ascii_lowercase + string.digits
_COLUMNS: Final = (
    "id, name, description, revision, document::text AS document, tags::text AS tags, next_version, source,"
    " created_at, updated_at"
)
_ENFORCED: Final = (
    "config_id, project_id, guardrail_id, version, selective::text AS selective,"
    " model_enforcement::text AS model_enforcement, created_at, created_by, updated_at, updated_by"
)


class GuardrailRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `guardrail`: the draft."""

    id: str
    name: str
    description: str | None
    revision: int
    document: JSONObject
    tags: Mapping[str, str]
    next_version: int
    source: str
    created_at: datetime
    updated_at: datetime


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `guardrail_version`."""

    version: int
    name: str
    description: str | None
    document: JSONObject
    created_at: datetime


class StoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it stands in the database. `revision` is the draft's, 0 for a version."""

    name: str
    revision: int
    document: JSON


class EnforcedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `enforced_guardrail`. `selective` and `model_enforcement` are members of Bedrock's, as given."""

    config_id: str
    project_id: ProjectId
    guardrail_id: str
    version: int
    selective: JSONObject | None
    model_enforcement: JSONObject | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft becomes."""

    name: str
    description: str | None
    document: JSON


async def act_for(connection: AsyncConnection, project: ProjectId | None) -> None:
    """Let the rest of this transaction see and change the rows of `project`; None: no project's."""
    await connection.execute(text("SELECT set_config('bedplate.project', :project, true)"), {"project": project or ""})


async def lock_guardrails(connection: AsyncConnection, projects: Iterable[ProjectId]) -> None:
    """Wait until no other transaction changes the guardrails of `projects`, nor what names them, and keep it so."""
    await connection.execute(
        text(
            "SELECT pg_advisory_xact_lock(hashtextextended('guardrails:' || project, 0))"
            # In order, so that no two wait for each other.
            " FROM (SELECT project FROM unnest(CAST(:projects AS text[])) AS project ORDER BY project) AS sorted"
        ),
        {"projects": sorted(set(projects))},
    )


async def list_indexes(connection: AsyncConnection) -> Mapping[ProjectId, GuardrailIndex]:
    """The guardrails of every project, for the installation's own use."""
    rows = await connection.execute(
        text(
            "SELECT g.project_id, g.id, g.name, g.revision, array_remove(array_agg(v.version), NULL) AS versions"
            " FROM guardrail g LEFT JOIN guardrail_version v ON v.project_id = g.project_id AND v.guardrail_id = g.id"
            " GROUP BY g.project_id, g.id, g.name, g.revision"
        )
    )
    found: defaultdict[ProjectId, list[GuardrailEntry]] = defaultdict(list)
    for row in rows:
        found[ProjectId(row.project_id)].append(_entry(row))
    return {project: GuardrailIndex(entries) for project, entries in found.items()}


async def project_index(connection: AsyncConnection, project: ProjectId) -> GuardrailIndex:
    """The guardrails of one project."""
    rows = await connection.execute(
        text(
            "SELECT g.id, g.name, g.revision, array_remove(array_agg(v.version), NULL) AS versions"
            " FROM guardrail g LEFT JOIN guardrail_version v ON v.project_id = g.project_id AND v.guardrail_id = g.id"
            " WHERE g.project_id = :project GROUP BY g.id, g.name, g.revision"
        ),
        {"project": project},
    )
    return GuardrailIndex([_entry(row) for row in rows])


async def list_enforced(connection: AsyncConnection) -> Sequence[EnforcedRow]:
    """What is enforced in every project, for the installation's own use, oldest first."""
    rows = await connection.execute(
        text(f"SELECT {_ENFORCED} FROM enforced_guardrail ORDER BY created_at, config_id")  # noqa: S608 - constants
    )
    return [_enforced(row) for row in rows]


async def enforced_in(connection: AsyncConnection, project: ProjectId) -> Sequence[EnforcedRow]:
    """What is enforced in one project, oldest first."""
    rows = await connection.execute(
        text(
            f"SELECT {_ENFORCED} FROM enforced_guardrail WHERE project_id = :project"  # noqa: S608 - constants
            " ORDER BY created_at, config_id"
        ),
        {"project": project},
    )
    return [_enforced(row) for row in rows]


async def read_document(
    connection: AsyncConnection, project: ProjectId, name: str, version: Version
) -> StoredDocument | None:
    """The document of the draft or of a version of the guardrail with the id `name`."""
    if version is None:
        statement = (
            "SELECT name, revision, document::text AS document FROM guardrail WHERE project_id = :project AND id = :id"
        )
    else:
        statement = (
            "SELECT name, 0 AS revision, document::text AS document FROM guardrail_version"
            " WHERE project_id = :project AND guardrail_id = :id AND version = :version"
        )
    values: dict[str, Any] = {"project": project, "id": name}
    row = (
        await connection.execute(text(statement), values if version is None else values | {"version": version})
    ).first()
    if row is None:
        return None
    return StoredDocument(name=row.name, revision=row.revision, document=msgspec.json.decode(row.document))


async def read_guardrail(connection: AsyncConnection, project: ProjectId, name: str) -> GuardrailRow | None:
    """The guardrail with the id `name`."""
    row = await connection.execute(
        text(f"SELECT {_COLUMNS} FROM guardrail WHERE project_id = :project AND id = :id"),  # noqa: S608 - constants
        {"project": project, "id": name},
    )
    found = row.first()
    return None if found is None else _guardrail(found)


async def page_guardrails(
    connection: AsyncConnection, project: ProjectId, *, limit: int, after: tuple[datetime, str] | None
) -> Sequence[GuardrailRow]:
    """Up to `limit` guardrails, newest first, those after the one with that time and id."""
    place = "" if after is None else " AND (created_at, id) < (:at, :id)"
    values: dict[str, Any] = {"project": project, "limit": limit}
    if after is not None:
        values |= {"at": after[0], "id": after[1]}
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM guardrail WHERE project_id = :project{place}"  # noqa: S608 - constants
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        values,
    )
    return [_guardrail(row) for row in rows]


async def list_versions(connection: AsyncConnection, project: ProjectId, name: str) -> Sequence[VersionRow]:
    """The versions of a guardrail, newest first."""
    rows = await connection.execute(
        text(
            "SELECT version, name, description, document::text AS document, created_at FROM guardrail_version"
            " WHERE project_id = :project AND guardrail_id = :id ORDER BY version DESC"
        ),
        {"project": project, "id": name},
    )
    return [
        VersionRow(
            version=row.version,
            name=row.name,
            description=row.description,
            document=msgspec.json.decode(row.document),
            created_at=row.created_at,
        )
        for row in rows
    ]


async def put_declared(
    connection: AsyncConnection, project: ProjectId, *, name: str, document: JSON, source: str, by: str
) -> bool:
    """Store a draft that a file declares, by its name; false when it already says exactly this."""
    row = (
        await connection.execute(
            text(
                "SELECT id, description, document = CAST(:document AS jsonb) AS same FROM guardrail"
                " WHERE project_id = :project AND name = :name"
            ),
            {"project": project, "name": name, "document": _json(document)},
        )
    ).first()
    if row is None:
        change = Change(name=name, description=None, document=document)
        await insert_guardrail(connection, project, change, tags={}, source=source, by=by)
        return True
    if row.same:
        return False
    change = Change(name=name, description=row.description, document=document)
    await change_guardrail(connection, project, row.id, change, source=source, by=by)
    return True


async def insert_guardrail(
    connection: AsyncConnection,
    project: ProjectId,
    new: Change,
    *,
    tags: Mapping[str, str],
    source: str,
    by: str,
) -> tuple[str, datetime]:
    """Store a new guardrail; its id and time. Raises `IntegrityError` when the project has one with this name."""
    name = "".join(secrets.choice(_ID_CHARS) for _ in range(12))
    row = await connection.execute(
        text(
            "INSERT INTO guardrail (id, project_id, name, description, revision, document, tags, source, updated_by)"
            " VALUES (:id, :project, :name, :description, :revision, CAST(:document AS jsonb), CAST(:tags AS jsonb),"
            " :source, :by) RETURNING created_at, revision"
        ),
        {
            "id": name,
            "project": project,
            "name": new.name,
            "description": new.description,
            "revision": 1 + await _last_revision(connection, project, new.name),
            "document": _json(new.document),
            "tags": _json(dict(tags)),
            "source": source,
            "by": by,
        },
    )
    made = row.one()
    await _record(connection, project, new.name, made.revision, new.document, source, by)
    return name, made.created_at


async def change_guardrail(
    connection: AsyncConnection, project: ProjectId, name: str, change: Change, *, source: str | None, by: str
) -> datetime:
    """Replace a draft that exists; the time. `source` None keeps what declared it.

    Raises `IntegrityError` when another guardrail of the project has the name.
    """
    before = (
        await connection.execute(
            text(
                "SELECT name, revision, source, document = CAST(:document AS jsonb) AS same FROM guardrail"
                " WHERE project_id = :project AND id = :id FOR UPDATE"
            ),
            {"project": project, "id": name, "document": _json(change.document)},
        )
    ).one()
    renamed = before.name != change.name
    changed = renamed or not before.same
    revision = before.revision
    if changed:
        revision = 1 + max(before.revision, await _last_revision(connection, project, change.name))
    declared_by_now = source or str(before.source)
    row = await connection.execute(
        text(
            "UPDATE guardrail SET name = :name, description = :description, revision = :revision,"
            " document = CAST(:document AS jsonb), source = :source, updated_at = now(), updated_by = :by"
            " WHERE project_id = :project AND id = :id RETURNING updated_at"
        ),
        {
            "project": project,
            "id": name,
            "name": change.name,
            "description": change.description,
            "revision": revision,
            "document": _json(change.document),
            "source": declared_by_now,
            "by": by,
        },
    )
    if renamed:
        await _record(connection, project, before.name, before.revision + 1, None, declared_by_now, by)
    if changed:
        await _record(connection, project, change.name, revision, change.document, declared_by_now, by)
    return row.scalar_one()


async def delete_guardrail(connection: AsyncConnection, project: ProjectId, name: str, *, by: str) -> None:
    """Delete a guardrail with its versions. Raises `IntegrityError` when one of them is enforced."""
    gone = await connection.execute(
        text("DELETE FROM guardrail WHERE project_id = :project AND id = :id RETURNING name, revision, source"),
        {"project": project, "id": name},
    )
    for row in gone:
        await _record(connection, project, row.name, row.revision + 1, None, row.source, by)


async def declared_by(connection: AsyncConnection, source: str) -> Sequence[tuple[ProjectId, str, str]]:
    """The project, id and name of what `source` declared in all projects, for the installation's own use."""
    rows = await connection.execute(
        text("SELECT project_id, id, name FROM guardrail WHERE source = :source ORDER BY project_id, id"),
        {"source": source},
    )
    return [(ProjectId(row.project_id), row.id, row.name) for row in rows]


async def _last_revision(connection: AsyncConnection, project: ProjectId, name: str) -> int:
    """The last revision that a guardrail of this name ever had, so that none has it again."""
    row = await connection.execute(
        text(
            "SELECT coalesce(max(revision), 0) FROM resource_revision"
            " WHERE kind = :kind AND scope = :project AND name = :name"
        ),
        {"kind": KIND, "project": project, "name": name},
    )
    return int(row.scalar_one())


async def _record(
    connection: AsyncConnection,
    project: ProjectId,
    name: str,
    revision: int,
    document: JSON,
    source: str,
    by: str,
) -> None:
    """Keep what a draft became; None: there is none of this name any more."""
    await connection.execute(
        text(
            "INSERT INTO resource_revision (kind, scope, name, revision, spec, source, changed_at, changed_by)"
            " VALUES (:kind, :project, :name, :revision, CAST(:document AS jsonb), :source, now(), :by)"
        ),
        {
            "kind": KIND,
            "project": project,
            "name": name,
            "revision": revision,
            "document": None if document is None else _json(document),
            "source": source,
            "by": by,
        },
    )


def _json(value: JSON) -> str:
    return msgspec.json.encode(value).decode()


def _entry(row: Any) -> GuardrailEntry:
    return GuardrailEntry(id=row.id, name=row.name, revision=row.revision, versions=frozenset(row.versions or ()))


def _guardrail(row: Any) -> GuardrailRow:
    return GuardrailRow(
        id=row.id,
        name=row.name,
        description=row.description,
        revision=row.revision,
        document=cast("JSONObject", msgspec.json.decode(row.document)),
        tags=cast("Mapping[str, str]", msgspec.json.decode(row.tags)),
        next_version=row.next_version,
        source=row.source,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _enforced(row: Any) -> EnforcedRow:
    return EnforcedRow(
        config_id=row.config_id,
        project_id=ProjectId(row.project_id),
        guardrail_id=row.guardrail_id,
        version=row.version,
        selective=None if row.selective is None else msgspec.json.decode(row.selective),
        model_enforcement=None if row.model_enforcement is None else msgspec.json.decode(row.model_enforcement),
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )


__all__ = [
    "API_SOURCE",
    "KIND",
    "MAX_GUARDRAILS",
    "MAX_VERSIONS",
    "Change",
    "EnforcedRow",
    "GuardrailRow",
    "StoredDocument",
    "VersionRow",
    "act_for",
    "change_guardrail",
    "declared_by",
    "delete_guardrail",
    "enforced_in",
    "insert_guardrail",
    "list_enforced",
    "list_indexes",
    "list_versions",
    "lock_guardrails",
    "page_guardrails",
    "project_index",
    "put_declared",
    "read_document",
    "read_guardrail",
]
