"""Trains the grounding and relevance models and writes `grounding_weights.npz` and `grounding_results.json`.

    python -m bench.guardrails.train_grounding --data FOLDER [--write]

It prints, for every set, what a model says that never saw the set (nor answers made from it), and what five-fold
cross-validation over everything says; the shipped model is trained on all.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.grounding_features import NAMES
from bedplate_guardrails.models.grounding_model import WEIGHTS_FILE, GroundingModel
from bench.guardrails.grounding_rows import QUESTIONS, Row, labelled, made

RESULTS = Path(__file__).parent / "grounding_results.json"
SEED = 5
SETS = ("ground_begin_wow_dev", "ground_halueval_qa_oneturn_dev")
WEIGHT = {"ground_begin_wow_dev": 900.0, "ground_halueval_qa_oneturn_dev": 500.0}
MADE_WEIGHT = 450.0
SHARPNESS = 1.7
"""What the trees' sum is multiplied with: 0.5 stays where it is, and what is above or below is told more firmly."""

Array = NDArray[np.float64]


class Remembering(Embedder):
    """Embeds every text once: sources come again and again here."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, super().embed(new), strict=True))
        return np.asarray([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.SIZE)


class Untrained(GroundingModel):
    """Only the figures: what training needs before there are weights."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder


def forest() -> HistGradientBoostingClassifier:
    """More support never lowers the score."""
    return HistGradientBoostingClassifier(
        max_iter=70,
        max_depth=3,
        learning_rate=0.1,
        min_samples_leaf=15,
        l2_regularization=1.0,
        monotonic_cst=[1] * (2 * len(NAMES)),
        random_state=SEED,
    )


def exported(model: Any) -> dict[str, Array]:
    """The trees as arrays: per tree and node a feature, a threshold, two children (-1: a leaf) and a value."""
    trees = [one[0].nodes for one in model._predictors]
    size = max(len(nodes) for nodes in trees)
    shape = (len(trees), size)
    arrays = {
        "feature": np.zeros(shape, np.int16),
        "threshold": np.zeros(shape, np.float64),
        "left": np.full(shape, -1, np.int16),
        "right": np.full(shape, -1, np.int16),
        "value": np.zeros(shape, np.float64),
    }
    for place, nodes in enumerate(trees):
        inner = nodes["is_leaf"] == 0
        arrays["feature"][place, : len(nodes)] = nodes["feature_idx"]
        arrays["threshold"][place, : len(nodes)] = np.where(inner, nodes["num_threshold"], 0)
        arrays["left"][place, : len(nodes)] = np.where(inner, nodes["left"].astype(np.int64), -1)
        arrays["right"][place, : len(nodes)] = np.where(inner, nodes["right"].astype(np.int64), -1)
        arrays["value"][place, : len(nodes)] = nodes["value"]
    arrays["value"] *= SHARPNESS
    return {**arrays, "base": np.asarray(SHARPNESS * float(np.ravel(model._baseline_prediction)[0]))}


def scored(model: Any, lines: Array) -> Array:
    """What the exported trees would say."""
    return 1 / (1 + np.exp(-SHARPNESS * model.decision_function(lines)))


def figures_of(model: GroundingModel, rows: list[Row]) -> Array:
    """One line a row: the worst and the mean claim."""
    lines: list[Array] = []
    for row in rows:
        found = model.figures(row.source, row.answer)
        lines.append(
            np.ones(2 * len(NAMES)) if found is None else np.concatenate([found.min(axis=0), found.mean(axis=0)])
        )
    return np.asarray(lines)


def report(scores: Array, rows: list[Row]) -> dict[str, float]:
    """AUC, balanced accuracy at 0.5, and how many score where the contract wants them."""
    truth = np.asarray([row.grounded for row in rows])
    return {
        "rows": len(rows),
        "auc": round(float(roc_auc_score(truth, scores)), 3),
        "balanced_accuracy": round(float(balanced_accuracy_score(truth, scores >= 0.5)), 3),
        "grounded_above_0.7": round(float((scores[truth] >= 0.7).mean()), 3),
        "grounded_below_0.5": round(float((scores[truth] < 0.5).mean()), 3),
        "made_up_below_0.5": round(float((scores[~truth] < 0.5).mean()), 3),
        "made_up_below_0.7": round(float((scores[~truth] < 0.7).mean()), 3),
    }


def relevance_rows(folder: Path, chance: random.Random) -> dict[str, list[tuple[str, str, bool]]]:
    """Questions with their answers, and with another question's."""
    halueval = [(row.query, row.answer) for row in labelled(folder, SETS[1])]
    sets = {"halueval": halueval, "begin": [(row.query, row.answer) for row in labelled(folder, SETS[0])]}
    sets["written"] = list(QUESTIONS)
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for name, pairs in sets.items():
        rows = [(query, answer, True) for query, answer in pairs]
        for turn in range(2):
            step = chance.randrange(1 + turn, len(pairs) - 1)
            rows += [(query, pairs[(place + step) % len(pairs)][1], False) for place, (query, _) in enumerate(pairs)]
        found[name] = rows
    return found


def train_relevance(model: GroundingModel, folder: Path) -> tuple[Array, dict[str, Any]]:
    """A logistic over three figures; BEGIN's small talk is judged and not trained on."""
    sets = relevance_rows(folder, random.Random(SEED))
    x = {name: np.asarray([model.relevance_figures(q, a) for q, a, _ in rows]) for name, rows in sets.items()}
    y = {name: np.asarray([label for *_, label in rows]) for name, rows in sets.items()}

    def fitted(names: list[str]) -> LogisticRegression:
        weights = np.concatenate([np.full(len(y[one]), 500 / len(y[one])) for one in names])
        balance = np.concatenate([np.where(y[one], 2.0, 1.0) for one in names])
        model = LogisticRegression(C=10.0, max_iter=2000)
        return model.fit(
            np.vstack([x[one] for one in names]), np.concatenate([y[one] for one in names]), weights * balance
        )

    table: dict[str, Any] = {}
    for name in sets:
        others = [one for one in ("halueval", "written") if one != name]
        scores = fitted(others).predict_proba(x[name])[:, 1]
        table[f"{name}, trained on {'+'.join(others)}"] = {
            "auc": round(float(roc_auc_score(y[name], scores)), 3),
            "relevant_above_0.5": round(float((scores[y[name]] >= 0.5).mean()), 3),
            "other_below_0.5": round(float((scores[~y[name]] < 0.5).mean()), 3),
        }
    last = fitted(["halueval", "written"])
    return np.append(last.coef_[0], last.intercept_[0]), table


def main() -> None:
    """Train, judge, and write when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    figures = Untrained(Remembering())
    chance = random.Random(SEED)
    rows: dict[str, list[Row]] = {}
    for name in SETS:
        rows[name] = labelled(options.data, name)
        rows[f"made from {name}"] = made(rows[name][:: 1 if name == SETS[0] else 2], chance)
    x = {name: figures_of(figures, found) for name, found in rows.items()}
    y = {name: np.asarray([row.grounded for row in found]) for name, found in rows.items()}
    weight = {name: np.full(len(found), WEIGHT.get(name, MADE_WEIGHT) / len(found)) for name, found in rows.items()}

    def fit(names: list[str], keep: dict[str, Any] | None = None) -> Any:
        part = {one: slice(None) if keep is None else keep[one] for one in names}
        return forest().fit(
            np.vstack([x[one][part[one]] for one in names]),
            np.concatenate([y[one][part[one]] for one in names]),
            sample_weight=np.concatenate([weight[one][part[one]] for one in names]),
        )

    table: dict[str, Any] = {}
    names = list(rows)
    for name in names:
        root = name.removeprefix("made from ")
        model = fit([one for one in names if root not in one])
        table[f"{name}, never seen"] = report(scored(model, x[name]), rows[name])
    scores = {name: np.zeros(len(rows[name])) for name in names}
    folds = {
        name: list(GroupKFold(5).split(x[name], groups=[hash_of(row.source[:80]) for row in rows[name]]))
        for name in names
    }
    for turn in range(5):
        model = fit(names, {name: folds[name][turn][0] for name in names})
        for name in names:
            test = folds[name][turn][1]
            scores[name][test] = scored(model, x[name][test])
    for name in names:
        table[f"{name}, five folds"] = report(scores[name], rows[name])
        for kind in sorted({row.kind for row in rows[name]} - {"labelled"}):
            chosen = [place for place, row in enumerate(rows[name]) if row.kind == kind]
            table[f"{name}, five folds, {kind}"] = {
                "rows": len(chosen),
                "below_0.5": round(float((scores[name][chosen] < 0.5).mean()), 3),
                "above_0.7": round(float((scores[name][chosen] >= 0.7).mean()), 3),
            }
    relevance, relevant = train_relevance(figures, options.data)
    table |= {f"relevance, {name}": row for name, row in relevant.items()}
    for name, row in table.items():
        print(f"{name:75}", "  ".join(f"{key} {value}" for key, value in row.items()))
    print("relevance weights", relevance.round(3).tolist())
    if options.write:
        np.savez_compressed(WEIGHTS_FILE, **exported(fit(names)), relevance=relevance)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**known, "training": table}, indent=1) + "\n")
        print(WEIGHTS_FILE.stat().st_size, "bytes")


def hash_of(text: str) -> int:
    """A number for a source, so that all rows of one source are in one fold."""
    return int.from_bytes(text.encode()[:24].ljust(24), "big") % 1_000_003


if __name__ == "__main__":
    main()
