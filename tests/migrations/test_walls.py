"""The walls in the database itself: what SQL of ours that forgets something still cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anyio.to_thread import run_sync as to_thread
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bedplate_core.ids import ProjectId
from bedplate_migrations.runner import upgrade
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio

A, B = ProjectId("proj_a"), ProjectId("proj_b")
TENANT_TABLES = ("session", "session_item", "invocation", "stored_response")
CONVERSATION_TABLES = (
    "session_branch",
    "session_invocation",
    "session_step",
    "session_blob",
    "session_key",
    "stored_reply",
)
"""Those of version 0004; a whole row of each can be written, read, changed and deleted by its own project."""

GUARDRAIL_TABLES = ("guardrail", "guardrail_version", "guardrail_request", "enforced_guardrail")
"""Those of version 0006; the first has to be filled first. All but `guardrail_request` are read by the catalogue."""

ALL_TABLES = (*TENANT_TABLES, *CONVERSATION_TABLES, *GUARDRAIL_TABLES)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(DatabaseConfig(url=database_url))
    for project in (A, B):
        await run(
            opened,
            project,
            f"insert into session (id, project_id, created_by) values ('s_{project}', '{project}', 'k')",
        )
        await run(opened, project, item(project, f"s_{project}", 1))
        await run(
            opened,
            project,
            f"insert into invocation (id, project_id, outcome) values ('r_{project}', '{project}', 'completed')",
        )
        await run(opened, project, response(project, f"resp_{project}"))
        for table in CONVERSATION_TABLES:
            await run(opened, project, row(table, project, f"s_{project}", "1"))
        for table in GUARDRAIL_TABLES:
            await run(opened, project, guardrail_row(table, project, 1))
    yield opened
    await opened.aclose()


def item(project: str, session: str, seq: int) -> str:
    return (
        "insert into session_item (session_id, seq, id, project_id, role, payload, schema_version, call_id, status) "
        f"values ('{session}', {seq}, 'i_{project}_{seq}', '{project}', 'user', '{{}}', 1, 'req_1', 'completed')"
    )


def response(project: str, name: str) -> str:
    return (
        "insert into stored_response (id, project_id, created_by, model, created_s, input, output, stop_reason, usage, "
        "settings, schema_version, size_bytes, expires_at) "
        f"values ('{name}', '{project}', 'k', 'm', 1, '[]', '{{}}', 'end', '{{}}', '{{}}', 1, 4, now())"
    )


def row(table: str, project: str, session: str, name: str) -> str:
    """A statement that adds one row to a table of version 0004; `name` is a digit."""
    of_session = f"'{session}', '{project}'"
    match table:
        case "session_branch":
            return f"insert into {table} (session_id, project_id, branch, head) values ({of_session}, {name}, 0)"
        case "session_invocation":
            columns, values = "id, number, call_id", f"'v{name}', {name}, 'req_1'"
        case "session_step":
            columns = "seq, id, invocation_id, step_time, content_hash, sealed, schema_version"
            values = f"{name}, 't{name}', 'v1', now(), '', '', 1"
        case "session_blob":
            columns, values = "id, size_bytes, sealed", f"'b{name}', 0, ''"
        case "session_key":
            return (
                f"insert into {table} (owner, project_id, key_id, wrapped) "
                f"values ('{session}{name}', '{project}', 'k:1', '')"
            )
        case _:
            return (
                f"insert into {table} (project_id, key, request_hash, call_id, turn_call, session_id, expires_at) "
                f"values ('{project}', 'k{name}', '', 'req_1', 'req_1', '{session}', now())"
            )
    return f"insert into {table} (session_id, project_id, {columns}) values ({of_session}, {values})"


def guardrail_row(table: str, project: str, number: int) -> str:
    """A statement that adds one row to a table of version 0006; `project` also gives the guardrail its id."""
    name = f"{project.removeprefix('proj_')}00000000000"
    match table:
        case "guardrail":
            columns = "id, name, revision, document, source, updated_by"
            values = f"'{name[:11]}{number}', 'g{number}', 1, '{{}}', 't', 'k'"
        case "guardrail_version":
            columns, values = "guardrail_id, version, name, document", f"'{name[:11]}1', {number}, 'g', '{{}}'"
        case "guardrail_request":
            columns, values = "token, operation, request_hash, result", f"'t{number}', 'o', '', '{{}}'"
        case _:
            columns = "config_id, guardrail_id, version, created_by, updated_by"
            values = f"'{name}{number}', '{name[:11]}1', 1, 'k', 'k'"
    return f"insert into {table} (project_id, {columns}) values ('{project}', {values})"


async def run(database: Database, project: ProjectId | None, statement: str) -> int:
    """Run one statement for `project`; how many rows it touched."""
    async with database.transaction(project) as connection:
        return (await connection.execute(text(statement))).rowcount


async def projects_seen(database: Database, project: ProjectId | None, table: str) -> list[str]:
    async with database.transaction(project) as connection:
        rows = await connection.execute(text(f"select project_id from {table} order by 1"))
        return [row[0] for row in rows]


@pytest.mark.parametrize("table", ALL_TABLES)
async def test_sql_without_a_project_filter_finds_one_projects_rows(database: Database, table: str) -> None:
    assert await projects_seen(database, A, table) == [A]
    assert await projects_seen(database, B, table) == [B]
    assert await projects_seen(database, None, table) == []
    assert await projects_seen(database, ProjectId(""), table) == []


async def test_a_connection_does_not_remember_its_last_project(database_url: str, database: Database) -> None:
    one = Database(DatabaseConfig(url=database_url, pool_size=1))
    assert await projects_seen(one, A, "session") == [A]
    assert await projects_seen(one, None, "session") == []
    async with one.installation() as connection:
        assert len((await connection.execute(text("select 1 from invocation"))).all()) == 2
    assert await projects_seen(one, None, "invocation") == []
    await one.aclose()


async def test_the_installation_sees_all_invocations_and_guardrails_and_no_session(database: Database) -> None:
    async with database.installation() as connection:
        seen = [len((await connection.execute(text(f"select 1 from {table}"))).all()) for table in ALL_TABLES]
    assert seen == [0, 0, 2, 0, *[0] * len(CONVERSATION_TABLES), 2, 2, 0, 2]


@pytest.mark.parametrize(
    "statement",
    [
        item(B, "s_proj_b", 2),
        item(A, "s_proj_b", 2),
        "insert into session (id, project_id, created_by) values ('s_new', 'proj_b', 'k')",
        "update session set project_id = 'proj_b'",
        response(B, "resp_new"),
    ],
    ids=["as B", "A's item into B's session", "a session for B", "give a session to B", "a response for B"],
)
async def test_one_project_cannot_write_into_another(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError):
        await run(database, A, statement)


@pytest.mark.parametrize("table", CONVERSATION_TABLES)
async def test_a_conversations_rows_stay_in_their_project(database: Database, table: str) -> None:
    for into in ("s_proj_a", "s_proj_b"):
        with pytest.raises(DBAPIError, match="row-level security"):
            await run(database, A, row(table, B, into, "2"))
    with pytest.raises(DBAPIError, match="row-level security"):
        await run(database, None, row(table, A, "s_proj_a", "2"))
    if table not in ("session_key", "stored_reply"):  # these two are no parts of a session
        with pytest.raises(DBAPIError, match="foreign key"):
            await run(database, A, row(table, A, "s_proj_b", "2"))
    with pytest.raises(DBAPIError, match="row-level security"):
        await run(database, A, f"update {table} set project_id = 'proj_b'")
    assert await run(database, A, f"update {table} set created_at = now()") == 1
    assert await run(database, None, f"update {table} set created_at = now()") == 0
    assert await run(database, None, f"delete from {table}") == 0
    assert await run(database, A, f"delete from {table}") == 1
    assert await projects_seen(database, B, table) == [B]


@pytest.mark.parametrize("table", GUARDRAIL_TABLES)
async def test_a_guardrails_rows_stay_in_their_project(database: Database, table: str) -> None:
    for project in (A, None):
        with pytest.raises(DBAPIError, match="row-level security"):
            await run(database, project, guardrail_row(table, B, 2))
    with pytest.raises(DBAPIError, match=r"row-level security|permission denied"):
        await run(database, A, f"update {table} set project_id = 'proj_b'")
    async with database.installation() as connection:  # which reads them all, and writes none
        assert (await connection.execute(text(f"delete from {table}"))).rowcount == 0
    assert await run(database, None, f"delete from {table}") == 0
    if table in ("guardrail", "guardrail_version"):
        with pytest.raises(DBAPIError, match="foreign key"):  # what is enforced is needed
            await run(database, A, f"delete from {table}")
        await run(database, A, "delete from enforced_guardrail")
    assert await run(database, A, f"delete from {table}") == 1
    assert await projects_seen(database, A, table) == []
    assert await projects_seen(database, B, table) == [B]


async def test_the_installation_can_change_no_projects_guardrail(database: Database) -> None:
    async with database.installation() as connection:
        assert (await connection.execute(text("update guardrail set name = 'x'"))).rowcount == 0
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.installation() as connection:
            await connection.execute(text(guardrail_row("guardrail", A, 2)))


async def test_another_projects_version_cannot_be_enforced(database: Database) -> None:
    with pytest.raises(DBAPIError, match="foreign key"):
        await run(
            database,
            A,
            "insert into enforced_guardrail (config_id, project_id, guardrail_id, version, created_by, updated_by)"
            " values ('mine', 'proj_a', 'b00000000001', 1, 'k', 'k')",
        )


async def test_a_session_that_is_deleted_takes_its_rows_along_and_nobody_elses(database: Database) -> None:
    assert await run(database, A, "delete from session") == 1
    for table in ALL_TABLES:
        assert await projects_seen(database, A, table) == ([] if is_part(table) else [A])
        assert await projects_seen(database, B, table) == [B]


def is_part(table: str) -> bool:
    """Whether the table's rows are parts of a session."""
    return table.startswith("session") and table != "session_key"


async def test_an_update_without_a_filter_stays_inside(database: Database) -> None:
    assert await run(database, A, "update session set head = 7") == 1
    assert await run(database, None, "update session set head = 7") == 0
    assert await run(database, A, "update stored_response set expires_at = now()") == 1
    assert await run(database, None, "delete from stored_response") == 0
    assert await run(database, A, "delete from stored_response") == 1
    assert await projects_seen(database, B, "stored_response") == [B]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table session disable row level security",
        "drop policy of_project on session",
        "drop table session",
        "truncate session_item",
        "create table public.mine (id int)",
        "update session_item set seq = 7",
        "update session_item set role = 'system'",
        "update session_item set project_id = 'proj_b'",
        "update session_item set session_id = 's_proj_b'",
        "delete from invocation",
        "update stored_response set output = '{}'",
        "update stored_response set model = 'other'",
        "update stored_response set project_id = 'proj_b'",
        "update stored_response set parent_id = 'resp_proj_b'",
        "update invocation set outcome = 'other'",
        "delete from resource_revision",
        "update guardrail_version set document = '{}'",
        "update guardrail_request set result = '{}'",
        "update alembic_version set version_num = '9999'",
        "alter role bedplate_app superuser",
    ],
)
async def test_the_gateway_cannot_change_the_schema_or_its_history(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner|InsufficientPrivilege"):
        await run(database, A, statement)


async def test_the_owner_of_the_tables_is_bound_as_well(own_server: PostgresServer) -> None:
    login = {"user": "plain", "password": "p"}
    own_server.run(
        "create role plain login password 'p'", "grant bedplate_app to plain", "create database plain owner plain"
    )
    url = own_server.url("plain", **login)
    await to_thread(upgrade, url)
    app, owner = Database(DatabaseConfig(url=url)), Database(DatabaseConfig(url=url, role="none"))
    await run(app, A, "insert into session (id, project_id, created_by) values ('s', 'proj_a', 'k')")
    assert await projects_seen(owner, A, "session") == [A]
    assert await projects_seen(owner, B, "session") == []
    assert await projects_seen(owner, None, "session") == []
    await app.aclose()
    await owner.aclose()
