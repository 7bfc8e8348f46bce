"""`bedplate session-keys` and what it does to the keys of all projects."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import ensure_master_key, read_keyring
from bedplate_gateway.catalogue.repository import ensure_project, list_projects
from bedplate_gateway.cli.session_keys import count_all, rotate_all, session_keys
from bedplate_gateway.settings import SettingsError
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.keys.key_file import read_key_file
from bedplate_sessions.keys.local_keys import LocalKeys
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer

VERSIONS = {version: secrets.token_bytes(32) for version in (1, 2, 3)}


def keys_of(database: Database, *versions: int) -> DataKeys:
    """Data keys under the last of `versions`, with the others at hand."""
    keys = {version: VERSIONS[version] for version in versions}
    return DataKeys(database, LocalKeys(name="file", keys=keys, current=versions[-1]))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(DatabaseConfig(url=database_url, pool_size=2))
    yield opened
    await opened.aclose()


@pytest.mark.anyio
async def test_the_keys_of_all_projects_are_wrapped_anew_and_counted(database: Database) -> None:
    async with database.installation() as connection:
        for name in ("one", "two", "empty"):
            await ensure_project(connection, name)
        projects = {row.id: row.name for row in await list_projects(connection)}
    ids: dict[str, ProjectId] = {name: project for project, name in projects.items()}

    async def add(version: int, project: str, count: int) -> None:
        for number in range(count):
            _, write = await keys_of(database, version).create(ids[project], f"{project}_{version}_{number}")
            assert write is not None
            async with database.transaction(ids[project]) as connection:
                await write(connection)

    await add(1, "one", 3)
    await add(2, "one", 1)
    await add(1, "two", 2)
    assert await count_all(keys_of(database, 1), projects) == {"file:1": 5, "file:2": 1}
    done, left = await rotate_all(keys_of(database, 1, 2), projects)
    assert (dict(done), left) == ({"one": 3, "two": 2}, 0)
    assert await count_all(keys_of(database, 1), projects) == {"file:2": 6}
    await add(3, "two", 1)
    done, left = await rotate_all(keys_of(database, 2, 1), projects)
    assert (dict(done), left) == ({"one": 4, "two": 2}, 1)


def test_a_key_file_is_made_and_extended(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = CliRunner().invoke(session_keys, ["new", str(path)])
    assert (made.exit_code, made.output) == (0, f"version 1 is in {path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    first = json.loads(path.read_text())["keys"]["1"]
    assert first not in made.output
    assert CliRunner().invoke(session_keys, ["new", "--not-current", str(path)]).exit_code == 0
    assert read_key_file(path).key_id == "file:1"
    assert CliRunner().invoke(session_keys, ["new", str(path)]).output == f"version 3 is in {path}\n"
    assert read_key_file(path).key_id == "file:3"
    assert json.loads(path.read_text())["keys"]["1"] == first


def test_a_file_that_cannot_be_extended_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("current: 1\nkeys: {}")
    path.chmod(0o600)
    refused = CliRunner().invoke(session_keys, ["new", str(path)])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SettingsError)
    assert path.read_text() == "current: 1\nkeys: {}"
    path.chmod(0o644)
    assert "chmod 600" in str(CliRunner().invoke(session_keys, ["new", str(path)]).exception)
    nowhere = CliRunner().invoke(session_keys, ["new", "/proc/nowhere/keys.json"])
    assert isinstance(nowhere.exception, SettingsError)
    assert "cannot be written" in str(nowhere.exception)


class Installation:
    """A home with a master key, on a database with a project that has data keys."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url
        ensure_master_key(home / "master.key")

    def run(self, command: str, **environ: str | None) -> Result:
        known = {"BEDPLATE_HOME": str(self.home), "BEDPLATE_DATABASE_URL": self.url, "COLUMNS": "200"}
        return CliRunner().invoke(session_keys, [command], env=known | environ)

    def add_keys(self, count: int, *, url: str | None = None) -> None:
        """Data keys under the master key; in another database when `url` is given."""

        async def add() -> None:
            content, kept = (Database(DatabaseConfig(url=each)) for each in (self.url, url or self.url))
            async with content.installation() as connection:
                project = await ensure_project(connection, "one")
            master = read_keyring(self.home / "master.key").session_keys_master
            keys = DataKeys(kept, LocalKeys(name="master", keys={1: master}, current=1), apart=url is not None)
            for number in range(count):
                _, write = await keys.create(project, f"sess_{number}")
                if write is not None:
                    async with content.transaction(project) as connection:
                        await write(connection)
            await content.aclose()
            await kept.aclose()

        asyncio.run(add())


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Installation:
    return Installation(tmp_path, database_url)


def test_a_move_from_the_master_key_to_a_file(installation: Installation, tmp_path: Path) -> None:
    installation.add_keys(3)
    shown = installation.run("status").output
    assert re.search(r"master:1 +. +3 ", shown)
    assert "new data keys: master:1" in shown
    assert installation.run("rotate").output == "0 data keys wrapped anew\n"
    file = f"file:{tmp_path / 'keys.json'}"
    refused = installation.run("rotate", BEDPLATE_SESSION_KEYS=file)
    assert isinstance(refused.exception, SettingsError)
    assert CliRunner().invoke(session_keys, ["new", str(tmp_path / "keys.json")]).exit_code == 0
    moved = installation.run("rotate", BEDPLATE_SESSION_KEYS=file)
    assert moved.output == "one: 3 data keys wrapped anew\n3 data keys wrapped anew\n"
    shown = installation.run("status", BEDPLATE_SESSION_KEYS=file).output
    assert re.search(r"file:1 +. +3 ", shown)
    assert "master:1" not in shown
    back = installation.run("rotate")
    assert back.exit_code == 1
    assert "3 data keys could not be unwrapped" in back.output


def test_keys_that_are_in_a_database_apart(
    installation: Installation, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    name = postgres_server.create_database()
    apart = postgres_server.url(name)
    installation.add_keys(2, url=apart)
    assert not re.search(r"master:1 +. +2 ", installation.run("status").output)
    assert re.search(r"master:1 +. +2 ", installation.run("status", BEDPLATE_KEY_DATABASE_URL=apart).output)
    CliRunner().invoke(session_keys, ["new", str(tmp_path / "keys.json")])
    environ = {
        "BEDPLATE_KEY_DATABASE_URL": apart,
        "BEDPLATE_SESSION_KEYS": "environment",
        "BEDPLATE_SESSION_KEY_MATERIAL": (tmp_path / "keys.json").read_text(),
    }
    assert "2 data keys wrapped anew" in installation.run("rotate", **environ).output
    assert re.search(r"environment:1 +. +2 ", installation.run("status", **environ).output)
    postgres_server.drop_database(name)
    wrong = installation.run("status", BEDPLATE_KEY_DATABASE_URL="mysql://hunter2")
    assert isinstance(wrong.exception, SettingsError)
    assert "hunter2" not in str(wrong.exception)


def test_without_a_key_that_wraps_nothing_is_rotated(installation: Installation) -> None:
    installation.add_keys(1)
    refused = installation.run("rotate", BEDPLATE_SESSION_KEYS="none")
    assert isinstance(refused.exception, SettingsError)
    assert "none" in str(refused.exception)
    assert "new data keys: none" in installation.run("status", BEDPLATE_SESSION_KEYS="none").output


@pytest.mark.parametrize("command", ["new", "rotate", "status"])
def test_every_command_explains_itself(command: str) -> None:
    explained = CliRunner().invoke(session_keys, [command, "--help"])
    assert explained.exit_code == 0
    assert len(explained.output.splitlines()) > 5
