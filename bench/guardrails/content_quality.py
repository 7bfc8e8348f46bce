"""Measures the shipped content model: `python -m bench.guardrails.content_quality --data FOLDER [--most N]`.

The weights were trained on these very rows, so this shows that the shipped files do what training promised, not how
good the model is on other data; for that see `left_out` in `content_results.json` (one set left out of the
training), which is printed too. Last come times per text on one thread.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import numpy as np

from bedplate_guardrails.models.content_model import LABELS, ContentModel
from bench.guardrails.content_measure import measure, print_table
from bench.guardrails.content_sets import Row, rows
from bench.guardrails.train_content import RESULTS

PROSE = "The committee met on Tuesday to discuss the budget, and two members asked for more time to read it. "


def times(model: ContentModel) -> None:
    """CPU milliseconds per text of 64, 256 and 1,024 characters: median of 40."""
    for chars in (64, 256, 1024):
        text = (PROSE * 12)[:chars]
        taken_ms: list[float] = []
        for _ in range(40):
            begun = time.process_time()
            model.scores([text])
            taken_ms.append((time.process_time() - begun) * 1000)
        print(f"{chars:5} characters: {statistics.median(taken_ms):6.1f} ms of CPU")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--most", type=int, default=150, help="rows per set, drawn at random; 0 for all")
    given = options.parse_args()
    model = ContentModel()
    sets: dict[str, list[Row]] = {}
    for row in rows(given.data):
        sets.setdefault(row.set, []).append(row)
    draw = random.Random(1)
    chosen = [row for found in sets.values() for row in draw.sample(found, min(len(found), given.most or len(found)))]
    scores = model.scores([row.text for row in chosen])
    table = measure(chosen, np.asarray([[one[label] for label in LABELS] for one in scores]))
    print_table(f"Shipped weights {model.version}, on rows that they were trained on", table)
    for title, lines in json.loads(RESULTS.read_text(encoding="utf-8"))["left_out"].items():
        print_table(f"From training: without {title}", lines)
    times(model)


if __name__ == "__main__":
    main()
