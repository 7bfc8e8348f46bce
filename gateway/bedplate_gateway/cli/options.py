"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from bedplate_gateway.settings import DEFAULT_PORT

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="State of the installation (BEDPLATE_HOME, default ~/.bedplate).",
)
port_option = click.option(
    "--port", type=click.IntRange(1, 65535), help=f"TCP port (BEDPLATE_PORT, default {DEFAULT_PORT})."
)
host_option = click.option("--host", help="Address to listen on (BEDPLATE_HOST, default 127.0.0.1).")
database_option = click.option(
    "--database-url", help="An existing Postgres instead of the embedded one (BEDPLATE_DATABASE_URL)."
)

__all__ = ["database_option", "home_option", "host_option", "port_option"]
