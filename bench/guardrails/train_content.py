"""Trains the content model and measures it: `python -m bench.guardrails.train_content --data FOLDER [--write]`.

Two measurements, neither on texts that the fitted part has seen: out of fold (texts that mean much the same are in
the same fold) and, harder, one set left out entirely, cuts included. `--write` stores the weights, fitted to all
rows, and `content_results.json`. Needs scikit-learn. Some ten minutes on one core, most of it the embeddings, which
`--cache` keeps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from bedplate_guardrails.models.content_model import LABELS, LEVELS, WEIGHTS
from bench.guardrails.content_contrast import injected, stored, within
from bench.guardrails.content_features import Cache, Windows, features
from bench.guardrails.content_fit import (
    Floats,
    Parts,
    by_row,
    fit_heads,
    fit_stack,
    head_logits,
    stacked,
)
from bench.guardrails.content_measure import measure, print_table
from bench.guardrails.content_sets import Row, rows

VERSION = "content-1"
RESULTS = Path(__file__).parent / "content_results.json"
FOLDS = 4
RATES = (0.05, 0.01, 0.001)
TOGETHER = 0.01
EASY = ("clinc150", "banking77", "grounded", "presidio", "deepset")
HARD = ("wildguard_benign", "own_hard", "mod_openai", "surge", "toxigen")
ATTACK_EASY = ("clinc150", "banking77", "grounded", "presidio", "mod_openai", "surge")
ATTACK_HARD = ("wildguard_benign", "own_hard", "deepset", "grounded_injected")
MAIL_SHARE = 0.05
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "mod_openai": ("mod_openai",),
    "davidson": ("davidson",),
    "toxigen": ("toxigen",),
    "surge": ("surge",),
    "requests": ("advbench", "ailuminate"),
    "deepset": ("deepset",),
    "jailbreaks": ("inthewild", "gptfuzzer"),
    "bipia": ("bipia", "bipia_injected"),
    "wildguard_benign": ("wildguard_benign",),
    "own": ("own", "own_answers", "own_hard", "bipia_injected", "grounded_injected", "own_within"),
}


# All e-mails mean much the same; in one fold, they would set the cuts by a model that never read an e-mail.
MAILS = ("bipia", "bipia_injected")


class Data(msgspec.Struct, kw_only=True):
    """Rows with their windows; `fold` is the row's fold, `labels` and `weight` are the windows'."""

    rows: list[Row]
    windows: Windows
    labels: Floats
    weight: Floats
    fold: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> Data:
        """The chosen rows alone, numbered anew."""
        held = chosen[self.windows.row]
        number = np.cumsum(chosen) - 1
        part = self.windows
        return Data(
            rows=[row for row, keep in zip(self.rows, chosen, strict=True) if keep],
            windows=Windows(
                row=number[part.row[held]],
                place=part.place[held],
                counts=part.counts[held],
                embeddings=part.embeddings[held],
                shapes=part.shapes[held],
            ),
            labels=self.labels[held],
            weight=self.weight[held],
            fold=self.fold[chosen],
        )


def load(folder: Path, cache: Path) -> Data:
    """All rows with features. A long text's label is trusted for its first three windows, its absence for six."""
    given = rows(folder)
    own = stored()
    found = [*given, *own, *injected(given), *within(given, own)]
    part = features([row.text for row in found], Cache(cache / "embeddings.npz"), most_windows=6)
    labels = np.asarray([row.labels for row in found], dtype=np.float32)[part.row]
    labels[(part.place >= 3)[:, None] & (labels == 1)] = np.nan
    number = np.bincount(part.row)
    weight = np.asarray([row.weight for row in found], dtype=np.float32)[part.row] / np.sqrt(number[part.row])
    clusters = MiniBatchKMeans(240, random_state=0, n_init=1).fit_predict(part.embeddings[part.place == 0])
    fold = clusters * 7919 % FOLDS
    for place, row in enumerate(found):
        if row.set in MAILS:
            fold[place] = zlib.crc32(row.text.encode("utf-8", "replace")) % FOLDS
    return Data(rows=found, windows=part, labels=labels, weight=weight, fold=fold)


def out_of_fold(data: Data, folds: int) -> Floats:
    """The heads' logits for every window, from fits without its fold."""
    heads = np.zeros((len(data.windows.row), len(LABELS), 2), dtype=np.float32)
    for fold in range(folds):
        seen = data.fold % folds != fold
        part = data.of(seen)
        parts = fit_heads(part.windows, part.labels, part.weight)
        heads[~seen[data.windows.row]] = head_logits(parts, data.of(~seen).windows)
    return heads


def pool_of(found: list[Row], *groups: tuple[str, ...]) -> Floats:
    """Each row's share in a harmless pool: every group has the same share, and in a group every set."""
    harmless = np.asarray([all(value == 0 for value in row.labels) for row in found])
    names = np.asarray([row.set for row in found])
    share = np.zeros(len(found), dtype=np.float32)
    for group in groups:
        members = [harmless & (names == name) for name in group]
        present = [member for member in members if member.any()]
        for member in present:
            share[member] = 1 / len(groups) / len(present) / member.sum()
    return share


def _at(values: Floats, share: Floats, rate: float) -> float:
    """The value that the share `rate` of the pool exceeds."""
    order = np.argsort(-values)
    place = int(np.searchsorted(np.cumsum(share[order]), rate * share.sum()))
    return float(values[order[min(place, len(order) - 1)]])


def cuts_of(logits: Floats, found: list[Row]) -> NDArray[np.float64]:
    """Per label the logits that become `LEVELS`, so that the harmless pool reaches a level as often as `RATES` say.

    LOW and MEDIUM: the five content labels together reach it so often, each with the same share; HIGH: each label
    (at 0.1 % single rows decide, too few to share among five). In the pool for attacks one text in twenty is an
    e-mail (none for HIGH): the model is poor at telling whom a sentence in an e-mail addresses.
    """
    content = pool_of(found, EASY, HARD)
    without_mail = pool_of(found, ATTACK_EASY, ATTACK_HARD)
    with_mail = without_mail * (1 - MAIL_SHARE) + pool_of(found, MAILS) * MAIL_SHARE
    values, share = logits[content > 0, :5], content[content > 0]
    cuts = np.zeros((len(LABELS), len(LEVELS)))
    for place, rate in enumerate(RATES, 1):
        low, high = rate / 8, rate
        for _ in range(20 if rate >= TOGETHER else 0):
            middle = (low + high) / 2
            level = np.asarray([_at(values[:, label], share, middle) for label in range(5)])
            reached = share[(values > level).any(axis=1)].sum()
            low, high = (middle, high) if reached < rate else (low, middle)
        each = low if rate >= TOGETHER else rate
        cuts[:5, place] = [_at(values[:, label], share, each) for label in range(5)]
        attack = with_mail if rate >= TOGETHER else without_mail
        cuts[5, place] = _at(logits[attack > 0, 5], attack[attack > 0], rate)
    for place in (2, 3):
        cuts[:, place] = np.maximum(cuts[:, place], cuts[:, place - 1] + 0.3)
    cuts[:, 0] = cuts[:, 1] - 6
    cuts[:, 4] = cuts[:, 3] + 4
    return cuts


def fit(data: Data, folds: int = FOLDS) -> tuple[Parts, NDArray[np.float64], Floats]:
    """The whole model, its cuts, and the out-of-fold logits per row that these were set on."""
    heads = out_of_fold(data, folds)
    stack = fit_stack(heads, data.windows.shapes, data.labels, data.weight)
    logits = by_row(stacked(stack, heads, data.windows.shapes), data.windows, len(data.rows))
    cuts = cuts_of(logits, data.rows)
    parts = fit_heads(data.windows, data.labels, data.weight)
    parts.stack = stack
    return parts, cuts, logits


def scored(logits: Floats, cuts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits as scores."""
    return np.stack([np.interp(logits[:, index], cuts[index], LEVELS) for index in range(len(LABELS))], axis=1)


def leave_out(data: Data, title: str) -> list[dict[str, Any]]:
    """The measurements on one entry of `LEFT_OUT` of a model that never saw it, cuts included."""
    out = np.isin(np.asarray([row.set for row in data.rows]), LEFT_OUT[title])
    parts, cuts, _ = fit(data.of(~out), folds=2)
    test = data.of(out)
    values = stacked(parts.stack, head_logits(parts, test.windows), test.windows.shapes)
    return measure(test.rows, scored(by_row(values, test.windows, len(test.rows)), cuts))


def write(parts: Parts, cuts: NDArray[np.float64], file: Path) -> None:
    """Store the weights. Weights near 0 are made 0, which changes no score that matters and packs better."""
    linear = np.where(np.abs(parts.linear) < 0.004, 0, parts.linear)
    hidden, hidden_bias, output, output_bias = (np.stack(layer) for layer in zip(*parts.networks, strict=True))
    half = {"idf": parts.idf, "linear": linear, "hidden": hidden, "output": output}
    full = {
        "linear_bias": parts.linear_bias,
        "hidden_bias": hidden_bias,
        "output_bias": output_bias,
        "stack": parts.stack,
    }
    np.savez_compressed(
        file,
        allow_pickle=False,
        version=np.asarray(VERSION),
        cuts=cuts,
        **{name: value.astype(np.float16) for name, value in half.items()},
        **{name: value.astype(np.float32) for name, value in full.items()},
    )
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Train, print, and store if asked to."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "bedplate-content")
    options.add_argument("--write", action="store_true")
    options.add_argument("--only", nargs="*", default=[], help="leave out only these sets; 'none' for none")
    options.add_argument("--workers", type=int, default=1, help="processes that fit without a set at the same time")
    given = options.parse_args()
    begun = time.monotonic()
    data = load(given.data, given.cache)
    print(f"{len(data.rows)} rows, {len(data.windows.row)} windows, {time.monotonic() - begun:.0f} s", flush=True)
    parts, cuts, logits = fit(data)
    print(f"fitted, {time.monotonic() - begun:.0f} s; cuts\n{np.round(cuts, 2)}", flush=True)
    results: dict[str, Any] = {"version": VERSION, "rows": len(data.rows), "rates": RATES}
    results["out_of_fold"] = measure(data.rows, scored(logits, cuts))
    print_table("Out of fold", results["out_of_fold"])
    if given.write:
        write(parts, cuts, WEIGHTS)
    results["left_out"] = {}
    titles = [title for title in LEFT_OUT if not given.only or title in given.only]
    with ProcessPoolExecutor(given.workers) as workers:
        tables = dict(zip(titles, workers.map(partial(leave_out, data), titles), strict=True))
    for title, table in tables.items():
        results["left_out"][title] = table
        print_table(f"Without {title}", table)
    print(f"{time.monotonic() - begun:.0f} s")
    if given.write:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
