"""Who needs a guardrail: what is enforced, and what the installation's files name."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSON
from bedplate_gateway.catalogue.guardrail_index import GuardrailEntry, GuardrailIndex, Version
from bedplate_gateway.catalogue.guardrail_rows import enforced_in
from bedplate_gateway.catalogue.resources import InstallationSpec, ProjectSpec


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One need of one version. `by_name` says that files name it, so that it must keep its name."""

    id: str
    version: Version
    what: str
    by_name: bool


class DeclaredGuardrails(msgspec.Struct, frozen=True, kw_only=True):
    """What a project's settings in the files name, as they write it; None: nothing."""

    mandatory: str | None = None
    default: str | None = None


async def uses_in(connection: AsyncConnection, project: ProjectId, index: GuardrailIndex) -> list[Use]:
    """Every need of the guardrails in `index`, which are those of `project`."""
    uses = [
        Use(id=row.guardrail_id, version=row.version, what="it is enforced", by_name=False)
        for row in await enforced_in(connection, project)
    ]
    declared = await declared_in(connection, project)
    for said, what in ((declared.mandatory, "mandatory"), (declared.default, "the default")):
        found = None if said is None else index.named(said)
        if found is not None:
            entry, version = found
            uses.append(_declared(entry, version, f"the installation's files make it {what} in its project"))
    everywhere = await _installation(connection, project)
    entry = None if everywhere is None else index.by_name(everywhere[0])
    if everywhere is not None and entry is not None:
        uses.append(_declared(entry, everywhere[1], "the installation's files make it mandatory everywhere"))
    return uses


async def declared_in(connection: AsyncConnection, project: ProjectId) -> DeclaredGuardrails:
    """What the project's settings name. Settings that do not decode name nothing."""
    spec = await _spec(
        connection,
        "SELECT r.spec::text FROM resource r JOIN project p ON p.name = r.name"
        " WHERE r.kind = 'Project' AND r.scope = '' AND p.id = :project",
        project,
    )
    try:
        settings = msgspec.convert(spec or {}, ProjectSpec)
    except msgspec.ValidationError:
        return DeclaredGuardrails()
    return DeclaredGuardrails(mandatory=settings.guardrail, default=settings.default_guardrail)


async def _installation(connection: AsyncConnection, project: ProjectId) -> tuple[str, Version] | None:
    """The name and version that the installation needs of this project."""
    spec = await _spec(
        connection,
        "SELECT r.spec::text FROM resource r JOIN project p ON p.name = r.spec -> 'guardrail' ->> 'project'"
        " WHERE r.kind = 'Installation' AND r.scope = '' AND p.id = :project",
        project,
    )
    try:
        named = msgspec.convert(spec or {}, InstallationSpec).guardrail
    except msgspec.ValidationError:
        return None
    return None if named is None else (named.name, named.version)


async def _spec(connection: AsyncConnection, statement: str, project: ProjectId) -> JSON:
    row = (await connection.execute(text(statement), {"project": project})).first()
    return None if row is None else msgspec.json.decode(row[0])


def _declared(entry: GuardrailEntry, version: Version, what: str) -> Use:
    return Use(id=entry.id, version=version, what=what, by_name=True)


__all__ = ["DeclaredGuardrails", "Use", "declared_in", "uses_in"]
