"""One worker after another, doing batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bedplate_guardrails.evaluation import EvaluationFailed
from bedplate_guardrails.pool.launch import Launch, Role
from bedplate_guardrails.pool.outcomes import checked
from bedplate_guardrails.pool.setbacks import Setbacks
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_guardrails.pool.stats import Counts
from bedplate_guardrails.pool.waiting import Waiting
from bedplate_guardrails.pool.wire import Load, Loaded, Registered, WireError, Work, Worked
from bedplate_guardrails.pool.worker_process import WorkerLost, WorkerProcess, WorkerStalled

logger = logging.getLogger(__name__)

_LEAST_LIMIT_S = 0.001


class Runner:
    """Keeps a worker, started anew when it died, and does one batch at a time with it.

    `remember` is told each result before its caller is. Only one coroutine may use a runner.
    """

    def __init__(
        self,
        launch: Launch,
        settings: PoolSettings,
        counts: Counts,
        setbacks: Setbacks,
        registered: Mapping[str, Registered],
        remember: Callable[[Waiting, bytes], None],
    ) -> None:
        self._launch = launch
        self._settings = settings
        self._counts = counts
        self._setbacks = setbacks
        self._registered = registered
        self._remember = remember
        self._worker: WorkerProcess | None = None
        self._had_one = False

    async def prepare(self) -> None:
        """Have a worker that takes orders. Raises `WorkerLost` where none can be started.

        Where one died before, this waits for the pause that the deaths in a row ask for.
        """
        if self._worker is not None and not self._worker.gone:
            return
        if self._worker is not None:
            logger.warning("the %s worker of the guardrails %s", self._launch.role, self._worker.gone)
            self._setbacks.died()
            await self.end()
        await asyncio.sleep(self._setbacks.pause_s)
        try:
            self._worker = await WorkerProcess.start(self._launch)
        except (WorkerLost, WireError) as lost:
            self._setbacks.died()
            logger.warning("no %s worker for the guardrails: %s", self._launch.role, lost)
            raise WorkerLost(str(lost)) from lost
        self._counts.processes += 1
        self._counts.starts += 1
        self._counts.restarts += self._had_one
        self._had_one = True

    async def do(self, batch: Sequence[Waiting]) -> None:
        """Evaluate a batch (of one unit) and tell each caller. After `prepare`.

        A worker that dies or does not answer is killed, and the batch fails. Cancelled, the batch fails as well.
        """
        self._counts.under_way += len(batch)
        try:
            await self._do(batch)
        finally:
            self._counts.under_way -= len(batch)
            for waiting in batch:
                waiting.finish(EvaluationFailed("the gateway is shutting down", rule=waiting.unit))

    async def end(self) -> None:
        """Kill the worker, if there is one, and wait until nothing of it is left."""
        worker = self._worker
        if worker is not None:
            await worker.kill()
            self._worker = None
            self._counts.processes -= 1

    async def _do(self, batch: Sequence[Waiting]) -> None:
        unit = batch[0].unit
        loop = asyncio.get_running_loop()
        refusal = self._setbacks.refusal(unit, loop.time())
        if refusal is not None:
            self._fail(batch, "unavailable", refusal.message, retry_after_s=refusal.until_s - loop.time())
            return
        worker = self._worker
        if worker is None:
            self._fail(batch, "died", f"{unit} could not be evaluated: its worker ended")
            return
        loading = unit not in worker.loaded
        try:
            if loading and not await self._load(worker, unit, batch):
                return
            loading = False
            wanted = [waiting for waiting in batch if not waiting.future.done()]
            if wanted:
                await self._work(worker, unit, wanted)
        except (WorkerLost, WireError) as lost:
            await self._lost(lost, unit, batch, loading=loading)

    async def _load(self, worker: WorkerProcess, unit: str, batch: Sequence[Waiting]) -> bool:
        """Whether the unit is ready now; if not, the batch has failed."""
        registered = self._registered.get(unit)
        reply = await worker.ask(Load(unit=unit, registered=registered), limit_s=self._settings.start_s)
        if not isinstance(reply, Loaded):
            raise WireError("a wrong reply to a load")
        if reply.failure is None:
            worker.loaded.add(unit)
            return True
        logger.warning("the guardrails cannot load %s: %s", unit, reply.detail or reply.failure)
        self._setbacks.unit_failed(unit, reply.failure, asyncio.get_running_loop().time())
        self._fail(batch, "unavailable", reply.failure)
        return False

    async def _work(self, worker: WorkerProcess, unit: str, batch: Sequence[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        order = Work(unit=unit, tasks=tuple(msgspec.Raw(waiting.encoded) for waiting in batch))
        reply = await worker.ask(order, limit_s=self._limit_s(batch, began))
        if not isinstance(reply, Worked) or len(reply.outcomes) != len(batch):
            raise WireError("a wrong reply to work")
        self._setbacks.worked(unit)
        self._counts.batch(unit, len(batch), loop.time() - began)
        logged = False
        for waiting, raw in zip(batch, reply.outcomes, strict=True):
            outcome, detail = checked(waiting, bytes(raw))
            if isinstance(outcome, EvaluationFailed):
                self._counts.failures["failed"] += 1
                if not logged:
                    logger.warning("the guardrails could not evaluate %s: %s", unit, detail)
                    logged = True
            else:
                self._remember(waiting, outcome)
            waiting.finish(outcome)

    def _limit_s(self, batch: Sequence[Waiting], now_s: float) -> float:
        """How long the batch may take: a validator no longer than its caller waits."""
        match self._launch.role:
            case Role.MODELS:
                characters = sum(waiting.characters for waiting in batch)
                return self._settings.stall_s + characters / self._settings.characters_per_s
            case Role.VALIDATORS:
                return max(max(waiting.deadline for waiting in batch) - now_s, _LEAST_LIMIT_S)

    async def _lost(self, lost: Exception, unit: str, batch: Sequence[Waiting], *, loading: bool) -> None:
        logger.warning("the %s worker of the guardrails is killed, at %s: %s", self._launch.role, unit, lost)
        stalled = isinstance(lost, WorkerStalled)
        why = "did not answer in time" if stalled else "ended while it worked"
        message = f"{unit} could not be evaluated: its worker {why}"
        self._setbacks.died()
        if loading or self._launch.role is Role.VALIDATORS:
            now_s = asyncio.get_running_loop().time()
            self._setbacks.unit_failed(unit, message, now_s, forgiven=0 if loading else 1)
        self._fail(batch, "stalled" if stalled else "died", message, retry_after_s=1.0)
        await self.end()

    def _fail(self, batch: Sequence[Waiting], reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        self._counts.failures[reason] += len(batch)
        for waiting in batch:
            waiting.finish(EvaluationFailed(message, rule=waiting.unit, retry_after_s=retry_after_s))


__all__ = ["Runner"]
