"""`bedplate env`: what an official SDK needs to know, as shell commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bedplate_gateway.cli.options import home_option, port_option
from bedplate_gateway.cli.tls import tls_option, with_local_tls
from bedplate_gateway.settings import Settings, SettingsError, settings_from_environment

_AWS_REGION = "us-east-1"
"""AWS's SDKs want one; here every region is the same."""


@click.command()
@home_option
@port_option
@tls_option
@click.option(
    "--shell", type=click.Choice(["posix", "fish"]), default="posix", show_default=True, help="Whose syntax to print."
)
def env(home: Path | None, port: int | None, tls: bool, shell: str) -> None:
    """Print exports that point the official SDKs at this gateway.

    \b
    eval "$(bedplate env)"
    python -c 'from openai import OpenAI; print(OpenAI().models.list())'

    OpenAI's and Anthropic's SDKs get the key. AWS's sign with the key pair that goes with it; over TLS those that can
    also get the key itself. Endpoint and pair count for all of AWS's services: use a shell of its own.
    """
    settings = settings_from_environment(home=home, port=port)
    variables = client_variables(with_local_tls(settings) if tls else settings)
    for name, value in variables.items():
        if shell == "fish":
            click.echo(f"set -gx {name} {shlex.quote(value)};")
        else:
            click.echo(f"export {name}={shlex.quote(value)}")


def client_variables(settings: Settings) -> dict[str, str]:
    """What the SDKs read. Raises `SettingsError` when there is no key."""
    key = stored_key(settings)
    variables = {
        "OPENAI_BASE_URL": f"{settings.base_url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": settings.base_url,
        "ANTHROPIC_API_KEY": key,
        "AWS_ENDPOINT_URL": settings.base_url,
    }
    variables["AWS_DEFAULT_REGION"] = variables["AWS_REGION"] = _AWS_REGION
    if settings.key_pair_path.exists():
        access_key_id, secret = settings.key_pair_path.read_text().split()
        variables |= {"AWS_ACCESS_KEY_ID": access_key_id, "AWS_SECRET_ACCESS_KEY": secret}
    if settings.tls_certificate is not None:
        variables["AWS_BEARER_TOKEN_BEDROCK"] = key
    if settings.tls_ca is not None:
        trusted = str(settings.tls_ca)
        variables |= {"AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted, "NODE_EXTRA_CA_CERTS": trusted}
    return variables


def stored_key(settings: Settings) -> str:
    """The first administrator's key that `bedplate up` left. Raises `SettingsError` when there is none."""
    try:
        return settings.credentials_path.read_text().strip()
    except OSError:
        raise SettingsError(
            f"there is no key in {settings.credentials_path}; start `bedplate up` first,"
            " or make one: bedplate keys create"
        ) from None


__all__ = ["client_variables", "env", "stored_key"]
