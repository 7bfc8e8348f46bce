"""Metrics of the processes that evaluate for guardrails."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Gauge

from bedplate_guardrails.pool.pool import WorkerPool

EVERY_S = 5.0


class PoolMetrics:
    """Copies a pool's counters into metrics now and then, once anything was evaluated.

    Gauges, also for what only grows: the pool counts by itself, and gauges of all gateway processes are summed.
    """

    def __init__(self, registry: CollectorRegistry, pool: WorkerPool) -> None:
        self._pool = pool
        self._waiting = self._gauge(registry, "waiting", "Texts that wait for a model or validator")
        self._under_way = self._gauge(registry, "under_way", "Texts that are being evaluated")
        self._processes = self._gauge(registry, "processes", "Processes for models and validators")
        self._restarts = self._gauge(registry, "restarts", "Processes that had to be started again")
        self._remembered = self._gauge(registry, "remembered", "Texts whose scores were known")
        self._tasks = self._gauge(registry, "tasks", "Texts evaluated", "kind")
        self._seconds = self._gauge(registry, "seconds", "Time that evaluating took", "kind")
        self._failures = self._gauge(registry, "failures", "Texts that could not be evaluated", "reason")

    @staticmethod
    def _gauge(registry: CollectorRegistry, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"bedplate_guardrail_{name}", what, labels, registry=registry, multiprocess_mode="livesum")

    def observe(self) -> None:
        """Copy the counters."""
        stats = self._pool.stats()
        if not stats.starts and not stats.failures:
            return
        self._waiting.set(stats.waiting)
        self._under_way.set(stats.under_way)
        self._processes.set(stats.processes)
        self._restarts.set(stats.restarts)
        self._remembered.set(stats.remembered_hits)
        for kind, tasks in stats.tasks.items():
            self._tasks.labels(kind).set(tasks)
        for kind, seconds in stats.seconds.items():
            self._seconds.labels(kind).set(seconds)
        for reason, failures in stats.failures.items():
            self._failures.labels(reason).set(failures)

    async def run(self) -> None:
        """Observe every `EVERY_S` seconds until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.observe()


__all__ = ["EVERY_S", "PoolMetrics"]
