"""Hashed word and character n-grams of a text, the same in every process.

A text is first made plain: folded as for word lists (`bedplate_guardrails.views`: case, width, look-alikes,
invisible characters), letters that were spelt with digits and signs put back (`k1ll`, `$ex`), letters set apart
joined (`k i l l`), long repeats shortened, digits made alike. Work is linear in the text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bedplate_guardrails.views import View

CHAR_BITS = 17
WORD_BITS = 17
CHAR_BUCKETS = 1 << CHAR_BITS
SIZE = CHAR_BUCKETS + (1 << WORD_BITS)

WINDOW_CHARS = 400
OVERLAP_CHARS = 100

_FOLDED = View("folded")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"(?<![^\s\"'(])(?=[\w@$!|]{0,30}[a-z])(?=[\w@$!|]{0,30}[0134579@$!|])[\w@$!|]{3,30}")
_MIXED = re.compile(r"[a-z][0134579@$!|]{1,3}[a-z]|[@$][a-z]|\b[0134579][a-z]{3}|[a-z][$@]")
_APART = re.compile(r"(?<![^\W_])[^\W\d_](?:[ .*_-][^\W\d_]){3,}(?![^\W_])")
_REPEAT = re.compile(r"(.)\1{2,}")
_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)


def _unleet(match: re.Match[str]) -> str:
    word = match.group()
    return word.rstrip("!|").translate(_LEET) if _MIXED.search(word) else word


def _join(match: re.Match[str]) -> str:
    return "".join(char for char in match.group() if char.isalpha())


def normalised(text: str) -> str:
    """`text` as the models read it. A text that is plain already only changes its case and white space."""
    folded, _ = _FOLDED.of(text)
    folded = _SPACE.sub(" ", folded).strip()
    folded = _LEET_WORD.sub(_unleet, folded)
    folded = _APART.sub(_join, folded)
    return _REPEAT.sub(r"\1", folded)


def windows(text: str) -> Iterator[str]:
    """Pieces of at most `WINDOW_CHARS` characters (some 100 tokens), cut at spaces, that overlap; at least one."""
    start = 0
    while len(text) - start > WINDOW_CHARS:
        space = text.rfind(" ", start + WINDOW_CHARS // 2, start + WINDOW_CHARS)
        end = space if space > 0 else start + WINDOW_CHARS
        yield text[start:end]
        back = text.find(" ", end - OVERLAP_CHARS, end)
        start = back + 1 if back > 0 else end - OVERLAP_CHARS
    yield text[start:]


def counts(normal: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The buckets that a normalised text falls into, in ascending order, and how often.

    Character n-grams of 2 to 5 fill the first `1 << CHAR_BITS` buckets, words and pairs of words the rest.
    """
    flat = _DIGITS.sub("0", normal)
    code = np.frombuffer(f" {flat} ".encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    found: list[NDArray[np.int64]] = []
    rolling = code
    for size in range(2, 6):
        if len(code) < size:
            break
        rolling = rolling[:-1] * _PRIME + code[size - 1 :]
        found.append(_bucket(rolling + np.uint64(size), CHAR_BITS))
    words = np.asarray([zlib.crc32(word.encode("utf-8", "replace")) for word in _WORD.findall(flat)], dtype=np.uint64)
    first_word = 1 << CHAR_BITS
    if len(words):
        found.append(_bucket(words, WORD_BITS) + first_word)
        found.append(_bucket(words[:-1] * _PRIME + words[1:] + np.uint64(1), WORD_BITS) + first_word)
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    places, number = np.unique(np.concatenate(found), return_counts=True)
    return places, number.astype(np.float32)


def weighted(places: NDArray[np.int64], number: NDArray[np.float32], idf: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sub-linear counts times `idf`, the two parts (characters, words) of length 1 each."""
    value = (1 + np.log(number)) * idf[places]
    border = int(np.searchsorted(places, 1 << CHAR_BITS))
    for part in (value[:border], value[border:]):
        part /= max(float(np.sqrt((part * part).sum())), 1e-9)
    return value


def _bucket(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    mixed = hashes * _GOLDEN
    mixed ^= mixed >> np.uint64(29)
    mixed *= _GOLDEN
    return (mixed >> np.uint64(64 - bits)).astype(np.int64)


__all__ = ["CHAR_BUCKETS", "OVERLAP_CHARS", "SIZE", "WINDOW_CHARS", "counts", "normalised", "weighted", "windows"]
