"""What the shipped grounding and relevance models say on labelled rows, and what they cost.

    python -m bench.guardrails.grounding_quality --data FOLDER

The shipped model was trained on these very rows: the honest figures ("never seen", "five folds") are those that
`train_grounding` puts into `grounding_results.json`; this script adds the shipped ones and the cost.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.grounding_model import GroundingModel
from bench.guardrails.grounding_rows import labelled
from bench.guardrails.train_grounding import RESULTS, SETS, report


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder: Path = parser.parse_args().data
    model = GroundingModel(Embedder())
    table: dict[str, Any] = {}
    for name in SETS:
        rows = labelled(folder, name)
        started = time.process_time()
        scores = np.asarray([model.grounding(row.source, row.answer) for row in rows])
        cost = (time.process_time() - started) * 1000 / len(rows)
        table[f"{name}, trained on"] = {**report(scores, rows), "cpu_ms": round(cost, 1)}
    filler = " ".join(f"In week {week} the harbour office counted {week * 7} boats and geese." for week in range(2_000))
    answer = " ".join(f"Boat number {boat} left the harbour in week {boat * 3}." for boat in range(200))
    for chars, length in ((1_000, 200), (10_000, 1_000), (100_000, 5_000)):
        started = time.process_time()
        model.grounding(filler[:chars], answer[:length])
        taken = round((time.process_time() - started) * 1000)
        table[f"cost, source of {chars}, answer of {length} characters"] = {"cpu_ms": taken}
    started = time.process_time()
    model.relevance("How many boats were counted in week 12?", answer[:5_000])
    table["cost, relevance of an answer of 5000 characters"] = {"cpu_ms": round((time.process_time() - started) * 1000)}
    for name, row in table.items():
        print(f"{name:60}", "  ".join(f"{key} {value}" for key, value in row.items()))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "shipped": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
