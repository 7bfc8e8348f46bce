"""Work that must finish once begun, whoever stops waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Settlements:
    """Runs the end of each call (release the upstream, write the record) out of reach of cancellation.

    A client that leaves cancels the task that serves it. What a call owes by then is owed regardless, so it runs in
    a task of its own that only this object holds, and the process waits for it when it stops.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end and return or raise what it does.

        When the caller is cancelled, `work` goes on; the cancellation is raised at once.
        """
        await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` to its end without waiting for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever awaited has it, and a lost record was logged by its writer

    async def aclose(self, timeout_s: float) -> None:
        """Wait until everything under way has ended, for at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)


__all__ = ["Settlements"]
