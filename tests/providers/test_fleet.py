"""Several replicas as one provider."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bedplate_core.errors import (
    InvalidRequest,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bedplate_core.requests import Dispatch, EmbedRequest
from bedplate_providers.base import Embeds, Timeouts
from bedplate_providers.endpoints import VllmEndpoint, VllmTask
from bedplate_providers.fleet import Replica, VllmEmbeddingFleet, VllmFleet
from tests.providers.drive import DISPATCH, chat, run
from tests.providers.vllm_streams import hello
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio


async def well(wire: Wire, request: Received) -> None:
    if request.path == "/health":
        await wire.reply("200 OK", b"")
    else:
        await wire.stream(*hello())


async def unwell(wire: Wire, request: Received) -> None:
    await wire.reply("503 Service Unavailable", b"")


async def broken(wire: Wire, request: Received) -> None:
    await wire.reply("500 Internal Server Error", {"error": {"message": "x", "code": 500}})


async def silent(wire: Wire, request: Received) -> None:
    await asyncio.sleep(5)


async def dying(wire: Wire, request: Received) -> None:
    wire.cut()


def fleet_of(*servers: WireServer | str, interval_s: float = 0.05, **timeouts: float) -> VllmFleet:
    urls = tuple(server if isinstance(server, str) else server.url for server in servers)
    return VllmFleet("f", VllmEndpoint(urls=urls, health_interval_s=interval_s, timeouts=Timeouts(**timeouts)))


DEAD = "http://127.0.0.1:1"


async def test_replicas_take_turns() -> None:
    async with WireServer(well) as a, WireServer(well) as b:
        fleet = fleet_of(a, b)
        for _ in range(6):
            assert (await run(fleet.generate(chat(), DISPATCH))).error is None
        assert (len(a.requests), len(b.requests)) == (3, 3)
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()


async def test_one_that_cannot_be_reached_is_left_out_and_returns_when_well() -> None:
    async with WireServer(well) as a, WireServer(well) as b:
        fleet = fleet_of(a, b)
        await b.stop()
        for _ in range(4):
            assert (await run(fleet.generate(chat(), DISPATCH))).error is None
        assert [replica.healthy for replica in fleet.replicas] == [True, False]
        assert len(a.requests) == 4
        await fleet.aclose()


async def test_health_checks_eject_and_bring_back() -> None:
    async with WireServer(unwell) as a:
        async with fleet_of(a, interval_s=0.02) as fleet:
            await asyncio.sleep(0.1)
            health = await fleet.health()
            assert not health.ok
            assert health.replicas[0].url == a.url
            a.script = well
            await asyncio.sleep(0.1)
            health = await fleet.health()
            assert health.ok
            assert health.replicas[0].ok
        assert not (await fleet.health()).ok
        await a.idle()


@pytest.mark.parametrize("script", [unwell, broken, dying])
async def test_a_retryable_error_before_the_first_event_moves_on(script: object) -> None:
    async with WireServer(script) as a, WireServer(well) as b:  # type: ignore[arg-type]
        fleet = fleet_of(b, a)
        result = await run(fleet.generate(chat(), DISPATCH))
        assert result.error is None
        assert (len(a.requests), len(b.requests)) == (1, 1)
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()


async def test_what_may_kill_an_engine_is_not_walked_through_the_fleet() -> None:
    async with WireServer(dying) as a, WireServer(dying) as b, WireServer(dying) as c, WireServer(well) as d:
        fleet = fleet_of(d, a, b, c)
        result = await run(fleet.generate(chat(), DISPATCH))
        assert isinstance(result.error, UpstreamUnavailable)
        assert sum(len(server.requests) for server in (a, b, c, d)) == 2
        await fleet.aclose()


async def test_connecting_moves_on_as_long_as_there_are_replicas() -> None:
    async with WireServer(well) as a:
        fleet = fleet_of(a, DEAD, "http://127.0.0.1:2", "http://127.0.0.1:3")
        assert (await run(fleet.generate(chat(), DISPATCH))).error is None
        assert sum(replica.healthy for replica in fleet.replicas) == 1
        await fleet.aclose()


async def test_an_error_of_the_request_does_not_move_on() -> None:
    async def refuse(wire: Wire, request: Received) -> None:
        await wire.reply("400 Bad Request", {"error": {"message": "no", "code": 400}})

    async with WireServer(refuse) as a, WireServer(refuse) as b:
        fleet = fleet_of(a, b)
        assert isinstance((await run(fleet.generate(chat(), DISPATCH))).error, InvalidRequest)
        assert len(a.requests) + len(b.requests) == 1
        assert all(replica.healthy for replica in fleet.replicas)
        await fleet.aclose()


async def test_an_error_after_the_first_event_does_not_move_on() -> None:
    async def cut(wire: Wire, request: Received) -> None:
        await wire.stream(*hello()[:2], end=False)
        await asyncio.sleep(0.02)
        wire.cut()

    async with WireServer(cut) as a, WireServer(cut) as b:
        fleet = fleet_of(a, b)
        result = await run(fleet.generate(chat(), DISPATCH))
        assert isinstance(result.error, UpstreamProtocolError)
        assert result.events
        assert len(a.requests) + len(b.requests) == 1
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()


async def test_all_down() -> None:
    fleet = fleet_of(DEAD, "http://127.0.0.1:2")
    for _ in range(2):
        result = await run(fleet.generate(chat(), DISPATCH))
        assert isinstance(result.error, UpstreamUnavailable)
        assert result.error.retry_after_s
    await fleet.aclose()


async def test_a_fleet_that_was_down_serves_again_without_waiting_for_a_check() -> None:
    async with WireServer(well) as a:
        fleet = fleet_of(a)
        fleet.replicas[0].eject("was down")
        assert (await run(fleet.generate(chat(), DISPATCH))).error is None
        await fleet.aclose()


@pytest.mark.parametrize("how", ["aclose", "cancel"])
async def test_leaving_frees_the_replica_and_its_socket(how: str) -> None:
    async with WireServer(silent) as a:
        fleet = fleet_of(a)
        stream = fleet.generate(chat(), DISPATCH)
        reading = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0.03)
        assert fleet.replicas[0].in_flight == 1
        if how == "cancel":
            reading.cancel()
            await asyncio.sleep(0)
        else:
            await stream.aclose()
        await a.idle()
        assert fleet.replicas[0].in_flight == 0
        result = (await asyncio.gather(reading, return_exceptions=True))[0]
        assert isinstance(result, asyncio.CancelledError | StopAsyncIteration)
        assert len(a.requests) == 1
        await fleet.aclose()


async def test_leaving_at_the_first_replica_does_not_begin_at_the_second() -> None:
    async with WireServer(silent) as a, WireServer(silent) as b:
        fleet = fleet_of(a, b)
        stream = fleet.generate(chat(), DISPATCH)
        reading = asyncio.ensure_future(run(stream))
        await asyncio.sleep(0.03)
        await stream.aclose()
        with pytest.raises(ValueError, match="without Finish"):
            await reading
        assert len(a.requests) + len(b.requests) == 1
        await fleet.aclose()


async def test_a_timeout_moves_on_once() -> None:
    async with WireServer(silent) as a, WireServer(silent) as b, WireServer(silent) as c:
        fleet = fleet_of(a, b, c, first_event_s=0.05)
        result = await run(fleet.generate(chat(), DISPATCH))
        assert isinstance(result.error, UpstreamTimeout)
        assert sum(len(server.requests) for server in (a, b, c)) == 2
        await fleet.aclose()


async def test_the_affinity_reaches_the_choice() -> None:
    seen: list[str | None] = []

    def choose(replicas: Sequence[Replica], affinity: str | None) -> Replica:
        seen.append(affinity)
        return replicas[-1]

    async with WireServer(well) as a, WireServer(well) as b:
        fleet = VllmFleet("f", VllmEndpoint(urls=(a.url, b.url)), choose)
        await run(fleet.generate(chat(), Dispatch(call_id="c", affinity="sess_1")))
        assert seen == ["sess_1"]
        assert len(b.requests) == 1
        await fleet.aclose()


async def test_closing_a_fleet_ends_its_streams_and_takes_no_more() -> None:
    async with WireServer(silent) as a:
        fleet = fleet_of(a)
        reading = asyncio.ensure_future(run(fleet.generate(chat(), DISPATCH)))
        await asyncio.sleep(0.03)
        await fleet.aclose()
        assert isinstance((await reading).error, UpstreamUnavailable)
        assert isinstance((await run(fleet.generate(chat(), DISPATCH))).error, UpstreamUnavailable)
        await a.idle()


async def test_embeddings_move_on_and_only_embedding_fleets_embed() -> None:
    async def vectors(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", {"data": [{"index": 0, "embedding": "AACAPw=="}]})

    async with WireServer(vectors) as a:
        endpoint = VllmEndpoint(urls=(a.url, DEAD), task=VllmTask.EMBED)
        fleet = VllmEmbeddingFleet("f", endpoint)
        assert isinstance(fleet, Embeds)
        assert not isinstance(VllmFleet("g", endpoint), Embeds)
        result = await fleet.embed(EmbedRequest(model="e", inputs=("a",)), DISPATCH)
        assert result.vectors == ((1.0,),)
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()


async def test_whether_a_model_is_served() -> None:
    async def models(wire: Wire, request: Received) -> None:
        await wire.reply("200 OK", {"data": [{"id": "m"}]})

    async with WireServer(models) as a:
        fleet = fleet_of(a)
        assert await fleet.serves("m")
        assert not await fleet.serves("n")
        await fleet.aclose()
