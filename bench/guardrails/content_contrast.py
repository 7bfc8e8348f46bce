"""Fills the written frames and writes `contrast_content.jsonl`: `python -m bench.guardrails.content_contrast`.

The choice among the many fillings is fixed, so the file only changes with the sentences.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import bench.guardrails.contrast_attack as attack
import bench.guardrails.contrast_harm as harm
import bench.guardrails.contrast_single as single
from bedplate_guardrails.models.content_model import LABELS
from bench.guardrails.content_sets import BENIGN, Row, labelled

FILE = Path(__file__).parent / "contrast_content.jsonl"
# Small models see harm in every mention of it; the harmless twins must weigh more than their number.
HARD_WEIGHT = 2.0
_RANDOM_SEED = 20261128
_ATTACK = labelled("PROMPT_ATTACK", rest=float("nan"))
_SENTENCE = re.compile(r"[.!?]\s")


def _act_labels(act: str) -> tuple[float, ...]:
    if any(word in act for word in harm.VIOLENT):
        return labelled("MISCONDUCT", unknown=("VIOLENCE", "HATE"))
    return labelled("MISCONDUCT", unknown=("SEXUAL",) if "nudes" in act or "groom" in act else ())


def _acts(choose: random.Random) -> Iterator[Row]:
    for act in harm.HARMFUL_ACTS:
        labels = _act_labels(act)
        frames = [
            *choose.sample(harm.REQUEST_FRAMES, 4),
            *choose.sample(harm.HARMFUL_EXTRA_FRAMES, 2),
        ]
        for frame in frames:
            yield Row(set="own", text=frame.replace("{a}", act), labels=labels)
        for frame in choose.sample(harm.HARMFUL_ANSWERS, 2):
            yield Row(set="own_answers", text=frame.replace("{a}", act), labels=labels)
        for frame in choose.sample(harm.TALK_FRAMES, 4):
            yield Row(set="own_hard", text=frame.replace("{a}", act), labels=BENIGN)
    for act in harm.BENIGN_ACTS:
        for frame in choose.sample(harm.REQUEST_FRAMES, 5):
            yield Row(set="own_hard", text=frame.replace("{a}", act), labels=BENIGN)
        for frame in choose.sample(harm.HARMFUL_ANSWERS[1:6:3], 1):
            yield Row(set="own_hard", text=frame.replace("{a}", act).split(". 2")[0], labels=BENIGN)


def _filled(choose: random.Random, frames: Sequence[str], mark: str, fill: Sequence[str], each: int) -> Iterator[str]:
    for frame in frames:
        if mark not in frame:
            yield frame
            continue
        for one in choose.sample(fill, min(each, len(fill))):
            yield frame.replace(mark, one)


def _matter(choose: random.Random) -> Iterator[Row]:
    for text in (*_filled(choose, harm.THREATS, "{t}", harm.TARGETS, 6), *harm.VIOLENCE_ANSWERS):
        yield Row(set="own", text=text, labels=labelled("VIOLENCE", unknown=("MISCONDUCT", "INSULTS")))
    for text in _filled(choose, harm.HATE, "{g}", harm.GROUPS, 7):
        unknown = ("INSULTS", "MISCONDUCT", "VIOLENCE")
        yield Row(set="own", text=text, labels=labelled("HATE", unknown=unknown))
    for text in _filled(choose, harm.SEXUAL, "{p}", harm.PAIRS, 4):
        yield Row(set="own", text=text, labels=labelled("SEXUAL", unknown=("MISCONDUCT", "INSULTS")))
    for frame in harm.INSULTS:
        for _ in range(6):
            text = frame.replace("{i}", choose.choice(harm.INSULT_ADJ)).replace("{n}", choose.choice(harm.INSULT_NOUN))
            yield Row(set="own", text=text, labels=labelled("INSULTS", unknown=("HATE", "SEXUAL", "VIOLENCE")))
    for text in (
        *harm.PEACE,
        *harm.POLITE,
        *harm.CHASTE,
        *_filled(choose, harm.TOLERANT, "{g}", harm.GROUPS, 9),
        *_filled(choose, harm.HATE_THING_FRAMES, "{h}", harm.HATE_THINGS, 9),
    ):
        yield Row(set="own_hard", text=text, labels=BENIGN)


def _single() -> Iterator[Row]:
    unknown = ("VIOLENCE", "SEXUAL", "INSULTS")
    for text in (*single.MISCONDUCT, *single.ANSWERS):
        yield Row(set="own", text=text, labels=labelled("MISCONDUCT", unknown=unknown), weight=1.5)
    for text in single.HARMLESS:
        yield Row(set="own_hard", text=text, labels=BENIGN, weight=1.5)


def _attacks(choose: random.Random) -> Iterator[Row]:
    labels = _ATTACK
    for frame in attack.OVERRIDES:
        for order in choose.sample(attack.ORDERS, 5):
            text = frame.replace("{x}", order).replace("{X}", order[0].upper() + order[1:])
            yield Row(set="own", text=text, labels=labels)
    for frame in attack.PERSONAS:
        for name in choose.sample(attack.NAMES, 5):
            yield Row(set="own", text=frame.replace("{n}", name), labels=labels)
    for text in attack.LEAKS:
        yield Row(set="own", text=text, labels=labels, weight=2)
    for document in attack.DOCUMENTS:
        for line in choose.sample(attack.INJECTED, 14):
            yield Row(set="own", text=document.replace("\\n", "\n").replace("{d}", line), labels=labels)
        yield Row(set="own_hard", text=document.replace("\\n", "\n").replace("{d} ", ""), labels=BENIGN)
        for line in choose.sample(attack.HUMAN_LINES, 14):
            yield Row(set="own_hard", text=document.replace("\\n", "\n").replace("{d}", line), labels=BENIGN)
    for text in attack.ORDINARY:
        yield Row(set="own_hard", text=text, labels=BENIGN, weight=1.5)
    for text in attack.HUMAN_LINES:
        yield Row(set="own_hard", text=text, labels=BENIGN)


def written() -> list[Row]:
    """All rows, in a fixed order, each text once."""
    choose = random.Random(_RANDOM_SEED)
    found: dict[str, Row] = {}
    for row in (*_acts(choose), *_matter(choose), *_attacks(choose), *_single()):
        found.setdefault(row.text, row)
    return list(found.values())


def injected(found: Sequence[Row]) -> list[Row]:
    """E-mails and passages of the sets with a sentence put in: for the assistant an attack, for a reader none."""
    choose = random.Random(_RANDOM_SEED)
    passages = [row for row in found if row.set == "grounded" and len(row.text) > 80]
    mails = [row for row in found if row.set == "bipia" and row.labels == BENIGN]
    made: list[Row] = []
    for row, times in (*((one, 1) for one in choose.sample(passages, 160)), *((one, 3) for one in mails)):
        for _ in range(times):
            for lines, labels in ((attack.INJECTED, _ATTACK), (attack.HUMAN_LINES, BENIGN)):
                ends = [0, len(row.text), *(match.end() for match in _SENTENCE.finditer(row.text))]
                at = choose.choice(ends)
                text = f"{row.text[:at]}\n{choose.choice(lines)}\n{row.text[at:]}".strip()
                made.append(Row(set=f"{row.set}_injected", text=text, labels=labels, weight=0.7))
    return made


def within(found: Sequence[Row], own: Sequence[Row]) -> list[Row]:
    """Written sentences inside passages of the sets, so that harm counts in long text, and harmless ones as well."""
    choose = random.Random(_RANDOM_SEED + 1)
    passages = [row.text for row in found if row.set == "grounded" and len(row.text) > 80]
    made: list[Row] = []
    for label in LABELS:
        alike = [row for row in own if row.set == "own" and row.known(label) == 1 and len(row.text) > 40]
        for row in choose.sample(alike, min(len(alike), 220 if label == "MISCONDUCT" else 90)):
            made.append(_between(choose, row, passages))
    hard = [row for row in own if row.set == "own_hard" and len(row.text) > 30]
    made += [_between(choose, row, passages) for row in choose.sample(hard, 500)]
    return made


def _between(choose: random.Random, row: Row, passages: Sequence[str]) -> Row:
    before, after = choose.choice(passages)[-220:], choose.choice(passages)[:220]
    text = choose.choice((f"{before} {row.text}", f"{row.text} {after}", f"{before} {row.text} {after}"))
    return Row(set="own_within", text=text, labels=row.labels, weight=row.weight * 0.7)


def stored() -> list[Row]:
    """The rows of the file."""
    rows: list[Row] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = tuple(float("nan") if value is None else float(value) for value in row["labels"])
        weight = row["weight"] * (HARD_WEIGHT if row["set"] == "own_hard" else 1)
        rows.append(Row(set=row["set"], text=row["text"], labels=values, weight=weight))
    return rows


def main() -> None:
    """Write the file."""
    rows = written()
    with FILE.open("w", encoding="utf-8") as file:
        for row in rows:
            known = [None if value != value else int(value) for value in row.labels]
            line = {"set": row.set, "text": row.text, "labels": known, "weight": row.weight}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"{len(rows)} rows")


if __name__ == "__main__":
    main()

__all__ = ["injected", "stored", "within", "written"]
