"""`bedplate serve`: the gateway alone."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from datetime import UTC, datetime
from pathlib import Path

import click
import uvicorn

from bedplate_gateway.access.principal import Role
from bedplate_gateway.catalogue.repository import list_keys
from bedplate_gateway.cli.options import database_option, home_option, host_option, port_option
from bedplate_gateway.database import database_config
from bedplate_gateway.records.logs import configure_logs
from bedplate_gateway.settings import Settings, SettingsError, export_settings, settings_from_environment
from bedplate_migrations.runner import MigrationError, revision_state
from bedplate_store.database import Database

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@click.command()
@home_option
@host_option
@port_option
@database_option
@click.option("--workers", type=click.IntRange(1, 128), help="Gateway processes (BEDPLATE_WORKERS, default 1).")
def serve(home: Path | None, host: str | None, port: int | None, database_url: str | None, workers: int | None) -> None:
    """Run the gateway alone, on a database that is there and migrated.

    Every request needs an API key (`bedplate keys create`). On another address than loopback the gateway starts only
    when there is an administrator's key. SIGTERM lets running answers end first.
    """
    settings = settings_from_environment(home=home, host=host, port=port, database_url=database_url, workers=workers)
    configure_logs(settings.log_format)
    check_migrated(settings)
    _check_tls(settings)
    if settings.host not in _LOOPBACK:
        asyncio.run(_require_administrator(settings))
    metrics_dir = _metrics_dir(settings) if settings.workers > 1 else None
    export_settings(settings, metrics_dir)
    uvicorn.run(
        "bedplate_gateway.asgi:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        workers=settings.workers if settings.workers > 1 else None,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_worker_healthcheck=60,  # a worker that is busy importing on a busy machine is not dead
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
    )


def check_migrated(settings: Settings) -> None:
    """Raise `MigrationError` unless the database has exactly the schema that this code knows."""
    current, head = revision_state(database_config(settings).url)
    if current != head:
        raise MigrationError(
            f"the database is at revision {current or 'none'}, this version needs {head}: run bedplate migrate"
        )


def _check_tls(settings: Settings) -> None:
    """Raise `SettingsError` when the certificate and its key cannot be used, before a process is started with them."""
    if settings.tls_certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"BEDPLATE_TLS_CERTIFICATE ({settings.tls_certificate}) and BEDPLATE_TLS_KEY cannot be used: {error}"
        ) from None


async def _require_administrator(settings: Settings) -> None:
    database = Database(database_config(settings))
    try:
        async with database.installation() as connection:
            keys = await list_keys(connection)
    finally:
        await database.aclose()
    now = datetime.now(UTC)
    live = [key for key in keys if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)]
    if not any(key.role is Role.ADMINISTRATOR for key in live):
        raise SettingsError(
            f"--host {settings.host} is not a loopback address and there is no administrator yet;"
            " first run: bedplate keys create --role administrator"
        )


def _metrics_dir(settings: Settings) -> Path:
    folder = settings.home / "run" / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


__all__ = ["check_migrated", "serve"]
