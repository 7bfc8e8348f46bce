"""Validators that an administrator registered, in a worker of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bedplate_guardrails.evaluation import ContentTask, EvaluationFailed, Scores, Validated, ValidatorTask
from bedplate_guardrails.pool.pool import WorkerPool
from bedplate_guardrails.pool.settings import PoolSettings

pytestmark = pytest.mark.anyio

OWN = "tests.guardrails.own_validators"
REGISTRY: list[dict[str, Any]] = [
    {"name": "no-acme", "validator": f"{OWN}:NoWord", "arguments": {"word": "acme"}},
    {"name": "allows", "validator": f"{OWN}:NoWord", "arguments": {"word": "x"}, "metadata": {"allowed": ["x"]}},
    {
        "name": "ours",
        "validator": "bedplate_guardrails.validators.words:Words",
        "arguments": {"words": ["tulip"]},
    },
    {"name": "slow", "validator": f"{OWN}:Asynchronous"},
    {"name": "behaves", "validator": f"{OWN}:Behaves"},
    {"name": "rewrites", "validator": f"{OWN}:Rewrites"},
    {"name": "broken", "validator": f"{OWN}:Broken"},
    {"name": "none", "validator": f"{OWN}:NoValidator"},
    {"name": "nowhere", "validator": "no_such_package:Class"},
    {"name": "absent", "validator": f"{OWN}:Absent"},
    {"name": "arguments", "validator": f"{OWN}:NoWord", "arguments": {"wrong": 1}},
]


class Judges:
    """A pool with the registered validators."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    async def __call__(self, name: str, *texts: str, timeout_s: float = 20.0) -> list[Any]:
        tasks = [ValidatorTask(name=name, text=text) for text in texts]
        return list(await self.pool.evaluate("a", tasks, timeout_s=timeout_s))


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Judges]:
    file = folder / "validators.yaml"
    file.write_text(yaml.safe_dump(REGISTRY))
    pool = WorkerPool(PoolSettings(validators_file=file, models_module="tests.guardrails.trivial_models", **settings))
    try:
        yield Judges(pool)
    finally:
        await pool.aclose()


async def test_what_a_validator_says_becomes_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDPLATE_MASTER_KEY", "hidden")
    async with opened(tmp_path) as judge:
        await judge("behaves", f"environment {tmp_path / 'environment'}")
        environment = (tmp_path / "environment").read_bytes()
        assert b"hidden" not in environment
        assert b"BEDPLATE_" not in environment
        assert await judge("no-acme", "a rose", "acme and acme") == [
            Validated(passed=True),
            Validated(passed=False, reason="has the word acme", fixed="... and ..."),
        ]
        assert await judge("ours", "a rose", "a tulip") == [
            Validated(passed=True),
            Validated(passed=False, reason="found {word} 1 times", fixed="a {word}"),
        ]
        assert await judge("slow", "good", "bad") == [Validated(passed=True), Validated(passed=False, reason="always")]
        # What guardrails-ai itself would make of these: a pass with another text, a failure for an empty text.
        assert await judge("rewrites", "text", "") == [Validated(passed=True), Validated(passed=True)]
        assert await judge("behaves", "none", "fixes", "print") == [
            Validated(passed=True),
            Validated(passed=False, reason="fixed"),
            Validated(passed=True),
        ]
        assert (
            await judge("slow", '{"json": "bad"}', "[bad", "  bad  ", "0 bad")
            == [Validated(passed=False, reason="always")] * 4
        )
        # Metadata of the registry goes with each call and is not changed by one; results are not remembered.
        for _ in "12":
            assert await judge("no-acme", "acme") == [Validated(passed=False, reason="has the word acme", fixed="...")]
            assert await judge("allows", "x") == [Validated(passed=True)]
        stats = judge.pool.stats()
        assert (stats.starts, stats.remembered_entries, stats.remembered_hits) == (1, 0, 0)
        assert stats.failures == {}


async def test_validators_that_fail_fail_alone_and_say_nothing_of_the_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as judge:
        for name, text, message in (
            ("behaves", "raise", "validator:behaves could not be evaluated"),
            ("behaves", "wrong", "validator:behaves could not be evaluated"),
            ("broken", "x", "validator:broken cannot be loaded"),
            ("none", "x", "validator:none cannot be loaded"),
            ("nowhere", "x", "validator:nowhere cannot be loaded"),
            ("absent", "x", "validator:absent cannot be loaded"),
            ("arguments", "x", "validator:arguments cannot be loaded"),
            ("unknown", "x", "no validator 'unknown' is registered"),
        ):
            with pytest.raises(EvaluationFailed) as failed:
                await judge(name, text)
            assert failed.value.message == message
            assert failed.value.rule == f"validator:{name}"
        assert await judge("no-acme", "a rose") == [Validated(passed=True)]
        assert judge.pool.stats().restarts == 0
        with pytest.raises(EvaluationFailed, match="validator:behaves could not be evaluated: its worker ended"):
            await judge("behaves", "exit")
        assert await judge("no-acme", "a rose") == [Validated(passed=True)]
        assert judge.pool.stats().restarts == 1
    assert "secret" not in caplog.text
    assert "no_such_package" in caplog.text  # what an administrator needs to know


async def test_one_that_hangs_is_cut_by_its_deadline_and_the_models_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as judge:
        pid = tmp_path / "pid"
        await judge("behaves", f"pid {pid}")
        content = ContentTask(text="score 0.3", types=("HATE",))
        expected = [Scores(scores={"HATE": 0.3})]
        assert await judge.pool.evaluate("a", [content], timeout_s=20) == expected
        began = time.monotonic()
        hanging = asyncio.create_task(judge("behaves", "hang", timeout_s=0.5))
        await asyncio.sleep(0.1)
        other = ContentTask(text="score 0.30", types=("HATE",))
        assert await judge.pool.evaluate("a", [other], timeout_s=0.3) == expected
        with pytest.raises(EvaluationFailed) as failed:
            await hanging
        assert failed.value.rule == "validator:behaves"
        assert time.monotonic() - began < 0.8
        assert await judge("no-acme", "a rose") == [Validated(passed=True)]
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
        stats = judge.pool.stats()
        assert (stats.starts, stats.restarts) == (3, 1)
        # Once more, and then it is refused at once, so that it does not take the worker from the others.
        with pytest.raises(EvaluationFailed, match="ended while it worked"):
            await judge("behaves", "die")
        began = time.monotonic()
        with pytest.raises(EvaluationFailed) as failed:
            await judge("behaves", "hang")
        assert failed.value.retry_after_s
        assert time.monotonic() - began < 5
        assert await judge("no-acme", "a rose") == [Validated(passed=True)]
        assert judge.pool.stats().restarts == 2
