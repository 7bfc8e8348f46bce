"""Scores for the content filters and for prompt attacks, by a small model on the CPU.

Per window of a text two heads judge each label: a linear one on hashed n-grams and small networks on the sentence
embedding. A stacker weighs them, for prompt attacks with the shapes of `attack_shapes`. The highest window counts.

It is a basic filter, made for English with some German, French and Spanish; a judge model is better at model answers
and at what is only implied. Trained by `bench/guardrails/train_content.py`; what it reaches on data it was not
trained on is in `bench/guardrails/content_results.json`.

The weights derive from these sets: OpenAI moderation evaluation, Davidson et al. hate speech, ToxiGen, Surge AI
toxicity and profanity, AdvBench, GPTFuzzer, jailbreak_llms, BIPIA, PIGuard, HaluEval, presidio-research (MIT);
deepset prompt-injections (Apache-2.0); AILuminate demo prompts, Banking77 (CC-BY-4.0); CLINC150 (CC-BY-3.0); BEGIN
(CC-BY-SA-4.0); WildGuard (ODC-BY); and sentences written for this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bedplate_guardrails.models.embedder import MISSING, Embedder

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ImportError(MISSING) from error

from bedplate_guardrails.models.attack_shapes import hidden_texts, shapes
from bedplate_guardrails.models.ngrams import counts, normalised, weighted, windows

LABELS = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE", "MISCONDUCT", "PROMPT_ATTACK")
LEVELS = (0.0, 0.5, 0.75, 0.9, 1.0)
WEIGHTS = Path(__file__).parent / "weights" / "content.npz"


class ContentModel:
    """Calibrated scores of texts. Made once, it is read-only; a text's scores depend on that text alone."""

    def __init__(self, embedder: Embedder | None = None, *, weights: Path = WEIGHTS) -> None:
        """Load the weights (some 20 MB in memory with the n-gram table) and, where none is given, an embedder.

        Raises `ImportError` where a part of the extra `models` is missing.
        """
        self._embedder = embedder or Embedder()
        with np.load(weights, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        self.version = str(arrays["version"])
        self._idf = arrays["idf"].astype(np.float32)
        self._linear = arrays["linear"].astype(np.float32)
        self._linear_bias = arrays["linear_bias"].astype(np.float32)
        self._hidden = arrays["hidden"].astype(np.float32)
        self._hidden_bias = arrays["hidden_bias"].astype(np.float32)
        self._output = arrays["output"].astype(np.float32)
        self._output_bias = arrays["output_bias"].astype(np.float32)
        self._stack = arrays["stack"].astype(np.float32)
        self._cuts = arrays["cuts"].astype(np.float64)

    def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text, in order, every label's score from 0 to 1.

        From 0.5 on a label holds with low confidence, from 0.75 with medium, from 0.9 with high. The cuts were set on
        a fixed pool of harmless text, half of it hard, scored by fits that had not seen it: about 5 % of it reaches
        0.5 and 1 % reaches 0.75 in any of the five content labels, 0.1 % reaches 0.9 in each; the same rates hold for
        PROMPT_ATTACK alone. Hard text of a new kind reaches 0.5 far more often (see the results file). A text without
        a letter or digit scores 0.

        Time is linear in the characters, some 30 ms per 300 on one slow core, nearly all of it the embedding.
        """
        return [self._score(text) for text in texts]

    def logits(self, text: str) -> NDArray[np.float32]:
        """The uncalibrated values behind `scores`, one per label: the maximum over the windows."""
        normal = normalised(text)
        pieces = list(windows(normal))
        for hidden in hidden_texts(text, normal):
            pieces += windows(normalised(hidden))
        vectors = self._embedder.embed(pieces)
        best = np.full(len(LABELS), -np.inf, dtype=np.float32)
        for index, piece in enumerate(pieces):
            places, number = counts(piece)
            grams = weighted(places, number, self._idf) @ self._linear[places] + self._linear_bias
            network = self._network(vectors[index])
            shape = shapes(piece)
            stack = self._stack
            window = stack[:, 0] * grams + stack[:, 1] * network + stack[:, 2:-1] @ shape + stack[:, -1]
            best = np.maximum(best, window)
        return best.astype(np.float32)

    def _score(self, text: str) -> dict[str, float]:
        if not any(char.isalnum() for char in text):
            return dict.fromkeys(LABELS, 0.0)
        values = self.logits(text)
        return {
            label: float(np.interp(float(values[index]), self._cuts[index], LEVELS))
            for index, label in enumerate(LABELS)
        }

    def _network(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        hidden = np.maximum(np.einsum("e,neh->nh", vector, self._hidden) + self._hidden_bias, 0)
        each = np.einsum("nh,nho->no", hidden, self._output) + self._output_bias
        return cast(NDArray[np.float32], each.mean(axis=0))


__all__ = ["LABELS", "LEVELS", "WEIGHTS", "ContentModel"]
