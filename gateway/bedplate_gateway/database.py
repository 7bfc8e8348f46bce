"""Which Postgres this process uses."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from bedplate_gateway.settings import Settings, SettingsError
from bedplate_store.driver import DatabaseConfig
from bedplate_store.embedded import EmbeddedPostgres, PostgresAddress


def postgres_root(settings: Settings) -> Path:
    """The folder of the embedded server."""
    return settings.home / "postgres"


def database_url(settings: Settings) -> str:
    """The URL of the Postgres to use: the one that is set, else the embedded one that runs.

    Raises `SettingsError` when there is neither.
    """
    if settings.database_url is not None:
        return settings.database_url
    address = EmbeddedPostgres.locate(postgres_root(settings))
    if address is None:
        raise SettingsError(
            f"no database: BEDPLATE_DATABASE_URL is not set, and no `bedplate up` runs on {settings.home}"
        )
    return url_of(address)


def url_of(address: PostgresAddress) -> str:
    """An embedded server's address as a URL."""
    user, password = quote(address.user, safe=""), quote(address.password, safe="")
    return f"postgresql://{user}:{password}@/{address.database}?host={quote(str(address.host))}&port={address.port}"


def database_config(settings: Settings) -> DatabaseConfig:
    """How this process connects. Raises `SettingsError` when there is no database or its URL is none of Postgres."""
    try:
        return DatabaseConfig(
            url=database_url(settings),
            pool_size=settings.database_pool_size,
            statement_timeout_s=settings.database_timeout_s,
        )
    except ValueError as error:
        raise SettingsError(f"BEDPLATE_DATABASE_URL: {error}") from None


__all__ = ["database_config", "database_url", "postgres_root", "url_of"]
