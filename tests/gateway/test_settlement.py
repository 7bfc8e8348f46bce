"""What a call owes at its end is done whoever stops waiting for it, and done once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from bedplate_core.errors import StoreUnavailable
from bedplate_core.ids import CallId, KeyId, ProjectId
from bedplate_gateway.access.principal import Principal, Role
from bedplate_gateway.engine.answer import Answer
from bedplate_gateway.engine.call import Call
from bedplate_gateway.engine.settlement import Settlements
from bedplate_gateway.records.metrics import Metrics
from bedplate_gateway.records.recorder import Recorder
from bedplate_sessions.durable import Durable
from bedplate_store.database import Database
from bedplate_store.driver import DatabaseConfig

pytestmark = pytest.mark.anyio

Settle = Callable[[StoreUnavailable | None], None]


class Rows:
    """A writer whose rows become durable when the test says so."""

    healthy_for_admission = True

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Settle]] = []

    def put(self, row: bytes, settle: Settle) -> None:
        self.taken.append((row, settle))

    @property
    def outcomes(self) -> list[str]:
        return [msgspec.json.decode(row)["outcome"] for row, _ in self.taken]


def answer_with(rows: Rows, settlements: Settlements) -> tuple[Answer, CollectorRegistry]:
    registry = CollectorRegistry()
    principal = Principal(key_id=KeyId("key"), project=ProjectId("project"), role=Role.SERVICE)
    call = Call(
        id=CallId("req"), principal=principal, dialect="openai", operation="chat",
        started_s=time.perf_counter(), timeout_s=60,
    )  # fmt: skip
    durable = Durable(Database(DatabaseConfig(url="postgresql://nobody@127.0.0.1:1/none")))  # connects to nothing
    return Answer(call, False, "model", Recorder(rows, Metrics(registry)), settlements, durable), registry


def counted(registry: CollectorRegistry) -> float:
    return sum(s.value for m in registry.collect() for s in m.samples if s.name == "bedplate_calls_total")


async def steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lingers", [False, True])
async def test_a_caller_cancelled_while_the_row_is_stored_leaves_one_counted_record(lingers: bool) -> None:
    rows, settlements = Rows(), Settlements()
    released: list[int] = []

    async def release() -> None:
        released.append(1)

    answer, registry = answer_with(rows, settlements)
    answer.hold(release, lingers=lingers)
    caller = asyncio.create_task(answer.complete())
    await steps()
    assert (rows.outcomes, released, caller.done(), counted(registry)) == (["completed"], [1], False, 0)

    caller.cancel()
    await steps()
    assert caller.cancelled()
    await answer.aclose()
    rows.taken[0][1](None)
    await settlements.aclose(1)
    assert (rows.outcomes, released, counted(registry)) == (["completed"], [1], 1)


@pytest.mark.parametrize("lingers", [False, True])
async def test_a_release_that_is_cut_off_is_done_all_the_same(lingers: bool) -> None:
    rows, settlements = Rows(), Settlements()
    begun: list[str] = []
    done: list[str] = []
    gate = asyncio.Event()

    def slow(name: str) -> Callable[[], Awaitable[None]]:
        async def release() -> None:
            begun.append(name)
            await gate.wait()
            done.append(name)

        return release

    answer, _ = answer_with(rows, settlements)
    answer.hold(slow("first held"), lingers=lingers)
    answer.hold(slow("last held"))
    caller = asyncio.create_task(answer.complete())
    await steps()
    caller.cancel()
    await steps()
    assert (caller.cancelled(), done, rows.outcomes) == (True, [], [])

    gate.set()
    await steps()
    assert (done, rows.outcomes) == (["last held", "first held"], ["completed"])
    rows.taken[0][1](None)
    await settlements.aclose(1)
    if lingers:
        assert begun == done  # what waits is not begun twice


async def test_a_lost_row_is_the_callers_error() -> None:
    rows = Rows()
    answer, registry = answer_with(rows, Settlements())
    caller = asyncio.create_task(answer.complete())
    await steps()
    rows.taken[0][1](StoreUnavailable("no room"))
    with pytest.raises(StoreUnavailable):
        await caller
    assert counted(registry) == 1
