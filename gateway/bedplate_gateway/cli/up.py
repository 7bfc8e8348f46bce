"""`bedplate up`: everything on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from bedplate_core.errors import GatewayError
from bedplate_gateway.access.keyring import ensure_master_key, read_keyring
from bedplate_gateway.access.principal import Role
from bedplate_gateway.catalogue.apply import apply_resources
from bedplate_gateway.catalogue.repository import list_keys
from bedplate_gateway.catalogue.resources import ModelResource, ModelSpec, ProviderResource, Resource
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.cli.keys import make_key, write_key
from bedplate_gateway.cli.local_engine import DEFAULT_MODEL, ENGINE_SECRET, prepare_engine
from bedplate_gateway.cli.options import database_option, home_option, host_option, port_option
from bedplate_gateway.cli.tls import with_local_tls
from bedplate_gateway.database import database_config, postgres_root
from bedplate_gateway.local.children import EngineChild, PostgresChild, ProcessChild, WorkerChild
from bedplate_gateway.local.engine import EngineOptions, LocalEngine
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.port import require_free_port
from bedplate_gateway.local.progress import ConsoleProgress
from bedplate_gateway.local.supervisor import Child, Supervisor
from bedplate_gateway.settings import Settings, environment_of, process_environment, settings_from_environment
from bedplate_migrations.runner import MigrationError, upgrade
from bedplate_providers.base import Profile
from bedplate_providers.endpoints import FakeEndpoint, VllmEndpoint
from bedplate_providers.fake import EMBEDDING_MODEL
from bedplate_providers.fake_abilities import RANKING_MODEL, TRANSCRIPTION_MODEL
from bedplate_providers.fake_script import BEHAVIOURS
from bedplate_store.database import Database
from bedplate_store.embedded import EmbeddedPostgres

_SOURCE = "launcher"


@click.command()
@home_option
@host_option
@port_option
@database_option
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A Hugging Face model folder for the local engine (default: SmolLM2-135M-Instruct as `smollm2`).",
)
@click.option(
    "--engine-port", type=click.IntRange(1, 65535), help="TCP port of the local engine (default: a free one)."
)
@click.option("--no-engine", is_flag=True, help="Start no engine; declare providers with `bedplate apply`.")
@click.option("--fake", is_flag=True, help="Start no engine but a scripted provider (models fake/echo, ...).")
@click.option("--workers", type=click.IntRange(1, 128), help="Gateway processes (BEDPLATE_WORKERS, default 1).")
@click.option("--tls", is_flag=True, help="Speak TLS, with certificates of our own making unless one is configured.")
def up(
    home: Path | None,
    host: str | None,
    port: int | None,
    database_url: str | None,
    model: Path | None,
    engine_port: int | None,
    no_engine: bool,
    fake: bool,
    workers: int | None,
    tls: bool,
) -> None:
    """Start Postgres, a local vLLM engine, the gateway and `bedplate jobs` beside it; Ctrl-C stops all of it.

    The first start installs the engine and converts its model, which takes some minutes; they are kept in the cache
    folder. It also makes the first administrator's key, shows it once, and leaves it in HOME/credentials, with a key
    pair for AWS SDKs beside it.
    """
    settings = settings_from_environment(home=home, host=host, port=port, database_url=database_url, workers=workers)
    console = Console(stderr=True)
    progress = ConsoleProgress(console)
    _prepare_home(settings)
    if tls:
        settings = with_local_tls(settings, names=_names(settings.host))
    require_free_port(settings.host, settings.port, option="--port")
    children: list[Child] = []
    if settings.database_url is None:
        children.append(PostgresChild(EmbeddedPostgres(postgres_root(settings), bin_dir=settings.postgres_bin)))
    engine = None if no_engine or fake else prepare_engine(settings, progress, model=model, port=engine_port)
    installation = Installation(settings, _resources(engine, fake))
    children.append(installation)
    if engine is not None:
        children.append(EngineChild(engine))
    children += _programs(settings)
    Supervisor(children, progress).run(announce=lambda: _announcement(settings, installation, engine, fake))
    console.print("stopped")


def _programs(settings: Settings) -> list[Child]:
    """The gateway, and behind it, so that nobody waits for it, what deletes conversations whose time is over."""
    environ = process_environment() | environment_of(settings)
    logs = settings.home / "logs"
    gateway = ProcessChild(
        "the gateway",
        [sys.executable, "-m", "bedplate_gateway", "serve"],
        environ=environ,
        host=settings.host,
        port=settings.port,
        tls=settings.tls_certificate is not None,
        log=logs / "gateway.log",
        # the server drains its connections, then calls that nobody waits for, then the engine its records
        stop_timeout_s=3 * settings.drain_timeout_s + 5,
    )
    jobs = WorkerChild(
        "the jobs", [sys.executable, "-m", "bedplate_gateway", "jobs"], environ=environ, log=logs / "jobs.log"
    )
    return [gateway, jobs]


class Installation:
    """The set-up between the database and everything else, as one of the supervisor's parts.

    Its start migrates, makes the first administrator's key when there is none, and declares what the launcher runs.
    There is no process behind it.
    """

    name = "the installation"
    ready_timeout_s = 60.0

    def __init__(self, settings: Settings, resources: Sequence[Resource]) -> None:
        self._settings = settings
        self._resources = resources
        self.new_key: str | None = None

    def check(self) -> None:
        """Nothing to check before the database is there."""

    def start(self) -> None:
        """Bring the installation up to date. Raises `LaunchError`."""
        try:
            upgrade(database_config(self._settings).url)
            asyncio.run(self._set_up())
        except (MigrationError, GatewayError) as error:
            raise LaunchError(f"the database cannot be set up: {error}") from error

    async def _set_up(self) -> None:
        settings = self._settings
        database = Database(database_config(settings))
        try:
            async with database.installation() as connection:
                keys = await list_keys(connection)
                if not any(key.role is Role.ADMINISTRATOR and key.revoked_at is None for key in keys):
                    made = await make_key(
                        connection,
                        read_keyring(settings.master_key_path),
                        name="first administrator",
                        role=Role.ADMINISTRATOR,
                        project="default",
                        pair=True,
                    )
                    # Written before the transaction commits: a key whose copy could not be kept is not made.
                    write_key(settings, made)
                    self.new_key = made.token.reveal()
            await apply_resources(
                database,
                Secrets(settings.secrets_path),
                self._resources,
                source=_SOURCE,
                changed_by=_SOURCE,
                prune=True,
            )
        finally:
            await database.aclose()

    def is_ready(self) -> bool:
        """Its start has done everything."""
        return True

    def poll(self) -> int | None:
        """It never ends by itself."""
        return None

    def stop(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""


def _prepare_home(settings: Settings) -> None:
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        ensure_master_key(settings.master_key_path)
    except OSError as error:
        raise LaunchError(
            f"the folder {settings.home} cannot be used: {error.strerror}",
            "Choose another one with --home or BEDPLATE_HOME, or free some space.",
        ) from error
    if not os.access(settings.home, os.W_OK):
        raise LaunchError(f"the folder {settings.home} cannot be written to", "Choose another one with --home.")


def _names(host: str) -> tuple[str, ...]:
    """What the certificate has to be good for besides this machine's own names."""
    return () if host in ("0.0.0.0", "::", "") else (host,)  # noqa: S104 - compared, not bound


def _resources(engine: LocalEngine | None, fake: bool) -> list[Resource]:
    resources: list[Resource] = []
    if engine is not None:
        endpoint = VllmEndpoint(urls=(engine.base_url,), api_key=f"file:{ENGINE_SECRET}")
        profile = Profile(
            context_tokens=None if engine.served_name != DEFAULT_MODEL else EngineOptions().max_model_len_tokens
        )
        resources.append(ProviderResource(name=_SOURCE, spec=endpoint))
        resources.append(ModelResource(name=engine.served_name, spec=ModelSpec(provider=_SOURCE, profile=profile)))
    if fake:
        resources.append(ProviderResource(name="fake", spec=FakeEndpoint()))
        profile = Profile(embeddings=True, ranking=True, transcription=True)
        resources += [
            ModelResource(name=name, spec=ModelSpec(provider="fake", profile=profile))
            for name in (*BEHAVIOURS, EMBEDDING_MODEL, RANKING_MODEL, TRANSCRIPTION_MODEL)
        ]
    return resources


def _announcement(settings: Settings, installation: Installation, engine: LocalEngine | None, fake: bool) -> str:
    command = sys.argv[0] if sys.argv[0].endswith("bedplate") else f"{sys.executable} -m bedplate_gateway"
    option = "" if settings.home == settings_from_environment().home else f" --home {settings.home}"
    local_tls = settings.tls_ca is not None and settings_from_environment().tls_certificate is None
    option += " --tls" if local_tls else ""
    authority = [f"  certificates        trust {settings.tls_ca}"] if local_tls else []
    trust = f" --cacert {settings.tls_ca}" if local_tls else ""
    model = engine.served_name if engine is not None else "fake/echo" if fake else "<model>"
    key = (
        f"{installation.new_key}   (shown once; also in {settings.credentials_path})"
        if installation.new_key
        else f"in {settings.credentials_path}"
    )
    return "\n".join(
        [
            "",
            f"Bedplate is ready at {settings.base_url}",
            f"  administrator key   {key}",
            f"  documentation       {settings.base_url}/docs (any user name, the key as password)",
            f"  logs                {settings.home / 'logs'}",
            *authority,
            "",
            "Try, in another shell:",
            f"  {command} chat{option}",
            f'  eval "$({command} env{option})"',
            f'  curl -s{trust} $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" \\',
            f'    -d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
            "",
            "Ctrl-C stops everything.",
        ]
    )


__all__ = ["up"]
