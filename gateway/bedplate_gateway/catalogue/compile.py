"""From rows to a snapshot. Pure but for the providers that it opens; one bad resource never takes the others down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import structlog

from bedplate_core.ids import ProjectId
from bedplate_gateway.access.credentials import KeyEntry, KeyPair
from bedplate_gateway.access.keyring import Keyring, KeyringError
from bedplate_gateway.access.principal import Principal
from bedplate_gateway.catalogue.guardrail_index import GuardrailIndex
from bedplate_gateway.catalogue.guardrail_rows import EnforcedRow, StoredDocument
from bedplate_gateway.catalogue.holds import GuardrailKey, Hold, Holds, Settings, holds_of
from bedplate_gateway.catalogue.policy_cache import compiled
from bedplate_gateway.catalogue.policy_set import AppliedPolicy, PolicySet
from bedplate_gateway.catalogue.pool import Lease
from bedplate_gateway.catalogue.repository import KeyRow, ProjectRow, ResourceRow
from bedplate_gateway.catalogue.resources import (
    GuardrailResource,
    InstallationResource,
    InstallationSpec,
    JudgeSpec,
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
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import Policy
from bedplate_providers.credential import Credential
from bedplate_providers.endpoints import Endpoint

INSTALLATION_KIND: Final = "Installation"

_log = structlog.stdlib.get_logger("bedplate.catalogue")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says, read in one transaction."""

    projects: Sequence[ProjectRow]
    keys: Sequence[KeyRow]
    resources: Sequence[ResourceRow]
    guardrails: Mapping[ProjectId, GuardrailIndex]
    enforced: Sequence[EnforcedRow]


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The resources that can be used, by what they are; and the settings that cannot be read.

    `installation` is None when there are settings that do not decode.
    """

    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, tuple[ModelResource, ResourceRow]]
    settings: Mapping[str, ProjectResource]
    installation: InstallationSpec | None
    broken: frozenset[tuple[str, str, str]]

    @property
    def judge(self) -> JudgeSpec | None:
        """The judge model that an administrator named, and that is in the catalogue."""
        named = None if self.installation is None else self.installation.judge
        return named if named is not None and named.model in self.models else None


def declared(rows: Sequence[ResourceRow], secrets: Secrets) -> Declared:
    """Decode the rows. A row that does not decode is logged and counts as broken."""
    endpoints: dict[str, Endpoint] = {}
    models: dict[str, tuple[ModelResource, ResourceRow]] = {}
    settings: dict[str, ProjectResource] = {}
    installation: InstallationSpec | None = InstallationSpec()
    broken: set[tuple[str, str, str]] = set()
    for row in rows:
        try:
            resource: Resource = decode_resource({"kind": row.kind, "name": row.name, "spec": row.spec})
            match resource:
                case ProviderResource():
                    endpoints[row.name] = with_secrets(resource.spec, secrets)
                case ModelResource():
                    models[row.name] = (resource, row)
                case ProjectResource():
                    settings[row.name] = resource
                case InstallationResource():
                    installation = resource.spec
                case GuardrailResource():  # kept in another table; a row of this kind is one of an older version
                    pass
        except (ResourceError, SecretError) as error:
            if row.kind == INSTALLATION_KIND:
                installation = None
            broken.add((row.kind, row.scope, row.name))
            _log.error("resource_unusable", kind=row.kind, name=row.name, reason=str(error))
    return Declared(
        endpoints=endpoints, models=models, settings=settings, installation=installation, broken=frozenset(broken)
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


def holds(rows: Rows, found: Declared) -> dict[ProjectId, Holds]:
    """Which guardrails hold in every project."""
    settings = Settings(
        installation=found.installation,
        projects={name: resource.spec for name, resource in found.settings.items()},
        unreadable=frozenset(name for kind, _, name in found.broken if kind == "Project"),
    )
    return holds_of(rows.projects, settings, rows.guardrails, rows.enforced)


Compiled: TypeAlias = Policy | str
"""A policy, or why there is none."""


def policies(
    documents: Mapping[GuardrailKey, StoredDocument | None], able: Capabilities
) -> dict[GuardrailKey, Compiled]:
    """The documents compiled, each by itself; None: the document is not there any more."""
    made: dict[GuardrailKey, Compiled] = {}
    for key, stored in documents.items():
        if stored is None:
            made[key] = "the guardrail does not exist any more"
            continue
        try:
            made[key] = compiled(key.id, key.version, stored, able)
        except Exception as error:
            made[key] = f"guardrail {stored.name!r} does not compile: {error}"
    return made


def projects(
    rows: Sequence[ProjectRow],
    found: Declared,
    held: Mapping[ProjectId, Holds],
    made: Mapping[GuardrailKey, Compiled],
) -> dict[ProjectId, Project]:
    """Every project with its guardrails. A mandatory one that cannot be enforced closes the projects that it is for."""
    result: dict[ProjectId, Project] = {}
    for row in rows:
        mandatory = [_applied(hold, made) for hold in held[row.id].mandatory]
        chosen = held[row.id].default
        default = () if chosen is None else (_applied(chosen, made),)
        mandatory_error = next((each for each in mandatory if isinstance(each, str)), None)
        default_error = next((each for each in default if isinstance(each, str)), None)
        if mandatory_error is not None:
            _log.error("guardrail_unusable", project=row.name, reason=mandatory_error)
        if default_error is not None:
            _log.error("default_guardrail_unusable", project=row.name, reason=default_error)
        usable = tuple(each for each in mandatory if not isinstance(each, str))
        setting = found.settings.get(row.name)
        result[row.id] = Project(
            id=row.id,
            name=row.name,
            mandatory=usable,
            policies=PolicySet(applied=(*usable, *(each for each in default if not isinstance(each, str)))),
            mandatory_error=mandatory_error,
            default_error=default_error,
            sessions=SessionSpec() if setting is None else setting.spec.sessions,
        )
    return result


def _applied(hold: Hold, made: Mapping[GuardrailKey, Compiled]) -> AppliedPolicy | str:
    if hold.key is None:
        return hold.problem
    policy = made[hold.key]
    if isinstance(policy, str):
        return policy
    return AppliedPolicy(
        policy=policy,
        origin=hold.origin,
        selective=hold.selective,
        included=hold.included,
        excluded=hold.excluded,
    )


def with_secrets(endpoint: Endpoint, secrets: Secrets) -> Endpoint:
    """`endpoint` with its references to secrets resolved. Raises `SecretError`."""
    values = {name: getattr(endpoint, name) for name in endpoint.SECRETS}
    found = {name: secrets.resolve(value) for name, value in values.items() if value is not None}
    return msgspec.structs.replace(endpoint, **found) if found else endpoint


__all__ = [
    "Compiled",
    "Declared",
    "Rows",
    "declared",
    "holds",
    "key_pairs",
    "keys",
    "policies",
    "projects",
    "routes",
    "with_secrets",
]
