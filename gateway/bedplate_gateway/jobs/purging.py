"""One project's turn in a round of purges."""

from __future__ import annotations

import msgspec
import structlog

from bedplate_core.ids import ProjectId
from bedplate_sessions.lifecycle.purge import Purge
from bedplate_sessions.lifecycle.purged import Purged

_log = structlog.stdlib.get_logger("bedplate.jobs")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """A project's name, and how long its conversations are kept after their last write, in seconds."""

    name: str
    retention_s: float


async def purge_project(purge: Purge, project: ProjectId, retention: Retention) -> Purged:
    """Delete what is due of the project; a line of log says how much, also when it ends early. Raises like
    `Purge.project`.
    """
    total = Purged()

    def add(batch: Purged) -> None:
        nonlocal total
        total += batch

    try:
        return await purge.project(project, retention_s=retention.retention_s, on_batch=add)
    finally:
        if total:
            _log.info("purged", project=retention.name, **msgspec.structs.asdict(total))


__all__ = ["Retention", "purge_project"]
