"""What the job library's tables are called here."""

from __future__ import annotations

from typing import Final

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver

CHANNEL: Final = Channel("bedplate_jobs")
LOG_TABLE: Final = "job_log"
STATISTICS_TABLE: Final = "job_statistics"


def job_queries(driver: Driver) -> Queries:
    """The library's queries on the tables that migration 0005 made.

    Everything is given: the library would take what is not from the environment, by names such as `CHANNEL`.
    """
    settings = DBSettings(
        prefix="",
        db_schema=None,
        channel=CHANNEL,
        function="job_changed",
        trigger="job_changed",
        queue_status_type="job_status",
        queue_table="job",
        queue_table_log=LOG_TABLE,
        schedules_table="job_schedule",
        statistics_table=STATISTICS_TABLE,
        durability=Durability.durable,
        widen_id=True,
    )
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )


__all__ = ["CHANNEL", "LOG_TABLE", "STATISTICS_TABLE", "job_queries"]
