"""From rows to a snapshot. Pure but for the providers that it opens; one bad resource never takes the others down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from bedplate_core.ids import ProjectId
from bedplate_gateway.access.credentials import KeyEntry, KeyPair
from bedplate_gateway.access.keyring import Keyring, KeyringError
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.catalogue.pool import Lease
from bedplate_gateway.catalogue.repository import KeyRow, ProjectRow, ResourceRow
from bedplate_gateway.catalogue.resources import (
    GuardrailResource,
    ModelResource,
    ProjectResource,
    ProviderResource,
    Resource,
    ResourceError,
    SessionSpec,
    decode_resource,
)
from bedplate_gateway.catalogue.secrets import SecretError, Secrets
from bedplate_gateway.catalogue.snapshot import Project, Route
from bedplate_guardrails.policy import Policy, compile_policy
from bedplate_providers.credential import Credential
from bedplate_providers.endpoints import Endpoint

_log = structlog.stdlib.get_logger("bedplate.catalogue")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says, read in one transaction."""

    projects: Sequence[ProjectRow]
    keys: Sequence[KeyRow]
    resources: Sequence[ResourceRow]


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The resources that can be used, by what they are; and the guardrails that cannot."""

    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, tuple[ModelResource, ResourceRow]]
    guardrails: Mapping[tuple[str, str], tuple[GuardrailResource, int]]
    settings: Mapping[str, ProjectResource]
    broken: frozenset[tuple[str, str, str]]


def declared(rows: Sequence[ResourceRow], secrets: Secrets) -> Declared:
    """Decode the rows. A row that does not decode is logged and counts as broken."""
    endpoints: dict[str, Endpoint] = {}
    models: dict[str, tuple[ModelResource, ResourceRow]] = {}
    guardrails: dict[tuple[str, str], tuple[GuardrailResource, int]] = {}
    settings: dict[str, ProjectResource] = {}
    broken: set[tuple[str, str, str]] = set()
    for row in rows:
        try:
            resource: Resource = decode_resource({"kind": row.kind, "name": row.name, "spec": row.spec})
            match resource:
                case ProviderResource():
                    endpoints[row.name] = with_secrets(resource.spec, secrets)
                case ModelResource():
                    models[row.name] = (resource, row)
                case GuardrailResource():
                    guardrails[row.scope, row.name] = (resource, row.revision)
                case ProjectResource():
                    settings[row.name] = resource
        except (ResourceError, SecretError) as error:
            broken.add((row.kind, row.scope, row.name))
            _log.error("resource_unusable", kind=row.kind, name=row.name, reason=str(error))
    return Declared(
        endpoints=endpoints, models=models, guardrails=guardrails, settings=settings, broken=frozenset(broken)
    )


def routes(models: Mapping[str, tuple[ModelResource, ResourceRow]], providers: Mapping[str, Lease]) -> dict[str, Route]:
    """The routes of the models whose provider is open."""
    found: dict[str, Route] = {}
    for name, (resource, row) in models.items():
        lease = providers.get(resource.spec.provider)
        if lease is None:
            _log.error("model_without_provider", model=name, provider=resource.spec.provider)
            continue
        found[name] = Route(
            name=name,
            upstream_model=resource.spec.upstream_model or name,
            profile=resource.spec.profile,
            created_s=int(row.updated_at.timestamp()),
            revision=row.revision,
            pooled=lease,
            attempts=resource.spec.attempts,
            fallbacks=resource.spec.fallbacks,
        )
    return found


def keys(rows: Sequence[KeyRow]) -> dict[bytes, KeyEntry]:
    """The keys that are neither revoked nor expired, by their hash."""
    now = time.time()
    return {
        row.key_hash: KeyEntry(
            principal=Principal(key_id=row.id, project=row.project_id, role=row.role),
            expires_s=row.expires_at.timestamp() if row.expires_at else None,
        )
        for row in rows
        if row.revoked_at is None and (row.expires_at is None or row.expires_at.timestamp() > now)
    }


def key_pairs(rows: Sequence[KeyRow], keyring: Keyring) -> dict[str, KeyPair]:
    """The pairs of the keys that are not revoked, by access key id. Expired ones stay, so that their callers learn why.

    A secret that does not open is logged, and its pair works no more; the others do.
    """
    found: dict[str, KeyPair] = {}
    for row in rows:
        if row.revoked_at is not None or row.access_key_id is None or row.sealed_secret is None:
            continue
        try:
            secret = Credential(keyring.open_secret(row.access_key_id, row.sealed_secret))
        except KeyringError as error:
            _log.error("access_key_unusable", key_id=row.id, reason=str(error))
            continue
        found[row.access_key_id] = KeyPair(
            principal=Principal(key_id=row.id, project=row.project_id, role=row.role),
            expires_s=row.expires_at.timestamp() if row.expires_at else None,
            secret=secret,
        )
    return found


def projects(rows: Sequence[ProjectRow], found: Declared, compiled: PolicyCache) -> dict[ProjectId, Project]:
    """Every project with its compiled guardrail. One that cannot be enforced closes its project, and only that."""
    result: dict[ProjectId, Project] = {}
    for row in rows:
        policy, problem = None, None
        setting = found.settings.get(row.name)
        if ("Project", "", row.name) in found.broken:
            problem = "the project's settings cannot be read"
        elif setting is not None and setting.spec.guardrail is not None:
            policy, problem = compiled.policy(row.id, setting.spec.guardrail, found)
        if problem is not None:
            _log.error("guardrail_unusable", project=row.name, reason=problem)
        result[row.id] = Project(
            id=row.id,
            name=row.name,
            policy=policy,
            policy_error=problem,
            sessions=SessionSpec() if setting is None else setting.spec.sessions,
        )
    return result


class PolicyCache:
    """Compiled policies by what they were compiled from, so that an unrelated change compiles none again."""

    def __init__(self) -> None:
        self._policies: dict[tuple[str, str, int], Policy] = {}

    def policy(self, project: ProjectId, name: str, found: Declared) -> tuple[Policy | None, str | None]:
        """The policy `name` of `project`, or why there is none."""
        entry = found.guardrails.get((project, name))
        if entry is None:
            return None, f"guardrail {name!r} does not exist or cannot be read"
        resource, revision = entry
        key = (project, name, revision)
        if key not in self._policies:
            try:
                self._policies[key] = compile_policy(name, str(revision), resource.spec)
            except Exception as error:
                return None, f"guardrail {name!r} does not compile: {error}"
        return self._policies[key], None


def with_secrets(endpoint: Endpoint, secrets: Secrets) -> Endpoint:
    """`endpoint` with its references to secrets resolved. Raises `SecretError`."""
    values = {name: getattr(endpoint, name) for name in endpoint.SECRETS}
    found = {name: secrets.resolve(value) for name, value in values.items() if value is not None}
    return msgspec.structs.replace(endpoint, **found) if found else endpoint


__all__ = ["Declared", "PolicyCache", "Rows", "declared", "key_pairs", "keys", "projects", "routes", "with_secrets"]
