"""Precision, recall, F1, false-positive rate and AUC of scores, per set and label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bedplate_guardrails.models.content_model import LABELS
from bench.guardrails.content_sets import Row

STRENGTHS = {"HIGH": 0.5, "MEDIUM": 0.75, "LOW": 0.9}
FEWEST = 10


def measure(found: list[Row], scores: NDArray[np.float64]) -> list[dict[str, Any]]:
    """One line per set and label with at least 10 rows; the label `CONTENT` is any of the five.

    By strength of the filter; a rate that cannot be told (no positive, no negative) is null.
    """
    lines: list[dict[str, Any]] = []
    names = np.asarray([row.set for row in found])
    truth = np.asarray([row.labels for row in found])
    columns = {label: (truth[:, index], scores[:, index]) for index, label in enumerate(LABELS)}
    columns["CONTENT"] = (np.asarray([row.harmful for row in found]), scores[:, :5].max(axis=1))
    for name in sorted(set(names.tolist())):
        for label, (known, score) in columns.items():
            used = (names == name) & ~np.isnan(known)
            real = known[used] == 1
            positives, negatives = int(real.sum()), int((~real).sum())
            if max(positives, negatives) < FEWEST or (positives < FEWEST and label not in ("CONTENT", "PROMPT_ATTACK")):
                continue
            line: dict[str, Any] = {"set": name, "label": label, "positives": positives, "negatives": negatives}
            both = positives >= FEWEST and negatives >= FEWEST
            line["auc"] = round(float(roc_auc_score(real, score[used])), 4) if both else None
            line["strengths"] = {strength: _rates(real, score[used] >= cut) for strength, cut in STRENGTHS.items()}
            lines.append(line)
    return lines


def _rates(real: NDArray[np.bool_], said: NDArray[np.bool_]) -> dict[str, float | None]:
    right, wrong = int((real & said).sum()), int((~real & said).sum())
    positives, negatives = int(real.sum()), int((~real).sum())
    recall = right / positives if positives else None
    precision = right / (right + wrong) if right + wrong and positives and negatives else None
    f1 = 2 * right / (2 * right + wrong + positives - right) if precision is not None else None
    values = {"precision": precision, "recall": recall, "f1": f1, "fpr": wrong / negatives if negatives else None}
    return {key: None if value is None else round(value, 4) for key, value in values.items()}


def print_table(title: str, lines: list[dict[str, Any]]) -> None:
    """A line per set and label: P/R/F1/FPR at the strengths HIGH, MEDIUM, LOW."""
    print(f"\n{title}")
    print(f"{'set':18}{'label':14}{'pos':>5}{'neg':>6}{'AUC':>7}   HIGH P/R/F1/FPR       MEDIUM                LOW")
    for line in lines:
        cells = ["/".join(_short(value) for value in rates.values()) for rates in line["strengths"].values()]
        head = (
            f"{line['set']:18}{line['label']:14}{line['positives']:5}{line['negatives']:6}{_short(line['auc'], 3):>7}"
        )
        print(head + "".join(f"   {cell:19}" for cell in cells), flush=True)


def _short(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}".removeprefix("0") if value < 1 else "1.0"


__all__ = ["STRENGTHS", "measure", "print_table"]
