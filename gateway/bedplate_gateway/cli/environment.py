"""`bedplate env`: what an official SDK needs to know, as shell commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bedplate_gateway.cli.options import home_option, port_option
from bedplate_gateway.settings import Settings, SettingsError, settings_from_environment


@click.command()
@home_option
@port_option
@click.option(
    "--shell", type=click.Choice(["posix", "fish"]), default="posix", show_default=True, help="Whose syntax to print."
)
def env(home: Path | None, port: int | None, shell: str) -> None:
    """Print exports that point the official SDKs at this gateway.

    \b
    eval "$(bedplate env)"
    python -c 'from openai import OpenAI; print(OpenAI().models.list())'
    """
    settings = settings_from_environment(home=home, port=port)
    variables = {"OPENAI_BASE_URL": f"{settings.base_url}/v1", "OPENAI_API_KEY": stored_key(settings)}
    for name, value in variables.items():
        if shell == "fish":
            click.echo(f"set -gx {name} {shlex.quote(value)};")
        else:
            click.echo(f"export {name}={shlex.quote(value)}")


def stored_key(settings: Settings) -> str:
    """The first administrator's key that `bedplate up` left. Raises `SettingsError` when there is none."""
    try:
        return settings.credentials_path.read_text().strip()
    except OSError:
        raise SettingsError(
            f"there is no key in {settings.credentials_path}; start `bedplate up` first,"
            " or make one: bedplate keys create"
        ) from None


__all__ = ["env", "stored_key"]
