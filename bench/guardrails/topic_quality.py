"""How well denied topics are told: CLINC150 domains and Banking77 intents as topics.

    python -m bench.guardrails.topic_quality --data FOLDER

For every topic: AUC, recall at 1 % and 5 % false positives, and precision, recall, F1 and false positives at score 0.5,
as means over the topics. "metric from other domains" uses a metric that saw none of the topic's domain; the shipped one
was learnt from all domains of CLINC150 train. Results go to `topic_results.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.topic_model import POOL_FILE, TopicDefinition, TopicModel
from bench.guardrails.build_topic_pool import metric
from bench.guardrails.corpus import read_rows

RESULTS = Path(__file__).parent / "topic_results.json"
SEED = 7

LONG = {
    "travel": (
        "Travel",
        (
            "Planning and booking trips: flights, hotels, rental cars, luggage, visas, vaccines, exchange "
            "rates, time zones, travel warnings and translating phrases for a trip abroad."
        ),
    ),
    "banking": (
        "Banking",
        (
            "Questions about a bank account: balance, transfers, transactions, bills, frozen or blocked "
            "accounts, fraud, PIN, routing number, cheques and interest rates."
        ),
    ),
    "utility": (
        "Everyday utilities",
        (
            "Simple assistant tools: alarms, timers, the time, the date, weather, arithmetic, unit "
            "conversion, spelling, word definitions, calls, text messages, dice and coins."
        ),
    ),
    "small_talk": (
        "Small talk",
        (
            "Chit-chat with the assistant about itself: greetings, thanks, goodbyes, jokes, fun facts, its "
            "name, age, hobbies, pets, origin, its makers and the meaning of life."
        ),
    ),
    "work": (
        "Work and payroll",
        (
            "Job matters: payday, salary, direct deposit, taxes and W2 forms, health insurance, 401k, "
            "vacation days and time off requests, meetings and public holidays."
        ),
    ),
    "credit_cards": (
        "Credit cards",
        (
            "Questions about credit cards: limits, APR, credit score, rewards, lost, damaged or declined "
            "cards, new card applications, expiration and foreign fees."
        ),
    ),
    "meta": (
        "Assistant settings",
        (
            "Controlling the assistant itself: its language, name, accent, volume, speed, whisper mode, "
            "syncing devices, resetting, repeating, cancelling, yes, no and maybe."
        ),
    ),
    "home": (
        "Home assistant",
        (
            "Household help: calendar, reminders, to-do and shopping lists, orders, playing music, playlists "
            "and smart home devices such as lights."
        ),
    ),
    "auto_and_commute": (
        "Cars and commuting",
        (
            "Driving and cars: directions, distance, traffic, fuel, mileage, tires, oil changes, "
            "maintenance, jump starting a battery, taxis and current location."
        ),
    ),
    "kitchen_and_dining": (
        "Cooking and restaurants",
        (
            "Food, recipes, ingredients, substitutions, cooking times, calories and nutrition, meal ideas, "
            "and restaurant suggestions, reviews and reservations."
        ),
    ),
}
SHORT = {
    "travel": ("Travel", ("Requests about travel such as flights, hotels, car rental, visas and translation.")),
    "banking": ("Banking", ("Anything to do with bank accounts, transfers, bills and fraud on an account.")),
    "utility": ("Utility", ("Utility functions: time, date, weather, calculations, alarms, calls and texts.")),
    "small_talk": (
        "Small talk",
        (
            "Casual conversation with the assistant, for example greetings, jokes and personal questions "
            "about the assistant."
        ),
    ),
    "work": ("Work", "Employment questions: pay, taxes, insurance, time off and meetings."),
    "credit_cards": ("Credit cards", "Questions regarding credit cards, credit scores, limits and rewards."),
    "meta": ("Meta", ("Commands about the assistant's own settings, like language, volume, name or repeating.")),
    "home": ("Home", ("Home and household tasks: smart devices, music, shopping lists, reminders and calendar.")),
    "auto_and_commute": (
        "Auto and commute",
        ("Questions about cars, driving, traffic, directions and car maintenance."),
    ),
    "kitchen_and_dining": (
        "Kitchen and dining",
        ("Questions about cooking, recipes, ingredients, nutrition and restaurants."),
    ),
}
EXAMPLES = {
    "travel": (
        "book a flight from boston to denver for monday",
        "what visa do i need to visit china",
        "how do you say thank you in french",
        "did the airline find my lost suitcase",
        "what is the dollar worth in euros",
    ),
    "banking": (
        "how much money is in my checking account",
        "transfer 100 dollars to savings",
        "why is my account frozen",
        "when is my electric bill due",
        "what is my routing number",
    ),
    "utility": (
        "set an alarm for 6 am",
        "what is the weather like today",
        "how many inches are in a foot",
        "flip a coin for me",
        "send a text to my mom",
    ),
    "small_talk": (
        "tell me a joke",
        "what is your name",
        "thanks for your help",
        "are you a robot or a human",
        "hello, how are you",
    ),
    "work": (
        "how many vacation days do i have left",
        "when is my next payday",
        "schedule a meeting with bob",
        "where do i get my w2",
        "does my health insurance cover dental",
    ),
    "credit_cards": (
        "what is my credit limit",
        "how do i raise my credit score",
        "my card was declined",
        "i lost my visa card",
        "how many reward points do i have",
    ),
    "meta": (
        "speak slower please",
        "change your language to spanish",
        "turn up your volume",
        "repeat that please",
        "no, that is not right",
    ),
    "home": (
        "add milk to my shopping list",
        "turn off the kitchen lights",
        "play the next song",
        "remind me to water the plants",
        "what is on my calendar today",
    ),
    "auto_and_commute": (
        "how do i change the oil in my car",
        "what is the traffic like on the way to work",
        "my tire pressure is low",
        "get me an uber",
        "how far is the airport",
    ),
    "kitchen_and_dining": (
        "how do i make lasagna",
        "how many calories are in an apple",
        "book a table for two at an italian restaurant",
        "can i use oil instead of butter",
        "is the steak house any good",
    ),
}


def _topics(definitions: dict[str, tuple[str, str]], *, examples: bool) -> dict[str, TopicDefinition]:
    return {
        key: TopicDefinition(name=name, definition=text, examples=EXAMPLES[key] if examples else ())
        for key, (name, text) in definitions.items()
    }


def _figures(scores: NDArray[np.float64], on: NDArray[np.bool_]) -> dict[str, float]:
    yes, no = scores[on], scores[~on]
    hits, false = int((yes >= 0.5).sum()), int((no >= 0.5).sum())
    return {
        "auc": float(roc_auc_score(on, scores)),
        "recall_at_1": float((yes > np.quantile(no, 0.99)).mean()),
        "recall_at_5": float((yes > np.quantile(no, 0.95)).mean()),
        "precision": hits / max(hits + false, 1),
        "recall": hits / len(yes),
        "f1": 2 * hits / max(hits + false + len(yes), 1),
        "false_positives": false / len(no),
    }


def _measure(
    model: TopicModel, topics: dict[str, TopicDefinition], texts: list[str], labels: list[str]
) -> dict[str, dict[str, float]]:
    scores = np.asarray(model.scores(model.prepare(list(topics.values())), texts))
    known = np.asarray(labels)
    return {key: _figures(scores[:, place], known == key) for place, key in enumerate(topics)}


def _mean(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([row[key] for row in rows.values()])), 3) for key in next(iter(rows.values()))}


class _Remembering(Embedder):
    """Embeds every text once: the same rows are scored many times here."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, super().embed(new), strict=True))
        return np.asarray([self._known[text] for text in texts]).reshape(len(texts), self.SIZE)


def _without(embedder: Embedder, folder: Path, domains: set[str], target: Path) -> TopicModel:
    """A model whose metric was learnt without some domains."""
    rows = [row for row in read_rows(folder, "topic_clinc150_train") if row["domain"] not in domains | {"oos"}]
    learnt = metric(embedder.embed([row["text"] for row in rows]), [row["domain"] for row in rows])
    with np.load(POOL_FILE) as file:
        parts = {key: file[key] for key in file.files}
    parts["metric"] = learnt[np.triu_indices(len(learnt))]
    np.savez(target, **parts)
    return TopicModel(embedder, pool_file=target)


def _banking(folder: Path, model: TopicModel) -> dict[str, float]:
    """Every intent is a topic: its name, and five rows that are then left out; judged among the other intents."""
    chance = random.Random(SEED)
    by_label: dict[str, list[str]] = {}
    for row in read_rows(folder, "topic_banking77_train"):
        by_label.setdefault(row["label"], []).append(row["text"])
    topics: dict[str, TopicDefinition] = {}
    texts: list[str] = []
    labels: list[str] = []
    for label, rows in sorted(by_label.items()):
        chance.shuffle(rows)
        name = label.replace("_", " ")
        topics[label] = TopicDefinition(name=name, definition=f"Questions about {name}", examples=tuple(rows[:5]))
        texts += rows[5:25]
        labels += [label] * len(rows[5:25])
    return _mean(_measure(model, topics, texts, labels))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder: Path = parser.parse_args().data
    embedder = _Remembering()
    model = TopicModel(embedder)
    rows = read_rows(folder, "topic_clinc150_val")
    texts, labels = [row["text"] for row in rows], [row["domain"] for row in rows]
    variants = {
        "long definition, 5 examples": _topics(LONG, examples=True),
        "short definition, 5 examples": _topics(SHORT, examples=True),
        "long definition only": _topics(LONG, examples=False),
        "short definition only": _topics(SHORT, examples=False),
    }
    keys = list(LONG)
    halves = [set(keys[::2]), set(keys[1::2])]
    with tempfile.TemporaryDirectory() as place:
        apart = [_without(embedder, folder, half, Path(place) / f"{turn}.npz") for turn, half in enumerate(halves)]
    table: dict[str, dict[str, float]] = {}
    each: dict[str, dict[str, float]] = {}
    for name, topics in variants.items():
        found = _measure(model, topics, texts, labels)
        each = each or found
        table[f"CLINC150 val, {name}"] = _mean(found)
        honest: dict[str, dict[str, float]] = {}
        for half, other in zip(halves, apart, strict=True):
            honest |= _measure(other, {key: topics[key] for key in keys if key in half}, texts, labels)
        table[f"CLINC150 val, {name}, metric from other domains"] = _mean(honest)
    table["Banking77, intent name, 5 rows"] = _banking(folder, model)
    benign = [row["text"] for row in read_rows(folder, "pi_wildguard_benign_dev")]
    raised = np.asarray(model.scores(model.prepare(list(variants["long definition, 5 examples"].values())), benign))
    alarms = {key: round(float((raised[:, place] >= 0.5).mean()), 4) for place, key in enumerate(keys)}
    for name, row in table.items():
        print(f"{name:62}", "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    for name, row in each.items():
        print(f"  {name:20}", "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    print("WildGuard benign prompts, share flagged per CLINC150 topic:", alarms)
    plain = TopicModel(Embedder())
    costs: dict[str, float] = {}
    started = time.process_time()
    prepared = plain.prepare(list(variants["long definition, 5 examples"].values()))
    costs["prepare, ms a topic"] = round((time.process_time() - started) * 1000 / len(keys), 1)
    for size in (64, 256, 1024):
        text = ("The quick brown fox asked whether the hotel had a table for two by the window. " * 20)[:size]
        started = time.process_time()
        for _ in range(10):
            plain.scores(prepared, [text])
        costs[f"{size} characters, 10 topics, ms"] = round((time.process_time() - started) * 100, 1)
    print("cost:", costs)
    RESULTS.write_text(
        json.dumps({"means": table, "by_topic": each, "benign": alarms, "cost_cpu": costs}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
