"""Contextual grounding and relevance on a CPU: is an answer supported by a source, and does it answer the question?

Each sentence of the answer is compared with the source by counted figures (`grounding_features`) and by its cosine with
the pieces of the source that share most words with it. The worst and the mean sentence go through a small ensemble of
trees, in which more support never lowers the score. `grounding_weights.npz` was learnt from BEGIN (CC-BY-SA-4.0,
https://github.com/google/BEGIN-dataset) and HaluEval (MIT, https://github.com/RUCAIBox/HaluEval), both read
2026-11-24, and from sentences of theirs with a number, a name, a word or a negation changed. What needs inference, not
comparison, is beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.grounding_features import NAMES, nearest, read_claims, read_source, word_figures
from bedplate_guardrails.models.words import sentences, stems

WEIGHTS_FILE = Path(__file__).parent / "grounding_weights.npz"

MAX_ANSWER_CHARS = 20_000
MAX_QUERY_CHARS = 4_000
NEAR_PIECES = 4
MAX_EMBEDDED_PIECES = 96

_Vectors = NDArray[np.float32]


class GroundingModel:
    """Scores answers. Made once, it is read-only, and threads may share it.

    Work is bounded: of a source the first 100,000 characters count, of an answer 20,000 (in at most 40 claims), of a
    query 4,000; at most 96 pieces of the source and 40 claims are embedded, some 7 ms each.
    """

    def __init__(self, embedder: Embedder, *, weights_file: Path = WEIGHTS_FILE) -> None:
        self._embedder = embedder
        with np.load(weights_file, allow_pickle=False) as file:
            self._feature = np.asarray(file["feature"], dtype=np.int64)
            self._threshold = np.asarray(file["threshold"], dtype=np.float64)
            self._left = np.asarray(file["left"], dtype=np.int64)
            self._right = np.asarray(file["right"], dtype=np.int64)
            self._value = np.asarray(file["value"], dtype=np.float64)
            self._base = float(file["base"])
            self._relevance = np.asarray(file["relevance"], dtype=np.float64)

    def grounding(self, source: str, answer: str) -> float:
        """How far the source supports the answer, 0 to 1: above 0.7 it does, below 0.5 something is made up.

        An answer without a word or number scores 1; with an empty source all that says something scores 0.
        """
        figures = self.figures(source, answer)
        if figures is None:
            return 1.0
        if not source.strip():
            return 0.0
        return self._trees(np.concatenate([figures.min(axis=0), figures.mean(axis=0)]))

    def relevance(self, query: str, answer: str) -> float:
        """How far the answer is about what the query asks, 0 to 1. It may be wrong and still be relevant.

        An empty answer scores 0, an empty query 1.
        """
        if not any(char.isalnum() for char in query):
            return 1.0
        if not any(char.isalnum() for char in answer):
            return 0.0
        figures = np.asarray([*self.relevance_figures(query, answer), 1.0])
        return 1 / (1 + math.exp(-float(figures @ self._relevance)))

    def figures(self, source: str, answer: str) -> NDArray[np.float64] | None:
        """The figures `NAMES`, a row per claim of the answer; `None` where it claims nothing."""
        claims = read_claims(answer[:MAX_ANSWER_CHARS])
        if not claims:
            return None
        read = read_source(source)
        near = [nearest(read, claim, NEAR_PIECES) for claim in claims]
        share = max(1, MAX_EMBEDDED_PIECES // len(claims))
        wanted = sorted({place for places in near for place in places[:share]})
        vectors = dict(zip(wanted, self._embedder.embed([read.pieces[place].text for place in wanted]), strict=True))
        rows: list[list[float]] = []
        for claim, places, vector in zip(claims, near, self._embedder.embed(claims), strict=True):
            cosines = _cosines(vector, [vectors[place] for place in places[:share]])
            rows.append([*word_figures(read, claim, places), *cosines])
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(NAMES))

    def relevance_figures(self, query: str, answer: str) -> list[float]:
        """Cosine of the query with the answer, its best sentence's, and the share of the query's words it repeats."""
        query, answer = query[:MAX_QUERY_CHARS], answer[:MAX_ANSWER_CHARS]
        parts = list(sentences(answer))[:40]
        asked = self._embedder.embed([query, *list(sentences(query))[-3:]])
        whole = self._embedder.embed([answer])[0]
        best = float((asked @ self._embedder.embed(parts).T).max())
        wanted = stems(query)
        shared = len(wanted & stems(answer)) / len(wanted) if wanted else 0.0
        return [float((asked @ whole).max()), max(best, float(asked[0] @ whole)), shared]

    def _trees(self, figures: NDArray[np.float64]) -> float:
        total = self._base
        for tree in range(len(self._feature)):
            node = 0
            while self._left[tree, node] >= 0:
                below = figures[self._feature[tree, node]] <= self._threshold[tree, node]
                node = int(self._left[tree, node] if below else self._right[tree, node])
            total += float(self._value[tree, node])
        return 1 / (1 + math.exp(-total))


def _cosines(claim: _Vectors, pieces: Sequence[_Vectors]) -> tuple[float, float]:
    """The best piece's cosine, and that of all pieces together."""
    if not pieces:
        return 0.0, 0.0
    together = np.sum(pieces, axis=0)
    together = together / max(float(np.linalg.norm(together)), 1e-9)
    return max(float(claim @ piece) for piece in pieces), float(claim @ together)


__all__ = ["GroundingModel"]
