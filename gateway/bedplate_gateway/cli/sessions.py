"""`bedplate sessions`: legal holds, and conversations as files."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import click

from bedplate_core.errors import NotFound
from bedplate_core.ids import KeyId, ProjectId, SessionId
from bedplate_gateway.cli.options import database_option, home_option
from bedplate_gateway.jobs.conversations import Conversations, conversations
from bedplate_gateway.settings import Settings, SettingsError, settings_from_environment
from bedplate_sessions.archive.exporter import Exporter
from bedplate_sessions.archive.importer import Imported, Importer
from bedplate_sessions.archive.lines import ArchiveFile
from bedplate_sessions.durable import Durable
from bedplate_sessions.face_ids import session_of
from bedplate_sessions.registry import SessionRegistry

T = TypeVar("T")

_IMPORTED_BY = KeyId("bedplate sessions import")
"""Who made what was imported: no API key did."""

project_option = click.option("--project", required=True, help="The project's name.")


@click.group()
def sessions() -> None:
    """Hold, export and import conversations."""


@sessions.command()
@home_option
@database_option
@project_option
@click.argument("session")
@click.option("--off", is_flag=True, help="End the hold.")
def hold(home: Path | None, database_url: str | None, project: str, session: str, off: bool) -> None:
    """Put SESSION under a legal hold: nobody and nothing deletes it until the hold is ended."""
    name = _session(session)

    async def work(parts: Conversations, of: ProjectId) -> None:
        registry = SessionRegistry(parts.database, Durable(parts.database), parts.keys)
        await registry.hold(of, name, hold=not off)

    _run(settings_from_environment(home=home, database_url=database_url), project, work)
    click.echo(f"{name} is {'no longer ' if off else ''}under a legal hold")


@sessions.command("export")
@home_option
@database_option
@project_option
@click.option("--session", help="Only this session.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export_(home: Path | None, database_url: str | None, project: str, session: str | None, file: Path) -> None:
    """Write the project's conversations into FILE, decrypted, with hashes by which every change of it is found.

    FILE can be read by its owner only, and is there when it is whole. Each session is as it was at one moment.
    """
    name = None if session is None else _session(session)

    async def work(parts: Conversations, of: ProjectId) -> int:
        return await _write(file, Exporter(parts.config, parts.keys), of, name)

    lines = _run(settings_from_environment(home=home, database_url=database_url), project, work)
    click.echo(f"{lines} lines are in {file}")


@sessions.command("import")
@home_option
@database_option
@project_option
@click.option("--new-ids", is_flag=True, help="Give sessions and responses new ids instead of their old ones.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def import_(home: Path | None, database_url: str | None, project: str, new_ids: bool, file: Path) -> None:
    """Read the conversations in FILE into the project, encrypted under new keys: all of them or, on an error, none.

    Their retention begins anew. An id that exists is an error, unless they get new ones.
    """

    async def work(parts: Conversations, of: ProjectId) -> Imported:
        importer = Importer(parts.database, parts.keys, retention_s=parts.settings.session_retention_s)
        return await importer.load(of, _IMPORTED_BY, ArchiveFile(file), new_ids=new_ids)

    imported = _run(settings_from_environment(home=home, database_url=database_url), project, work)
    for old, new in imported.sessions.items():
        click.echo(new if old == new else f"{old} is {new}")
    click.echo(", ".join(f"{count} {kind}" for kind, count in imported.counts.items()), err=True)


async def _write(file: Path, exporter: Exporter, project: ProjectId, session: SessionId | None) -> int:
    """Write the archive; how many lines."""
    lines = 0
    with _whole(file) as out:
        async with aclosing(exporter.export(project, session)) as archive:
            async for line in archive:
                out.write(line)
                lines += 1
    return lines


@contextmanager
def _whole(file: Path) -> Generator[BinaryIO, None, None]:
    """A file beside `file`, readable by its owner only, that takes its place when the block ends without an error."""
    try:
        handle, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        beside = Path(made)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from None


def _session(text: str) -> SessionId:
    name = session_of(text)
    if name is None:
        raise NotFound(f"{text} is no session's id")
    return name


def _run(settings: Settings, project: str, work: Callable[[Conversations, ProjectId], Awaitable[T]]) -> T:
    async def run() -> T:
        async with conversations(settings) as parts:
            return await work(parts, await parts.project(project))

    return asyncio.run(run())


__all__ = ["sessions"]
