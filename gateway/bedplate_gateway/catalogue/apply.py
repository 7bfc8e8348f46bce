"""Loading resources from YAML files, all or nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_never

import msgspec
import yaml
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.assessment import GuardrailRef
from bedplate_core.ids import ProjectId
from bedplate_core.jsonvalue import JSON
from bedplate_gateway.catalogue.compile import with_secrets
from bedplate_gateway.catalogue.guardrail_index import DRAFT, GuardrailIndex
from bedplate_gateway.catalogue.guardrail_rows import (
    MAX_GUARDRAILS,
    act_for,
    declared_by,
    delete_guardrail,
    list_indexes,
    lock_guardrails,
    project_index,
    put_declared,
)
from bedplate_gateway.catalogue.guardrail_uses import uses_in
from bedplate_gateway.catalogue.repository import (
    ResourceRow,
    delete_others,
    ensure_project,
    list_projects,
    list_resources,
    put_resource,
)
from bedplate_gateway.catalogue.resources import (
    GuardrailResource,
    InstallationGuardrail,
    InstallationResource,
    InstallationSpec,
    ModelResource,
    ProjectResource,
    ProviderResource,
    Resource,
    ResourceError,
    decode_resource,
    judged_by,
)
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_guardrails.document import InvalidPolicy
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import compile_policy
from bedplate_store.database import Database


class Applied(msgspec.Struct, frozen=True):
    """What was done with one resource."""

    kind: str
    name: str
    changed: bool


def read_resources(paths: Iterable[Path]) -> list[Resource]:
    """The resources in `paths` (files, or folders whose `*.yaml` and `*.yml` count), in order.

    Raises `ResourceError` naming the file and the field that does not fit.
    """
    resources: list[Resource] = []
    for path in paths:
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        if not files:
            raise ResourceError(f"{path}: no .yaml or .yml file in this folder")
        for file in files:
            resources += _read_file(file)
    return resources


async def apply_resources(
    database: Database,
    secrets: Secrets,
    resources: Sequence[Resource],
    *,
    source: str,
    changed_by: str,
    prune: bool = False,
    able: Capabilities | None = None,
) -> list[Applied]:
    """Check all resources, then store those that changed, in one transaction; every gateway takes them up at once.

    Raises `ResourceError` when any of them could not work (an unknown provider, a policy that does not compile, a
    secret that is not there); nothing is stored then. Raises `StoreUnavailable`. With `prune`, what came from the
    same `source` before and is not among `resources` is deleted. `able` is what is installed for guardrails (None:
    nothing), but for the judge model, which is a resource.
    """
    for resource in resources:
        _check_alone(resource, secrets)
    async with database.installation() as connection:
        for resource in resources:
            if isinstance(resource, ProjectResource):
                await ensure_project(connection, resource.name)
        scopes = {project.name: project.id for project in await list_projects(connection)}
        declared = await declared_by(connection, source) if prune else ()
        await lock_guardrails(connection, [*_projects_of(resources, scopes), *(project for project, _, _ in declared)])
        writing = _Writing(connection, scopes, source, changed_by)
        applied = [await writing.put(resource) for resource in resources]
        if prune:
            await writing.prune(resources)
        rows = await list_resources(connection)
        known = {(row.kind, row.scope, row.name) for row in rows}
        indexes = await list_indexes(connection)
        for resource in resources:
            _check_references(resource, scopes, known, indexes)
        able = msgspec.structs.replace(able or Capabilities(), judged=_judged(rows, known))
        for resource in resources:
            _check_policy(resource, able)
    return applied


class _Writing:
    """Stores and deletes resources within one transaction."""

    def __init__(self, connection: AsyncConnection, scopes: Mapping[str, ProjectId], source: str, by: str) -> None:
        self._connection = connection
        self._scopes = scopes
        self._source = source
        self._by = by

    async def put(self, resource: Resource) -> Applied:
        """Store one resource, unless it is there already."""
        if isinstance(resource, GuardrailResource):
            changed = await self._put_guardrail(resource)
        else:
            changed = await put_resource(
                self._connection,
                kind=kind(resource),
                scope="",
                name=resource.name,
                spec=msgspec.to_builtins(resource.spec),
                source=self._source,
                changed_by=self._by,
            )
        return Applied(kind(resource), resource.name, changed)

    async def prune(self, resources: Sequence[Resource]) -> None:
        """Delete what came from the source before and is not among `resources`."""
        keep = [(kind(resource), "", resource.name) for resource in resources]
        await delete_others(self._connection, source=self._source, keep=keep, changed_by=self._by)
        kept = {
            (_project_of(each, self._scopes), each.name) for each in resources if isinstance(each, GuardrailResource)
        }
        for project, name, called in await declared_by(self._connection, self._source):
            if (project, called) in kept:
                continue
            async with self._acting_for(project):
                index = await project_index(self._connection, project)
                needed = [use for use in await uses_in(self._connection, project, index) if use.id == name]
                if needed:
                    raise ResourceError(f"Guardrail {called!r} cannot be deleted: {needed[0].what}")
                await delete_guardrail(self._connection, project, name, by=self._by)

    async def _put_guardrail(self, resource: GuardrailResource) -> bool:
        project = _project_of(resource, self._scopes)
        async with self._acting_for(project):
            changed = await put_declared(
                self._connection,
                project,
                name=resource.name,
                document=msgspec.to_builtins(resource.spec),
                source=self._source,
                by=self._by,
            )
            if len(await project_index(self._connection, project)) > MAX_GUARDRAILS:
                raise ResourceError(f"Guardrail {resource.name!r}: a project has at most {MAX_GUARDRAILS} guardrails")
        return changed

    @asynccontextmanager
    async def _acting_for(self, project: ProjectId) -> AsyncGenerator[None, None]:
        """A transaction of the installation reads every project's guardrails, and writes them as one project."""
        await act_for(self._connection, project)
        yield
        await act_for(self._connection, None)


def kind(resource: Resource) -> str:
    """The word after `kind:`."""
    return str(resource.__struct_config__.tag)


def _read_file(path: Path) -> list[Resource]:
    try:
        documents: list[JSON] = list(yaml.safe_load_all(path.read_text()))
    except OSError as error:
        raise ResourceError(f"{path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ResourceError(f"{path}: this is not YAML: {error.problem}{where}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ResourceError(f"{path}: this is not YAML: it has characters that YAML does not allow") from None
    resources: list[Resource] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        try:
            resources.append(decode_resource(document))
        except ResourceError as error:
            raise ResourceError(f"{path}, document {number}: {error}") from None
    return resources


def _check_alone(resource: Resource, secrets: Secrets) -> None:
    if not isinstance(resource, ProviderResource):
        return
    try:
        with_secrets(resource.spec, secrets)
    except SecretError as error:
        raise ResourceError(f"{kind(resource)} {resource.name!r}: {error}") from None


def _check_policy(resource: Resource, able: Capabilities) -> None:
    if not isinstance(resource, GuardrailResource):
        return
    ref = GuardrailRef(id=resource.name, name=resource.name, version=DRAFT)
    try:
        compile_policy(ref, resource.spec, able)
    except InvalidPolicy as error:
        raise ResourceError(f"{kind(resource)} {resource.name!r}: {error}") from None


def _check_references(
    resource: Resource,
    scopes: Mapping[str, ProjectId],
    known: set[tuple[str, str, str]],
    indexes: Mapping[ProjectId, GuardrailIndex],
) -> None:
    wanted: list[tuple[str, str, str]] = []
    missing: list[str] = []
    match resource:
        case ModelResource():
            wanted = [("Provider", "", resource.spec.provider)]
            wanted += [("Model", "", name) for name in resource.spec.fallbacks]
        case ProjectResource():
            index = indexes.get(scopes[resource.name], GuardrailIndex())
            named = (resource.spec.guardrail, resource.spec.default_guardrail)
            missing = [text for text in named if text is not None and index.named(text) is None]
        case InstallationResource():
            guardrail = resource.spec.guardrail
            if guardrail is not None and not _exists(guardrail, scopes, indexes):
                missing = [guardrail.name if guardrail.version is None else f"{guardrail.name}:{guardrail.version}"]
            if resource.spec.judge is not None:
                wanted = [("Model", "", resource.spec.judge.model)]
        case ProviderResource() | GuardrailResource():
            pass
        case _:
            assert_never(resource)
    absent = [f"{each[0].lower()} {each[2]!r}" for each in wanted if each not in known]
    absent += [f"guardrail {text!r}" for text in missing]
    if absent:
        raise ResourceError(f"{kind(resource)} {resource.name!r}: {absent[0]} does not exist")


def _exists(
    named: InstallationGuardrail, scopes: Mapping[str, ProjectId], indexes: Mapping[ProjectId, GuardrailIndex]
) -> bool:
    project = scopes.get(named.project)
    entry = None if project is None else indexes.get(project, GuardrailIndex()).by_name(named.name)
    return entry is not None and entry.has(named.version)


def _judged(rows: Sequence[ResourceRow], known: set[tuple[str, str, str]]) -> frozenset[str]:
    for row in rows:
        if row.kind == "Installation":
            try:
                judge = msgspec.convert(row.spec, InstallationSpec).judge
            except msgspec.ValidationError:
                return frozenset()
            return judged_by(judge if judge is not None and ("Model", "", judge.model) in known else None)
    return frozenset()


def _projects_of(resources: Sequence[Resource], scopes: Mapping[str, ProjectId]) -> set[ProjectId]:
    """The projects whose guardrails are written or named."""
    found: set[ProjectId] = set()
    for resource in resources:
        match resource:
            case GuardrailResource():
                found.add(_project_of(resource, scopes))
            case ProjectResource():
                found.add(scopes[resource.name])
            case InstallationResource(spec=InstallationSpec(guardrail=InstallationGuardrail(project=project))):
                if project in scopes:
                    found.add(scopes[project])
            case InstallationResource() | ProviderResource() | ModelResource():
                pass
            case _:
                assert_never(resource)
    return found


def _project_of(resource: GuardrailResource, scopes: Mapping[str, ProjectId]) -> ProjectId:
    if resource.project not in scopes:
        raise ResourceError(f"Guardrail {resource.name!r}: project {resource.project!r} does not exist")
    return scopes[resource.project]


__all__ = ["Applied", "apply_resources", "kind", "read_resources"]
