"""The process beside the gateways: it does what is due, once, whoever dies, and no other process loads its library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_gateway.access.keyring import ensure_master_key
from bedplate_gateway.catalogue.repository import ensure_project
from bedplate_gateway.jobs.conversations import conversations
from bedplate_gateway.jobs.job_tables import job_queries
from bedplate_gateway.jobs.purging import Retention
from bedplate_gateway.jobs.worker import Worker
from bedplate_gateway.settings import Settings, environment_of
from bedplate_sessions.keys.data_keys import DataKeys
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_sessions.lifecycle.purged import Purged
from bedplate_store.database import Database
from bedplate_store.driver import APP_ROLE, DatabaseConfig

pytestmark = pytest.mark.anyio

COMMAND = [sys.executable, "-m", "bedplate_gateway", "jobs"]


class Installation:
    """A database with a project, and what a process on it needs."""

    def __init__(self, home: Path, url: str, owner: Any, project: ProjectId) -> None:
        self.settings = Settings(home=home, cache=home / "cache", database_url=url)
        self.config = DatabaseConfig(url=url)
        self.owner = owner
        self.project: ProjectId = project

    @property
    def environ(self) -> dict[str, str]:
        return dict(os.environ) | environment_of(self.settings) | {"BEDPLATE_LOG_FORMAT": "json"}

    async def add_due(self, count: int, prefix: str = "sess") -> None:
        """Sessions of the project whose last write is forty days ago."""
        await self.owner.execute(
            "insert into session (id, project_id, created_by, updated_at) "
            "select $1 || '_' || md5(n::text), $2, 'k', now() - interval '40 days' from generate_series(1, $3) n",
            prefix,
            self.project,
            count,
        )

    async def sessions(self) -> int:
        return int(await self.owner.fetchval("select count(*) from session"))

    async def until(self, check: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not await check():
            assert time.monotonic() < deadline, await self.owner.fetch("select * from job_log")
            await asyncio.sleep(0.05)

    async def until_purged(self, *, within_s: float = 20.0) -> None:
        async def purged() -> bool:
            return await self.sessions() == 0

        await self.until(purged, within_s=within_s)


@pytest.fixture
async def installation(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    database = Database(DatabaseConfig(url=database_url))
    async with database.installation() as connection:
        project = await ensure_project(connection, "default")
        await ensure_project(connection, "empty")
    await database.aclose()
    owner = await asyncpg.connect(database_url)
    made = Installation(tmp_path, database_url, owner, project)
    ensure_master_key(made.settings.master_key_path)
    yield made
    await owner.close()


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


@contextlib.contextmanager
def child(command: list[str], environ: dict[str, str]) -> Any:
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_the_tables_are_what_the_installed_library_declares(installation: Installation) -> None:
    """Red when the library was updated and its schema changed: its plan is then the next migration."""
    plan = await job_queries(AsyncpgDriver(installation.owner)).plan_upgrade()
    assert (plan.statements, plan.notes) == ((), ())


def test_no_other_command_loads_the_library() -> None:
    code = (
        "import sys; from bedplate_gateway.cli.main import bedplate; from bedplate_gateway.cli.jobs import jobs;"
        "from bedplate_gateway.app import Application;"
        "sys.exit(str({'pgqueuer', 'pydantic'} & set(sys.modules)) if 'pgqueuer' in sys.modules else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_the_command_purges_at_once_and_ends_on_sigterm(installation: Installation) -> None:
    await installation.add_due(450)
    with child(COMMAND, installation.environ) as process:
        await installation.until_purged()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, None, 10)
        assert process.returncode == 0, errors.decode()
    assert b'"purged"' in errors
    assert b'"sessions":450' in errors
    assert b"Traceback" not in errors
    assert await installation.sessions() == 0


async def test_once_does_what_is_due_and_exits(installation: Installation) -> None:
    await installation.add_due(3)
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, "--once"], env=installation.environ, capture_output=True, timeout=60, check=True
    )
    assert b"default: 3 sessions, 0 responses, 0 replies and 0 keys deleted" in done.stdout
    assert await installation.sessions() == 0


async def test_each_project_has_its_own_retention_and_one_that_cannot_be_read_is_left_alone(
    installation: Installation,
) -> None:
    for name, spec in (("default", '{"sessions": {"retention_s": 77}}'), ("strange", '{"tulip": 1}')):
        await installation.owner.execute(
            "insert into resource (kind, name, spec, revision, source, updated_by) "
            "values ('Project', $1, $2, 1, 't', 't')",
            name,
            spec,
        )
    await installation.owner.execute("insert into project (id, name) values ('proj_strange', 'strange')")
    async with conversations(installation.settings) as parts:
        found = {each.name: each.retention_s for each in (await parts.retentions()).values()}
    assert found == {"default": 77.0, "empty": installation.settings.session_retention_s}


class Scripted(Purge):
    """A purge whose runs are scripted: each is an error to raise, or a wait before the real one."""

    def __init__(self, database: Database, script: list[Exception | asyncio.Event]) -> None:
        super().__init__(database, DataKeys(database, None), grace_s=0.0, pause_s=0.0)
        self.script = script
        self.started = 0
        self.started_event = asyncio.Event()

    async def project(
        self, project: ProjectId, *, retention_s: float, on_batch: Callable[[Purged], None] = print
    ) -> Purged:
        self.started += 1
        self.started_event.set()
        if self.script:
            match self.script.pop(0):
                case asyncio.Event() as wait:
                    await wait.wait()
                case error:
                    raise error
        return await super().project(project, retention_s=retention_s, on_batch=on_batch)


def only(installation: Installation) -> Callable[[], Awaitable[Mapping[ProjectId, Retention]]]:
    async def projects() -> Mapping[ProjectId, Retention]:
        return {installation.project: Retention(name="default", retention_s=60.0)}

    return projects


async def test_a_job_that_fails_is_tried_again_and_its_error_is_not_stored(installation: Installation) -> None:
    await installation.add_due(3)
    database = Database(installation.config)
    purge = Scripted(database, [StoreUnavailable("tulip")])
    async with working(Worker(installation.config, purge, only(installation))):
        await installation.until_purged()
    await database.aclose()
    assert purge.started == 2
    rows = await installation.owner.fetch("select traceback::text from job_log")
    assert not [row for row in rows if row["traceback"] and "tulip" in row["traceback"]]
    assert [row for row in rows if row["traceback"] and "StoreUnavailable" in row["traceback"]]


async def test_a_job_that_runs_when_the_worker_stops_is_put_back(installation: Installation) -> None:
    await installation.add_due(3)
    database = Database(installation.config)
    purge = Scripted(database, [asyncio.Event()])
    async with working(Worker(installation.config, purge, only(installation))):
        await asyncio.wait_for(purge.started_event.wait(), 10)
    assert await installation.owner.fetch("select status::text, entrypoint from job") == [("queued", "purge")]
    async with working(Worker(installation.config, purge, only(installation))):
        await installation.until_purged()
    await database.aclose()


async def test_two_workers_share_the_jobs_and_no_job_runs_twice(installation: Installation) -> None:
    await installation.add_due(300)
    database = Database(installation.config)
    hold = asyncio.Event()
    purges = [Scripted(database, [hold]), Scripted(database, [hold])]
    first, second = (Worker(installation.config, purge, only(installation)) for purge in purges)
    async with working(first), working(second):
        await asyncio.wait(
            [asyncio.ensure_future(purge.started_event.wait()) for purge in purges],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await asyncio.sleep(0.5)
        assert sum(purge.started for purge in purges) == 1
        hold.set()
        await installation.until_purged()
    await database.aclose()


async def test_a_worker_outlives_its_connections(installation: Installation) -> None:
    database = Database(installation.config)
    purge = Scripted(database, [])
    worker = Worker(installation.config, purge, only(installation), cron="* * * * * */1")
    async with working(worker) as task:
        await asyncio.wait_for(purge.started_event.wait(), 10)
        await installation.owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bedplate jobs'"
        )
        await installation.add_due(3)
        await installation.until_purged()
        assert not task.done()
    await database.aclose()


KILLED = """
import asyncio
from bedplate_gateway.jobs.conversations import conversations
from bedplate_gateway.jobs.worker import Worker
from bedplate_gateway.settings import settings_from_environment
from bedplate_sessions.lifecycle import due_sessions

due_sessions.BATCH_SESSIONS = 10

async def main():
    async with conversations(settings_from_environment()) as parts:
        await Worker(parts.config, parts.purge, parts.retentions, heartbeat_s=2.0).run(asyncio.Event())

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_loses_nothing(installation: Installation) -> None:
    await installation.add_due(400)
    with child([sys.executable, "-c", KILLED], installation.environ) as process:

        async def begun() -> bool:
            return await installation.sessions() < 380

        await installation.until(begun)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    left = await installation.sessions()
    assert 0 < left < 400
    assert await installation.owner.fetchval("select count(*) from job where status = 'picked'") >= 1
    with child([sys.executable, "-c", KILLED], installation.environ):
        await installation.until_purged()


async def test_the_library_acts_as_the_role_that_owns_nothing(installation: Installation) -> None:
    """Whatever it asks for beside its tables, it is not given: here, to read a session without saying whose."""
    await installation.add_due(1)
    seen: list[object] = []

    class Looking(Worker):
        async def _begin_round(self, queries: Any) -> None:
            seen.append((await queries.driver.fetch("select current_user, (select count(*) from session)"))[0])
            await super()._begin_round(queries)

    database = Database(installation.config)
    worker = Looking(installation.config, Scripted(database, []), only(installation))
    async with working(worker):
        await installation.until_purged()
    await database.aclose()
    assert seen[0] == {"current_user": APP_ROLE, "count": 0}
