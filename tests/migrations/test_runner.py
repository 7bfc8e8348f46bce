"""A database gets the schema this code needs, whole, once, or nothing at all and a reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bedplate_migrations.runner import MigrationError, revision_state, upgrade
from tests.fixtures.postgres import PostgresServer

HEAD = "0006"


@pytest.fixture
def empty(postgres_server: PostgresServer) -> str:
    name = postgres_server.create_database(template="template0")
    return postgres_server.url(name)


def test_an_empty_database_is_brought_to_the_head_and_stays_there(empty: str) -> None:
    assert revision_state(empty) == (None, HEAD)
    upgrade(empty)
    assert revision_state(empty) == (HEAD, HEAD)
    upgrade(empty)
    assert revision_state(empty) == (HEAD, HEAD)


def test_starters_that_come_together_do_not_collide(empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [empty] * 4))
    assert revision_state(empty) == (HEAD, HEAD)


def test_a_revision_from_a_newer_version_is_refused(postgres_server: PostgresServer, empty: str) -> None:
    upgrade(empty)
    postgres_server.run("update alembic_version set version_num = '9999'", database=name_of(empty))
    for attempt in (upgrade, revision_state):
        with pytest.raises(MigrationError, match=r"'9999'.*does not know"):
            attempt(empty)


def test_a_step_that_fails_changes_nothing(postgres_server: PostgresServer, empty: str) -> None:
    postgres_server.run("create table session_item (mine text)", database=name_of(empty))
    with pytest.raises(MigrationError, match=r'"session_item" already exists'):
        upgrade(empty)
    assert revision_state(empty) == (None, HEAD)
    assert tables(postgres_server, empty) == ["session_item"]


def test_a_database_that_is_not_there_is_named_without_the_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(MigrationError, match="does not exist") as refused:
        upgrade(postgres_server.url("no_such_database"))
    assert postgres_server.address.password not in str(refused.value)


def test_a_login_that_may_not_create_roles_is_told_what_to_run(own_server: PostgresServer) -> None:
    own_server.run(
        "drop owned by bedplate_app cascade",
        "drop role bedplate_app",
        "create role plain login password 'p'",
        "create role maker login createrole password 'p'",
        "create database plain owner plain",
        "create database maker owner maker",
    )
    plain = own_server.url("plain", user="plain", password="p")
    with pytest.raises(MigrationError, match="create role bedplate_app nologin; grant bedplate_app to"):
        upgrade(plain)
    upgrade(own_server.url("maker", user="maker", password="p"))
    with pytest.raises(MigrationError, match='run: grant bedplate_app to "plain"'):
        upgrade(plain)
    own_server.run("grant bedplate_app to plain")
    upgrade(plain)
    assert revision_state(plain) == (HEAD, HEAD)


def name_of(url: str) -> str:
    return url.rpartition("@/")[2].partition("?")[0]


def tables(server: PostgresServer, url: str) -> list[str]:
    rows = server.fetch("select tablename from pg_tables where schemaname = 'public' order by 1", database=name_of(url))
    return [row[0] for row in rows]
