"""`bedplate migrate`: bring the database's schema up to date."""

from __future__ import annotations

from pathlib import Path

import click

from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.database import database_config
from bedplate_gateway.settings import settings_from_environment
from bedplate_migrations.runner import MigrationError, revision_state, upgrade


@click.command()
@home_option
@database_option
@click.option("--check", is_flag=True, help="Change nothing; exit with status 1 unless the schema is current.")
def migrate(home: Path | None, database_url: str | None, check: bool) -> None:
    """Create or update the tables. Safe to run again, and by several at once."""
    settings = settings_from_environment(home=home, database_url=database_url)
    url = database_config(settings).url
    if not check:
        upgrade(url)
    current, head = revision_state(url)
    click.echo(f"schema at {current or 'none'}, this version needs {head}")
    if current != head:
        raise MigrationError("the schema is not current; run: bedplate migrate")


__all__ = ["migrate"]
