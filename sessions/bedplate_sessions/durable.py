"""What is to become durable together, and the one transaction that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import ProjectId
from bedplate_sessions.retried_commit import commit_retrying
from bedplate_store.database import Database
from bedplate_store.shield import uninterrupted

Write: TypeAlias = Callable[[AsyncConnection], Awaitable[None]]
"""One part of a transaction of a project. It may run again after an attempt whose outcome is not known, so it
recognises its own work; it raises `GatewayError` when what it would store is no longer wanted."""


class Durable:
    """Runs writes in one transaction, again and again while Postgres is away, for at most `deadline_s`."""

    def __init__(self, database: Database, *, deadline_s: float = 10.0) -> None:
        self._database = database
        self._deadline_s = deadline_s

    async def commit(
        self,
        project: ProjectId,
        writes: Sequence[Write],
        *,
        what: str,
        then: Callable[[], None] | None = None,
        deadline_s: float | None = None,
    ) -> None:
        """Run `writes` in order in one transaction and return when it is durable.

        `what` names what is stored in the error's message, such as `this turn`. `then` is called when it is durable,
        also for a caller that was cancelled meanwhile. `deadline_s` replaces the usual deadline. Raises what a write
        raises, and `StoreUnavailable`, which says whether it may be stored. A cancellation meanwhile arrives after the
        end.
        """

        async def attempt(connection: AsyncConnection) -> None:
            for write in writes:
                await write(connection)

        def failure(uncertain: bool) -> StoreUnavailable:
            if uncertain:
                return StoreUnavailable(
                    f"The gateway's database was lost while it stored {what}, and it is not known whether it is "
                    "stored; look before you send it again, or send it with an idempotency key.",
                    retry_after_s=5.0,
                )
            return StoreUnavailable(f"The gateway's database is unavailable; {what} was not stored.", retry_after_s=5.0)

        async def work() -> None:
            limit_s = self._deadline_s if deadline_s is None else deadline_s
            await commit_retrying(self._database, project, attempt, deadline_s=limit_s, failure=failure)
            if then is not None:
                then()

        await uninterrupted(work())


__all__ = ["Durable", "Write"]
