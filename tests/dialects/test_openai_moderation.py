"""Moderations on the wire: what is decoded, what is refused by name, and what the official SDK's types read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import ModerationCreateResponse

from bedplate_core.errors import InvalidRequest, ModelNotFound, UnsupportedFeature
from bedplate_gateway.dialects.openai.moderation import CATEGORIES, FILTERS, MAX_TEXTS, ModerationExchange


def decode(body: dict[str, Any]) -> ModerationExchange:
    return ModerationExchange.decode(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("one", ("one",)),
        ("", ("",)),
        (["one", "two"], ("one", "two")),
        ([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], ("one\ntwo",)),
    ],
)
def test_inputs(given: object, texts: tuple[str, ...]) -> None:
    assert decode({"input": given}).texts == texts


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        ({}, InvalidRequest, "input"),
        ({"input": []}, InvalidRequest, "input"),
        ({"input": 3}, InvalidRequest, "input"),
        ({"input": ["x"] * (MAX_TEXTS + 1)}, InvalidRequest, "input"),
        ({"input": [{"type": "text"}]}, InvalidRequest, "input"),
        ({"input": [{"type": "song", "text": "la"}]}, InvalidRequest, "input"),
        ({"input": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}, UnsupportedFeature, "input"),
        ({"input": "x", "model": "gpt-4"}, ModelNotFound, "model"),
        ({"input": "x", "surprise": 1}, UnsupportedFeature, "surprise"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(body: dict[str, Any], error: type[InvalidRequest], param: str) -> None:
    with pytest.raises(error) as refused:
        decode(body)
    assert refused.value.param == param


def test_the_sdk_reads_the_answer_and_sees_what_nothing_looked_at() -> None:
    exchange = decode({"input": ["a", "b", "c"]})
    scores = [{"VIOLENCE": 0.8, "HATE": 0.74}, dict.fromkeys(FILTERS, 0.1), dict.fromkeys(FILTERS, 0.1)]
    reply = exchange.reply("c1", scores, [False, False, True])
    answer = ModerationCreateResponse.model_validate_json(reply.body)
    assert [result.flagged for result in answer.results] == [True, False, True]
    first = answer.results[0]
    assert (first.categories.violence, first.categories.hate) == (True, False)
    assert first.category_scores.violence == 0.8
    assert first.category_applied_input_types.violence == ["text"]
    assert first.category_applied_input_types.self_harm == []
    assert set(json.loads(reply.body)["results"][0]["categories"]) == set(CATEGORIES)
