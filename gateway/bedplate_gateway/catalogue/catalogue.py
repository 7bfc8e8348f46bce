"""Keeps the snapshot current: loaded at start, again on every NOTIFY, and now and then in case one was missed.

It also resolves the guardrails of a call. What always holds is compiled with the snapshot; what a request chooses is
compiled when it is first asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from weakref import WeakValueDictionary

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.assessment import Origin
from bedplate_core.errors import GuardrailUnavailable, NotFound, StoreUnavailable
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.catalogue import compile as compiling
from bedplate_gateway.catalogue.guardrail_index import (
    GuardrailEntry,
    GuardrailIndex,
    Version,
    is_version,
    version_of,
)
from bedplate_gateway.catalogue.guardrail_rows import (
    StoredDocument,
    list_enforced,
    list_indexes,
    project_index,
    read_document,
)
from bedplate_gateway.catalogue.holds import GuardrailKey, wanted
from bedplate_gateway.catalogue.policy_cache import PolicyCache, PolicyKey, compiled
from bedplate_gateway.catalogue.policy_set import AppliedPolicy, PolicySet
from bedplate_gateway.catalogue.pool import ProviderPool
from bedplate_gateway.catalogue.repository import list_keys, list_projects, list_resources
from bedplate_gateway.catalogue.resources import judged_by
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.catalogue.snapshot import EMPTY, Snapshot
from bedplate_guardrails.document import InvalidPolicy
from bedplate_guardrails.evaluation import Capabilities
from bedplate_guardrails.policy import Policy
from bedplate_store.database import Database

CHANGE_CHANNEL = "bedplate_config"

_log = structlog.stdlib.get_logger("bedplate.catalogue")


class Catalogue:
    """Holds the current snapshot. Reading it costs an attribute; replacing it disturbs no call under way."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        keyring: Keyring,
        retire_timeout_s: float,
        able: Callable[[], Capabilities] = Capabilities,
        prepare: Callable[[Policy], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """`able` says what is installed for guardrails; its `judged` is not looked at: the catalogue knows better.

        `prepare` has loaded what a policy needs when it returns; it does not raise. A request that chooses a policy for
        the first time waits for it; for mandatory and default ones it runs beside everything else.
        """
        self._database = database
        self._secrets = secrets
        self._keyring = keyring
        self._able = able
        self._prepare = prepare
        self._preparing: set[asyncio.Task[None]] = set()
        self._providers = ProviderPool(retire_timeout_s)
        self._policies = PolicyCache()
        self._loading = asyncio.Lock()
        self._compiling: WeakValueDictionary[ProjectId, asyncio.Lock] = WeakValueDictionary()
        self._loaded = False
        self.snapshot: Snapshot = EMPTY

    @property
    def loaded(self) -> bool:
        """Whether a snapshot was ever loaded."""
        return self._loaded

    @property
    def capabilities(self) -> Capabilities:
        """What guardrails can ask for in this installation now."""
        return msgspec.structs.replace(self._able(), judged=self.snapshot.able.judged)

    async def load(self) -> None:
        """Read everything and replace the snapshot. Raises `StoreUnavailable`; the old snapshot stays then."""
        async with self._loading:
            async with self._database.installation() as connection:
                rows = compiling.Rows(
                    projects=await list_projects(connection),
                    keys=await list_keys(connection),
                    resources=await list_resources(connection),
                    guardrails=await list_indexes(connection),
                    enforced=await list_enforced(connection),
                )
                found = await asyncio.to_thread(compiling.declared, rows.resources, self._secrets)
                held = compiling.holds(rows, found)
                able = msgspec.structs.replace(self._able(), judged=judged_by(found.judge))
                known, documents = await self._documents(connection, wanted(held), rows.guardrails, able)
            # Compiling policies is a matter of milliseconds, but the first loads the guardrail library: off the loop.
            compiled_now = await asyncio.to_thread(compiling.policies, documents, able)
            self._prepare_all(compiled_now.values())
            made = known | compiled_now
            projects = compiling.projects(rows.projects, found, held, made)
            key_pairs = await asyncio.to_thread(compiling.key_pairs, rows.keys, self._keyring)
            providers = await self._providers.reconcile(found.endpoints)
            self._policies.hold(
                {_key(key, policy, able): policy for key, policy in made.items() if not isinstance(policy, str)}
            )
            self.snapshot = Snapshot(
                keys=compiling.keys(rows.keys),
                key_pairs=key_pairs,
                routes=compiling.routes(found.models, providers),
                projects=projects,
                guardrails=rows.guardrails,
                judge=found.judge,
                able=able,
            )
            self._loaded = True
            _log.info(
                "catalogue_loaded",
                projects=len(projects),
                keys=len(self.snapshot.keys),
                models=len(self.snapshot.routes),
                providers=len(providers),
            )

    async def reload(self) -> None:
        """Load again after a change; an unreachable database leaves the snapshot as it is."""
        try:
            await self.load()
        except StoreUnavailable:
            _log.warning("catalogue_stale")
        except Exception:
            _log.exception("catalogue_load_failed")

    def _prepare_all(self, policies: Iterable[compiling.Compiled]) -> None:
        """Have what new policies need loaded, while everything goes on."""
        if self._prepare is None:
            return
        for policy in policies:
            if not isinstance(policy, str) and policy.rehearsal:
                preparing = asyncio.create_task(self._prepare(policy))
                self._preparing.add(preparing)
                preparing.add_done_callback(self._preparing.discard)

    async def policies(self, project: ProjectId, choice: GuardrailChoice | None) -> PolicySet:
        """The guardrails of a call: the mandatory ones, then the one that it chooses or else the project's default.

        Waits for nothing unless the request chooses one. Raises `GuardrailUnavailable` when one of them cannot be
        enforced, `NotFound` for a choice that the project does not have, and `StoreUnavailable` when its document
        has to be read and cannot be.
        """
        if choice is None or choice.identifier is None:
            return self.snapshot.policies(project)
        mandatory = self.snapshot.mandatory(project)
        return PolicySet(applied=(*mandatory, await self.chosen(project, choice)))

    async def chosen(self, project: ProjectId, choice: GuardrailChoice) -> AppliedPolicy:
        """The guardrail that a request chooses, alone. Raises like `policies`."""
        entry, version = await self._located(project, choice)
        policy = await self._policy(project, entry, version, choice)
        return AppliedPolicy(policy=policy, origin=Origin.REQUEST, selective=True)

    async def aclose(self) -> None:
        """Close every provider."""
        for preparing in self._preparing:
            preparing.cancel()
        await self._providers.aclose()

    async def _documents(
        self,
        connection: AsyncConnection,
        keys: set[GuardrailKey],
        indexes: Mapping[ProjectId, GuardrailIndex],
        able: Capabilities,
    ) -> tuple[dict[GuardrailKey, compiling.Compiled], dict[GuardrailKey, StoredDocument | None]]:
        """The policies that are there already, and the documents of the others."""
        known: dict[GuardrailKey, compiling.Compiled] = {}
        documents: dict[GuardrailKey, StoredDocument | None] = {}
        for key in keys:
            entry = indexes[key.project].by_id(key.id) if key.project in indexes else None
            policy = None if entry is None else self._policies.get(_policy_key(key.project, entry, key.version, able))
            if policy is None:
                documents[key] = await read_document(connection, key.project, key.id, key.version)
            else:
                known[key] = policy
        return known, documents

    async def _located(self, project: ProjectId, choice: GuardrailChoice) -> tuple[GuardrailEntry, Version]:
        """What a choice names. One that the snapshot does not know may have been made elsewhere a moment ago."""
        if choice.identifier is None or not is_version(choice.version):
            raise _no_such_guardrail(choice)
        version = version_of(choice.version)
        entry = self.snapshot.guardrails_of(project).find(choice.identifier)
        if entry is None or not entry.has(version):
            async with self._database.transaction(project) as connection:
                entry = (await project_index(connection, project)).find(choice.identifier)
        if entry is None or not entry.has(version):
            raise _no_such_guardrail(choice)
        return entry, version

    async def _policy(
        self, project: ProjectId, entry: GuardrailEntry, version: Version, choice: GuardrailChoice
    ) -> Policy:
        able = self.capabilities
        policy = self._policies.get(_policy_key(project, entry, version, able))
        if policy is not None:
            return policy
        lock = self._compiling.get(project) or asyncio.Lock()
        self._compiling[project] = lock
        async with lock:  # callers that come together compile once; other projects do not wait
            async with self._database.transaction(project) as connection:
                stored = await read_document(connection, project, entry.id, version)
            if stored is None:
                raise _no_such_guardrail(choice)
            key = PolicyKey(project=project, id=entry.id, version=version, revision=stored.revision, able=able)
            policy = self._policies.get(key)
            if policy is None:
                policy = await self._compiled(entry.id, version, stored, able)
                if self._prepare is not None:
                    await self._prepare(policy)
                self._policies.choose(key, policy)
        return policy

    async def _compiled(self, name: str, version: Version, stored: StoredDocument, able: Capabilities) -> Policy:
        try:
            return await asyncio.to_thread(compiled, name, version, stored, able)
        except InvalidPolicy as error:
            _log.warning("guardrail_unusable", guardrail=name, reason=str(error))
            raise GuardrailUnavailable(
                "the guardrail that this request names cannot be enforced; an administrator must fix it"
            ) from error


def _policy_key(project: ProjectId, entry: GuardrailEntry, version: Version, able: Capabilities) -> PolicyKey:
    revision = entry.revision if version is None else 0
    return PolicyKey(project=project, id=entry.id, version=version, revision=revision, able=able)


def _key(key: GuardrailKey, policy: Policy, able: Capabilities) -> PolicyKey:
    """The key by what was compiled: the draft may have changed between the index and the document."""
    return PolicyKey(project=key.project, id=key.id, version=key.version, revision=policy.ref.revision, able=able)


def _no_such_guardrail(choice: GuardrailChoice) -> NotFound:
    return NotFound(f"{choice.param}: there is no such guardrail in your project", param=choice.param)


__all__ = ["CHANGE_CHANNEL", "Catalogue"]
