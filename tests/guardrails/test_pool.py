"""The worker pool with real processes: order, batches, fairness, admission, deadlines, deaths, closing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bedplate_guardrails.evaluation import (
    ContentTask,
    EntitiesTask,
    EvaluationFailed,
    GroundingTask,
    Scores,
    Spans,
    Task,
    Topic,
    TopicsTask,
)
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings

pytestmark = pytest.mark.anyio

MODULE = "tests.guardrails.trivial_models"
HATE = ("HATE",)


def content(text: str) -> ContentTask:
    return ContentTask(text=text, types=HATE)


def children(of: int) -> set[int]:
    """All descendants of a process."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
    found: set[int] = set()
    new = {of}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def workers() -> set[int]:
    """The workers of this process."""
    return {pid for pid in children(os.getpid()) if is_alive(pid) and os.getpgid(pid) == pid and is_worker(pid)}


def is_worker(pid: int) -> bool:
    return b"bedplate_guardrails.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        await asyncio.sleep(0.01)


class Bench:
    """A pool of trivial models and what they were asked."""

    def __init__(self, pool: WorkerPool, log: Path) -> None:
        self.pool = pool
        self._log = log

    @property
    def asked(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    async def one(self, text: str, *, tenant: str = "a", timeout_s: float = 10.0) -> float:
        (result,) = await self.pool.evaluate(tenant, [content(text)], timeout_s=timeout_s)
        assert isinstance(result, Scores)
        return result.scores["HATE"]


@pytest.fixture
def make_bench(tmp_path: Path) -> Any:
    @asynccontextmanager
    async def opened(*, load: str = "", **settings: Any) -> AsyncIterator[Bench]:
        log = tmp_path / "asked"
        environment = {"TRIVIAL_LOG": str(log), "TRIVIAL_LOAD": load, **settings.pop("environment", {})}
        pool = WorkerPool(PoolSettings(models_module=MODULE, environment=environment, **settings))
        try:
            yield Bench(pool, log)
        finally:
            await pool.aclose()

    return opened


async def test_results_are_in_the_order_of_the_tasks_whatever_their_kind(make_bench: Any) -> None:
    tasks: list[Task] = [
        content("score 0.1"),
        TopicsTask(text="x", topics=(Topic(name="gold", definition="about gold"),)),
        content("score 0.2"),
        EntitiesTask(text="Ada", kinds=("NAME",)),
        GroundingTask(source="s", query="q", answer="a", types=("GROUNDING",)),
        content("score 0.3"),
    ]
    async with make_bench() as bench:
        assert await bench.pool.evaluate("a", [], timeout_s=1) == []
        assert bench.pool.stats().processes == 0
        results = await bench.pool.evaluate("a", tasks, timeout_s=10)
    assert results == [
        Scores(scores={"HATE": 0.1}),
        Scores(scores={"gold": 0.25}),
        Scores(scores={"HATE": 0.2}),
        Spans(spans=((0, 3, "NAME"),)),
        Scores(scores={"GROUNDING": 0.75}),
        Scores(scores={"HATE": 0.3}),
    ]


async def test_only_the_types_asked_for_and_none_that_the_model_does_not_know(make_bench: Any) -> None:
    async with make_bench() as bench:
        asked = ContentTask(text="score 0.9", types=("VIOLENCE", "HATE"), answers="a question")
        assert await bench.pool.evaluate("a", [asked], timeout_s=10) == [Scores(scores={"VIOLENCE": 0.9, "HATE": 0.9})]
        with pytest.raises(EvaluationFailed, match="WEATHER"):
            await bench.pool.evaluate("a", [ContentTask(text="x", types=("WEATHER",))], timeout_s=10)


def test_nothing_is_started_before_the_first_task_and_nothing_imported_here(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from bedplate_guardrails.pool.pool import WorkerPool\n"
        "pool = WorkerPool()\n"
        "able = pool.capabilities()\n"
        "heavy = ('numpy', 'onnxruntime', 'spacy', 'guardrails', 'tokenizers', 'bedplate_guardrails.worker')\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        "import subprocess\n"
        "running = subprocess.run(['ps', '-A', '-o', 'args='], capture_output=True, text=True).stdout\n"
        "assert f'--parent {os.getpid()} ' not in running\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


async def test_callers_that_wait_are_sent_together_within_the_bounds_of_a_batch(make_bench: Any) -> None:
    async with make_bench(batch_tasks=8, batch_characters=100) as bench:
        await bench.one("warm")
        busy = asyncio.create_task(bench.one("sleep 0.2"))
        await until(lambda: "sleep 0.2" in bench.asked)
        long = "score 0.1" + " " * 95
        texts = [*(f"score 0.{number}" for number in range(1, 10)), long, "score 0.25"]
        scores = await asyncio.gather(*(bench.one(text, tenant=f"t{text}") for text in texts))
        assert scores == [float(text.split()[1]) for text in texts]
        await busy
        sizes = bench.pool.stats().batch_sizes
        assert max(sizes) == 8, sizes
        assert bench.pool.stats().tasks == {"content": 13}
        assert sum(size * number for size, number in sizes.items()) == 13


async def test_a_tenant_with_a_thousand_tasks_delays_another_by_no_more_than_a_batch(make_bench: Any) -> None:
    async with make_bench(batch_tasks=16) as bench:
        await bench.one("warm")
        many = asyncio.create_task(
            bench.pool.evaluate("flood", [content(f"sleep 0.001 {each}") for each in range(1000)], timeout_s=30)
        )
        await until(lambda: len(bench.asked) > 100)
        before = len(bench.asked)
        await bench.one("score 0.5", tenant="quiet")
        place = bench.asked.index("score 0.5")
        # The batch that was under way, the one before whose end ours came, and its fellows in our own.
        assert place - before <= 2 * 16, place - before
        assert not many.done()
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many


async def test_a_full_queue_refuses_at_once_and_no_tenant_fills_it_alone(make_bench: Any) -> None:
    async with make_bench(max_waiting=40) as bench:
        await bench.one("warm")
        tasks = [asyncio.create_task(bench.one("sleep 0.5"))]
        await until(lambda: "sleep 0.5" in bench.asked)
        tasks += [asyncio.create_task(bench.one(f"score 0.1 {each}", tenant="flood")) for each in range(200)]
        began = time.monotonic()
        done, waiting = await asyncio.wait(tasks, timeout=0.2)
        assert time.monotonic() - began < 0.4
        refused = [task.exception() for task in done]
        assert len(refused) == 180
        assert all(isinstance(error, EvaluationFailed) for error in refused)
        assert all(error.rule == "content" and (error.retry_after_s or 0) >= 1 for error in refused if error)  # type: ignore[attr-defined]
        assert bench.pool.stats().waiting == 20
        assert await bench.one("score 0.7", tenant="quiet") == 0.7
        assert bench.pool.stats().failures == {"busy": 180}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_one_call_may_be_larger_than_the_queue(make_bench: Any) -> None:
    async with make_bench(max_waiting=16) as bench:
        tasks = [content(f"score 0.{each:03}") for each in range(100)]
        call = asyncio.create_task(bench.pool.evaluate("a", tasks, timeout_s=20))
        most = 0
        while not call.done():
            most = max(most, bench.pool.stats().waiting)
            await asyncio.sleep(0)
        assert 1 <= most <= 4  # a quarter of the queue at once, and the rest as it empties
        results = await call
        assert results == [Scores(scores={"HATE": each / 1000}) for each in range(100)]


async def test_a_deadline_ends_the_call_and_its_tasks_leave_the_queue(make_bench: Any) -> None:
    async with make_bench(batch_tasks=1) as bench:
        await bench.one("warm")
        began = time.monotonic()
        with pytest.raises(EvaluationFailed, match="not evaluated in time") as failed:
            await bench.pool.evaluate("a", [content("sleep 0.6"), content("never")], timeout_s=0.2)
        assert time.monotonic() - began < 0.5
        assert failed.value.rule == "content"
        assert bench.pool.stats().waiting == 0
        assert await bench.one("score 0.4") == 0.4  # the batch under way is left to end, the worker lives on
        assert "never" not in bench.asked
        assert bench.pool.stats().restarts == 0


async def test_a_cancelled_call_leaves_the_queue(make_bench: Any) -> None:
    async with make_bench(batch_tasks=1) as bench:
        await bench.one("warm")
        call = asyncio.create_task(
            bench.pool.evaluate("a", [content("sleep 0.3"), content("never"), content("nor this")], timeout_s=10)
        )
        await until(lambda: "sleep 0.3" in bench.asked)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert bench.pool.stats().waiting == 0
        assert await bench.one("score 0.4") == 0.4
        assert not {"never", "nor this"} & set(bench.asked)


@pytest.mark.parametrize(("word", "reason"), [("die", "died"), ("hang", "stalled")])
async def test_a_worker_that_dies_or_hangs_fails_what_was_under_way_and_is_replaced(
    make_bench: Any, word: str, reason: str
) -> None:
    async with make_bench(stall_s=0.3) as bench:
        await bench.one("warm")
        (first,) = workers()
        calls = [asyncio.create_task(bench.one("sleep 0.1")), *(asyncio.create_task(bench.one(word)) for _ in "123")]
        await until(lambda: "sleep 0.1" in bench.asked)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, EvaluationFailed) for outcome in outcomes[1:])
        assert {outcome.rule for outcome in outcomes[1:] if isinstance(outcome, EvaluationFailed)} == {"content"}
        assert await bench.one("score 0.3") == 0.3
        assert not is_alive(first)
        stats = bench.pool.stats()
        assert stats.restarts >= 1
        assert stats.failures[reason] >= 3
        assert stats.processes == 1


async def test_a_worker_that_was_killed_while_idle_costs_no_call(make_bench: Any) -> None:
    async with make_bench() as bench:
        await bench.one("warm")
        (worker,) = workers()
        os.kill(worker, signal.SIGKILL)
        await until(lambda: not is_alive(worker))
        await asyncio.sleep(0.05)
        assert await bench.one("score 0.3") == 0.3
        assert bench.pool.stats().restarts == 1


async def test_a_slow_start_is_waited_for_by_those_who_have_the_time(make_bench: Any) -> None:
    async with make_bench(load="content:slow", stall_s=0.1) as bench:
        with pytest.raises(EvaluationFailed, match="not evaluated in time"):
            await bench.one("score 0.1", timeout_s=0.3)
        assert await bench.one("score 0.2") == 0.2
        assert bench.pool.stats().starts == 1


async def test_a_task_that_fails_fails_alone_and_says_nothing_of_its_text(
    make_bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_bench() as bench:
        await bench.one("warm")
        texts = ["score 0.1", "raise", "nan", "score 7", "score -1", "score 0.2"]
        outcomes = await asyncio.gather(*map(bench.one, texts), return_exceptions=True)
        assert [outcomes[0], outcomes[5]] == [0.1, 0.2]
        for outcome in outcomes[1:5]:
            assert isinstance(outcome, EvaluationFailed)
            assert outcome.message == "content could not be evaluated"
        assert bench.pool.stats().failures == {"failed": 4}
        assert "RuntimeError at trivial_models.py" in caplog.text
        assert "secret" not in caplog.text
        assert bench.pool.stats().restarts == 0


async def test_a_model_that_is_not_installed_fails_its_own_kind_only(make_bench: Any) -> None:
    topics = TopicsTask(text="x", topics=(Topic(name="gold", definition="about gold"),))
    async with make_bench(load="topics:missing") as bench:
        for _ in "12":
            with pytest.raises(EvaluationFailed, match="model for topics is not installed: pip install") as failed:
                await bench.pool.evaluate("a", [topics], timeout_s=10)
            assert failed.value.rule == "topics"
        assert await bench.one("score 0.6") == 0.6
        assert bench.asked.count("load topics") == 1  # not tried for every text
        assert bench.pool.stats().restarts == 0


async def test_a_model_that_hangs_while_it_loads_does_not_stop_the_others_again_and_again(make_bench: Any) -> None:
    topics = TopicsTask(text="x", topics=(Topic(name="gold", definition="about gold"),))
    async with make_bench(load="topics:hang", start_s=1.0) as bench:
        with pytest.raises(EvaluationFailed):
            await bench.pool.evaluate("a", [topics], timeout_s=10)
        began = time.monotonic()
        with pytest.raises(EvaluationFailed) as failed:
            await bench.pool.evaluate("a", [topics], timeout_s=10)
        assert failed.value.retry_after_s
        assert await bench.one("score 0.6") == 0.6
        assert time.monotonic() - began < 1.0


async def test_a_worker_that_cannot_be_started_fails_calls_at_once(make_bench: Any) -> None:
    async with make_bench() as bench:
        bench.pool._models._launch = bench.pool._models._launch.__class__(  # pyright: ignore[reportPrivateUsage]
            role=bench.pool._models._role,  # pyright: ignore[reportPrivateUsage]
            start_s=5.0,
            models_module="no_such_module",
        )
        with pytest.raises(EvaluationFailed, match="could not be started"):
            await bench.one("x")


async def test_what_is_printed_does_not_disturb_the_wire(make_bench: Any) -> None:
    async with make_bench() as bench:
        assert await bench.one("print") == 0.5
        assert await bench.one("score 0.3") == 0.3


async def test_a_text_with_half_a_surrogate_pair_is_evaluated(make_bench: Any) -> None:
    async with make_bench() as bench:
        assert await bench.one("score 0.25 \ud83d") == 0.25
        (spans,) = await bench.pool.evaluate("a", [EntitiesTask(text="A\ud83dB", kinds=("NAME",))], timeout_s=10)
        assert spans == Spans(spans=((0, 3, "NAME"),))


async def test_more_processes_work_at_the_same_time(make_bench: Any) -> None:
    async with make_bench(processes=2, batch_tasks=1) as bench:
        await asyncio.gather(bench.one("sleep 0.01"), bench.one("sleep 0.011"))
        began = time.monotonic()
        await asyncio.gather(bench.one("sleep 0.5"), bench.one("sleep 0.501"))
        assert time.monotonic() - began < 0.9
        assert bench.pool.stats().processes == 2


async def test_scores_are_remembered_for_the_tenant_alone_and_failures_are_not(make_bench: Any) -> None:
    async with make_bench() as bench:
        for tenant in ("a", "a", "b", "a", "b"):
            assert await bench.one("score 0.3", tenant=tenant) == 0.3
        assert bench.asked.count("score 0.3") == 2
        stats = bench.pool.stats()
        assert (stats.remembered_hits, stats.remembered_misses, stats.remembered_entries) == (3, 2, 2)
        for _ in "12":
            with pytest.raises(EvaluationFailed):
                await bench.one("raise")
        assert bench.asked.count("raise") == 2
        assert bench.pool.stats().remembered_entries == 2


async def test_a_remembered_result_cannot_be_changed_by_whoever_got_it(make_bench: Any) -> None:
    async with make_bench() as bench:
        (first,) = await bench.pool.evaluate("a", [content("score 0.3")], timeout_s=10)
        first.scores["HATE"] = 0.0
        assert await bench.one("score 0.3") == 0.3


async def test_closing_leaves_no_process_no_task_and_no_open_pipe(make_bench: Any, tmp_path: Path) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    tasks = asyncio.all_tasks()
    async with make_bench(batch_tasks=1) as bench:
        pids = tmp_path / "pids"
        await bench.one(f"child {pids}")
        worker, child = map(int, pids.read_text().split())
        calls = [asyncio.create_task(bench.one(text)) for text in ("hang", "waits", "waits too")]
        await until(lambda: "hang" in bench.asked)
        await bench.pool.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, EvaluationFailed) for outcome in outcomes)
        assert not is_alive(worker)
        await until(lambda: not is_alive(child))
        assert not children(os.getpid()) & {worker, child}
        assert bench.pool.stats().processes == bench.pool.stats().waiting == bench.pool.stats().under_way == 0
        with pytest.raises(EvaluationFailed, match="shutting down"):
            await bench.one("late")
    assert asyncio.all_tasks() == tasks
    assert len(os.listdir("/proc/self/fd")) == fds


async def test_closing_while_a_worker_starts_leaves_nothing(make_bench: Any) -> None:
    before = workers()
    for pause_s in (0.0, 0.001, 0.03):
        async with make_bench() as bench:
            call = asyncio.create_task(bench.one("x"))
            await asyncio.sleep(pause_s)
        with pytest.raises(EvaluationFailed, match="shutting down"):
            await call
        assert workers() == before


GATEWAY = """
import asyncio, sys
from bedplate_guardrails.evaluation import ContentTask
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings

async def main():
    pool = WorkerPool(PoolSettings(models_module="tests.guardrails.trivial_models"))
    await pool.evaluate("a", [ContentTask(text=f"child {sys.argv[1]}", types=("HATE",))], timeout_s=20)
    print("ready", flush=True)
    await pool.evaluate("a", [ContentTask(text="hang", types=("HATE",))], timeout_s=3600)

asyncio.run(main())
"""


def test_nothing_outlives_a_gateway_that_was_killed(tmp_path: Path) -> None:
    """Also not what the worker had started itself, and not while the worker is in the middle of something."""
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    pids = tmp_path / "pids"
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, str(pids)], env=environment, stdout=subprocess.PIPE)
    assert gateway.stdout is not None
    assert gateway.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    descendants = children(gateway.pid)
    assert set(map(int, pids.read_text().split())) < descendants
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    deadline = time.monotonic() + 3
    while any(map(is_alive, descendants)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_the_environment_of_a_worker_has_no_secret_and_no_proxy(
    make_bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "BEDPLATE_DATABASE_URL": "postgresql://user:hidden@db",
        "BEDPLATE_MASTER_KEY": "hidden",
        "OPENAI_API_KEY": "hidden",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "HTTPS_PROXY": "http://hidden:1",
        "https_proxy": "http://hidden:1",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    async with make_bench() as bench:
        await bench.one(f"environment {tmp_path / 'environment'}")
    raw = (tmp_path / "environment").read_bytes()
    names = {line.partition(b"=")[0].decode() for line in raw.split(b"\0") if line}
    assert b"hidden" not in raw
    assert not names & set(secrets)
    assert not [name for name in names if name.startswith("BEDPLATE_")]
    for needed in (b"HF_HUB_OFFLINE=1", b"TRANSFORMERS_OFFLINE=1", b"OMP_NUM_THREADS=1"):
        assert needed in raw.split(b"\0")
    assert b"LITELLM_LOCAL_MODEL_COST_MAP=True" in raw.split(b"\0")


def test_on_the_event_loop_that_the_gateway_uses(tmp_path: Path) -> None:
    async def use() -> None:
        fds, before = len(os.listdir("/proc/self/fd")), workers()
        pool = WorkerPool(PoolSettings(models_module=MODULE, stall_s=0.3))
        results = await pool.evaluate("a", [content("score 0.3")], timeout_s=20)
        assert results == [Scores(scores={"HATE": 0.3})]
        with pytest.raises(EvaluationFailed, match="ended while it worked"):
            await pool.evaluate("a", [content("die")], timeout_s=20)
        with pytest.raises(EvaluationFailed, match="did not answer in time"):
            await pool.evaluate("a", [content("hang")], timeout_s=20)
        await pool.evaluate("a", [content("score 0.4")], timeout_s=20)
        assert len(workers() - before) == 1
        await pool.aclose()
        assert workers() == before
        assert len(os.listdir("/proc/self/fd")) <= fds + 1  # uvloop keeps its signal pipe

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
