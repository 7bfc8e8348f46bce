"""The evaluator of a gateway process: its workers, what waits for them, and what they said before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bedplate_guardrails.evaluation import Capabilities, EvaluationFailed, Result, Task, Validated, ValidatorTask
from bedplate_guardrails.pool.crew import Crew
from bedplate_guardrails.pool.installed import installed_models
from bedplate_guardrails.pool.launch import Role
from bedplate_guardrails.pool.outcomes import canonical, encodable, result_of
from bedplate_guardrails.pool.registry import read_registry
from bedplate_guardrails.pool.score_memory import ScoreMemory
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_guardrails.pool.stats import Counts, PoolStats
from bedplate_guardrails.pool.waiting import Waiting
from bedplate_guardrails.pool.wire import Registered


class WorkerPool:
    """Evaluates tasks in worker processes; an `Evaluator`.

    Nothing is started before the first task. One per gateway process, used on one event loop; `aclose` ends it.
    """

    def __init__(self, settings: PoolSettings | None = None) -> None:
        """Read the registered validators. Raises `InvalidRegistry` where the file cannot be used."""
        self._settings = settings or PoolSettings()
        file = self._settings.validators_file
        self._registered: dict[str, Registered] = {} if file is None else read_registry(file)
        self._memory = ScoreMemory(max_entries=self._settings.memory_entries, max_bytes=self._settings.memory_bytes)
        self._counts = Counts()
        by_unit = {f"validator:{name}": each for name, each in self._registered.items()}
        self._models = Crew(Role.MODELS, self._settings, self._counts, {}, self._remember)
        self._validators = Crew(Role.VALIDATORS, self._settings, self._counts, by_unit, self._remember)
        self._most_at_once = max(self._settings.max_waiting // 4, 1)
        self._capabilities: Capabilities | None = None
        self._closed = False

    async def evaluate(self, tenant: str, tasks: Sequence[Task], *, timeout_s: float) -> Sequence[Result]:
        """The results, in the tasks' order. Scores that this tenant was told before come from memory.

        A call lets a quarter of the queue wait at once, so that a call of any size can be served. Raises
        `EvaluationFailed`: with `retry_after_s` where too much waits already, when `timeout_s` is over, and for the
        first task that could not be evaluated; the call's other tasks then wait no longer. Cancelled, its tasks leave
        the queue, and what is under way for it is discarded.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        results: list[Result | None] = [None] * len(tasks)
        ahead: list[tuple[int, Waiting]] = []
        for place, task in enumerate(tasks):
            if self._closed:
                raise EvaluationFailed("the gateway is shutting down")
            known = self._at_once(task)
            if known is None:
                whole, encoded = encodable(canonical(task))
                key = None if isinstance(task, ValidatorTask) else ScoreMemory.key(tenant, encoded)
                remembered = None if key is None else self._memory.get(key)
                if remembered is None:
                    ahead.append((place, Waiting(tenant, whole, encoded, key=key, deadline=deadline)))
                    if len(ahead) == self._most_at_once:
                        await self._evaluate(tenant, tasks, ahead, results, deadline)
                        ahead.clear()
                    continue
                known = result_of(task, remembered)
            results[place] = known
        if ahead:
            await self._evaluate(tenant, tasks, ahead, results, deadline)
        return [result for result in results if result is not None]

    def capabilities(self) -> Capabilities:
        """What is installed and registered here. Looks for files, imports nothing, and looks only once."""
        if self._capabilities is None:
            models, missing = installed_models(self._settings.models_folder)
            validators = frozenset(self._registered)
            self._capabilities = Capabilities(models=models, missing=missing, validators=validators)
        return self._capabilities

    def stats(self) -> PoolStats:
        """The counters now."""
        counts = self._counts
        return PoolStats(
            waiting=self._models.waiting + self._validators.waiting,
            under_way=counts.under_way,
            processes=counts.processes,
            tasks=dict(counts.tasks),
            batches=dict(counts.batches),
            batch_sizes=dict(counts.batch_sizes),
            seconds=dict(counts.seconds),
            failures=dict(counts.failures),
            starts=counts.starts,
            restarts=counts.restarts,
            remembered_hits=self._memory.hits,
            remembered_misses=self._memory.misses,
            remembered_entries=len(self._memory),
            remembered_bytes=self._memory.size_bytes,
        )

    async def aclose(self) -> None:
        """Kill the workers and wait until nothing of them is left. Calls under way fail. Safe to call again."""
        self._closed = True
        await asyncio.gather(self._models.aclose(), self._validators.aclose())
        self._memory.clear()

    def _at_once(self, task: Task) -> Result | None:
        """What needs no worker: guardrails-ai cannot take an empty text, and there is nothing in it to judge."""
        if not isinstance(task, ValidatorTask):
            return None
        if task.name not in self._registered:
            raise EvaluationFailed(f"no validator {task.name!r} is registered", rule=f"validator:{task.name}")
        return None if task.text else Validated(passed=True)

    async def _evaluate(
        self,
        tenant: str,
        tasks: Sequence[Task],
        ahead: Sequence[tuple[int, Waiting]],
        results: list[Result | None],
        deadline: float,
    ) -> None:
        """Let the tasks wait, and put what comes of them into `results`."""
        placed = [(place, waiting, self._crew_of(waiting)) for place, waiting in ahead]
        for crew in (self._models, self._validators):
            mine = [waiting for _, waiting, its in placed if its is crew]
            if mine and not crew.has_room(tenant, mine):
                self._counts.failures["busy"] += len(mine)
                raise EvaluationFailed(
                    "too many texts wait to be evaluated", rule=mine[0].unit, retry_after_s=crew.retry_after_s
                )
        rule = "*"
        try:
            for _, waiting, crew in placed:
                crew.put(waiting)
            async with asyncio.timeout_at(deadline):
                for place, waiting, _ in placed:
                    rule = waiting.unit
                    outcome = await waiting.future
                    if isinstance(outcome, EvaluationFailed):
                        raise outcome
                    results[place] = result_of(tasks[place], outcome)
        except TimeoutError:
            self._counts.failures["deadline"] += sum(
                not each.future.done() or each.future.cancelled() for _, each, _ in placed
            )
            raise EvaluationFailed(f"{rule} was not evaluated in time", rule=rule, retry_after_s=1.0) from None
        finally:
            for _, waiting, crew in placed:
                if not waiting.future.done():
                    waiting.future.cancel()
                    crew.withdraw(waiting)

    def _crew_of(self, waiting: Waiting) -> Crew:
        return self._validators if isinstance(waiting.task, ValidatorTask) else self._models

    def _remember(self, waiting: Waiting, encoded: bytes) -> None:
        if waiting.key is not None:
            self._memory.put(waiting.key, encoded)


__all__ = ["WorkerPool"]
