"""The `bedplate` command: its groups, and how its errors look."""

from __future__ import annotations

import sys

import click
from sqlalchemy.exc import ProgrammingError

from bedplate_core.errors import GatewayError
from bedplate_gateway.access.keyring import KeyringError
from bedplate_gateway.catalogue.resources import ResourceError
from bedplate_gateway.cli.apply import apply
from bedplate_gateway.cli.chat import chat
from bedplate_gateway.cli.completion import completion
from bedplate_gateway.cli.doctor import doctor
from bedplate_gateway.cli.engine import engine
from bedplate_gateway.cli.environment import env
from bedplate_gateway.cli.jobs import jobs
from bedplate_gateway.cli.keys import keys
from bedplate_gateway.cli.migrate import migrate
from bedplate_gateway.cli.serve import serve
from bedplate_gateway.cli.session_keys import session_keys
from bedplate_gateway.cli.sessions import sessions
from bedplate_gateway.cli.tls import certificates
from bedplate_gateway.cli.up import up
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.settings import SettingsError
from bedplate_gateway.version import VERSION
from bedplate_migrations.runner import MigrationError
from bedplate_store.embedded import EmbeddedPostgresError

_EXPECTED = (GatewayError, KeyringError, ResourceError, SettingsError, MigrationError, EmbeddedPostgresError)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="bedplate")
def bedplate() -> None:
    """A foundation-model gateway that you run yourself.

    \b
    Start everything on this machine:   bedplate up
    Talk to it:                         bedplate chat
    Point an SDK at it:                 eval "$(bedplate env)"
    Something is wrong:                 bedplate doctor

    Settings come from options or from BEDPLATE_... variables; `bedplate doctor` shows those in force.
    """


for _command in (
    up,
    serve,
    jobs,
    engine,
    migrate,
    keys,
    session_keys,
    sessions,
    certificates,
    apply,
    chat,
    env,
    doctor,
    completion,
):
    bedplate.add_command(_command)


def main() -> None:
    """Run the command. Expected failures are one line on standard error and exit status 1."""
    try:
        bedplate.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except LaunchError as error:
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(1)
    except ProgrammingError:
        click.secho(
            "error: the database lacks tables that this version needs; run: bedplate migrate", fg="red", err=True
        )
        sys.exit(1)
    except _EXPECTED as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


__all__ = ["bedplate", "main"]
