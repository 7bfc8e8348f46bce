"""What the worker pool adds to a task, with a model that does nothing: time, throughput, memory.

    python -m bench.guardrails.pool_cost [--tasks N] [--json FILE]

Prints the time per task of one caller, the tasks per second of 1, 8 and 64 callers, the time for a remembered text,
the time to start a worker, and the memory of a pool that was used and of one that was not. On uvloop, as the gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bedplate_guardrails.evaluation import ContentTask, Result, Scores, Task
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings
from bedplate_guardrails.pool.wire import Registered

LABELS = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK")
RESULT = Scores(scores=dict.fromkeys(LABELS, 0.1))
TEXT = "The quick brown fox jumps over the lazy dog, and nobody in the whole town minds it at all. " * 2


class NoModel:
    """Every text scores the same at once."""

    def load(self, unit: str, registered: Registered | None) -> None: ...

    def evaluate(self, unit: str, tasks: Sequence[Task]) -> Sequence[Result]:
        return [RESULT] * len(tasks)


def make(folder: Path | None) -> NoModel:
    """What the worker calls."""
    return NoModel()


def memory_mib(pids: Sequence[int]) -> float:
    """The memory that belongs to these processes alone, and their part of what they share."""
    total_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


def children() -> list[int]:
    """The descendants of this process."""
    found: list[int] = []
    new = [os.getpid()]
    while new:
        lists = [Path(f"/proc/{pid}/task/{pid}/children") for pid in new]
        new = [int(pid) for each in lists if each.exists() for pid in each.read_text().split()]
        found += new
    return found


def quantiles_ms(times_s: Sequence[float]) -> dict[str, float]:
    """Middle and tail, in milliseconds."""
    cut = statistics.quantiles(times_s, n=100)
    return {"p50_ms": round(cut[49] * 1e3, 3), "p99_ms": round(cut[98] * 1e3, 3)}


async def timed(pool: WorkerPool, texts: Sequence[str]) -> list[float]:
    """The time of each text, one after the other."""
    times: list[float] = []
    for text in texts:
        began = time.perf_counter()
        await pool.evaluate("tenant", [ContentTask(text=text, types=LABELS)], timeout_s=10)
        times.append(time.perf_counter() - began)
    return times


async def throughput(pool: WorkerPool, callers: int, tasks: int, mark: str) -> dict[str, float]:
    """Tasks per second of so many callers, each waiting for its answer before it asks again."""
    each = tasks // callers
    began = time.perf_counter()
    times = await asyncio.gather(
        *(timed(pool, [f"{TEXT}{mark}{caller}.{number}" for number in range(each)]) for caller in range(callers))
    )
    spent_s = time.perf_counter() - began
    every = [one for mine in times for one in mine]
    return {"tasks_per_s": round(callers * each / spent_s), **quantiles_ms(every)}


async def measure(tasks: int) -> dict[str, Any]:
    """All the numbers."""
    before_mib = memory_mib([os.getpid()])
    unused = WorkerPool(PoolSettings(models_module="bench.guardrails.pool_cost"))
    unused.capabilities()
    result: dict[str, Any] = {
        "never used: processes": len(children()),
        "never used: MiB": round(memory_mib([os.getpid()]) - before_mib, 2),
    }
    await unused.aclose()
    pool = WorkerPool(PoolSettings(models_module="bench.guardrails.pool_cost"))
    try:
        began = time.perf_counter()
        await timed(pool, ["first"])
        result["first task, starting the worker: ms"] = round((time.perf_counter() - began) * 1e3, 1)
        result["worker without a model: MiB"] = round(memory_mib(children()), 1)
        await throughput(pool, 8, 500, "warm")
        result["one caller"] = quantiles_ms(await timed(pool, [f"{TEXT}{number}" for number in range(tasks)]))
        result["remembered"] = quantiles_ms(await timed(pool, [f"{TEXT}{number}" for number in range(tasks)]))
        for callers in (1, 8, 64):
            result[f"{callers} callers"] = await throughput(pool, callers, tasks, f"c{callers}.")
        stats = pool.stats()
        result["mean batch"] = round(sum(stats.tasks.values()) / sum(stats.batches.values()), 2)
        whole = [ContentTask(text=f"{TEXT}whole{number}", types=LABELS) for number in range(tasks)]
        began = time.perf_counter()
        await pool.evaluate("tenant", whole, timeout_s=30)
        result["one call of many texts: tasks_per_s"] = round(tasks / (time.perf_counter() - began))
    finally:
        await pool.aclose()
    result["closed: processes"] = len(children())
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=4000, help="tasks for each number")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(measure(options.tasks))
    for name, value in result.items():
        print(f"{name:45} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
