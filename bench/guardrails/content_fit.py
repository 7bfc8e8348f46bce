"""Fits the parts of the content model: a linear head on n-grams, small networks on embeddings, a stacker, the cuts.

Unknown labels (`nan`) take no part. One thread, seconds per fit.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from bedplate_guardrails.models.attack_shapes import NAMES
from bedplate_guardrails.models.content_model import LABELS
from bedplate_guardrails.models.ngrams import CHAR_BUCKETS, SIZE
from bench.guardrails.content_features import Windows

Floats = NDArray[np.float32]

HIDDEN = 64
NETWORKS = 3


class Parts(msgspec.Struct, kw_only=True):
    """What a fit gives. `stack[label]` are the weights of (n-grams, network, shapes..., constant)."""

    idf: Floats
    linear: Floats
    linear_bias: Floats
    networks: list[tuple[Floats, Floats, Floats, Floats]]
    stack: Floats


def tfidf(matrix: sparse.csr_matrix, idf: Floats) -> sparse.csr_matrix:
    """As `ngrams.weighted`, for many texts."""
    value = (1 + np.log(matrix.data)) * idf[matrix.indices]
    word = matrix.indices >= CHAR_BUCKETS
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * 2 + word
    norm = np.sqrt(np.bincount(rows, weights=value * value, minlength=2 * matrix.shape[0]))
    value = value / np.maximum(norm[rows], 1e-9)
    return sparse.csr_matrix((value.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def idf_of(matrix: sparse.csr_matrix) -> Floats:
    """Smoothed inverse document frequency; buckets that no text falls into count as seen once."""
    seen = np.bincount(matrix.indices, minlength=SIZE)
    return (1 + np.log((1 + matrix.shape[0]) / (1 + np.maximum(seen, 1)))).astype(np.float32)


def balanced(labels: Floats, weight: Floats) -> Floats:
    """Weights per row and label: 0 where unknown; the positives of a label weigh together half of its negatives."""
    known = ~np.isnan(labels)
    weights = known * weight[:, None]
    positive = (weights * (labels == 1)).sum(axis=0)
    negative = (weights * (labels == 0)).sum(axis=0)
    factor = np.clip(0.5 * negative / np.maximum(positive, 1e-9), 1, 12)
    return (weights * np.where(labels == 1, factor, 1)).astype(np.float32)


def fit_linear(matrix: sparse.csr_matrix, labels: Floats, weights: Floats, *, decay: float) -> tuple[Floats, Floats]:
    """All labels' logistic regressions at once, by L-BFGS."""
    target = np.nan_to_num(labels).astype(np.float32)
    outputs = labels.shape[1]
    transposed = matrix.T.tocsr()

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = flat.reshape(SIZE + 1, outputs).astype(np.float32)
        logits = matrix @ both[:-1] + both[-1]
        value = weights * (np.logaddexp(0, logits) - target * logits)
        error = weights * (1 / (1 + np.exp(-logits)) - target)
        slope = np.vstack([transposed @ error + decay * both[:-1], error.sum(axis=0)])
        size = float(np.square(both[:-1], dtype=np.float64).sum())
        return float(value.sum(dtype=np.float64)) + decay / 2 * size, slope.ravel().astype(np.float64)

    start = np.zeros((SIZE + 1) * outputs)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 40, "maxcor": 6})
    both = best.x.reshape(SIZE + 1, outputs).astype(np.float32)
    return both[:-1], both[-1]


def fit_network(
    inputs: Floats, labels: Floats, weights: Floats, *, seed: int, rounds: int = 40
) -> tuple[Floats, Floats, Floats, Floats]:
    """One hidden layer, Adam, dropout, weight decay."""
    draw = np.random.default_rng(seed)
    target = np.nan_to_num(labels)
    scale = weights / weights[weights > 0].mean()
    parts = [
        (draw.standard_normal((inputs.shape[1], HIDDEN)) * np.sqrt(2)).astype(np.float32) * 0.5,
        np.zeros(HIDDEN, dtype=np.float32),
        (draw.standard_normal((HIDDEN, labels.shape[1])) / np.sqrt(HIDDEN)).astype(np.float32),
        np.zeros(labels.shape[1], dtype=np.float32),
    ]
    first = [np.zeros_like(part) for part in parts]
    second = [np.zeros_like(part) for part in parts]
    step, batch = 0, 128
    total = rounds * (len(inputs) // batch)
    for _ in range(rounds):
        order = draw.permutation(len(inputs))
        for begin in range(0, len(order) - batch + 1, batch):
            chosen = order[begin : begin + batch]
            step += 1
            rate = 4e-3 * (1 - step / total) + 1e-5
            given = inputs[chosen]
            sums = given @ parts[0] + parts[1]
            keep = (draw.random(sums.shape) > 0.35) / 0.65
            hidden = (np.maximum(sums, 0) * keep).astype(np.float32)
            logits = hidden @ parts[2] + parts[3]
            error = (scale[chosen] * (1 / (1 + np.exp(-logits)) - target[chosen]) / batch).astype(np.float32)
            back = ((error @ parts[2].T) * keep * (sums > 0)).astype(np.float32)
            slopes = [given.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
            for index, slope in enumerate(slopes):
                first[index] = 0.9 * first[index] + 0.1 * slope
                second[index] = 0.999 * second[index] + 0.001 * slope * slope
                moved = first[index] / (1 - 0.9**step) / (np.sqrt(second[index] / (1 - 0.999**step)) + 1e-8)
                decay = 0.02 if parts[index].ndim == 2 else 0.0
                parts[index] = (parts[index] - rate * (moved + decay * parts[index])).astype(np.float32)
    return parts[0], parts[1], parts[2], parts[3]


def network_logits(networks: list[tuple[Floats, Floats, Floats, Floats]], inputs: Floats) -> Floats:
    """The networks' mean."""
    return np.mean([np.maximum(inputs @ a + b, 0) @ c + d for a, b, c, d in networks], axis=0)


def fit_heads(data: Windows, labels: Floats, weight: Floats) -> Parts:
    """Both heads; the stacker is left empty."""
    weights = balanced(labels, weight)
    idf = idf_of(data.counts)
    linear, bias = fit_linear(tfidf(data.counts, idf), labels, weights, decay=0.3)
    networks = [fit_network(data.embeddings, labels, weights, seed=seed) for seed in range(NETWORKS)]
    stack = np.zeros((len(LABELS), 2 + len(NAMES) + 1), dtype=np.float32)
    return Parts(idf=idf, linear=linear, linear_bias=bias, networks=networks, stack=stack)


def head_logits(parts: Parts, data: Windows) -> Floats:
    """Windows x labels x (n-grams, network)."""
    grams = tfidf(data.counts, parts.idf) @ parts.linear + parts.linear_bias
    return np.stack([grams, network_logits(parts.networks, data.embeddings)], axis=2).astype(np.float32)


def fit_stack(heads: Floats, shapes: Floats, labels: Floats, weight: Floats) -> Floats:
    """The stacker, on heads' logits for windows that the heads have not seen. Shapes count for PROMPT_ATTACK alone."""
    stack = np.zeros((len(LABELS), 2 + shapes.shape[1] + 1), dtype=np.float32)
    weights = balanced(labels, weight)
    for index, label in enumerate(LABELS):
        known = weights[:, index] > 0
        given = heads[known, index]
        if label == "PROMPT_ATTACK":
            given = np.hstack([given, shapes[known]])
        model = LogisticRegression(C=1.0, max_iter=400)
        model.fit(given, labels[known, index], sample_weight=weights[known, index])
        stack[index, : given.shape[1]] = model.coef_[0]
        stack[index, -1] = model.intercept_[0]
    return stack


def stacked(stack: Floats, heads: Floats, shapes: Floats) -> Floats:
    """Windows x labels."""
    result = np.einsum("wlh,lh->wl", heads, stack[:, :2]) + shapes @ stack[:, 2:-1].T + stack[:, -1]
    return result.astype(np.float32)


def by_row(logits: Floats, data: Windows, rows: int) -> Floats:
    """The maximum over each row's windows."""
    best = np.full((rows, logits.shape[1]), -np.inf, dtype=np.float32)
    np.maximum.at(best, data.row, logits)
    return best


__all__ = [
    "Parts",
    "balanced",
    "by_row",
    "fit_heads",
    "fit_stack",
    "head_logits",
    "network_logits",
    "stacked",
    "tfidf",
]
