"""`bedplate keys`: API keys, made and revoked by whoever can reach the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import NotFound
from bedplate_core.ids import KeyId
from bedplate_gateway.access.keyring import Keyring, new_access_key, new_token, read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.catalogue.repository import KeyRow, ensure_project, insert_key, list_keys, revoke_key
from bedplate_gateway.cli.local_engine import write_secret
from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import Settings, settings_from_environment
from bedplate_providers.credential import Credential
from bedplate_store.database import Database

_HINT_CHARACTERS = 4
T = TypeVar("T")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@home_option
@database_option
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.SERVICE.value,
    show_default=True,
    help="What the key may do.",
)
@click.option("--project", default="default", show_default=True, help="The project it belongs to; made if new.")
@click.option("--expires-in-days", type=click.IntRange(min=1), help="When it stops working (default: never).")
@click.option("--sigv4", is_flag=True, help="Also make a key pair, with which AWS SDKs sign requests.")
def create(
    home: Path | None,
    database_url: str | None,
    name: str,
    role: str,
    project: str,
    expires_in_days: int | None,
    sigv4: bool,
) -> None:
    """Make a key and print it. It is shown this once: only a hash of it is stored.

    With --sigv4 two lines follow, AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..., and the secret is stored
    encrypted. The key and its pair are one caller: they have the same rights, and are revoked and expire together.
    """
    settings = settings_from_environment(home=home, database_url=database_url)
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None
    keyring = read_keyring(settings.master_key_path)
    made = run_transaction(
        settings,
        lambda connection: make_key(
            connection, keyring, name=name, role=Role(role), project=project, expires_at=expires_at, pair=sigv4
        ),
    )
    click.echo(f"{made.id} ({role}, project {project})", err=True)
    click.echo(made.token.reveal())
    if made.secret is not None:
        click.echo(f"AWS_ACCESS_KEY_ID={made.access_key_id}")
        click.echo(f"AWS_SECRET_ACCESS_KEY={made.secret.reveal()}")


@keys.command("list")
@home_option
@database_option
def list_(home: Path | None, database_url: str | None) -> None:
    """Show all keys, newest first."""
    settings = settings_from_environment(home=home, database_url=database_url)
    rows = run_transaction(settings, list_keys)
    table = Table(Column("id", no_wrap=True), "name", "project", "role", "key", "access key", "created", "state")
    for row in rows:
        table.add_row(
            row.id,
            row.name,
            row.project,
            row.role.value,
            f"...{row.hint}",
            row.access_key_id or "-",
            f"{row.created_at:%Y-%m-%d %H:%M}",
            _state(row),
        )
    console = Console()
    console.print(table, width=None if console.is_terminal else 200)


@keys.command()
@home_option
@database_option
@click.argument("key_id")
def revoke(home: Path | None, database_url: str | None, key_id: str) -> None:
    """Revoke the key KEY_ID (as `keys list` shows it). Every gateway refuses it within a second."""
    settings = settings_from_environment(home=home, database_url=database_url)
    if not run_transaction(settings, lambda connection: revoke_key(connection, KeyId(key_id))):
        raise NotFound(f"there is no key {key_id}")
    click.echo(f"{key_id} is revoked")


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made. Only its owner will ever have the token and the secret again."""

    id: KeyId
    token: Credential
    access_key_id: str | None = None
    secret: Credential | None = None


async def make_key(
    connection: AsyncConnection,
    keyring: Keyring,
    *,
    name: str,
    role: Role,
    project: str,
    expires_at: datetime | None = None,
    pair: bool = False,
) -> NewKey:
    """Make a key, with `pair` also an access key id and a secret to sign with. The project is made if it is new."""
    token = new_token()
    access_key_id, secret = new_access_key() if pair else (None, None)
    sealed = None if access_key_id is None or secret is None else keyring.seal_secret(access_key_id, secret)
    key_id = await insert_key(
        connection,
        project=await ensure_project(connection, project),
        name=name,
        role=role,
        key_hash=keyring.token_hash(token),
        hint=token[-_HINT_CHARACTERS:],
        expires_at=expires_at,
        access_key_id=access_key_id,
        sealed_secret=sealed,
    )
    return NewKey(
        id=key_id,
        token=Credential(token),
        access_key_id=access_key_id,
        secret=None if secret is None else Credential(secret),
    )


async def create_key(
    connection: AsyncConnection,
    keyring: Keyring,
    *,
    name: str,
    role: Role,
    project: str,
    expires_at: datetime | None = None,
) -> tuple[KeyId, str]:
    """Make a key without a pair; return its id and the key itself, which is stored nowhere."""
    made = await make_key(connection, keyring, name=name, role=role, project=project, expires_at=expires_at)
    return made.id, made.token.reveal()


def write_key(settings: Settings, made: NewKey) -> None:
    """Leave a key with its pair in the home folder, readable by its owner only, for `bedplate env` and its like."""
    write_secret(settings.home, settings.credentials_path.name, made.token.reveal() + "\n")
    if made.secret is not None:
        lines = f"{made.access_key_id}\n{made.secret.reveal()}\n"
        write_secret(settings.home, settings.key_pair_path.name, lines)


def run_transaction(settings: Settings, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run `work` in one transaction on the installation's database."""

    async def run() -> T:
        database = Database(database_config(settings))
        try:
            async with database.installation() as connection:
                return await work(connection)
        finally:
            await database.aclose()

    return asyncio.run(run())


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None:
        return "expired" if row.expires_at <= datetime.now(UTC) else f"until {row.expires_at:%Y-%m-%d}"
    return "active"


__all__ = ["NewKey", "create_key", "keys", "make_key", "run_transaction", "write_key"]
