"""A transaction that is run again until it is known to have happened, or its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_store.database import CommitUncertain, Database

RETRY_S = (0.05, 1.0)
"""The first wait before another attempt and the longest; each is twice the one before."""


async def commit_retrying(
    database: Database,
    project: ProjectId,
    attempt: Callable[[AsyncConnection], Awaitable[None]],
    *,
    deadline_s: float,
    failure: Callable[[bool], StoreUnavailable],
) -> None:
    """Run `attempt` in a transaction of `project` and return when it is durable.

    Tries again while Postgres is away, until `deadline_s` is over; a connection or a COMMIT under way then still has
    the time-outs of its own. An attempt may follow one that had succeeded without our knowing, so it must recognise
    its own work. Raises what `attempt` raises, and `failure(uncertain)` when the time is up: `uncertain` says that
    some COMMIT may have happened.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + deadline_s
    wait_s, uncertain = RETRY_S[0], False
    while True:
        try:
            async with database.transaction(project) as connection:
                # The deadline is over the statements only: a COMMIT that was sent is waited for.
                async with asyncio.timeout_at(ends):
                    await attempt(connection)
            return
        except StoreUnavailable as error:
            uncertain = uncertain or isinstance(error, CommitUncertain)
            if clock() + wait_s >= ends:
                raise failure(uncertain) from error
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, RETRY_S[1])


__all__ = ["RETRY_S", "commit_retrying"]
