"""The workers of one role, and what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from bedplate_guardrails.evaluation import EvaluationFailed
from bedplate_guardrails.pool.fair_queue import FairQueue
from bedplate_guardrails.pool.launch import Launch, Role
from bedplate_guardrails.pool.runner import Runner
from bedplate_guardrails.pool.setbacks import Setbacks
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_guardrails.pool.stats import Counts
from bedplate_guardrails.pool.waiting import Waiting
from bedplate_guardrails.pool.wire import Registered
from bedplate_guardrails.pool.worker_process import WorkerLost

_LEAST_RETRY_S, _MOST_RETRY_S = 1.0, 30.0


class Crew:
    """Workers of one role behind one fair queue.

    Workers are started when something waits and all that run are busy. A worker does one batch at a time: of models
    as many tasks as wait and fit, of validators one, so that the one that hangs is known and ends with its own
    deadline.
    """

    def __init__(
        self,
        role: Role,
        settings: PoolSettings,
        counts: Counts,
        registered: Mapping[str, Registered],
        remember: Callable[[Waiting, bytes], None],
    ) -> None:
        self._role = role
        self._settings = settings
        self._counts = counts
        self._registered = registered
        self._remember = remember
        self._launch = Launch(
            role=role,
            start_s=settings.start_s,
            models_folder=settings.models_folder,
            models_module=settings.models_module if role is Role.MODELS else "",
            environment=settings.environment,
        )
        match role:
            case Role.MODELS:
                self._processes, self._batch_tasks = settings.processes, settings.batch_tasks
            case Role.VALIDATORS:
                self._processes, self._batch_tasks = settings.validator_processes, 1
        self._queue = FairQueue()
        self._setbacks = Setbacks(settings.first_pause_s, settings.max_pause_s)
        self._arrived = asyncio.Event()
        self._runners: set[asyncio.Task[None]] = set()
        self._idle = 0

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._queue)

    def has_room(self, tenant: str, tasks: Sequence[Waiting]) -> bool:
        """Whether `tasks` may wait here. A tenant may fill half of the queue; an empty queue takes anything."""
        settings = self._settings
        return not self._queue or (
            len(self._queue) + len(tasks) <= settings.max_waiting
            and self._queue.of(tenant) + len(tasks) <= max(settings.max_waiting // 2, 1)
            and self._queue.size_bytes + sum(len(each.encoded) for each in tasks) <= settings.max_waiting_bytes
        )

    @property
    def retry_after_s(self) -> float:
        """About how long it takes until what waits now is done."""
        expected_s = len(self._queue) * self._counts.task_s / self._processes
        return min(max(expected_s, _LEAST_RETRY_S), _MOST_RETRY_S)

    def put(self, waiting: Waiting) -> None:
        """Let a task wait, and see that somebody does it."""
        self._queue.put(waiting)
        self._arrived.set()
        if len(self._runners) < self._processes and len(self._queue) > self._idle * self._batch_tasks:
            runner = asyncio.create_task(self._run(), name=f"guardrail {self._role} worker")
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)

    def withdraw(self, waiting: Waiting) -> None:
        """A caller left: its task does not wait any more. What is under way for it is discarded when it is done."""
        self._queue.remove(waiting)

    async def aclose(self) -> None:
        """Kill the workers and wait until nothing is left. What waited or was under way fails."""
        runners = list(self._runners)
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        for waiting in self._queue.clear():
            waiting.finish(EvaluationFailed("the gateway is shutting down", rule=waiting.unit))

    async def _run(self) -> None:
        runner = Runner(self._launch, self._settings, self._counts, self._setbacks, self._registered, self._remember)
        try:
            while True:
                await self._until_something_waits()
                try:
                    await runner.prepare()
                except WorkerLost:
                    self._fail_all()
                    continue
                batch = self._queue.take(max_tasks=self._batch_tasks, max_characters=self._settings.batch_characters)
                if batch:
                    await runner.do(batch)
        finally:
            await runner.end()

    async def _until_something_waits(self) -> None:
        self._idle += 1
        try:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._idle -= 1

    def _fail_all(self) -> None:
        """No worker can be started: who waits need not wait for their deadlines."""
        for waiting in self._queue.clear():
            self._counts.failures["unavailable"] += 1
            waiting.finish(
                EvaluationFailed(
                    f"{waiting.unit} could not be evaluated: its worker could not be started",
                    rule=waiting.unit,
                    retry_after_s=max(self._setbacks.pause_s, _LEAST_RETRY_S),
                )
            )


__all__ = ["Crew"]
