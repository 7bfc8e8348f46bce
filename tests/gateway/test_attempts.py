"""Retries and fallbacks: which error leads to another attempt, at whom, after how long, and what the client hears."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedplate_core import errors
from bedplate_core.events import Start
from bedplate_core.ids import CallId, KeyId, ProjectId
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.catalogue.resources import ResourceError
from bedplate_gateway.catalogue.snapshot import Route
from bedplate_gateway.engine import attempts
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.committed import Committed
from bedplate_providers.base import Profile
from tests.fixtures.asgi import in_process
from tests.fixtures.postgres import PostgresServer

pytestmark = pytest.mark.anyio


def route(name: str, *, tries: int = 2) -> Route:
    return Route(
        name=name, upstream_model=name, profile=Profile(), created_s=0, revision=1, pooled=None, attempts=tries  # type: ignore[arg-type]  # no provider is asked
    )  # fmt: skip


def call(timeout_s: float = 30.0) -> Call:
    principal = Principal(key_id=KeyId("key_1"), project=ProjectId("default"), role=Role.SERVICE)
    return Call(
        id=CallId("req_1"),
        principal=principal,
        dialect="openai",
        operation="chat",
        started_s=time.perf_counter(),
        timeout_s=timeout_s,
    )


class Upstreams:
    """Fails as told, in order; then answers. Notes who was asked, and the pauses before."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.asked: list[str] = []

    async def __call__(self, to: Route) -> Committed:
        self.asked.append(to.name)
        if self.failures:
            raise self.failures.pop(0)
        return Committed([Start(id="a", model=to.name, created_s=0)], None)  # type: ignore[arg-type]  # never read


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)

    monkeypatch.setattr(attempts.asyncio, "sleep", sleep)
    return seen


RETRYABLE: list[Callable[[str], errors.GatewayError]] = [errors.RateLimited, errors.UpstreamUnavailable]
ELSEWHERE: list[Callable[[str], errors.GatewayError]] = [errors.UpstreamLost, errors.UpstreamTimeout]
FINAL: list[Callable[[str], errors.GatewayError]] = [
    errors.InvalidRequest,
    errors.UnsupportedFeature,
    errors.ContextLengthExceeded,
    errors.UpstreamRejected,
    errors.UpstreamProtocolError,
    errors.GuardrailUnavailable,
    errors.QuotaExceeded,
    errors.StoreUnavailable,
]


@pytest.mark.parametrize("error", RETRYABLE)
async def test_another_attempt_may_succeed(error: Callable[[str], errors.GatewayError], pauses: list[float]) -> None:
    upstreams = Upstreams(error("first"))
    await attempts.first_event(call(), [route("a"), route("b")], upstreams)
    assert upstreams.asked == ["a", "a"]
    assert len(pauses) == 1
    assert attempts.FIRST_PAUSE_S / 2 <= pauses[0] <= attempts.FIRST_PAUSE_S


@pytest.mark.parametrize("error", ELSEWHERE)
async def test_what_may_be_the_requests_own_doing_is_only_tried_elsewhere(
    error: Callable[[str], errors.GatewayError], pauses: list[float]
) -> None:
    upstreams = Upstreams(error("first"))
    await attempts.first_event(call(), [route("a"), route("b")], upstreams)
    assert upstreams.asked == ["a", "b"]
    assert pauses == []


@pytest.mark.parametrize("error", FINAL)
async def test_other_errors_are_final(error: Callable[[str], errors.GatewayError], pauses: list[float]) -> None:
    upstreams = Upstreams(error("no"))
    with pytest.raises(errors.GatewayError, match="no"):
        await attempts.first_event(call(), [route("a"), route("b")], upstreams)
    assert upstreams.asked == ["a"]
    assert pauses == []


async def test_the_client_hears_about_the_model_it_asked_for(pauses: list[float]) -> None:
    upstreams = Upstreams(
        errors.RateLimited("of a", retry_after_s=60), errors.UpstreamTimeout("of b"), errors.UpstreamTimeout("of c")
    )
    with pytest.raises(errors.RateLimited, match="of a") as caught:
        await attempts.first_event(call(), [route("a"), route("b"), route("c")], upstreams)
    assert caught.value.retry_after_s == 60
    assert upstreams.asked == ["a", "b", "c"]
    assert pauses == []


async def test_pauses_grow_to_a_bound_and_honour_the_upstream(pauses: list[float]) -> None:
    failures = [errors.UpstreamUnavailable("x") for _ in range(5)]
    with pytest.raises(errors.UpstreamUnavailable):
        await attempts.first_event(call(), [route("a", tries=5)], Upstreams(*failures))
    assert len(pauses) == 4
    for number, pause in enumerate(pauses):
        longest = min(attempts.FIRST_PAUSE_S * 2**number, attempts.LONGEST_PAUSE_S)
        assert longest / 2 <= pause <= longest
    pauses.clear()
    await attempts.first_event(call(), [route("a")], Upstreams(errors.RateLimited("x", retry_after_s=1.5)))
    assert pauses == [1.5]


async def test_no_pause_outlasts_the_call(pauses: list[float]) -> None:
    upstreams = Upstreams(errors.RateLimited("x", retry_after_s=1.5))
    with pytest.raises(errors.RateLimited):
        await attempts.first_event(call(timeout_s=1.0), [route("a", tries=5)], upstreams)
    assert pauses == []


async def test_a_client_that_leaves_ends_the_attempts() -> None:
    upstreams = Upstreams(*[errors.UpstreamUnavailable("x") for _ in range(5)])
    task = asyncio.create_task(attempts.first_event(call(), [route("a", tries=5)], upstreams))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstreams.asked == ["a"]


CHAINS = """
kind: Model
name: broken
spec: {provider: fake, upstream_model: fake/error, attempts: 1, fallbacks: [blind, fake/echo]}
---
kind: Model
name: blind
spec: {provider: fake, upstream_model: fake/echo, profile: {tools: false}}
---
kind: Model
name: too-long
spec: {provider: fake, upstream_model: fake/context-length, fallbacks: [fake/echo]}
---
kind: Guardrail
name: safe
spec:
  blockedInputMessaging: Stop.
  blockedOutputsMessaging: Stop.
  wordPolicyConfig: {wordsConfig: [{text: forbidden}]}
---
kind: Project
name: default
spec: {guardrail: safe}
"""
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


async def test_a_fallback_answers_under_the_name_that_was_asked_for(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = postgres_server.create_database()
    async with in_process(tmp_path, postgres_server.url(name), resources=CHAINS) as running:
        exchange = await running.chat("broken", stream=False)
        assert exchange.status == 200
        assert json.loads(exchange.body)["model"] == "broken"
        [record] = await running.settled(1)
        assert (record["model"], record["upstream_model"], record["outcome"]) == ("broken", "fake/echo", "completed")
        assert json.loads(record["versions"])["model"].startswith("blind:")

        # A fallback that cannot do what was asked for is passed over.
        exchange = await running.chat("broken", stream=True, tools=[TOOL])
        assert b"[DONE]" in exchange.body
        record = (await running.settled(2))[1]
        assert json.loads(record["versions"])["model"].startswith("fake/echo:")

        # Neither the client's mistake nor a policy's decision goes to the next model.
        assert (await running.chat("too-long", stream=False)).status == 400
        assert (await running.settled(3))[2]["upstream_model"] == "fake/context-length"
        exchange = await running.chat("broken", stream=False, content="something forbidden")
        assert json.loads(exchange.body)["choices"][0]["finish_reason"] == "content_filter"
        assert (await running.settled(4))[3]["upstream_model"] == "fake/error"


async def test_a_fallback_must_exist(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = postgres_server.create_database()
    text = "kind: Model\nname: a\nspec: {provider: fake, fallbacks: [nowhere]}\n"
    with pytest.raises(ResourceError, match="model 'nowhere' does not exist"):
        async with in_process(tmp_path, postgres_server.url(name), resources=text):
            pass
