"""`bedplate doctor`: what is set up, what runs, what is wrong."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click
import httpx
import msgspec

from bedplate_core.errors import GatewayError
from bedplate_gateway.access.keyring import KeyringError, read_keyring
from bedplate_gateway.cli.environment import stored_key
from bedplate_gateway.cli.local_engine import engine_environment
from bedplate_gateway.cli.options import database_option, home_option, port_option
from bedplate_gateway.cli.tls import client_context, tls_option, with_local_tls
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import Settings, SettingsError, environment_of, settings_from_environment
from bedplate_gateway.version import VERSION
from bedplate_migrations.runner import MigrationError, revision_state
from bedplate_store.database import Database

_GIB = 1 << 30
_SECRETS = frozenset(
    {
        "BEDPLATE_DATABASE_URL",
        "BEDPLATE_KEY_DATABASE_URL",
        "BEDPLATE_SESSION_KEY_MATERIAL",
        "BEDPLATE_VAULT_TOKEN",
    }
)
_WANTED_FREE_BYTES = 5 * _GIB


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `ok` is None for something that is merely not there."""

    subject: str
    ok: bool | None
    text: str


@click.command()
@home_option
@port_option
@database_option
@tls_option
def doctor(home: Path | None, port: int | None, database_url: str | None, tls: bool) -> None:
    """Check the installation and say what to do about what is wrong. Changes nothing.

    Exits with status 1 when something is wrong.
    """
    settings = settings_from_environment(home=home, port=port, database_url=database_url)
    if tls:
        settings = with_local_tls(settings)
    checks: list[Callable[[Settings], Finding]] = [_version, _disk, _master_key, _database, _engine, _gateway]
    findings = [check(settings) for check in checks]
    for finding in findings:
        mark, colour = {True: ("ok", "green"), False: ("WRONG", "red"), None: ("-", "yellow")}[finding.ok]
        click.echo(f"{click.style(f'{mark:>5}', fg=colour)}  {finding.subject:<10} {finding.text}")
    click.echo("\nsettings in force")
    for name, value in sorted(environment_of(settings).items()):
        click.echo(f"  {name}={'(set)' if name in _SECRETS else value}")
    if any(finding.ok is False for finding in findings):
        sys.exit(1)


def _version(settings: Settings) -> Finding:
    text = f"bedplate {VERSION}, Python {platform.python_version()}, {platform.platform()}, home {settings.home}"
    return Finding("version", True, text)


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    text = f"{free_bytes / _GIB:.1f} GiB free at {folder}"
    if free_bytes < _WANTED_FREE_BYTES:
        return Finding(
            "disk", False, f"{text}; the local engine and its model take about {_WANTED_FREE_BYTES // _GIB} GiB"
        )
    return Finding("disk", True, text)


def _master_key(settings: Settings) -> Finding:
    if not settings.master_key_path.exists():
        return Finding("master key", None, f"none at {settings.master_key_path} yet; `bedplate up` makes it")
    try:
        read_keyring(settings.master_key_path)
    except KeyringError as error:
        return Finding("master key", False, str(error))
    return Finding("master key", True, str(settings.master_key_path))


def _database(settings: Settings) -> Finding:
    try:
        config = database_config(settings)
    except SettingsError as error:
        return Finding("database", None, str(error))

    async def ping() -> None:
        database = Database(config)
        try:
            await database.ping()
        finally:
            await database.aclose()

    try:
        current, head = revision_state(config.url)
        if current != head:
            return Finding("database", False, f"schema at {current or 'none'}, needs {head}; run: bedplate migrate")
        asyncio.run(ping())
    except (GatewayError, MigrationError) as error:
        return Finding("database", False, str(error))
    return Finding("database", True, f"reachable, schema {head}")


def _engine(settings: Settings) -> Finding:
    environment, gpu = engine_environment(settings)
    kind = "GPU" if gpu else "CPU"
    if not environment.is_built:
        return Finding("engine", None, f"not installed ({kind}); `bedplate up` or `bedplate engine` installs it")
    return Finding("engine", True, f"{kind}, installed at {environment.folder}")


def _gateway(settings: Settings) -> Finding:
    try:
        context = client_context(settings)
        with httpx.Client(base_url=settings.base_url, timeout=5, trust_env=False, verify=context) as client:
            ready = client.get("/readyz")
            state = ready.json()
            if ready.status_code != 200:
                return Finding("gateway", False, f"{settings.base_url} answers, but is {state.get('status')}")
            down = [name for name, ok in state["providers"].items() if not ok]
            models = client.get("/v1/models", headers={"authorization": f"Bearer {stored_key(settings)}"})
    except SettingsError as error:
        return Finding("gateway", True, f"ready at {settings.base_url}; {error}")
    except (httpx.HTTPError, OSError, ValueError, KeyError, AttributeError):
        return Finding("gateway", None, f"nothing answers at {settings.base_url}")
    if state["database"] != "ok":
        return Finding("gateway", False, f"ready at {settings.base_url}, but without its database")
    if down:
        return Finding("gateway", False, f"ready at {settings.base_url}, but without: {', '.join(down)}")
    if models.status_code != 200:
        return Finding("gateway", False, f"the stored key is refused (status {models.status_code})")
    names = ", ".join(model["id"] for model in models.json()["data"][:8])
    return Finding("gateway", True, f"ready at {settings.base_url}, models: {names or 'none'}")


__all__ = ["doctor"]
