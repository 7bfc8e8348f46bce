"""What a pool counts, for metrics."""

from __future__ import annotations

from collections import Counter

import msgspec


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a pool at one moment; all but the first three and the last two only grow.

    Kinds are `content`, `topics`, `entities`, `grounding` and `validator`. `failures` are tasks by reason: `busy`
    (refused), `deadline` (the caller's), `stalled` and `died` (the worker), `unavailable` (it cannot be loaded or
    started), `failed`. `batch_sizes` counts batches by their number of tasks, `seconds` is the time that workers took.
    """

    waiting: int
    under_way: int
    processes: int
    tasks: dict[str, int]
    batches: dict[str, int]
    batch_sizes: dict[int, int]
    seconds: dict[str, float]
    failures: dict[str, int]
    starts: int
    restarts: int
    remembered_hits: int
    remembered_misses: int
    remembered_entries: int
    remembered_bytes: int


class Counts:
    """The counters while they are counted, shared by the parts of a pool."""

    def __init__(self) -> None:
        self.under_way = 0
        self.processes = 0
        self.starts = 0
        self.restarts = 0
        self.tasks: Counter[str] = Counter()
        self.batches: Counter[str] = Counter()
        self.batch_sizes: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}

    def batch(self, unit: str, size: int, seconds: float) -> None:
        """Count a batch that a worker did."""
        kind = unit.partition(":")[0]
        self.tasks[kind] += size
        self.batches[kind] += 1
        self.batch_sizes[size] += 1
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    @property
    def task_s(self) -> float:
        """About how long a task takes, from those done; 0.01 s before the first."""
        done = self.tasks.total()
        return sum(self.seconds.values()) / done if done else 0.01


__all__ = ["Counts", "PoolStats"]
