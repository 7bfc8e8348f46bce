"""Rows for grounding: labelled answers, and true sentences of their sources left true or made untrue."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from bedplate_guardrails.models.words import STOP_WORDS, sentences
from bench.guardrails.corpus import read_rows

_NAME = re.compile(r"(?<![.!?:\"“] )(?<!^)\b[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_VERB = re.compile(r"\b(is|was|are|were|has|have|had|can|will|did|does)\b")
_NEGATED = re.compile(r"\b(not|no|never|none|without)\b|n't\b")
_GLUED = re.compile(r"(?<=[a-z)0-9])\.(?=[A-Z])")
_LEADS = ("", "", "According to the text, ", "Yes, ", "The source says that ", "In short, ", "It is stated that ")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with its source; `grounded` is the label, `kind` how it came about."""

    source: str
    query: str
    answer: str
    grounded: bool
    kind: str


def labelled(folder: Path, name: str) -> list[Row]:
    """A labelled set in file order."""
    return [
        Row(
            source=_GLUED.sub(". ", row["context"]),
            query=row["query"],
            answer=row["claim"],
            grounded=bool(row["label"]),
            kind="labelled",
        )
        for row in read_rows(folder, name)
    ]


def made(rows: list[Row], chance: random.Random) -> list[Row]:
    """Answers made from the rows' sources: a true one or two, and up to three with something changed."""
    found: list[Row] = []
    for place, row in enumerate(rows):
        facts = [one for one in sentences(row.source) if len(one) > 25]
        if not facts:
            continue
        others = [rows[one].source for one in chance.sample(range(len(rows)), min(12, len(rows))) if one != place]
        source = row.source if chance.random() < 0.6 else " ".join([row.source, *others[:5]])
        true = [_restated(chance, one) for one in facts]

        def add(answer: str, kind: str, row: Row = row, source: str = source) -> None:
            grounded = kind == "true"
            found.append(Row(source=source, query=row.query, answer=answer, grounded=grounded, kind=kind))

        add(chance.choice(true), "true")
        if len(true) > 1:
            add(" ".join(true[:4]), "true")
            pair = chance.sample(facts, 2)
            add(f"{_clause(pair[0])} and {_clause(pair[1], lower=True)}.", "true")
        for kind in chance.sample(sorted(_CHANGES), 3):
            changed = _CHANGES[kind](chance, chance.choice(facts), source, " ".join(others))
            if changed is None:
                continue
            changed = _restated(chance, changed) if chance.random() < 0.3 else changed
            if len(facts) > 1 and chance.random() < 0.35:
                pair = [chance.choice(facts), changed]
                chance.shuffle(pair)
                changed = " ".join(pair)
            add(changed, kind)
    return found


def _clause(sentence: str, *, lower: bool = False) -> str:
    """A sentence up to its second comma, without its end."""
    start = ",".join(re.sub(r"\s*\([^)]*\)", "", sentence).split(",")[:2]).rstrip(" .!?,;")
    return start[:1].lower() + start[1:] if lower else start


def _restated(chance: random.Random, sentence: str) -> str:
    """A true sentence said a little differently."""
    if chance.random() < 0.5:
        sentence = re.sub(r"\s*\([^)]*\)", "", sentence)
    parts = sentence.split(", ")
    if len(parts) > 2 and chance.random() < 0.5:
        sentence = ", ".join(parts[:-1]) + "."
    lead = chance.choice(_LEADS)
    sentence = lead + (sentence[:1].lower() if lead else sentence[:1]) + sentence[1:]
    return sentence.lower() if chance.random() < 0.2 else sentence


def _number(chance: random.Random, sentence: str, source: str, _others: str) -> str | None:
    places = list(re.finditer(r"\d+", sentence))
    if not places:
        return None
    match = chance.choice(places)
    value = new = int(match.group()[:9])
    for _ in range(50):
        if new != value and not re.search(rf"\b{new}\b", source):
            return sentence[: match.start()] + str(new) + sentence[match.end() :]
        new = max(1, value + chance.choice([-1, 1]) * chance.randint(1, max(3, min(value // 3, 40))))
    return None


def _name(chance: random.Random, sentence: str, source: str, others: str) -> str | None:
    places = list(_NAME.finditer(sentence))
    names = [one for one in _NAME.findall(others) if one not in source]
    if not places or not names:
        return None
    match = chance.choice(places)
    return sentence[: match.start()] + chance.choice(names) + sentence[match.end() :]


def _negation(chance: random.Random, sentence: str, _source: str, _others: str) -> str | None:
    match = _VERB.search(sentence)
    if match is None or _NEGATED.search(sentence):
        return None
    word = " not" if chance.random() < 0.7 else " never"
    return sentence[: match.end()] + word + sentence[match.end() :]


def _word(chance: random.Random, sentence: str, source: str, others: str) -> str | None:
    places = [one for one in re.finditer(r"\b[a-z]{4,}\b", sentence) if one.group() not in STOP_WORDS]
    new = [one for one in re.findall(r"\b[a-z]{4,}\b", others) if one not in STOP_WORDS and one not in source]
    if len(places) < 3 or not new:
        return None
    for match in sorted(chance.sample(places, max(1, len(places) // 5)), key=lambda one: -one.start()):
        sentence = sentence[: match.start()] + chance.choice(new) + sentence[match.end() :]
    return sentence


def _unrelated(chance: random.Random, _sentence: str, _source: str, others: str) -> str | None:
    found = [one for one in sentences(others) if len(one) > 25 and one not in _source]
    return chance.choice(found) if found else None


_CHANGES: dict[str, Callable[[random.Random, str, str, str], str | None]] = {
    "name": _name,
    "negation": _negation,
    "number": _number,
    "unrelated": _unrelated,
    "word": _word,
}

QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I reset my password?", "Open the settings page, choose security, and click on reset password."),
    ("Who wrote Pride and Prejudice?", "Jane Austen wrote it; the novel came out in 1813."),
    ("What time does the shop open?", "We open at nine in the morning from Monday to Saturday."),
    ("Can I return shoes after a month?", "Returns are accepted within 60 days if the shoes are unworn."),
    (
        "Why is the sky blue?",
        "Air scatters short wavelengths of sunlight more than long ones, so blue light reaches us.",
    ),
    ("How many planets are there?", "Eight planets orbit the Sun."),
    ("What does the warranty cover?", "It covers defects of material and workmanship for two years."),
    ("Is breakfast included in the room price?", "Yes, a buffet breakfast is part of every booking."),
    ("How long does delivery take?", "Parcels usually arrive within three to five working days."),
    ("What is the boiling point of water?", "At sea level water boils at 100 degrees Celsius."),
    ("How can I lower my blood pressure?", "Less salt, regular exercise and less alcohol help to bring it down."),
    (
        "What is a hash table?",
        "A data structure that maps keys to values through a hash function, with constant average look-up.",
    ),
    ("When was the Berlin Wall torn down?", "The wall fell on 9 November 1989."),
    (
        "How do plants make food?",
        "By photosynthesis they turn carbon dioxide and water into sugar with the help of light.",
    ),
    ("What is the interest rate on savings accounts?", "Our savings account pays 2.1 percent a year."),
    ("Do you ship to Canada?", "We deliver to Canada and Mexico for a flat fee of 20 dollars."),
    ("Which medicine helps with hay fever?", "Antihistamines such as cetirizine relieve the symptoms."),
    (
        "How do I cancel my subscription?",
        "Go to billing, select the plan and press cancel before the next renewal date.",
    ),
    ("What is the tallest mountain in Africa?", "Kilimanjaro, at 5,895 metres."),
    (
        "How do I make an omelette?",
        "Beat three eggs, pour them into a hot buttered pan and fold when they are almost set.",
    ),
    ("What causes earthquakes?", "They come from sudden slips between tectonic plates along faults."),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci."),
    ("How much does the premium plan cost?", "The premium plan is 15 euros per month, billed yearly."),
    ("Can I bring my dog to the hotel?", "Small dogs are welcome for an extra charge per night."),
    ("What is photosynthesis?", "It is the process by which green plants use sunlight to produce sugar and oxygen."),
    ("How do vaccines work?", "They train the immune system to recognise a germ without causing the illness."),
    ("Where can I park?", "There is a public garage across the street, free after six."),
    ("What is the population of Japan?", "About 124 million people live in Japan."),
    ("How do I sort a list in Python?", "Call sorted(items), or items.sort() to change the list in place."),
)
"""Questions with answers, written for this purpose; a question with another's answer is not relevant."""

__all__ = ["QUESTIONS", "Row", "labelled", "made"]
