"""What may be said to rerank and score, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.rerank import RankedDocument, Ranking, RerankRequest
from bedplate_core.score import ScoreRequest, Scores
from bedplate_core.usage import Usage
from bedplate_gateway.dialects.limits import MAX_RANKED_TEXTS
from bedplate_gateway.dialects.openai.ranking import RERANK_FIELDS, SCORE_FIELDS, RerankExchange, ScoreExchange
from bedplate_providers.vllm_ranking import FORWARDED

Body = dict[str, Any]
WIRE = Path(__file__).parent.parent / "wire" / "vllm"
RERANK: Body = {"model": "e", "query": "q", "documents": ["a", "b", "c"]}
SCORE: Body = {"model": "e", "text_1": "q", "text_2": ["a", "b"]}
PICTURE = {"content": [{"type": "image_url", "image_url": {"url": "https://inside.example"}}]}

VLLM_COMMON = [
    "model",
    "user",
    "truncate_prompt_tokens",
    "padding",
    "truncation_side",
    "mm_processor_kwargs",
    "use_activation",
    "max_tokens_per_query",
    "max_tokens_per_doc",
    "instruction",
    "chat_template_kwargs",
]
"""The fields of `ScoringRequestMixin` and its bases of vLLM 0.32.0, but for those that only the gateway sets."""


def rerank(body: Body) -> RerankRequest:
    return RerankExchange.decode(json.dumps(body).encode()).request


def score(body: Body) -> ScoreRequest:
    return ScoreExchange.decode(json.dumps(body).encode()).request


def test_every_field_of_vllm_has_its_place() -> None:
    for rules, own in (
        (RERANK_FIELDS, ["query", "documents", "top_n"]),
        (SCORE_FIELDS, ["queries", "documents", "items", "data_1", "data_2", "text_1", "text_2"]),
    ):
        places = (rules.mapped, rules.ignored.keys(), rules.refused.keys(), FORWARDED.keys())
        for field in VLLM_COMMON + own:
            assert sum(field in place for place in places) == 1, field
        assert rules.mapped == {"model", *own}


def test_reranking() -> None:
    asked = rerank({**RERANK, "top_n": 2, "instruction": "x", "user": "u", "padding": "do_not_pad"})
    assert asked == RerankRequest(
        model="e", query="q", documents=("a", "b", "c"), top_n=2, extensions={"instruction": "x"}
    )
    assert rerank({**RERANK, "top_n": 0}) == rerank(RERANK)
    assert rerank({**RERANK, "documents": "a"}).documents == ("a",)


@pytest.mark.parametrize(
    "pair", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)  # fmt: skip
def test_scoring_takes_each_of_vllms_pairs(pair: tuple[str, str]) -> None:
    one, two = pair
    assert score({"model": "e", one: "q", two: ["a", "b"]}) == ScoreRequest(model="e", first=("q",), second=("a", "b"))
    assert score({"model": "e", one: ["q", "r"], two: ["a", "b"]}).first == ("q", "r")
    with pytest.raises(InvalidRequest) as caught:
        score({"model": "e", one: "q"})
    if one != "queries":
        assert caught.value.param == two


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "e", "documents": ["a"]}, "query"),
        ({"query": "q", "documents": ["a"]}, "model"),
        ({**RERANK, "documents": []}, "documents"),
        ({**RERANK, "documents": ["a", 1]}, "documents[1]"),
        ({**RERANK, "documents": ["a"] * (MAX_RANKED_TEXTS + 1)}, "documents"),
        ({**RERANK, "top_n": -1}, "top_n"),
        ({**RERANK, "cache_salt": "x"}, "cache_salt"),
        ({**RERANK, "request_id": "x"}, "request_id"),
        ({**RERANK, "base_url": "x"}, "base_url"),
    ],
)
def test_what_is_wrong_with_a_reranking_is_named(body: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rerank(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "e"}, None),
        ({"model": "e", "queries": "q", "documents": "a", "items": "b"}, None),
        ({"model": "e", "text_1": "q", "data_2": "a"}, None),
        ({"model": "e", "text_1": ["q", "r"], "text_2": ["a"]}, "text_1"),
        ({"model": "e", "text_1": [], "text_2": ["a"]}, "text_1"),
        ({"model": "e", "text_1": "q", "text_2": ["a"] * (MAX_RANKED_TEXTS + 1)}, "text_2"),
        ({"model": "e", "text_1": "q", "text_2": 3}, "text_2"),
    ],
)
def test_what_is_wrong_with_a_scoring_is_named(body: Body, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        score(body)
    assert caught.value.param == param


def test_pictures_are_refused_by_their_place() -> None:
    for body, param in (
        ({**RERANK, "query": PICTURE}, "query"),
        ({**RERANK, "documents": PICTURE}, "documents"),
        ({**RERANK, "documents": ["a", PICTURE]}, "documents[1]"),
    ):
        with pytest.raises(UnsupportedFeature, match="only texts") as caught:
            rerank(body)
        assert caught.value.param == param


@pytest.mark.parametrize("field", sorted(RERANK_FIELDS.refused))
def test_refused_fields_are_named(field: str) -> None:
    for decode, body in ((rerank, RERANK), (score, SCORE)):
        with pytest.raises(UnsupportedFeature) as caught:
            decode({**body, field: {"a": 1}})
        assert caught.value.param == field
        assert decode({**body, field: None}) == decode(body)


def test_answers_are_spelt_as_vllm_spells_them() -> None:
    ranking = Ranking(
        model="upstream", ranked=(RankedDocument(2, 0.75), RankedDocument(0, -0.5)), usage=Usage(input_tokens=30)
    )
    reply = json.loads(RerankExchange(request=rerank(RERANK)).reply(ranking, ("c", "a")).body)
    expected = json.loads((WIRE / "rerank.json").read_text())
    for result in expected["results"]:
        del result["document"]["multi_modal"]  # only texts are ranked here
    assert reply.pop("id").startswith("rerank-")
    expected.pop("id")
    assert reply == expected

    scores = Scores(model="upstream", scores=(0.25, 1.0), usage=Usage(input_tokens=12))
    reply = json.loads(ScoreExchange(request=score(SCORE)).reply(scores).body)
    expected = json.loads((WIRE / "score.json").read_text())
    assert reply.pop("id").startswith("score-")
    assert reply.pop("created") > 1_700_000_000
    del expected["id"], expected["created"]
    assert set(reply["usage"]) <= set(expected["usage"])
    assert reply["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    del reply["usage"], expected["usage"]
    assert reply == expected


def test_a_text_that_may_not_leave_is_null() -> None:
    ranking = Ranking(model="u", ranked=(RankedDocument(0, 1.0),), usage=Usage())
    body = json.loads(RerankExchange(request=rerank(RERANK)).reply(ranking, (None,)).body)
    assert body["results"] == [{"index": 0, "document": {"text": None}, "relevance_score": 1.0}]
