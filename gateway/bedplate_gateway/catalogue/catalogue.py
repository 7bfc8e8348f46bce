"""Keeps the snapshot current: loaded at start, again on every NOTIFY, and now and then in case one was missed."""

from __future__ import annotations

import asyncio

import structlog

from bedplate_core.errors import StoreUnavailable
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.catalogue import compile as compiling
from bedplate_gateway.catalogue.pool import ProviderPool
from bedplate_gateway.catalogue.repository import list_keys, list_projects, list_resources
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.catalogue.snapshot import EMPTY, Snapshot
from bedplate_store.database import Database

CHANGE_CHANNEL = "bedplate_config"

_log = structlog.stdlib.get_logger("bedplate.catalogue")


class Catalogue:
    """Holds the current snapshot. Reading it costs an attribute; replacing it disturbs no call under way."""

    def __init__(self, database: Database, secrets: Secrets, keyring: Keyring, retire_timeout_s: float) -> None:
        self._database = database
        self._secrets = secrets
        self._keyring = keyring
        self._providers = ProviderPool(retire_timeout_s)
        self._policies = compiling.PolicyCache()
        self._loading = asyncio.Lock()
        self._loaded = False
        self.snapshot: Snapshot = EMPTY

    @property
    def loaded(self) -> bool:
        """Whether a snapshot was ever loaded."""
        return self._loaded

    async def load(self) -> None:
        """Read everything and replace the snapshot. Raises `StoreUnavailable`; the old snapshot stays then."""
        async with self._loading:
            async with self._database.installation() as connection:
                rows = compiling.Rows(
                    projects=await list_projects(connection),
                    keys=await list_keys(connection),
                    resources=await list_resources(connection),
                )
            # Compiling policies is a matter of milliseconds, but the first loads the guardrail library: off the loop.
            found = await asyncio.to_thread(compiling.declared, rows.resources, self._secrets)
            projects = await asyncio.to_thread(compiling.projects, rows.projects, found, self._policies)
            key_pairs = await asyncio.to_thread(compiling.key_pairs, rows.keys, self._keyring)
            providers = await self._providers.reconcile(found.endpoints)
            self.snapshot = Snapshot(
                keys=compiling.keys(rows.keys),
                key_pairs=key_pairs,
                routes=compiling.routes(found.models, providers),
                projects=projects,
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

    async def aclose(self) -> None:
        """Close every provider."""
        await self._providers.aclose()


__all__ = ["CHANGE_CHANNEL", "Catalogue"]
