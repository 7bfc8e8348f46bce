"""Denied topics on a CPU: how much a text is about a topic that a policy describes in its own words.

A topic is taken apart into prototypes: its name with the definition, every phrase of the definition, and its examples.
A text's raw likeness is a soft maximum of its cosines with the prototypes, in a space where a built-in pool of
everyday sentences is the origin and where what differs between texts of one subject counts less (`topic_pool.npz`; the
second part is learnt from CLINC150, CC-BY-3.0, https://github.com/clinc/oos-eval, read 2026-11-24), plus a share for
rare words in common. What likeness counts as "about the topic" is set per topic from the pool.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.words import stems

POOL_FILE = Path(__file__).parent / "topic_pool.npz"

WINDOW_CHARS = 300
OVERLAP_CHARS = 100

_SHARPNESS = 10.0
_WORDS_SHARE = 0.12
_USUAL_LIMIT = 0.215
_LEAST_LIMIT, _MOST_LIMIT = 0.15, 0.30
_LEAST_EXAMPLES = 3
_WIDE = 0.33
_NARROWNESS = 0.65
_STEEPNESS = 18.0

_EXCLUDED = re.compile(r"\b(?:except(?:ing)?(?: for)?|excluding|but not|not including|other than|unless)\b[^.;]*", re.I)
_CUT = re.compile(r"[,:;.()\n]|\b(?:and|or|such as|like|including|for example)\b", re.I)
_LEAD = re.compile(
    r"^(?:(?:any(?:thing)?|all|the|general|other|specific|inquir(?:y|ies)|enquir(?:y|ies)|questions?|requests?"
    r"|quer(?:y|ies)|conversations?|discussions?|commands?|statements?|content|advice|guidance|information"
    r"|recommendations?|suggestions?|help|topics?|matters?|text|messages?|to|do|with|about|regarding|concerning|on"
    r"|related|relating|of|for|that|which|asking|seeking|giving|providing|involv(?:es|ing)|such|as|like|including"
    r"|example|etc|e\.g\.|and|or|a|an|in)\s+)+",
    re.I,
)

_Vectors = NDArray[np.float32]


class TopicDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as a policy describes it. English does best; up to 5 examples of up to 100 characters are usual."""

    name: str
    definition: str
    examples: tuple[str, ...] = ()


class _Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic ready to be compared: its prototypes as unit vectors and as stems, and the likeness that counts."""

    vectors: _Vectors
    stems: tuple[frozenset[str], ...]
    limit: float


class PreparedTopics(msgspec.Struct, frozen=True, kw_only=True):
    """Topics that a `TopicModel` has prepared, in the order given. Read-only; only for the model that made it."""

    topics: tuple[_Topic, ...]


class TopicModel:
    """Scores texts against topics. Made once, it is read-only, and threads may share it."""

    def __init__(self, embedder: Embedder, *, pool_file: Path = POOL_FILE) -> None:
        self._embedder = embedder
        with np.load(pool_file, allow_pickle=False) as file:
            pool = np.asarray(file["embeddings"], dtype=np.float32)
            self._metric = _symmetric(np.asarray(file["metric"], dtype=np.float32), pool.shape[1])
            texts = bytes(file["texts"]).decode().split("\n")
        self._origin = pool.mean(axis=0)
        self._pool = self._placed(pool)
        self._pool_stems = [frozenset(stems(text)) for text in texts]
        self._counts = Counter(one for row in self._pool_stems for one in row)

    def prepare(self, topics: Sequence[TopicDefinition]) -> PreparedTopics:
        """The topics ready for `scores`. Costs some 6 ms per phrase and example; worth keeping for a policy."""
        return PreparedTopics(topics=tuple(self._prepared(topic) for topic in topics))

    def scores(self, prepared: PreparedTopics, texts: Sequence[str]) -> list[list[float]]:
        """For every text, in order, a score from 0 to 1 per topic, in the topics' order: from 0.5 on it is discussed.

        A text longer than `WINDOW_CHARS` is read in windows that overlap, and the highest score counts; work is linear
        in the text. A text without a word scores 0.
        """
        windows = [list(_windows(text)) for text in texts]
        flat = [window for row in windows for window in row]
        placed = self._placed(self._embedder.embed(flat))
        flat_stems = [frozenset(stems(window)) for window in flat]
        columns = [self._likeness(topic, placed, flat_stems) - topic.limit for topic in prepared.topics]
        results: list[list[float]] = []
        start = 0
        for row in windows:
            end = start + len(row)
            results.append([_share(float(column[start:end].max())) if row else 0.0 for column in columns])
            start = end
        return results

    def _prepared(self, topic: TopicDefinition) -> _Topic:
        prototypes = list(dict.fromkeys(_prototypes(topic)))
        vectors = self._placed(self._embedder.embed(prototypes))
        bare = _Topic(vectors=vectors, stems=tuple(frozenset(stems(one)) for one in prototypes), limit=0.0)
        pool = self._likeness(bare, self._pool, self._pool_stems)
        # What is far out in the pool may well be about the topic, so the limit comes from the pool's middle, and only
        # half of it: the other half is what suits most topics.
        middle, upper = float(np.median(pool)), float(np.quantile(pool, 0.84))
        of_pool = min(max(middle + 3 * (upper - middle), _LEAST_LIMIT), _MOST_LIMIT)
        limit = (of_pool + _USUAL_LIMIT) / 2
        # Examples that are much alike describe a narrow topic: its neighbours are not it, so more likeness is asked.
        places = [place for place, one in enumerate(prototypes) if one in topic.examples]
        if len(places) >= _LEAST_EXAMPLES:
            alike = float(np.mean([self._without(bare, place) for place in places]))
            limit += _NARROWNESS * max(0.0, alike - _WIDE)
        return _Topic(vectors=vectors, stems=bare.stems, limit=limit)

    def _without(self, topic: _Topic, place: int) -> float:
        """How like the rest of its topic a prototype is."""
        rest = _Topic(
            vectors=np.delete(topic.vectors, place, axis=0),
            stems=topic.stems[:place] + topic.stems[place + 1 :],
            limit=0.0,
        )
        return float(self._likeness(rest, topic.vectors[place : place + 1], [topic.stems[place]])[0])

    def _placed(self, vectors: _Vectors) -> _Vectors:
        moved = (vectors - self._origin) @ self._metric
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        return (moved / np.maximum(lengths, 1e-9)).astype(np.float32)

    def _likeness(self, topic: _Topic, placed: _Vectors, text_stems: Sequence[frozenset[str]]) -> NDArray[np.float64]:
        cosines = (placed @ topic.vectors.T).astype(np.float64)
        soft = np.log(np.exp(_SHARPNESS * cosines).mean(axis=1)) / _SHARPNESS
        shared = np.asarray([self._shared(topic, one) for one in text_stems], dtype=np.float64)
        return soft + _WORDS_SHARE * shared

    def _shared(self, topic: _Topic, text: frozenset[str]) -> float:
        """How much of a text's and a prototype's words they share, rare words first: 0..1, the best prototype's."""
        own = self._weight(text)
        best = 0.0
        for prototype in topic.stems:
            common = text & prototype
            if common:
                best = max(best, self._weight(common) / math.sqrt(own * self._weight(prototype)))
        return best

    def _weight(self, of: frozenset[str]) -> float:
        total = len(self._pool_stems) + 1
        return sum(math.log(total / (self._counts[one] + 0.5)) for one in sorted(of))


def _prototypes(topic: TopicDefinition) -> Iterator[str]:
    """The texts that stand for a topic. What a definition excludes stands for nothing."""
    definition = _EXCLUDED.sub(" ", topic.definition)
    yield f"{topic.name}: {definition}"
    yield from (example for example in topic.examples if example.strip())
    for piece in _CUT.split(definition):
        phrase = _LEAD.sub("", f"{piece.strip()} ", count=1).strip()
        if len(phrase) > 2:
            yield phrase


def _windows(text: str) -> Iterator[str]:
    """Pieces of at most `WINDOW_CHARS` characters, cut at spaces, that overlap; none without a letter or digit."""
    text = " ".join(text.split())
    start = 0
    while len(text) - start > WINDOW_CHARS:
        space = text.rfind(" ", start + WINDOW_CHARS // 2, start + WINDOW_CHARS)
        end = space if space > 0 else start + WINDOW_CHARS
        if any(char.isalnum() for char in text[start:end]):
            yield text[start:end]
        back = text.find(" ", end - OVERLAP_CHARS, end)
        start = back + 1 if back > 0 else end - OVERLAP_CHARS
    if any(char.isalnum() for char in text[start:]):
        yield text[start:]


def _symmetric(upper: _Vectors, size: int) -> _Vectors:
    whole = np.zeros((size, size), dtype=np.float32)
    whole[np.triu_indices(size)] = upper
    return whole + np.triu(whole, 1).T


def _share(above: float) -> float:
    return round(1 / (1 + math.exp(-_STEEPNESS * above)), 6)


__all__ = ["PreparedTopics", "TopicDefinition", "TopicModel"]
