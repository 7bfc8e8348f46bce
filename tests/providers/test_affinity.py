"""Where the calls of a conversation go: to one replica, and to one other when that leaves or is too busy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_core.requests import Dispatch
from bedplate_providers.affinity import Rendezvous
from bedplate_providers.endpoints import VllmEndpoint
from bedplate_providers.fleet import VllmFleet
from tests.providers.drive import DISPATCH, chat, run
from tests.providers.vllm_streams import hello
from tests.providers.wire_server import Received, Wire, WireServer

KEYS = [f"sess_{number:032x}" for number in range(4000)]


class Server(msgspec.Struct):
    url: str


class Replica(msgspec.Struct):
    """What the choice sees of a replica."""

    server: Server
    in_flight: int = 0


def replicas(*in_flight: int) -> list[Replica]:
    return [Replica(Server(f"http://10.0.0.{number}:8000"), load) for number, load in enumerate(in_flight)]


def homes(candidates: Sequence[Replica]) -> dict[str, str]:
    choose = Rendezvous()
    return {key: choose(candidates, key).server.url for key in KEYS}


def test_every_process_sends_a_key_to_the_same_replica_whatever_the_order() -> None:
    fleet = replicas(0, 0, 0, 0, 0)
    assert homes(fleet) == homes(fleet[::-1]) == homes(replicas(3, 1, 0, 4, 2))


@pytest.mark.parametrize("gone", range(5))
def test_only_the_keys_of_a_replica_that_leaves_move_and_they_come_back(gone: int) -> None:
    fleet = replicas(0, 0, 0, 0, 0)
    before = homes(fleet)
    after = homes([replica for number, replica in enumerate(fleet) if number != gone])
    left = fleet[gone].server.url
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == left}
    assert 0.15 < len(moved) / len(KEYS) < 0.25
    heirs = Counter(after[key] for key in moved)
    assert len(heirs) == 4
    assert max(heirs.values()) < 1.5 * min(heirs.values())
    assert homes(fleet) == before


@pytest.mark.parametrize("count", [2, 3, 8])
def test_keys_spread_evenly(count: int) -> None:
    """Chi-square with `count` - 1 degrees of freedom. The keys are fixed, so this passes always or never."""
    found = Counter(homes(replicas(*[0] * count)).values())
    mean = len(KEYS) / count
    assert len(found) == count
    assert sum((number - mean) ** 2 / mean for number in found.values()) < count - 1 + 4 * (2 * (count - 1)) ** 0.5


def test_a_crowded_replica_is_passed_over_for_one_other() -> None:
    fleet = replicas(0, 0, 0)
    choose = Rendezvous()
    home = choose(fleet, "k")
    others = [replica for replica in fleet if replica is not home]
    second = choose(others, "k")
    home.in_flight = 4
    assert choose(fleet, "k") is home
    home.in_flight = 5  # more than 4, and than twice the mean of 5/3
    assert [choose(fleet, "k") for _ in range(3)] == [second] * 3
    second.in_flight = 5  # the mean is 10/3 now: neither has more than twice of it
    assert choose(fleet, "k") is home
    home.in_flight = 11  # more than twice the mean of 16/3
    assert choose(fleet, "k") is second
    home.in_flight = 10  # just twice the mean of 15/3
    assert choose(fleet, "k") is home
    second.in_flight = home.in_flight = 0
    assert choose(fleet, "k") is home


def test_a_busy_fleet_is_no_crowd() -> None:
    fleet = replicas(100, 100, 100)
    assert homes(fleet) == homes(replicas(0, 0, 0))


@given(loads=st.lists(st.integers(0, 1000), min_size=1, max_size=8), key=st.text(st.characters()))
def test_the_choice_is_never_a_crowd(loads: list[int], key: str) -> None:
    fleet = replicas(*loads)
    chosen = Rendezvous()(fleet, key)
    assert chosen.in_flight <= max(4, 2 * sum(loads) / len(loads))


def test_without_a_key_replicas_take_turns() -> None:
    fleet = replicas(9, 0, 0)
    choose = Rendezvous()
    assert Counter(choose(fleet, None).server.url for _ in range(30)) == {replica.server.url: 10 for replica in fleet}


async def well(wire: Wire, request: Received) -> None:
    if request.path == "/health":
        await wire.reply("200 OK", b"")
    else:
        await wire.stream(*hello())


async def say(fleet: VllmFleet, key: str | None) -> str | None:
    stream = fleet.generate(chat(), msgspec.structs.replace(DISPATCH, affinity=key))
    assert (await run(stream)).error is None
    return stream.replica


@pytest.mark.anyio
async def test_the_turns_of_a_conversation_meet_on_one_replica_and_after_it_dies_on_one_other() -> None:
    async with WireServer(well) as a, WireServer(well) as b, WireServer(well) as c:
        servers = {server.url: server for server in (a, b, c)}
        fleet = VllmFleet("f", VllmEndpoint(urls=tuple(servers), health_interval_s=0.02))
        home = await say(fleet, "sess_1")
        assert [await say(fleet, "sess_1") for _ in range(3)] == [home] * 3
        assert home is not None
        await servers[home].stop()
        other = await say(fleet, "sess_1")
        assert other != home
        assert [await say(fleet, "sess_1") for _ in range(3)] == [other] * 3
        assert sum(bool(server.requests) for server in servers.values()) == 2
        await fleet.aclose()


@pytest.mark.anyio
async def test_a_replica_that_comes_back_gets_its_conversations_back() -> None:
    async with WireServer(well) as a, WireServer(well) as b:
        servers = {server.url: server for server in (a, b)}
        async with VllmFleet("f", VllmEndpoint(urls=tuple(servers), health_interval_s=0.02)) as fleet:
            home = await say(fleet, "sess_1")
            assert home is not None

            async def unwell(wire: Wire, request: Received) -> None:
                await wire.reply("503 Service Unavailable", b"")

            servers[home].script = unwell
            await asyncio.sleep(0.1)
            assert await say(fleet, "sess_1") != home
            servers[home].script = well
            await asyncio.sleep(0.1)
            assert await say(fleet, "sess_1") == home


@pytest.mark.anyio
async def test_a_question_beside_the_conversation_goes_where_its_turns_go() -> None:
    """Counting tokens and generating use one choice, so the tokens are counted where the prefix is cached."""
    fleet = VllmFleet("f", VllmEndpoint(urls=("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")))
    home = fleet.choose("sess_1", ())
    assert home is not None

    async def address(server: object) -> str:
        return server.url  # type: ignore[attr-defined]  # a server of the fleet

    assert await fleet.ask(address, Dispatch(call_id="c", affinity="sess_1")) == home.server.url
    await fleet.aclose()
