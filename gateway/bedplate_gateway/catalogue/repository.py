"""Every query on projects, keys and resources. They belong to the installation; no request runs them.

Guardrails were resources up to schema version 0005. Their old rows are left for gateways of that time, and are passed
over here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import KeyId, ProjectId, new_key_id, new_project_id
from bedplate_core.jsonvalue import JSON
from bedplate_gateway.access.principal import Role

_encoder = msgspec.json.Encoder()


class ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `project`."""

    id: ProjectId
    name: str


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `api_key`; `hint` is the end of the key as its owner knows it.

    `access_key_id` and `sealed_secret` are None unless the key also has a pair to sign requests with.
    """

    id: KeyId
    project_id: ProjectId
    project: str
    name: str
    role: Role
    key_hash: bytes
    hint: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    access_key_id: str | None = None
    sealed_secret: bytes | None = None


class ResourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `resource`. `scope` is a project's id, or empty for the installation."""

    kind: str
    scope: str
    name: str
    spec: JSON
    revision: int
    updated_at: datetime


async def ensure_project(connection: AsyncConnection, name: str) -> ProjectId:
    """The id of the project `name`, made when there is none."""
    await connection.execute(
        text("INSERT INTO project (id, name, created_at) VALUES (:id, :name, now()) ON CONFLICT (name) DO NOTHING"),
        {"id": new_project_id(), "name": name},
    )
    row = await connection.execute(text("SELECT id FROM project WHERE name = :name"), {"name": name})
    return ProjectId(row.scalar_one())


async def list_projects(connection: AsyncConnection) -> Sequence[ProjectRow]:
    """All projects by name."""
    rows = await connection.execute(text("SELECT id, name FROM project ORDER BY name"))
    return [ProjectRow(id=ProjectId(row.id), name=row.name) for row in rows]


async def insert_key(
    connection: AsyncConnection,
    *,
    project: ProjectId,
    name: str,
    role: Role,
    key_hash: bytes,
    hint: str,
    expires_at: datetime | None,
    access_key_id: str | None = None,
    sealed_secret: bytes | None = None,
) -> KeyId:
    """Store a new key's hash, and its pair if it has one, and return its id."""
    key_id = new_key_id()
    await connection.execute(
        text(
            "INSERT INTO api_key (id, project_id, name, role, key_hash, hint, created_at, expires_at,"
            " access_key_id, sealed_secret)"
            " VALUES (:id, :project, :name, :role, :hash, :hint, now(), :expires, :access_key, :sealed)"
        ),
        {
            "id": key_id,
            "project": project,
            "name": name,
            "role": role.value,
            "hash": key_hash,
            "hint": hint,
            "expires": expires_at,
            "access_key": access_key_id,
            "sealed": sealed_secret,
        },
    )
    return key_id


async def list_keys(connection: AsyncConnection) -> Sequence[KeyRow]:
    """All keys, newest first, revoked and expired ones included."""
    rows = await connection.execute(
        text(
            "SELECT k.id, k.project_id, p.name AS project, k.name, k.role, k.key_hash, k.hint, k.created_at,"
            " k.expires_at, k.revoked_at, k.access_key_id, k.sealed_secret"
            " FROM api_key k JOIN project p ON p.id = k.project_id"
            " ORDER BY k.created_at DESC, k.id"
        )
    )
    return [_key_row(row) for row in rows]


async def revoke_key(connection: AsyncConnection, key_id: KeyId) -> bool:
    """Revoke a key; false when there is none with this id. Revoking twice keeps the first time."""
    result = await connection.execute(
        text("UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id RETURNING id"), {"id": key_id}
    )
    return result.first() is not None


async def list_resources(connection: AsyncConnection) -> Sequence[ResourceRow]:
    """All resources, ordered by kind, scope and name."""
    rows = await connection.execute(
        text(
            "SELECT kind, scope, name, spec::text AS spec, revision, updated_at"
            " FROM resource WHERE kind <> 'Guardrail' ORDER BY kind, scope, name"
        )
    )
    return [
        ResourceRow(
            kind=row.kind,
            scope=row.scope,
            name=row.name,
            spec=msgspec.json.decode(row.spec),
            revision=row.revision,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


async def put_resource(
    connection: AsyncConnection, *, kind: str, scope: str, name: str, spec: JSON, source: str, changed_by: str
) -> bool:
    """Store a resource and its revision; false when it already says exactly this."""
    values = {
        "kind": kind,
        "scope": scope,
        "name": name,
        "spec": _encoder.encode(spec).decode(),
        "source": source,
        "by": changed_by,
    }
    result = await connection.execute(
        text(
            "INSERT INTO resource AS r (kind, scope, name, spec, revision, source, updated_at, updated_by)"
            " VALUES (:kind, :scope, :name, CAST(:spec AS jsonb),"
            # One that was deleted and comes back goes on counting where its history ends.
            " (SELECT coalesce(max(revision), 0) + 1 FROM resource_revision"
            " WHERE kind = :kind AND scope = :scope AND name = :name), :source, now(), :by)"
            " ON CONFLICT (kind, scope, name) DO UPDATE SET spec = excluded.spec, revision = r.revision + 1,"
            " source = excluded.source, updated_at = now(), updated_by = excluded.updated_by"
            " WHERE r.spec IS DISTINCT FROM excluded.spec RETURNING revision"
        ),
        values,
    )
    row = result.first()
    if row is None:
        return False
    await connection.execute(
        text(
            "INSERT INTO resource_revision (kind, scope, name, revision, spec, source, changed_at, changed_by)"
            " VALUES (:kind, :scope, :name, :revision, CAST(:spec AS jsonb), :source, now(), :by)"
        ),
        values | {"revision": row.revision},
    )
    return True


async def delete_others(
    connection: AsyncConnection, *, source: str, keep: Sequence[tuple[str, str, str]], changed_by: str
) -> None:
    """Delete the resources that came from `source`, except those named by (kind, scope, name)."""
    rows = await connection.execute(
        text("SELECT kind, scope, name FROM resource WHERE source = :source AND kind <> 'Guardrail'"),
        {"source": source},
    )
    for row in rows.all():
        if (row.kind, row.scope, row.name) in keep:
            continue
        values = {"kind": row.kind, "scope": row.scope, "name": row.name, "source": source, "by": changed_by}
        await connection.execute(
            text(
                "WITH gone AS (DELETE FROM resource WHERE kind = :kind AND scope = :scope AND name = :name"
                " RETURNING revision)"
                " INSERT INTO resource_revision (kind, scope, name, revision, spec, source, changed_at, changed_by)"
                " SELECT :kind, :scope, :name, revision + 1, NULL, :source, now(), :by FROM gone"
            ),
            values,
        )


def _key_row(row: Any) -> KeyRow:
    return KeyRow(
        id=KeyId(row.id),
        project_id=ProjectId(row.project_id),
        project=row.project,
        name=row.name,
        role=Role(row.role),
        key_hash=bytes(row.key_hash),
        hint=row.hint,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        access_key_id=row.access_key_id,
        sealed_secret=None if row.sealed_secret is None else bytes(row.sealed_secret),
    )


__all__ = [
    "KeyRow",
    "ProjectRow",
    "ResourceRow",
    "delete_others",
    "ensure_project",
    "insert_key",
    "list_keys",
    "list_projects",
    "list_resources",
    "put_resource",
    "revoke_key",
]
