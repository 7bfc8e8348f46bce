"""`bedplate jobs`: the process that does what is due."""

from __future__ import annotations

import asyncio
import importlib
import signal
from pathlib import Path
from typing import Any

import click

from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.cli.serve import check_migrated
from bedplate_gateway.jobs.conversations import conversations
from bedplate_gateway.jobs.purging import purge_project
from bedplate_gateway.records.logs import configure_logs
from bedplate_gateway.settings import Settings, settings_from_environment


@click.command()
@home_option
@database_option
@click.option("--once", is_flag=True, help="Do what is due now and exit, as a cron job.")
def jobs(home: Path | None, database_url: str | None, once: bool) -> None:
    """Delete conversations, responses and replies whose time is over, every ten minutes.

    Beside any number of gateways, and safe to run more than once. What is under a legal hold stays. SIGTERM ends it
    within a moment; nothing is lost when it is killed.
    """
    settings = settings_from_environment(home=home, database_url=database_url)
    configure_logs(settings.log_format)
    check_migrated(settings)
    asyncio.run(_once(settings) if once else _work(settings))


async def _once(settings: Settings) -> None:
    async with conversations(settings) as parts:
        for project, retention in (await parts.retentions()).items():
            purged = await purge_project(parts.purge, project, retention)
            click.echo(
                f"{retention.name}: {purged.sessions} sessions, {purged.responses} responses, {purged.replies} replies "
                f"and {purged.keys} keys deleted"
            )


async def _work(settings: Settings) -> None:
    # Here and not above: every command imports this module, `serve` as well, and the job library brings pydantic.
    worker: Any = importlib.import_module("bedplate_gateway.jobs.worker")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with conversations(settings) as parts:
        click.echo("jobs: started", err=True)
        await worker.Worker(parts.config, parts.purge, parts.retentions).run(stop)


__all__ = ["jobs"]
