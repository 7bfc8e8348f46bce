"""What the API does to guardrails: one transaction each, within one project.

Every change first takes the project's lock, so that what is checked (names, quotas, uses, tokens) stays true until it
is stored. Limits on lengths, and whether a document can be evaluated, are the caller's to check.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from bedplate_core.ids import KeyId, ProjectId
from bedplate_core.jsonvalue import JSONObject
from bedplate_gateway.catalogue.guardrail_index import GuardrailEntry, GuardrailIndex, Version
from bedplate_gateway.catalogue.guardrail_rows import (
    API_SOURCE,
    MAX_GUARDRAILS,
    MAX_VERSIONS,
    Change,
    EnforcedRow,
    GuardrailRow,
    StoredDocument,
    VersionRow,
    change_guardrail,
    delete_guardrail,
    enforced_in,
    insert_guardrail,
    list_versions,
    lock_guardrails,
    page_guardrails,
    project_index,
    read_document,
    read_guardrail,
)
from bedplate_gateway.catalogue.guardrail_uses import DeclaredGuardrails, declared_in, uses_in
from bedplate_store.database import Database

T = TypeVar("T", bound=msgspec.Struct)

MAX_TAGS: Final = 200
_CHARS: Final = string.ascii_lowercase + string.digits


class GuardrailInUse(Conflict):
    """A guardrail, or a version of it, cannot be deleted: something needs it."""


class TooManyTags(InvalidRequest):
    """More tags than one resource can have. `resource` is its name in the request."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"tags: a guardrail has at most {MAX_TAGS} tags", param="tags")
        self.resource = resource


class Repeatable(msgspec.Struct, frozen=True, kw_only=True):
    """A request with a token, which is done once however often it comes. `request_hash` says whether it is the same."""

    token: str
    operation: str
    request_hash: bytes


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A new guardrail."""

    id: str
    created_at: datetime


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A new version."""

    id: str
    version: int


class Enforcement(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be enforced. The last two are members of Bedrock's, as given."""

    id: str
    version: int
    selective: JSONObject | None
    model_enforcement: JSONObject | None


class EnforcedList(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every call of a project: by the API, and by its settings in the files."""

    rows: Sequence[EnforcedRow]
    declared: tuple[GuardrailEntry, Version] | None


class GuardrailStore:
    """The guardrails of all projects. Every method raises `StoreUnavailable`.

    Those that take a guardrail's id raise `NotFound` for one that the project does not have.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, project: ProjectId, new: Change, tags: Mapping[str, str], by: KeyId, repeatable: Repeatable | None
    ) -> Made:
        """A new guardrail. Raises `Conflict` for a name or token that is taken, `QuotaExceeded`, `TooManyTags`."""
        if len(tags) > MAX_TAGS:
            raise TooManyTags(new.name)
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            before = await _answered(connection, project, repeatable, Made)
            if before is not None:
                return before
            index = await project_index(connection, project)
            _require_free(index, new.name, None)
            if len(index) >= MAX_GUARDRAILS:
                raise QuotaExceeded(f"a project has at most {MAX_GUARDRAILS} guardrails")
            name, created_at = await insert_guardrail(connection, project, new, tags=tags, source=API_SOURCE, by=by)
            made = Made(id=name, created_at=created_at)
            await _keep_answer(connection, project, repeatable, made)
            return made

    async def draft(self, project: ProjectId, name: str) -> GuardrailRow:
        """The guardrail with its draft."""
        async with self._database.transaction(project) as connection:
            return await _required(connection, project, name)

    async def version(self, project: ProjectId, name: str, version: int) -> tuple[GuardrailRow, VersionRow]:
        """The guardrail, and one of its versions. Raises `NotFound` for one that there is not."""
        async with self._database.transaction(project) as connection:
            row = await _required(connection, project, name)
            for each in await list_versions(connection, project, name):
                if each.version == version:
                    return row, each
        raise no_such_guardrail()

    async def versions(self, project: ProjectId, name: str) -> tuple[GuardrailRow, Sequence[VersionRow]]:
        """The guardrail with all its versions, newest first."""
        async with self._database.transaction(project) as connection:
            return await _required(connection, project, name), await list_versions(connection, project, name)

    async def page(
        self, project: ProjectId, *, limit: int, after: tuple[datetime, str] | None
    ) -> Sequence[GuardrailRow]:
        """Up to `limit` guardrails, newest first, those after the one with that time and id."""
        async with self._database.transaction(project) as connection:
            return await page_guardrails(connection, project, limit=limit, after=after)

    async def update(self, project: ProjectId, name: str, change: Change, by: KeyId) -> datetime:
        """Replace the draft whole; when. Raises `Conflict` for a name that is taken, or that files need as it is."""
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            index = await project_index(connection, project)
            entry = index.by_id(name)
            if entry is None:
                raise no_such_guardrail()
            _require_free(index, change.name, name)
            if entry.name != change.name:
                uses = await uses_in(connection, project, index)
                needed = next((use for use in uses if use.id == name and use.by_name), None)
                if needed is not None:
                    raise Conflict(f"name: must stay {entry.name!r}, because {needed.what}", param="name")
            return await change_guardrail(connection, project, name, change, source=None, by=by)

    async def freeze(
        self, project: ProjectId, name: str, description: str | None, repeatable: Repeatable | None
    ) -> Frozen:
        """A new version with what the draft says now. Raises `Conflict` for a token that is taken, `QuotaExceeded`."""
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            before = await _answered(connection, project, repeatable, Frozen)
            if before is not None:
                return before
            await _required(connection, project, name)
            if len(await list_versions(connection, project, name)) >= MAX_VERSIONS:
                raise QuotaExceeded(f"a guardrail has at most {MAX_VERSIONS} versions at a time; delete one")
            row = await connection.execute(
                text(
                    "WITH draft AS (UPDATE guardrail SET next_version = next_version + 1"
                    " WHERE project_id = :project AND id = :id RETURNING next_version - 1 AS version, name, document)"
                    " INSERT INTO guardrail_version (project_id, guardrail_id, version, name, description, document)"
                    " SELECT :project, :id, version, name, :description, document FROM draft RETURNING version"
                ),
                {"project": project, "id": name, "description": description},
            )
            frozen = Frozen(id=name, version=int(row.scalar_one()))
            await _keep_answer(connection, project, repeatable, frozen)
            return frozen

    async def delete(self, project: ProjectId, name: str, version: int | None, by: KeyId) -> None:
        """Delete one version, or with None the guardrail with all of them. Raises `GuardrailInUse`."""
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            index = await project_index(connection, project)
            entry = index.by_id(name)
            if entry is None or not entry.has(version):
                raise no_such_guardrail()
            for use in await uses_in(connection, project, index):
                if use.id == name and (version is None or use.version == version):
                    raise GuardrailInUse(f"the guardrail cannot be deleted: {use.what}")
            if version is None:
                await delete_guardrail(connection, project, name, by=by)
                return
            await connection.execute(
                text(
                    "DELETE FROM guardrail_version"
                    " WHERE project_id = :project AND guardrail_id = :id AND version = :version"
                ),
                {"project": project, "id": name, "version": version},
            )

    async def add_tags(self, project: ProjectId, name: str, tags: Mapping[str, str], resource: str) -> None:
        """Set these tags and keep the others. Raises `TooManyTags`, in which `resource` names the guardrail."""
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            after = {**(await _required(connection, project, name)).tags, **tags}
            if len(after) > MAX_TAGS:
                raise TooManyTags(resource)
            await _set_tags(connection, project, name, after)

    async def remove_tags(self, project: ProjectId, name: str, keys: Iterable[str]) -> None:
        """Remove the tags with these keys, if there are any."""
        gone = frozenset(keys)
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            tags = (await _required(connection, project, name)).tags
            await _set_tags(connection, project, name, {key: tags[key] for key in tags if key not in gone})

    async def document(self, project: ProjectId, name: str, version: int) -> StoredDocument:
        """What a version says. Raises `NotFound` for one that there is not."""
        async with self._database.transaction(project) as connection:
            stored = await read_document(connection, project, name, version)
        if stored is None:
            raise no_such_guardrail()
        return stored

    async def enforce(self, project: ProjectId, config_id: str | None, new: Enforcement, by: KeyId) -> EnforcedRow:
        """Make a version mandatory, or with `config_id` change what is.

        A project has one such configuration, as an account has in Bedrock. Raises `Conflict` when there is another
        and no `config_id`, and `NotFound` for one that there is not.
        """
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            entry = (await project_index(connection, project)).by_id(new.id)
            if entry is None or not entry.has(new.version):
                raise no_such_guardrail()
            rows = await enforced_in(connection, project)
            if config_id is not None and config_id not in [row.config_id for row in rows]:
                raise no_such_configuration()
            if config_id is None and rows:
                if _says(rows[0], new):
                    return rows[0]
                raise Conflict(
                    f"this project enforces a guardrail already; give its configId {rows[0].config_id!r} to change it",
                    param="configId",
                )
            name = config_id or "".join(secrets.choice(_CHARS) for _ in range(12))
            await _put_enforced(connection, project, name, new, by)
            (found,) = [row for row in await enforced_in(connection, project) if row.config_id == name]
            return found

    async def enforced(self, project: ProjectId) -> EnforcedList:
        """What is mandatory in the project."""
        async with self._database.transaction(project) as connection:
            declared: DeclaredGuardrails = await declared_in(connection, project)
            index = await project_index(connection, project)
            return EnforcedList(
                rows=await enforced_in(connection, project),
                declared=None if declared.mandatory is None else index.named(declared.mandatory),
            )

    async def release(self, project: ProjectId, config_id: str) -> None:
        """End a configuration. Raises `NotFound` for one that there is not."""
        async with self._database.transaction(project) as connection:
            await lock_guardrails(connection, [project])
            gone = await connection.execute(
                text(
                    "DELETE FROM enforced_guardrail WHERE project_id = :project AND config_id = :config"
                    " RETURNING config_id"
                ),
                {"project": project, "config": config_id},
            )
            if gone.first() is None:
                raise no_such_configuration()


def no_such_guardrail() -> NotFound:
    """The error for a guardrail, or a version of it, that the project does not have."""
    return NotFound("there is no such guardrail in your project")


def no_such_configuration() -> NotFound:
    """The error for an enforced configuration that the project does not have."""
    return NotFound("there is no such configuration in your project", param="configId")


async def _required(connection: AsyncConnection, project: ProjectId, name: str) -> GuardrailRow:
    row = await read_guardrail(connection, project, name)
    if row is None:
        raise no_such_guardrail()
    return row


def _require_free(index: GuardrailIndex, name: str, owner: str | None) -> None:
    taken = index.by_name(name)
    if taken is not None and taken.id != owner:
        raise Conflict(f"name: another guardrail has the name {name!r}", param="name")


def _says(row: EnforcedRow, new: Enforcement) -> bool:
    """Whether a configuration is what is asked for, as it is when an SDK sends a request again."""
    return (row.guardrail_id, row.version, row.selective, row.model_enforcement) == (
        new.id,
        new.version,
        new.selective,
        new.model_enforcement,
    )


async def _put_enforced(
    connection: AsyncConnection, project: ProjectId, config_id: str, new: Enforcement, by: KeyId
) -> None:
    await connection.execute(
        text(
            "INSERT INTO enforced_guardrail AS e (config_id, project_id, guardrail_id, version, selective,"
            " model_enforcement, created_by, updated_by)"
            " VALUES (:config, :project, :id, :version, CAST(:selective AS jsonb), CAST(:models AS jsonb), :by, :by)"
            " ON CONFLICT (config_id) DO UPDATE SET guardrail_id = excluded.guardrail_id, version = excluded.version,"
            " selective = excluded.selective, model_enforcement = excluded.model_enforcement, updated_at = now(),"
            " updated_by = excluded.updated_by WHERE e.project_id = :project"
        ),
        {
            "config": config_id,
            "project": project,
            "id": new.id,
            "version": new.version,
            "selective": _json_or_null(new.selective),
            "models": _json_or_null(new.model_enforcement),
            "by": by,
        },
    )


async def _set_tags(connection: AsyncConnection, project: ProjectId, name: str, tags: Mapping[str, str]) -> None:
    await connection.execute(
        text("UPDATE guardrail SET tags = CAST(:tags AS jsonb) WHERE project_id = :project AND id = :id"),
        {"project": project, "id": name, "tags": msgspec.json.encode(tags).decode()},
    )


async def _answered(
    connection: AsyncConnection, project: ProjectId, repeatable: Repeatable | None, kind: type[T]
) -> T | None:
    """What the same request was answered with in the last day. Raises `Conflict` when its token was another's."""
    if repeatable is None:
        return None
    await connection.execute(
        text(
            "DELETE FROM guardrail_request"
            " WHERE project_id = :project AND created_at < now() - make_interval(days => 1)"
        ),
        {"project": project},
    )
    rows = await connection.execute(
        text(
            "SELECT operation, request_hash, result::text AS result FROM guardrail_request"
            " WHERE project_id = :project AND token = :token"
        ),
        {"project": project, "token": repeatable.token},
    )
    row = rows.first()
    if row is None:
        return None
    if (row.operation, bytes(row.request_hash)) != (repeatable.operation, repeatable.request_hash):
        raise Conflict("clientRequestToken: was used for another request", param="clientRequestToken")
    return msgspec.json.decode(row.result, type=kind)


async def _keep_answer(
    connection: AsyncConnection, project: ProjectId, repeatable: Repeatable | None, answer: msgspec.Struct
) -> None:
    if repeatable is None:
        return
    await connection.execute(
        text(
            "INSERT INTO guardrail_request (project_id, token, operation, request_hash, result)"
            " VALUES (:project, :token, :operation, :hash, CAST(:result AS jsonb))"
        ),
        {
            "project": project,
            "token": repeatable.token,
            "operation": repeatable.operation,
            "hash": repeatable.request_hash,
            "result": msgspec.json.encode(answer).decode(),
        },
    )


def _json_or_null(value: JSONObject | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


__all__ = [
    "MAX_TAGS",
    "EnforcedList",
    "Enforcement",
    "Frozen",
    "GuardrailInUse",
    "GuardrailStore",
    "Made",
    "Repeatable",
    "TooManyTags",
    "no_such_configuration",
    "no_such_guardrail",
]
