"""Version 0006 moves guardrails to a table of their own, and leaves what the version before reads."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anyio.to_thread import run_sync as to_thread
from sqlalchemy import text

from bedplate_core.ids import ProjectId
from bedplate_gateway.catalogue.guardrail_rows import list_indexes, read_document
from bedplate_gateway.catalogue.repository import list_resources
from bedplate_migrations.runner import upgrade
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig
from tests.fixtures.postgres import PostgresServer
from tests.migrations.test_conversations import migrated_to

pytestmark = pytest.mark.anyio

DOCUMENT = (
    '{"blockedInputMessaging": "a", "blockedOutputsMessaging": "b",'
    ' "wordPolicyConfig": {"wordsConfig": [{"text": "x"}]}}'
)


@pytest.fixture
async def old(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database that version 0005 wrote to and that was then brought up to date."""
    name = postgres_server.create_database(template="template0")
    url = postgres_server.url(name)
    await to_thread(migrated_to, url, "0005")
    values = "source, updated_at, updated_by) values"
    postgres_server.run(
        f"insert into resource (kind, scope, name, spec, revision, {values}"
        f" ('Guardrail', 'proj_a', 'safe', '{DOCUMENT}', 7, 'files', '2020-01-01', 'me')",
        f"insert into resource (kind, scope, name, spec, revision, {values}"
        f" ('Guardrail', 'proj_b', 'safe', '{DOCUMENT}', 2, 'other', '2020-01-01', 'me')",
        f"insert into resource (kind, scope, name, spec, revision, {values}"
        " ('Project', '', 'default', '{\"guardrail\": \"safe\"}', 1, 'files', '2020-01-01', 'me')",
        "insert into invocation (id, outcome) values ('req_1', 'completed')",
        database=name,
    )
    await to_thread(upgrade, url)
    opened = Database(DatabaseConfig(url=url))
    yield opened
    await opened.aclose()
    postgres_server.drop_database(name)


async def test_guardrails_are_moved_as_they_were(old: Database) -> None:
    async with old.installation() as connection:
        indexes = await list_indexes(connection)
        rows = (
            await connection.execute(
                text("select project_id, source, updated_by, updated_at::date::text, next_version from guardrail")
            )
        ).all()
        entries = {project: index.by_name("safe") for project, index in indexes.items()}
        first = entries[ProjectId("proj_a")]
        assert first is not None
        stored = await read_document(connection, ProjectId("proj_a"), first.id, None)
    assert {project: entry.revision for project, entry in entries.items() if entry} == {"proj_a": 7, "proj_b": 2}
    assert len({entry.id for entry in entries.values() if entry}) == 2
    assert sorted(rows) == [
        ("proj_a", "files", "me", "2020-01-01", 1),
        ("proj_b", "other", "me", "2020-01-01", 1),
    ]
    assert stored is not None
    assert stored.document == {
        "blockedInputMessaging": "a",
        "blockedOutputsMessaging": "b",
        "wordPolicyConfig": {"wordsConfig": [{"text": "x"}]},
    }


async def test_the_version_before_still_finds_its_rows_and_this_one_passes_them_over(old: Database) -> None:
    async with old.installation() as connection:
        kinds = (await connection.execute(text("select kind from resource order by 1"))).all()
        assert [row.kind for row in kinds] == ["Guardrail", "Guardrail", "Project"]
        assert [row.kind for row in await list_resources(connection)] == ["Project"]
        assert (await connection.execute(text("select guardrails from invocation"))).scalar_one() is None
