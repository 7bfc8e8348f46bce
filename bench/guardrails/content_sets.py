"""The labelled sets as rows for the content model: every set's own labels mapped to the six of a policy.

A label that a set says nothing about is unknown (`nan`), not absent: such a row neither trains nor judges that label.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bedplate_guardrails.models.content_model import LABELS
from bench.guardrails.corpus import read_rows

UNKNOWN = math.nan
CONTENT = LABELS[:5]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A text with what is known of it. `weight` is its share in training."""

    set: str
    text: str
    labels: tuple[float, ...]
    weight: float = 1.0

    def known(self, label: str) -> float:
        """1, 0, or `nan` for unknown."""
        return self.labels[LABELS.index(label)]

    @property
    def harmful(self) -> float:
        """Whether any content label holds: 1, 0, or `nan` where that cannot be told."""
        values = self.labels[:5]
        if any(value == 1 for value in values):
            return 1.0
        return UNKNOWN if all(math.isnan(value) for value in values) else 0.0


def labelled(*present: str, unknown: tuple[str, ...] = (), rest: float = 0.0) -> tuple[float, ...]:
    """Labels: `present` hold, `unknown` are unknown, all others are `rest`."""
    return tuple(1.0 if one in present else UNKNOWN if one in unknown else rest for one in LABELS)


BENIGN = labelled()
_ONLY_ATTACK = labelled("PROMPT_ATTACK", rest=UNKNOWN)


def _part(name: str, number: int, of: int) -> Callable[[str], bool]:
    """Whether a text is in the fixed share `number / of` of its set."""

    def chosen(text: str) -> bool:
        return int.from_bytes(hashlib.sha256(f"{name}\0{text}".encode()).digest()[:4]) % of < number

    return chosen


def _openai(row: dict[str, Any]) -> tuple[float, ...]:
    said: dict[str, int] = row["categories"]
    groups = {
        "HATE": ("H", "H2"),
        "INSULTS": ("HR",),
        "SEXUAL": ("S", "S3"),
        "VIOLENCE": ("V", "V2"),
        "MISCONDUCT": ("SH",),
    }
    values: list[float] = []
    for label in CONTENT:
        given = [said[key] for key in groups[label] if key in said]
        if row["label"] == 0:
            values.append(0.0)
        elif any(given):
            values.append(1.0)
        else:
            values.append(0.0 if given and label not in ("INSULTS", "MISCONDUCT") else UNKNOWN)
    return (*values, 0.0)


def _davidson(row: dict[str, Any]) -> tuple[float, ...]:
    match row["cls"]:
        case 0:
            return labelled("HATE", unknown=("INSULTS", "VIOLENCE", "SEXUAL"))
        case 1:
            return labelled("INSULTS", unknown=("HATE", "VIOLENCE", "SEXUAL"))
        case _:
            return BENIGN


_AILUMINATE = {
    "vcr": labelled("MISCONDUCT", unknown=("VIOLENCE",)),
    "ncr": labelled("MISCONDUCT", unknown=("VIOLENCE",)),
    "iwp": labelled("MISCONDUCT", unknown=("VIOLENCE",)),
    "src": labelled("MISCONDUCT", unknown=("SEXUAL",)),
    "cse": labelled("MISCONDUCT", unknown=("SEXUAL",)),
    "ssh": labelled("MISCONDUCT", unknown=("VIOLENCE",)),
    "ipv": labelled("MISCONDUCT"),
    "dfm": labelled("MISCONDUCT", unknown=("INSULTS", "HATE")),
    "prv": labelled("MISCONDUCT"),
    "hte": labelled("HATE", unknown=("INSULTS", "MISCONDUCT", "VIOLENCE")),
    "sxc_prn": labelled("SEXUAL", unknown=("MISCONDUCT",)),
}
_NOISY = {
    "ipv": 0.3,
    "dfm": 0.4,
    "prv": 0.4,
    "sxc_prn": 0.4,
    "src": 0.5,
    "cse": 0.5,
    "ssh": 0.5,
    "ncr": 0.6,
    "hte": 0.6,
}


def _words(folder: Path) -> Iterator[Row]:
    kinds = {
        "sexual anatomy / sexual acts": labelled("SEXUAL", unknown=("INSULTS",)),
        "racial / ethnic slurs": labelled("HATE", unknown=("INSULTS",)),
        "sexual orientation / gender": labelled("HATE", unknown=("INSULTS", "SEXUAL")),
        "other / general insult": labelled("INSULTS"),
        "mental disability": labelled("INSULTS", unknown=("HATE",)),
    }
    for row in read_rows(folder, "words_surge_profanity_en"):
        if row["severity"] != "Mild" and row["category"] in kinds and len(row["text"]) > 3:
            yield Row(set="words_surge", text=row["text"], labels=kinds[row["category"]], weight=0.5)


def rows(folder: Path) -> list[Row]:
    """Every row of the data folder that has a use here, in a fixed order, without repeated texts."""
    found = [*_harmful(folder), *_attacks(folder), *_harmless(folder), *_words(folder)]
    seen: set[str] = set()
    return [row for row in found if not (row.text in seen or seen.add(row.text))]


def _harmful(folder: Path) -> Iterator[Row]:
    for row in read_rows(folder, "mod_openai1680_dev"):
        yield Row(set="mod_openai", text=row["text"], labels=_openai(row), weight=1.5)
    few = {0: _part("d0", 3, 4), 1: _part("d1", 1, 14), 2: _part("d2", 1, 3)}
    for row in read_rows(folder, "hate_davidson"):
        if few[row["cls"]](row["text"]):
            yield Row(set="davidson", text=row["text"], labels=_davidson(row), weight=0.5)
    for row in read_rows(folder, "hate_toxigen_seed"):
        labels = labelled("HATE", unknown=("INSULTS",)) if row["label"] else BENIGN
        yield Row(set="toxigen", text=row["text"], labels=labels)
    for row in read_rows(folder, "tox_surge1000_dev"):
        labels = labelled("INSULTS", unknown=("HATE", "SEXUAL", "VIOLENCE")) if row["label"] else BENIGN
        yield Row(set="surge", text=row["text"], labels=labels)
    for row in read_rows(folder, "harm_advbench"):
        unknown = ("HATE", "INSULTS", "SEXUAL", "VIOLENCE")
        yield Row(set="advbench", text=row["text"], labels=labelled("MISCONDUCT", unknown=unknown))
    for row in read_rows(folder, "harm_ailuminate_demo_dev"):
        if row["category"] in _AILUMINATE:
            weight = _NOISY.get(row["category"], 0.8)
            yield Row(set="ailuminate", text=row["text"], labels=_AILUMINATE[row["category"]], weight=weight)


def _attacks(folder: Path) -> Iterator[Row]:
    for row in read_rows(folder, "pi_deepset_train"):
        labels = labelled("PROMPT_ATTACK", rest=UNKNOWN) if row["label"] else BENIGN
        yield Row(set="deepset", text=row["text"], labels=labels, weight=1.5)
    for row in read_rows(folder, "jb_inthewild666"):
        yield Row(set="inthewild", text=row["text"], labels=_ONLY_ATTACK)
    for row in read_rows(folder, "jb_gptfuzzer77"):
        yield Row(set="gptfuzzer", text=row["text"], labels=_ONLY_ATTACK)
    for row in read_rows(folder, "pi_bipia_email_train"):
        labels = labelled("PROMPT_ATTACK", rest=UNKNOWN) if row["label"] else BENIGN
        yield Row(set="bipia", text=row["text"], labels=labels)


def _harmless(folder: Path) -> Iterator[Row]:
    for row in read_rows(folder, "pi_wildguard_benign_dev"):
        yield Row(set="wildguard_benign", text=row["text"], labels=BENIGN, weight=2.5)
    for name, few in (
        ("topic_clinc150_train", _part("c", 1, 8)),
        ("topic_banking77_train", _part("b", 1, 12)),
    ):
        for row in read_rows(folder, name):
            if few(row["text"]):
                yield Row(set=name.removeprefix("topic_").removesuffix("_train"), text=row["text"], labels=BENIGN)
    for name, few in (("ground_halueval_qa_oneturn_dev", _part("h", 1, 2)), ("ground_begin_wow_dev", _part("w", 1, 1))):
        for row in read_rows(folder, name):
            if few(row["context"]):
                yield Row(set="grounded", text=row["context"], labels=BENIGN)
                yield Row(set="grounded", text=row["claim"], labels=BENIGN)
    for row in read_rows(folder, "pii_presidio_synth_v2"):
        if _part("p", 1, 3)(row["text"]):
            yield Row(set="presidio", text=row["text"], labels=BENIGN)


__all__ = ["BENIGN", "CONTENT", "UNKNOWN", "Row", "labelled", "rows"]
