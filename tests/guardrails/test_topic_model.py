"""Denied topics: what is about a topic and what is not, in the policy's own words."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

import numpy as np

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.topic_model import (
    POOL_FILE,
    WINDOW_CHARS,
    PreparedTopics,
    TopicDefinition,
    TopicModel,
)

TOPICS = (
    TopicDefinition(
        name="Investment advice",
        definition=(
            "Inquiries, guidance, or recommendations about the management or allocation of funds or assets with the "
            "goal of generating returns or achieving specific financial objectives."
        ),
        examples=(
            "Is investing in the stock market better than bonds?",
            "Should I invest in gold?",
            "Which mutual fund should I put my savings in?",
        ),
    ),
    TopicDefinition(
        name="Medical diagnosis",
        definition="Diagnosing illnesses, interpreting symptoms, or recommending medicines and doses.",
        examples=("What illness do I have if my chest hurts?", "How much ibuprofen should I take?"),
    ),
    TopicDefinition(
        name="Politics", definition="Elections, politicians, political parties and government policy.", examples=()
    ),
)
NAMES = [topic.name for topic in TOPICS]


@pytest.fixture(scope="module")
def model() -> TopicModel:
    return TopicModel(Embedder())


@pytest.fixture(scope="module")
def prepared(model: TopicModel) -> PreparedTopics:
    return model.prepare(TOPICS)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Should I buy shares of this company or keep my money in bonds?", "Investment advice"),
        ("What is the best way to invest 10,000 dollars for retirement?", "Investment advice"),
        ("Recommend a stock portfolio with high returns.", "Investment advice"),
        ("I would put 60 percent of your savings into an index fund and the rest into bonds.", "Investment advice"),
        ("I have a fever and a sore throat, what disease could it be?", "Medical diagnosis"),
        ("What dose of antibiotics should I take for an infection?", "Medical diagnosis"),
        ("Your symptoms suggest that you have bronchitis.", "Medical diagnosis"),
        ("Which party will win the election?", "Politics"),
        ("What do you think of the president's tax policy?", "Politics"),
    ],
)
def test_a_text_about_a_topic_reaches_a_half_on_that_topic_only(
    model: TopicModel, prepared: PreparedTopics, text: str, topic: str
) -> None:
    (row,) = model.scores(prepared, [text])
    assert [name for name, score in zip(NAMES, row, strict=True) if score >= 0.5] == [topic]


@pytest.mark.parametrize(
    "text",
    [
        "How do I bake sourdough bread?",
        "Write a poem about autumn leaves.",
        "Set a timer for ten minutes.",
        "Why does my Python loop never end?",
        "What is the capital of Australia?",
        "Thank you, that was very helpful.",
        "Book a table for two tonight.",
        "My order has not arrived yet.",
    ],
)
def test_a_text_about_something_else_stays_below_a_half(model: TopicModel, prepared: PreparedTopics, text: str) -> None:
    assert max(model.scores(prepared, [text])[0]) < 0.5


def test_at_most_two_in_a_hundred_everyday_texts_are_flagged(model: TopicModel, prepared: PreparedTopics) -> None:
    with np.load(POOL_FILE) as file:
        pool = bytes(file["texts"]).decode().split("\n")[::10]
    scores = np.asarray(model.scores(prepared, pool))
    on_topic = ("invest", "stock", "saving", "pension", "retire", "crypto", "budget", "medic", "pharma", "health",
                "headache", "allerg", "vitamin", "blood", "dentist", "hospital", "surgery", "vaccin", "first aid",
                "nurs", "elect", "politi", "government", "immigration", "diplomacy", "law", "bans", "rights", "union",
                "therapy", "side effects", "trade", "currency", "Cold War")  # fmt: skip
    plain = [row for row, text in zip(scores, pool, strict=True) if not any(word in text for word in on_topic)]
    assert len(plain) > 100
    assert (np.asarray(plain) >= 0.5).mean() <= 0.02


def test_a_topic_inside_a_long_text_is_found(model: TopicModel, prepared: PreparedTopics) -> None:
    filler = "The garden was quiet and the children played with a red ball near the old tree. " * 8
    question = "Should I invest my savings in the stock market or in bonds? "
    assert len(filler) > WINDOW_CHARS
    without, within = (row[0] for row in model.scores(prepared, [filler + filler, filler + question + filler]))
    assert without < 0.5 <= within


def test_what_a_definition_excludes_does_not_count(model: TopicModel) -> None:
    ways = ("Recipes, restaurants, and wine.", "Recipes, restaurants, but not wine.", "Recipes, restaurants.")
    topics = [TopicDefinition(name="Food", definition=definition) for definition in ways]
    ((named, excluded, unnamed),) = model.scores(model.prepare(topics), ["Which wine is best?"])
    assert excluded == pytest.approx(unnamed, abs=0.05)
    assert excluded < 0.5 < named


def test_scores_are_between_0_and_1_and_do_not_depend_on_neighbours(
    model: TopicModel, prepared: PreparedTopics
) -> None:
    texts = ["Should I invest in gold?", "", "   ", "?!", "\ud800 lone", "👩‍🚀" * 40, "a" * 5_000, "für Gäste", "x"]
    together = model.scores(prepared, texts)
    assert all(0 <= score <= 1 for row in together for score in row)
    assert [len(row) for row in together] == [len(TOPICS)] * len(texts)
    for row, text in zip(together, texts, strict=True):
        assert row == pytest.approx(model.scores(prepared, [text])[0], abs=2e-6)
    assert together[1] == together[2] == together[3] == [0.0] * len(TOPICS)
    alone = model.scores(model.prepare(TOPICS[:1]), texts[:1])
    assert alone[0][0] == pytest.approx(together[0][0])


def test_no_topics_and_no_texts(model: TopicModel, prepared: PreparedTopics) -> None:
    assert model.scores(prepared, []) == []
    assert model.scores(model.prepare([]), ["hello"]) == [[]]


def test_topics_of_any_form_can_be_prepared(model: TopicModel) -> None:
    odd = [
        TopicDefinition(name="!", definition="?"),
        TopicDefinition(name="日本", definition="寿司について", examples=("寿司", "寿司", " ")),
        TopicDefinition(name="x" * 100, definition="except for everything"),
    ]
    (row,) = model.scores(model.prepare(odd), ["hello there"])
    assert all(0 <= score <= 1 for score in row)
