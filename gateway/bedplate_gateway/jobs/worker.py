"""The process that runs jobs: a round begins every few minutes, one job for each project.

The only module, with the tables' names, that imports the job library: the request path has none of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, cast

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.models import Job, Schedule

from bedplate_core.ids import ProjectId
from bedplate_gateway.jobs.job_tables import CHANNEL, LOG_TABLE, STATISTICS_TABLE, job_queries
from bedplate_gateway.jobs.purging import Retention, purge_project
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_store.driver import DatabaseConfig, is_outage

logger = logging.getLogger(__name__)

EVERY_TEN_MINUTES: Final = "*/10 * * * *"
PURGE: Final = "purge"
AT_ONCE: Final = 2
"""How many projects are purged at once, over all workers."""

MAX_ATTEMPTS: Final = 5
_FIRST_RETRY_S: Final = 2.0
_LONGEST_RETRY_S: Final = 60.0
_KEPT_LOG: Final = "7 days"
_CONNECTIONS: Final = 3
"""One listens for new jobs; two are enough for the library's short statements."""


class JobFailed(Exception):
    """A job that is not tried again. Says which error it was and nothing of its text: the library stores it."""


class Worker:
    """Runs jobs until it is stopped. Several may run: a job is taken by one of them.

    `projects` gives every project with its retention. `config` is the database with the job tables, which is used under
    the same role as everything else. `heartbeat_s`: a job whose worker was killed is taken by another, or by the same
    one started again, after so long to twice as long. `cron` says when a round begins; one begins at the start as well.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        purge: Purge,
        projects: Callable[[], Awaitable[Mapping[ProjectId, Retention]]],
        *,
        cron: str = EVERY_TEN_MINUTES,
        heartbeat_s: float = 30.0,
    ) -> None:
        self._config = config
        self._purge = purge
        self._projects = projects
        self._cron = cron
        self._heartbeat_s = heartbeat_s

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A job that runs then is put back, and what it has deleted stays deleted.

        While Postgres is away it tries again, at most every minute. Raises what the library raises when its tables are
        not as it needs them.
        """
        pause_s = 1.0
        while not stop.is_set():
            try:
                await self._serve(stop)
                pause_s = 1.0
            except Exception as error:
                if not (is_outage(error) or isinstance(error, FailingListenerError)):
                    raise
                logger.warning("jobs: postgres is away (%s); trying again in %d s", type(error).__name__, pause_s)
                await _set_within(stop, pause_s)
                pause_s = min(pause_s * 2, _LONGEST_RETRY_S)

    async def _serve(self, stop: asyncio.Event) -> None:
        async with _pool(self._config) as driver:
            queries = job_queries(driver)
            library = PgQueuer(connection=driver, channel=CHANNEL, queries=queries)

            async def begin_round(_: Schedule | None = None) -> None:
                await self._begin_round(queries)

            async def purge(job: Job) -> None:
                await self._run_job(job, stop)

            library.schedule("round", self._cron)(begin_round)
            library.entrypoint(PURGE, concurrency_limit=AT_ONCE)(purge)
            await begin_round()
            stopping = asyncio.create_task(_forward(stop, library.shutdown))
            try:
                # A job that a dead worker left is announced by nobody: it is looked for as often as it can turn up.
                heartbeat = timedelta(seconds=self._heartbeat_s)
                await library.run(
                    heartbeat_timeout=heartbeat, dequeue_timeout=heartbeat, shutdown_on_listener_failure=True
                )
            finally:
                stopping.cancel()

    async def _begin_round(self, queries: Queries) -> None:
        """A job for each project that has none waiting or running, and an end to old entries of the library's log."""
        projects = list(await self._projects())
        if projects:
            await queries.enqueue(
                [PURGE] * len(projects),
                [project.encode() for project in projects],
                [0] * len(projects),
                dedupe_key=[f"{PURGE}:{project}" for project in projects],
                on_conflict="skip",
            )
        for table in (LOG_TABLE, STATISTICS_TABLE):
            await queries.driver.execute(f"delete from {table} where created < now() - interval '{_KEPT_LOG}'")  # noqa: S608 - constants

    async def _run_job(self, job: Job, stop: asyncio.Event) -> None:
        project = ProjectId((job.payload or b"").decode())
        work = asyncio.create_task(self._purge_project(project))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise RetryRequested(reason="the worker stops")
            await work
        except RetryRequested:
            raise
        except Exception as error:
            logger.warning("jobs: purging %s failed: %s", project, type(error).__name__, exc_info=error)
            reason = type(error).__name__
            if job.attempts >= MAX_ATTEMPTS:  # the next round comes by again
                raise JobFailed(reason) from None
            delay_s = min(_FIRST_RETRY_S * 2**job.attempts, _LONGEST_RETRY_S)
            raise RetryRequested(delay=timedelta(seconds=delay_s), reason=reason) from None
        finally:
            for task in (work, stopping):
                task.cancel()
            await asyncio.wait({work, stopping})

    async def _purge_project(self, project: ProjectId) -> None:
        retention = (await self._projects()).get(project)
        if retention is not None:
            await purge_project(self._purge, project, retention)


class _PoolDriver(AsyncpgPoolDriver):
    """The library's driver, which at its end resets a connection that may be dead, and hides by that why it ended."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing: whoever made the pool ends it."""


@asynccontextmanager
async def _pool(config: DatabaseConfig) -> AsyncGenerator[_PoolDriver, None]:
    """A pool of the library's own. The jobs' work has the gateway's usual connections."""
    pool: Any = cast(Any, asyncpg).create_pool(
        dsn=config.url,
        min_size=1,
        max_size=_CONNECTIONS,
        timeout=config.connect_timeout_s,
        command_timeout=config.statement_timeout_s + 0.5,
        server_settings={
            "application_name": "bedplate jobs",
            "role": config.role,
            "statement_timeout": str(int(config.statement_timeout_s * 1000)),
        },
    )
    try:
        await pool
        yield _PoolDriver(pool)
    finally:
        pool.terminate()  # what the library had to say is committed; a server that is gone is not waited for


async def _forward(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


__all__ = ["AT_ONCE", "EVERY_TEN_MINUTES", "MAX_ATTEMPTS", "PURGE", "JobFailed", "Worker"]
