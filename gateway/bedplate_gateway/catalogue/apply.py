"""Loading resources from YAML files, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from bedplate_core.jsonvalue import JSON
from bedplate_gateway.catalogue.compile import with_secrets
from bedplate_gateway.catalogue.repository import (
    delete_others,
    ensure_project,
    list_projects,
    list_resources,
    put_resource,
)
from bedplate_gateway.catalogue.resources import (
    GuardrailResource,
    ModelResource,
    ProjectResource,
    ProviderResource,
    Resource,
    ResourceError,
    decode_resource,
)
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_guardrails.document import InvalidPolicy
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
) -> list[Applied]:
    """Check all resources, then store those that changed, in one transaction; every gateway takes them up at once.

    Raises `ResourceError` when any of them could not work (an unknown provider, a policy that does not compile, a
    secret that is not there); nothing is stored then. Raises `StoreUnavailable`. With `prune`, what came from the
    same `source` before and is not among `resources` is deleted.
    """
    for resource in resources:
        _check_alone(resource, secrets)
    applied: list[Applied] = []
    async with database.installation() as connection:
        for resource in resources:
            if isinstance(resource, ProjectResource):
                await ensure_project(connection, resource.name)
        scopes = {project.name: project.id for project in await list_projects(connection)}
        for resource in resources:
            changed = await put_resource(
                connection,
                kind=kind(resource),
                scope=_scope(resource, scopes),
                name=resource.name,
                spec=msgspec.to_builtins(resource.spec),
                source=source,
                changed_by=changed_by,
            )
            applied.append(Applied(kind(resource), resource.name, changed))
        if prune:
            keep = [(kind(resource), _scope(resource, scopes), resource.name) for resource in resources]
            await delete_others(connection, source=source, keep=keep, changed_by=changed_by)
        known = {(row.kind, row.scope, row.name) for row in await list_resources(connection)}
        for resource in resources:
            _check_references(resource, scopes, known)
    return applied


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
    try:
        match resource:
            case GuardrailResource():
                compile_policy(resource.name, "draft", resource.spec)
            case ProviderResource():
                with_secrets(resource.spec, secrets)
            case ModelResource() | ProjectResource():
                pass
    except (InvalidPolicy, SecretError) as error:
        raise ResourceError(f"{kind(resource)} {resource.name!r}: {error}") from None


def _check_references(resource: Resource, scopes: Mapping[str, str], known: set[tuple[str, str, str]]) -> None:
    wanted: list[tuple[str, str, str]] = []
    match resource:
        case ModelResource():
            wanted = [("Provider", "", resource.spec.provider)]
            wanted += [("Model", "", name) for name in resource.spec.fallbacks]
        case ProjectResource() if resource.spec.guardrail is not None:
            wanted = [("Guardrail", scopes[resource.name], resource.spec.guardrail)]
        case _:
            pass
    for reference in wanted:
        if reference not in known:
            named = f"{reference[0].lower()} {reference[2]!r}"
            raise ResourceError(f"{kind(resource)} {resource.name!r}: {named} does not exist")


def _scope(resource: Resource, scopes: Mapping[str, str]) -> str:
    if not isinstance(resource, GuardrailResource):
        return ""
    if resource.project not in scopes:
        raise ResourceError(f"Guardrail {resource.name!r}: project {resource.project!r} does not exist")
    return scopes[resource.project]


__all__ = ["Applied", "apply_resources", "kind", "read_resources"]
