"""Features of rows for training: per window hashed n-grams, embedding and shapes. Embeddings are cached in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bedplate_guardrails.models.attack_shapes import shapes
from bedplate_guardrails.models.embedder import Embedder
from bedplate_guardrails.models.ngrams import SIZE, counts, normalised, windows


class Windows(msgspec.Struct, kw_only=True):
    """The windows of some rows. `row[i]` is the row that window `i` belongs to, `place[i]` its number in that row."""

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    counts: sparse.csr_matrix
    embeddings: NDArray[np.float32]
    shapes: NDArray[np.float32]


class Cache:
    """Embeddings by the text's hash, so that a text is embedded once, whatever set it comes in."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, NDArray[np.float16]] = {}
        if file.exists():
            with np.load(file, allow_pickle=False) as stored:
                self._known = dict(zip(stored["keys"].tolist(), stored["rows"], strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text, in order."""
        keys = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24] for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new:
            embedder = Embedder()
            pending = list(new.items())
            for start in range(0, len(pending), 500):
                part = pending[start : start + 500]
                rows = embedder.embed([text for _, text in part]).astype(np.float16)
                self._known.update(zip((key for key, _ in part), rows, strict=True))
                print(f"embedded {start + len(part)} of {len(pending)}", flush=True)
            self._file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self._file, keys=np.asarray(list(self._known)), rows=np.stack(list(self._known.values())))
        return np.stack([self._known[key] for key in keys]).astype(np.float32)


def features(texts: Sequence[str], cache: Cache, *, most_windows: int) -> Windows:
    """The first `most_windows` windows of each text."""
    row: list[int] = []
    place: list[int] = []
    pieces: list[str] = []
    found: list[NDArray[np.float32]] = []
    for number, text in enumerate(texts):
        for index, piece in enumerate(windows(normalised(text))):
            if index == most_windows:
                break
            row.append(number)
            place.append(index)
            pieces.append(piece)
            found.append(shapes(piece))
    counted = [counts(piece) for piece in pieces]
    matrix = sparse.csr_matrix(
        (
            np.concatenate([number for _, number in counted]),
            np.concatenate([places for places, _ in counted]),
            np.cumsum([0, *(len(places) for places, _ in counted)]),
        ),
        shape=(len(pieces), SIZE),
    )
    return Windows(
        row=np.asarray(row),
        place=np.asarray(place),
        counts=matrix,
        embeddings=cache.embed(pieces),
        shapes=np.stack(found),
    )


__all__ = ["Cache", "Windows", "features"]
