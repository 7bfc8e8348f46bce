"""`bedplate apply`: load resources from YAML files."""

from __future__ import annotations

import asyncio
import getpass
import os
from pathlib import Path

import click

from bedplate_gateway.catalogue.apply import Applied, apply_resources, read_resources
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.database import database_config
from bedplate_gateway.guardrail_settings import guardrail_pool
from bedplate_gateway.settings import settings_from_environment
from bedplate_store.database import Database


@click.command()
@home_option
@database_option
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A YAML file, or a folder of them. May be given several times.",
)
def apply(home: Path | None, database_url: str | None, files: tuple[Path, ...]) -> None:
    """Load providers, models, guardrails and projects from YAML.

    All or nothing: everything is checked first, then stored in one transaction. Running gateways take the change up
    within a second. Applying the same files again changes nothing.
    """
    settings = settings_from_environment(home=home, database_url=database_url)
    resources = read_resources(files)

    async def run() -> list[Applied]:
        database = Database(database_config(settings))
        try:
            return await apply_resources(
                database,
                Secrets(settings.secrets_path),
                resources,
                source=", ".join(str(path) for path in files),
                changed_by=_user(),
                able=guardrail_pool(settings).capabilities(),
            )
        finally:
            await database.aclose()

    for applied in asyncio.run(run()):
        click.echo(f"{applied.kind.lower()} {applied.name}: {'changed' if applied.changed else 'unchanged'}")


def _user() -> str:
    """Who applies: the account's name, or its number where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


__all__ = ["apply"]
