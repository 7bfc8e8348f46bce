"""How well the patterns find: personal information on labelled spans, profanity on texts, both on harmless ones.

    python -m bench.guardrails.pattern_quality --data FOLDER [--show]

A finding is right when it overlaps a labelled span of its type. Every other finding counts against the precision of its
type, also where it is personal information of another type. `--show` prints what was found wrongly and what was missed.
The figures go to `bench/guardrails/pattern_results.json`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedplate_guardrails.detectors.pii import PII_DETECTORS
from bedplate_guardrails.detectors.profanity import Profanity
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.document import PiiType
from bench.guardrails.corpus import read_rows

RESULTS = Path(__file__).parent / "pattern_results.json"
LABELS = {
    "AGE": PiiType.AGE,
    "CREDIT_CARD": PiiType.CREDIT_DEBIT_CARD_NUMBER,
    "DE_IBAN": PiiType.INTERNATIONAL_BANK_ACCOUNT_NUMBER,
    "DOMAIN_NAME": PiiType.URL,
    "EMAIL": PiiType.EMAIL,
    "EMAIL_ADDRESS": PiiType.EMAIL,
    "IBAN_CODE": PiiType.INTERNATIONAL_BANK_ACCOUNT_NUMBER,
    "IP_ADDRESS": PiiType.IP_ADDRESS,
    "PHONE": PiiType.PHONE,
    "PHONE_NUMBER": PiiType.PHONE,
    "SSN": PiiType.US_SOCIAL_SECURITY_NUMBER,
    "US_DRIVER_LICENSE": PiiType.DRIVER_ID,
    "US_SSN": PiiType.US_SOCIAL_SECURITY_NUMBER,
}
SPAN_SETS = ("pii_presidio_synth_v2", "pii_datafog_structured_pii")
BENIGN_SETS = ("topic_clinc150_train", "topic_banking77_train", "pi_wildguard_benign_dev", "pi_deepset_train")
PROFANE_SETS = ("tox_surge1000_dev", "mod_openai1680_dev")
SHOWN_CHARS = 30


def main() -> None:
    """Prints the tables and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    results = {
        "spans": {name: spans(given.data, name, show=given.show) for name in SPAN_SETS},
        "benign": benign(given.data, show=given.show),
        "profanity": profanity(given.data),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def spans(data: Path, name: str, *, show: bool) -> dict[str, Any]:
    """Precision, recall and F1 by type on a set with labelled spans."""
    right: Counter[PiiType] = Counter()
    wrong: Counter[PiiType] = Counter()
    missed: Counter[PiiType] = Counter()
    detectors = {kind: detector() for kind, detector in PII_DETECTORS.items()}
    for row in read_rows(data, name):
        text = row["text"]
        labelled: dict[PiiType, list[tuple[int, int]]] = defaultdict(list)
        for start, end, label in row["spans"]:
            if label in LABELS:
                labelled[LABELS[label]].append((start, end))
        for kind, detector in detectors.items():
            found = detector.find(text)
            for span in found:
                hit = overlaps(span, labelled[kind])
                (right if hit else wrong)[kind] += 1
                if show and not hit:
                    print(f"  wrong {kind.value}: {shown(text, span)}")
            for span in labelled[kind]:
                if not overlaps(span, found):
                    missed[kind] += 1
                    if show:
                        print(f"  missed {kind.value}: {shown(text, span)}")
    print(f"\n{name}\n{'type':44}{'right':>6}{'wrong':>6}{'missed':>7}{'P':>7}{'R':>7}{'F1':>7}")
    table: dict[str, Any] = {}
    for kind in sorted({*right, *wrong, *missed}):
        table[kind.value] = figures(right[kind], wrong[kind], missed[kind], kind.value)
    known = set(LABELS.values())
    sums = [sum(counter[kind] for kind in known) for counter in (right, wrong, missed)]
    table["labelled types"] = figures(*sums, "labelled types")
    return table


def figures(right: int, wrong: int, missed: int, label: str) -> dict[str, float]:
    """One row of the table, printed."""
    precision = right / (right + wrong) if right + wrong else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    print(f"{label:44}{right:6}{wrong:6}{missed:7}{precision:7.3f}{recall:7.3f}{f1:7.3f}")
    return {"right": right, "wrong": wrong, "missed": missed, "P": precision, "R": recall, "F1": f1}


def benign(data: Path, *, show: bool) -> dict[str, Any]:
    """How many of the harmless texts hold a finding of each type."""
    table: dict[str, Any] = {}
    detectors: dict[str, TextDetector] = {kind.value: detector() for kind, detector in PII_DETECTORS.items()}
    detectors |= {"PROFANITY": Profanity(), "PROFANITY leetspeak": Profanity(leetspeak=True)}
    for name in BENIGN_SETS:
        texts = [row["text"] for row in read_rows(data, name) if row.get("label") != 1]
        flagged: Counter[str] = Counter()
        for label, detector in detectors.items():
            for text in texts:
                found = detector.find(text)
                flagged[label] += bool(found)
                if show and found:
                    print(f"  {name} {label}: {shown(text, found[0])}")
        table[name] = {"texts": len(texts), "flagged": {label: count for label, count in flagged.items() if count}}
        print(f"{name}: {table[name]}")
    return table


def profanity(data: Path) -> dict[str, Any]:
    """Recall, precision and false-positive rate of the managed list on texts labelled as toxic or not."""
    table: dict[str, Any] = {}
    for name in PROFANE_SETS:
        rows = read_rows(data, name)
        for label, detector in (("list", Profanity()), ("list, leetspeak", Profanity(leetspeak=True))):
            table[f"{name}, {label}"] = measured = rates(detector, rows)
            print(f"{name}, {label}: {measured}")
    return table


def rates(detector: TextDetector, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What a detector that flags a whole text reaches on rows labelled 0 and 1."""
    flagged: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for row in rows:
        label = int(bool(row["label"]))
        total[label] += 1
        flagged[label] += bool(detector.find(row["text"]))
    precision = flagged[1] / (flagged[0] + flagged[1]) if flagged[0] + flagged[1] else 0.0
    return {
        "R": round(flagged[1] / total[1], 3),
        "P": round(precision, 3),
        "FPR": round(flagged[0] / total[0], 4),
    }


def overlaps(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    """Whether a span has a character in common with one of `others`."""
    return any(span[0] < end and start < span[1] for start, end in others)


def shown(text: str, span: tuple[int, int]) -> str:
    """A span with what stands around it."""
    start, end = span
    before, after = text[max(0, start - SHOWN_CHARS) : start], text[end : end + SHOWN_CHARS]
    return f"{before}<<{text[start:end]}>>{after}".replace("\n", "/")


if __name__ == "__main__":
    main()
