"""`bedplate engine`: the local engine alone."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from bedplate_gateway.cli.local_engine import prepare_engine
from bedplate_gateway.cli.options import home_option
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.progress import ConsoleProgress
from bedplate_gateway.settings import settings_from_environment

_POLL_S = 0.5


@click.command()
@home_option
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A Hugging Face folder to serve."
)
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port on 127.0.0.1 (default: a free one).")
@click.option("--prepare-only", is_flag=True, help="Install the engine and convert the model, then stop.")
def engine(home: Path | None, model: Path | None, port: int | None, prepare_only: bool) -> None:
    """Install the local vLLM engine if it is missing, and run it in the foreground.

    The key that it asks for is in the installation's secrets folder as `local-engine`.
    """
    settings = settings_from_environment(home=home)
    console = Console(stderr=True)
    progress = ConsoleProgress(console)
    local = prepare_engine(settings, progress, model=model, port=port)
    if prepare_only:
        return
    local.start()
    try:
        local.wait_ready(progress)
        console.print(f"{local.served_name} at {local.base_url}/v1 (Ctrl-C stops it)")
        while (status := local.poll()) is None:
            time.sleep(_POLL_S)
        raise LaunchError(f"the engine ended by itself with status {status}", "its log: " + str(local.log))
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        local.stop()


__all__ = ["engine"]
