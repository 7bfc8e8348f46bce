"""Calls that run to their end although nobody may be waiting: with an idempotency key, or in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import structlog

from bedplate_core.errors import GatewayError, IdempotencyMismatch, RateLimited
from bedplate_core.ids import CallId, ProjectId
from bedplate_gateway.web.running_reply import RunningReply

_log = structlog.stdlib.get_logger("bedplate.web")

MAX_CALLS: Final = 4096
MAX_BYTES: Final = 256 * 1024 * 1024

Run: TypeAlias = Callable[[RunningReply], Awaitable[None]]
"""Serves a call into a reply, which it ends whatever happens. Raises nothing but a cancellation."""


class KeptCalls:
    """The kept calls of this process, by project and key. For one event loop.

    At most `max_calls` run at a time, and no further one begins while the answers of those that run have more than
    `max_bytes` together: that is the memory that clients who read slowly can hold, but for what those answers grow by
    until they end. Answers that have ended are held only by those who still read them.
    """

    def __init__(self, *, max_calls: int = MAX_CALLS, max_bytes: int = MAX_BYTES) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._latest: dict[tuple[ProjectId, str], RunningReply] = {}
        self._tasks: dict[RunningReply, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many run."""
        return len(self._tasks)

    def find(self, project: ProjectId, key: str) -> RunningReply | None:
        """The reply that is under way for the key in this process, or None."""
        return self._latest.get((project, key))

    def attach(self, project: ProjectId, key: str, request_hash: bytes, call: CallId, run: Run) -> RunningReply:
        """The reply that is under way for the key; where there is none, `run` is begun with one for `call`.

        Raises `IdempotencyMismatch` while another request runs under the key, `RateLimited` when too much runs.
        """
        place = (project, key)
        running = self._latest.get(place)
        if running is not None and running.error is None:  # one that has failed is only letting go of its key
            if running.request_hash != request_hash:
                raise IdempotencyMismatch(
                    "Another request with this idempotency key is running; use a new key for a new request.",
                    param="Idempotency-Key",
                )
            return running
        if len(self._tasks) >= self._max_calls or self._held_bytes() > self._max_bytes:
            raise RateLimited("Too many calls are kept at the moment; try again.", retry_after_s=1.0)
        running = self._latest[place] = RunningReply(request_hash, call)
        task = self._tasks[running] = asyncio.create_task(self._run(running, run))
        task.add_done_callback(partial(self._done, place, running))
        return running

    def cancel(self, project: ProjectId, key: str, error: GatewayError) -> None:
        """Cancel the call that runs under the key in this process, if one does; `error` is what its readers see."""
        running = self._latest.get((project, key))
        if running is not None:
            running.error = running.error or error
            self._tasks[running].cancel()

    async def aclose(self, timeout_s: float) -> None:
        """Wait for what runs, for at most `timeout_s`; then cancel it and wait until it is released."""
        tasks = set(self._tasks.values())
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=timeout_s)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _held_bytes(self) -> int:
        return sum(running.size_bytes for running in self._tasks)

    async def _run(self, running: RunningReply, run: Run) -> None:
        try:
            await run(running)
        except asyncio.CancelledError:
            running.error = running.error or GatewayError("the gateway stopped while it answered")
            raise
        except Exception:
            _log.exception("kept_call_crashed", call_id=running.call)
            running.error = running.error or GatewayError("the gateway failed to serve this request")
        finally:
            running.end()

    def _done(self, place: tuple[ProjectId, str], running: RunningReply, task: asyncio.Task[None]) -> None:
        del self._tasks[running]
        if self._latest.get(place) is running:
            del self._latest[place]


__all__ = ["MAX_BYTES", "MAX_CALLS", "KeptCalls", "Run"]
