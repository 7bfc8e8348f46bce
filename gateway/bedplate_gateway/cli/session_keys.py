"""`bedplate session-keys`: the keys that wrap the data keys of conversations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table

from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import read_keyring
from bedplate_gateway.catalogue.repository import list_projects
from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import Settings, SettingsError, settings_from_environment
from bedplate_sessions.keys.config import key_provider
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.key_file import add_version
from bedplate_sessions.keys.provider import KeyProvider
from bedplate_sessions.keys.setting_error import KeySettingError
from bedplate_sessions.keys.unwrap_only import UnwrapOnly
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

_BATCH: Final = 500
T = TypeVar("T")


@click.group("session-keys")
def session_keys() -> None:
    """Make, rotate and count the keys that encrypt conversations."""


@session_keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--not-current", is_flag=True, help="Do not wrap with it yet: first give the file to every gateway that reads it."
)
def new(file: Path, not_current: bool) -> None:
    """Add a new key to FILE, which is made if it is not there, and wrap with it from now on.

    FILE can be read by its owner only. Gateways read it when they start; data keys that are there are wrapped anew
    by `bedplate session-keys rotate`. Keep older versions in FILE until that is done.
    """
    try:
        version = add_version(file, make_current=not not_current)
    except KeySettingError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"version {version} is in {file}")


@session_keys.command()
@home_option
@database_option
def rotate(home: Path | None, database_url: str | None) -> None:
    """Wrap every data key anew that another key than the current one wraps. What was said is not touched.

    Safe to run again, beside running gateways, and by several at once. Exits with status 1 when keys are left that
    no key at hand unwraps.
    """
    settings = settings_from_environment(home=home, database_url=database_url)
    done, left = _run(settings, _rotate)
    for project, count in sorted(done.items()):
        click.echo(f"{project}: {count} data keys wrapped anew")
    click.echo(f"{sum(done.values())} data keys wrapped anew")
    if left:
        raise click.ClickException(f"{left} data keys could not be unwrapped; the log names the keys that they need")


@session_keys.command()
@home_option
@database_option
def status(home: Path | None, database_url: str | None) -> None:
    """Show how many data keys each key wraps, and which key wraps new ones."""
    settings = settings_from_environment(home=home, database_url=database_url)
    current, counts = _run(settings, _status)
    table = Table(Column("key", no_wrap=True), Column("data keys", justify="right"))
    for key_id, count in sorted(counts.items()):
        table.add_row(key_id, str(count))
    console = Console()
    console.print(table, width=None if console.is_terminal else 200)
    click.echo(f"new data keys: {current}")


async def rotate_all(keys: DataKeys, projects: Mapping[ProjectId, str]) -> tuple[Mapping[str, int], int]:
    """Wrap the data keys of `projects` (id to name) anew: how many by project's name, and how many could not be."""
    done: Counter[str] = Counter()
    left = 0
    for project, name in projects.items():
        while count := await keys.rewrap(project, limit=_BATCH):
            done[name] += count
        left += await keys.stale(project)
    return done, left


async def count_all(keys: DataKeys, projects: Mapping[ProjectId, str]) -> Mapping[str, int]:
    """How many data keys of `projects` each key wraps, by its id."""
    counts: Counter[str] = Counter()
    for project in projects:
        counts.update(await keys.counts(project))
    return counts


async def _rotate(
    provider: KeyProvider, keys: DataKeys, projects: Mapping[ProjectId, str]
) -> tuple[Mapping[str, int], int]:
    if isinstance(provider, UnwrapOnly):
        raise SettingsError("BEDPLATE_SESSION_KEYS: none comes first, so there is no key to wrap with")
    return await rotate_all(keys, projects)


async def _status(
    provider: KeyProvider, keys: DataKeys, projects: Mapping[ProjectId, str]
) -> tuple[str, Mapping[str, int]]:
    return provider.key_id, await count_all(keys, projects)


def _run(settings: Settings, work: Callable[[KeyProvider, DataKeys, Mapping[ProjectId, str]], Awaitable[T]]) -> T:
    async def run() -> T:
        provider = _provider(settings)
        try:
            async with _database(database_config(settings)) as database:
                async with database.installation() as connection:
                    projects = {row.id: row.name for row in await list_projects(connection)}
                if settings.key_database_url is None:
                    return await work(provider, DataKeys(database, provider), projects)
                async with _database(_key_database(settings, settings.key_database_url)) as apart:
                    return await work(provider, DataKeys(apart, provider, apart=True), projects)
        finally:
            await provider.aclose()

    return asyncio.run(run())


def _provider(settings: Settings) -> KeyProvider:
    try:
        return key_provider(
            settings.session_keys,
            master=read_keyring(settings.master_key_path).session_keys_master,
            environment_keys=settings.session_key_material,
            vault_token=settings.vault_token,
            vault_ca=settings.vault_ca_file,
            region=settings.kms_region,
        )
    except KeySettingError as error:
        raise SettingsError(str(error)) from None


def _key_database(settings: Settings, url: str) -> DatabaseConfig:
    try:
        return DatabaseConfig(url=url, pool_size=1, statement_timeout_s=settings.database_timeout_s)
    except ValueError as error:
        raise SettingsError(f"BEDPLATE_KEY_DATABASE_URL: {error}") from None


@asynccontextmanager
async def _database(config: DatabaseConfig) -> AsyncGenerator[Database]:
    database = Database(config)
    try:
        yield database
    finally:
        await database.aclose()


__all__ = ["count_all", "rotate_all", "session_keys"]
