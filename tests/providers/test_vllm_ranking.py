"""Reranking and scoring on vLLM's wire. Answers are vLLM 0.32's own types, written out: `tests/wire/vllm`.

The engine of the tests serves a language model, which does neither, so the server here is scripted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, RateLimited, UnsupportedFeature, UpstreamProtocolError
from bedplate_core.rerank import RankedDocument, Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.usage import Usage
from bedplate_providers.base import Embeds, Reranks, ScoresPairs, Transcribes
from bedplate_providers.endpoints import VllmEndpoint, VllmTask
from bedplate_providers.fleet import VllmFleet, VllmRankingFleet
from bedplate_providers.registry import build_provider
from tests.providers.drive import DISPATCH
from tests.providers.wire_server import Received, Wire, WireServer

pytestmark = pytest.mark.anyio

WIRE = Path(__file__).parent.parent / "wire" / "vllm"
RERANK = RerankRequest(model="e", query="q", documents=("a", "b", "c"), top_n=2)
SCORE = ScoreRequest(model="e", first=("q",), second=("a", "b"))


@asynccontextmanager
async def fleet_for(body: object, status: str = "200 OK") -> AsyncGenerator[tuple[VllmRankingFleet, WireServer]]:
    """A fleet of one server that answers every request with `body` (bytes, JSON, or a recorded answer's name)."""

    async def script(wire: Wire, request: Received) -> None:
        said = (WIRE / f"{body}.json").read_bytes() if isinstance(body, str) else body
        await wire.reply(status, said)

    async with WireServer(script) as server:
        fleet = VllmRankingFleet("f", VllmEndpoint(urls=(server.url,), task=VllmTask.RANK))
        yield fleet, server
        assert all(replica.in_flight == 0 for replica in fleet.replicas)
        await fleet.aclose()
        await server.idle()


async def test_reranking() -> None:
    async with fleet_for("rerank") as (fleet, server):
        assert await fleet.rerank(RERANK, DISPATCH) == Ranking(
            model="e",
            ranked=(RankedDocument(2, 0.75), RankedDocument(0, -0.5)),
            usage=Usage(input_tokens=30),
        )
        (sent,) = server.requests
        assert sent.path == "/rerank"
        assert sent.json == {
            "model": "e", "query": "q", "documents": ["a", "b", "c"], "top_n": 2, "cache_salt": "salt-1",
        }  # fmt: skip
        assert sent.headers["x-request-id"] == "req_1"


async def test_all_documents_are_asked_for_when_no_number_is_given() -> None:
    results = [{"index": index, "relevance_score": 0.5} for index in (1, 0)]
    async with fleet_for({"results": results}) as (fleet, server):
        ranking = await fleet.rerank(RerankRequest(model="e", query="q", documents=("a", "b")), DISPATCH)
        assert [item.index for item in ranking.ranked] == [1, 0]
        assert server.requests[0].json["top_n"] == 2
        await fleet.rerank(RerankRequest(model="e", query="q", documents=("a", "b"), top_n=9), DISPATCH)
        assert server.requests[1].json["top_n"] == 2


async def test_scoring() -> None:
    async with fleet_for("score") as (fleet, server):
        assert await fleet.score(SCORE, DISPATCH) == Scores(model="e", scores=(0.25, 1.0), usage=Usage(input_tokens=12))
        (sent,) = server.requests
        assert sent.path == "/score"
        assert sent.json == {"model": "e", "text_1": ["q"], "text_2": ["a", "b"], "cache_salt": "salt-1"}


async def test_extensions_are_forwarded_or_refused_by_name() -> None:
    allowed = {
        "instruction": "rank well", "max_tokens_per_doc": 5, "max_tokens_per_query": 6, "truncate_prompt_tokens": -1,
        "truncation_side": "left", "use_activation": False,
    }  # fmt: skip
    async with fleet_for("score") as (fleet, server):
        asked = ScoreRequest(model="e", first=("q",), second=("a", "b"), extensions=dict(allowed))
        await fleet.score(asked, DISPATCH)
        assert {name: server.requests[0].json[name] for name in allowed} == allowed
        for name in ("priority", "chat_template_kwargs", "mm_processor_kwargs", "padding", "return_documents"):
            with pytest.raises(UnsupportedFeature) as caught:
                await fleet.rerank(
                    RerankRequest(model="e", query="q", documents=("a",), extensions={name: "x"}), DISPATCH
                )
            assert caught.value.param == name
        with pytest.raises(InvalidRequest, match="max_tokens_per_doc must be of type integer"):
            await fleet.score(
                ScoreRequest(model="e", first=("q",), second=("a",), extensions={"max_tokens_per_doc": True}), DISPATCH
            )
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "results",
    [
        [{"index": 0, "relevance_score": 1}],
        [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 0}],
        [{"index": 0, "relevance_score": 1}, {"index": 3, "relevance_score": 0}],
        [{"index": 0, "relevance_score": 1}, {"index": -1, "relevance_score": 0}],
        [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": "0"}],
        [{"index": number, "relevance_score": 1} for number in range(3)],
    ],
)
async def test_a_ranking_of_other_documents_is_not_the_protocol(results: Any) -> None:
    async with fleet_for({"results": results}) as (fleet, _):
        with pytest.raises(UpstreamProtocolError):
            await fleet.rerank(RERANK, DISPATCH)


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b'{"data": [{"index": 0, "score": 1e999}, {"index": 1, "score": 0}]}',
        {"data": []},
        {"data": [{"index": 0, "score": 1}]},
        {"data": [{"index": 0, "score": 1}, {"index": 2, "score": 1}]},
    ],
)
async def test_scores_of_other_pairs_are_not_the_protocol(body: Any) -> None:
    async with fleet_for(body) as (fleet, _):
        with pytest.raises(UpstreamProtocolError):
            await fleet.score(SCORE, DISPATCH)


async def test_upstream_errors_are_classified() -> None:
    async with fleet_for(b"", "429 Too Many Requests") as (fleet, _):
        with pytest.raises(RateLimited):
            await fleet.rerank(RERANK, DISPATCH)
    async with fleet_for({"detail": "/opt/secret"}, "501 Not Implemented") as (fleet, _):
        with pytest.raises(UnsupportedFeature) as caught:
            await fleet.score(SCORE, DISPATCH)
        assert "secret" not in caught.value.message


async def test_a_fleet_has_the_abilities_of_its_task_and_no_others() -> None:
    abilities = (Embeds, Reranks, ScoresPairs, Transcribes)
    expected: dict[VllmTask, set[Any]] = {
        VllmTask.GENERATE: set(),
        VllmTask.EMBED: {Embeds},
        VllmTask.RANK: {Reranks, ScoresPairs},
        VllmTask.TRANSCRIBE: {Transcribes},
    }
    for task in VllmTask:
        provider = build_provider("f", VllmEndpoint(urls=("http://h",), task=task))
        assert {ability for ability in abilities if isinstance(provider, ability)} == expected[task]
        assert isinstance(provider, VllmFleet)
        await provider.aclose()
