"""The parts by which a process without requests reaches conversations."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from bedplate_core.errors import NotFound
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.catalogue.repository import list_projects, list_resources
from bedplate_gateway.catalogue.resources import ProjectSpec
from bedplate_gateway.database import database_config
from bedplate_gateway.jobs.purging import Retention
from bedplate_gateway.session_settings import key_database, session_key_provider
from bedplate_gateway.settings import Settings
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

logger = logging.getLogger(__name__)

STATEMENT_TIMEOUT_S: Final = 300.0
"""A very long session is deleted by one statement, and nobody waits for an answer here."""

_PROJECT: Final = "Project"


class Conversations(msgspec.Struct, frozen=True, kw_only=True):
    """The database, the data keys, and where these are when they are apart. Nothing is connected before it is used.

    `config` is the database's as requests use it; `database` waits longer for a statement.
    """

    settings: Settings
    config: DatabaseConfig
    database: Database
    key_database: Database | None
    keys: DataKeys

    @property
    def purge(self) -> Purge:
        """What deletes what is due."""
        return Purge(self.database, self.keys, key_database=self.key_database, grace_s=self.settings.response_timeout_s)

    async def project(self, name: str) -> ProjectId:
        """The project with this name. Raises `NotFound` and `StoreUnavailable`."""
        async with self.database.installation() as connection:
            for project in await list_projects(connection):
                if project.name == name:
                    return project.id
        raise NotFound(f"there is no project {name}")

    async def retentions(self) -> Mapping[ProjectId, Retention]:
        """The projects, and how long their conversations are kept. Raises `StoreUnavailable`.

        A project whose settings cannot be read, since a newer version wrote them, is left out: what is kept too long
        can still be deleted.
        """
        async with self.database.installation() as connection:
            projects = await list_projects(connection)
            specs = {row.name: row.spec for row in await list_resources(connection) if row.kind == _PROJECT}
        found: dict[ProjectId, Retention] = {}
        for project in projects:
            try:
                spec = msgspec.convert(specs.get(project.name, {}), ProjectSpec)
            except msgspec.ValidationError as error:
                logger.warning("jobs: the settings of project %s cannot be read: %s", project.name, error)
                continue
            retention_s = spec.sessions.retention_s
            if retention_s is None:
                retention_s = self.settings.session_retention_s
            found[project.id] = Retention(name=project.name, retention_s=retention_s)
        return found


@asynccontextmanager
async def conversations(settings: Settings) -> AsyncGenerator[Conversations, None]:
    """The parts; closed at the end of the block. Raises `SettingsError` and `KeyringError`."""
    async with AsyncExitStack() as stack:
        config = database_config(settings)
        timeout_s = max(config.statement_timeout_s, STATEMENT_TIMEOUT_S)
        database = Database(msgspec.structs.replace(config, statement_timeout_s=timeout_s))
        stack.push_async_callback(database.aclose)
        provider = session_key_provider(settings, read_keyring(settings.master_key_path))
        if provider is not None:
            stack.push_async_callback(provider.aclose)
        apart = key_database(settings)
        if apart is not None:
            stack.push_async_callback(apart.aclose)
        keys = DataKeys(apart or database, provider, apart=apart is not None)
        yield Conversations(settings=settings, config=config, database=database, key_database=apart, keys=keys)


__all__ = ["STATEMENT_TIMEOUT_S", "Conversations", "conversations"]
