"""TLS for the commands: certificates of our own making, and how our own clients check the gateway's."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from bedplate_gateway.cli.options import home_option
from bedplate_gateway.local.certificates import Certificates, ensure_certificates
from bedplate_gateway.settings import Settings, settings_from_environment

tls_option = click.option("--tls", is_flag=True, help="Use the certificates that `bedplate certificates create` makes.")


@click.group()
def certificates() -> None:
    """Make certificates for a gateway that is reached over TLS."""


@certificates.command()
@home_option
@click.option(
    "--name", "names", multiple=True, help="A host name or address besides localhost; may come several times."
)
def create(home: Path | None, names: tuple[str, ...]) -> None:
    """Make a local authority and a certificate for the gateway, unless they are there and good for a while.

    Prints the file that clients are to trust, as in: export AWS_CA_BUNDLE=<that file>. `bedplate up --tls` makes the
    same ones by itself; use this to add host names.
    """
    files = ensure_certificates(certificates_path(settings_from_environment(home=home)), names)
    click.echo(files.authority)


def certificates_path(settings: Settings) -> Path:
    """Where the certificates of our own making are."""
    return settings.home / "tls"


def with_local_tls(settings: Settings, *, names: Sequence[str] | None = None) -> Settings:
    """The settings with TLS by the certificates of our own making; settings that have a certificate stay as they are.

    With `names` those certificates are made or renewed, for these names as well.
    """
    if settings.tls_certificate is not None:
        return settings
    files = Certificates(folder=certificates_path(settings))
    if names is not None:
        ensure_certificates(files.folder, names)
    return msgspec.structs.replace(
        settings, tls_certificate=files.server, tls_key=files.server_key, tls_ca=files.authority
    )


def client_context(settings: Settings) -> ssl.SSLContext:
    """How our own commands check the gateway's certificate: by the authority in the settings, else the system's."""
    return ssl.create_default_context(cafile=settings.tls_ca)


__all__ = ["certificates", "certificates_path", "client_context", "tls_option", "with_local_tls"]
