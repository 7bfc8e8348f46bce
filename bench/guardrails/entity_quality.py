"""How well names and addresses are found, and what that costs.

    python -m bench.guardrails.entity_quality --data FOLDER

Spans are judged on synthetic texts with PERSON and STREET_ADDRESS labels: exactly, by overlap, and by letters covered.
False alarms are counted on prompts without labels; those that name real or invented people are no errors, so the words
found are printed. Results go to `entity_results.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_guardrails.models.entity_model import EntityModel
from bench.guardrails.corpus import read_rows

RESULTS = Path(__file__).parent / "entity_results.json"
LABELS = {"NAME": ("PERSON", ("TITLE",)), "ADDRESS": ("STREET_ADDRESS", ("GPE", "ZIP_CODE"))}

Span = tuple[int, int]


def _letters(text: str, spans: Sequence[Span]) -> set[int]:
    return {place for start, end in spans for place in range(start, end) if text[place].isalnum()}


def _meet(one: Span, others: Sequence[Span]) -> bool:
    return any(one[0] < end and start < one[1] for start, end in others)


def measured(rows: list[dict[str, Any]], found: list[list[tuple[int, int, str]]], kind: str) -> dict[str, float]:
    """The figures of one kind. Letters of spans that touch (a title, a town) count neither way."""
    label, touching = LABELS[kind]
    counts: Counter[str] = Counter()
    for row, spans in zip(rows, found, strict=True):
        text = row["text"]
        wanted = [(start, end) for start, end, name in row["spans"] if name == label]
        neither = [(start, end) for start, end, name in row["spans"] if name in touching]
        given = [(start, end) for start, end, name in spans if name == kind]
        counts["wanted"] += len(wanted)
        counts["given"] += len(given)
        counts["exact"] += len(set(wanted) & set(given))
        counts["wanted met"] += sum(_meet(one, given) for one in wanted)
        counts["given met"] += sum(_meet(one, wanted) for one in given)
        right, said = _letters(text, wanted), _letters(text, given) - _letters(text, neither)
        counts["letters"] += len(right)
        counts["letters given"] += len(said | (_letters(text, given) & right))
        counts["letters met"] += len(right & _letters(text, given))

    def f1(precision: float, recall: float) -> float:
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    exact = counts["exact"] / counts["given"], counts["exact"] / counts["wanted"]
    overlap = counts["given met"] / counts["given"], counts["wanted met"] / counts["wanted"]
    letters = counts["letters met"] / counts["letters given"], counts["letters met"] / counts["letters"]
    return {
        "spans": counts["wanted"],
        **{
            f"{name} {figure}": round(value, 3)
            for name, (precision, recall) in (("exact", exact), ("overlap", overlap), ("letters", letters))
            for figure, value in (("P", precision), ("R", recall), ("F1", f1(precision, recall)))
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder: Path = parser.parse_args().data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    model = EntityModel()
    cost = {"load_cpu_s": round(time.process_time() - started, 2)}
    rows = read_rows(folder, "pii_presidio_synth_v2")
    kinds = {"NAME", "ADDRESS"}
    found = [model.find(row["text"], kinds) for row in rows]
    table: dict[str, Any] = {kind: measured(rows, found, kind) for kind in LABELS}
    for name in ("pi_wildguard_benign_dev", "topic_clinc150_val"):
        texts = [row["text"] for row in read_rows(folder, name)]
        hits = [(kind, text[start:end]) for text in texts for start, end, kind in model.find(text, kinds)]
        table[name] = {"texts": len(texts), **Counter(kind for kind, _ in hits)}
        print(name, Counter(word for _, word in hits).most_common(60))
    text = "\n".join(row["text"] for row in rows)
    for size in (256, 1_024, 16_384):
        turns = max(1, 32_768 // size)
        started = time.process_time()
        for turn in range(turns):
            model.find(text[turn * size : (turn + 1) * size], kinds)
        cost[f"{size}_chars_cpu_ms"] = round((time.process_time() - started) * 1000 / turns, 1)
    cost["memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    cost["memory_before_load_mib"] = round(before)
    for name, row in table.items():
        print(f"{name:26}", "  ".join(f"{key} {value}" for key, value in row.items()))
    print("cost:", cost)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, model.model: {"results": table, "cost": cost}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
