"""Grounding and relevance: supported answers score high, made-up ones low."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

pytest.importorskip("onnxruntime")

import numpy as np
from numpy.typing import NDArray

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.grounding_features import MAX_CLAIMS, MAX_PIECES, read_claims, read_source
from bedplate_guardrails.models.grounding_model import MAX_EMBEDDED_PIECES, GroundingModel

SOURCE = (
    "The Hartwell Bridge was opened in 1932 and is 412 metres long. It was designed by the engineer Clara Jensen and "
    "crosses the river Avon near the town of Milford. About 18,000 vehicles use the bridge every day. Cyclists may "
    "cross free of charge, while lorries pay a toll of 6 euros. The bridge was closed for repairs in 2011."
)


@pytest.fixture(scope="module")
def model() -> GroundingModel:
    return GroundingModel(Embedder())


@pytest.mark.parametrize(
    "answer",
    [
        "The Hartwell Bridge was opened in 1932.",
        "It was designed by the engineer Clara Jensen.",
        "About 18,000 vehicles use the bridge every day.",
        "The bridge crosses the river Avon near the town of Milford and is 412 metres long.",
        "Lorries pay a toll of 6 euros. Cyclists may cross free of charge.",
    ],
)
def test_what_the_source_says_scores_above_0_7(model: GroundingModel, answer: str) -> None:
    assert model.grounding(SOURCE, answer) > 0.7


@pytest.mark.parametrize(
    "answer",
    [
        "The bridge was built by the Romans and later painted red by local artists.",
        "Paris is the capital of France.",
        "Lorries pay a toll of 25 euros.",
        "It was designed by the engineer Robert Mendel.",
        "The bridge was opened in 1932. It won the European architecture prize in 1987.",
        "Cyclists may not cross free of charge.",
    ],
)
def test_what_is_made_up_scores_below_0_5(model: GroundingModel, answer: str) -> None:
    assert model.grounding(SOURCE, answer) < 0.5


def test_one_made_up_sentence_lowers_a_good_answer(model: GroundingModel) -> None:
    good = "The Hartwell Bridge was opened in 1932. It crosses the river Avon."
    assert model.grounding(SOURCE, f"{good} The queen danced there with a famous pilot.") < model.grounding(
        SOURCE, good
    )


def test_edges(model: GroundingModel) -> None:
    assert model.grounding(SOURCE, "") == 1
    assert model.grounding(SOURCE, " ... ") == 1
    assert model.grounding("", "The bridge was opened in 1932.") == 0
    assert model.relevance("", "anything") == 1
    assert model.relevance("How long is it?", "") == 0
    assert model.relevance("How long is it?", "?!") == 0


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("\ud800", "lone \udfff half"),
        ("日本の首都は東京です。", "東京は日本の首都です。"),
        ("a" * 500, "b" * 500),
        ("1", "1"),
        ("\n\n", "x"),
    ],
)
def test_scores_of_strange_texts_are_between_0_and_1(model: GroundingModel, source: str, answer: str) -> None:
    assert 0 <= model.grounding(source, answer) <= 1
    assert 0 <= model.relevance(source, answer) <= 1


@pytest.mark.parametrize(
    ("query", "answer", "other"),
    [
        ("How long is the Hartwell Bridge?", "The Hartwell Bridge is 412 metres long.", "Bananas contain potassium."),
        ("How do I reset my password?", "Open settings, choose security and reset it.", "We ship to Canada in a week."),
        (
            "Who wrote Hamlet?",
            "Hamlet was written by William Shakespeare.",
            "The train leaves at nine from platform 4.",
        ),
        ("Can I return my shoes?", "Shoes can be returned within 30 days.", "Photosynthesis makes sugar from light."),
    ],
)
def test_an_answer_to_the_question_is_relevant_and_another_is_not(
    model: GroundingModel, query: str, answer: str, other: str
) -> None:
    assert model.relevance(query, answer) > 0.7
    assert model.relevance(query, other) < 0.3


def test_the_same_texts_give_the_same_score(model: GroundingModel) -> None:
    answer = "Lorries pay a toll of 6 euros."
    assert model.grounding(SOURCE, answer) == model.grounding(SOURCE, answer)
    assert model.relevance("What is the toll?", answer) == model.relevance("What is the toll?", answer)


class Counting(Embedder):
    """Counts what is embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.count += len(texts)
        return super().embed(texts)


def test_work_is_bounded_by_what_is_embedded() -> None:
    embedder = Counting()
    source = " ".join(f"Boat {number} left the harbour in week {number * 3}." for number in range(9_000))
    read = read_source(source)
    assert len(read.pieces) <= MAX_PIECES
    assert len(read_claims(source)) <= MAX_CLAIMS
    GroundingModel(embedder).grounding(source, source)
    assert embedder.count <= MAX_EMBEDDED_PIECES + MAX_CLAIMS


def test_a_long_source_still_supports_and_costs_a_bounded_time(model: GroundingModel) -> None:
    filler = " ".join(
        f"In week {number} the harbour office counted {number * 7} boats and some geese." for number in range(1400)
    )
    source = f"{filler[:50_000]} {SOURCE} {filler[50_000:98_000]}"
    answer = "The Hartwell Bridge was opened in 1932. " * 3
    started = time.process_time()
    assert model.grounding(source, answer) > 0.7
    assert model.grounding(source, "The harbour office was sold to a pop singer from Brazil.") < 0.5
    assert model.grounding("x. " * 200_000, "word. " * 4_000) < 0.5
    assert time.process_time() - started < 6
