"""What can be counted about an answer and its source: words, numbers, names, negations; no model takes part.

Every figure is about one sentence of the answer (a claim) and is between 0 and 1, where 1 speaks for support.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from bedplate_guardrails.models.words import STOP_WORDS, sentences, stem, stems, words

MAX_SOURCE_CHARS = 100_000
MAX_CLAIMS = 40
MAX_PIECES = 2_000
PIECE_CHARS = 400

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*%?")
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty",
        )
    )
}
_NAME = re.compile(r"(?<![.!?:\"“] )(?<!^)\b[A-Z][\w'’-]+")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|hardly|rarely|fails?|failed|lacks?|unable|denied"
    r"|[a-z]+n['’]?t)\b",
    re.I,
)
_SPEAKER = re.compile(r"\b(?:i|i'm|i've|my|me|mine|we|our|you|your)\b", re.I)

NAMES = (
    "coverage",
    "local_coverage",
    "piece_coverage",
    "bigrams",
    "numbers",
    "names",
    "negation",
    "order",
    "speaker",
    "novelty",
    "numbers_near",
    "names_near",
    "best_cosine",
    "cosine_coverage",
)
"""The figures of one claim, in order. The last two need sentence vectors; see `GroundingModel`."""


class Piece(msgspec.Struct, frozen=True):
    """A piece of the source: about a sentence."""

    text: str
    stems: frozenset[str]
    numbers: frozenset[str]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A source, read once for all claims."""

    pieces: tuple[Piece, ...]
    stems: frozenset[str]
    bigrams: frozenset[tuple[str, str]]
    numbers: frozenset[str]
    speaks: bool


def read_source(text: str) -> Source:
    """Take a source apart. Characters past `MAX_SOURCE_CHARS` and pieces past `MAX_PIECES` do not count."""
    text = text[:MAX_SOURCE_CHARS]
    pieces = tuple(Piece(one, frozenset(stems(one)), frozenset(_numbers(one))) for one in _pieces(text))
    return Source(
        pieces=pieces,
        stems=frozenset[str]().union(*(piece.stems for piece in pieces)),
        bigrams=frozenset(pair for piece in pieces for pair in _bigrams(piece.text)),
        numbers=frozenset(_numbers(text)),
        speaks=bool(_SPEAKER.search(text)),
    )


def read_claims(answer: str) -> list[str]:
    """The sentences of an answer that say something; past `MAX_CLAIMS`, neighbours are joined."""
    found = [one for one in sentences(answer) if stems(one) or _NUMBER.search(one)]
    step = -(-len(found) // MAX_CLAIMS) if found else 1
    return [" ".join(found[start : start + step]) for start in range(0, len(found), step)]


def nearest(source: Source, claim: str, most: int) -> list[int]:
    """The places of the pieces that share most words with a claim, best first, at most `most`."""
    wanted = stems(claim)
    shares = [len(wanted & piece.stems) / (len(piece.stems) + 3) ** 0.3 for piece in source.pieces]
    order = sorted(range(len(shares)), key=lambda place: (-shares[place], place))
    return order[:most]


def word_figures(source: Source, claim: str, near: Sequence[int]) -> list[float]:
    """The figures of one claim but the last two of `NAMES`. `near` is what `nearest` gave."""
    said = stems(claim)
    piece = source.pieces[near[0]] if near else Piece("", frozenset(), frozenset())
    around = [source.pieces[place] for place in _around(source, near)]
    near_stems = frozenset[str]().union(*(one.stems for one in around))
    near_numbers = frozenset[str]().union(*(one.numbers for one in around))
    pairs = _bigrams(claim)
    numbers = _numbers(claim)
    names = {stem(one.lower()) for one in _NAME.findall(claim)}
    return [
        _share(said, source.stems),
        _share(said, near_stems),
        _share(said, piece.stems),
        sum(pair in source.bigrams for pair in pairs) / len(pairs) if pairs else _share(said, source.stems),
        _share(numbers, source.numbers),
        _share(names, source.stems),
        _agreement(claim, said, piece),
        _order(claim, piece.text),
        float(source.speaks or not _SPEAKER.search(claim)),
        1 / (1 + len(said - source.stems)),
        _share(numbers, near_numbers),
        _share(names, near_stems),
    ]


def _share(of: set[str] | frozenset[str], there: frozenset[str]) -> float:
    return len(of & there) / len(of) if of else 1.0


def _agreement(claim: str, said: set[str], piece: Piece) -> float:
    """0 where a claim denies what the nearest piece does not, or asserts most of what the piece denies; else 1."""
    denies, denied = bool(_NEGATION.search(claim)), bool(_NEGATION.search(piece.text))
    if denies == denied:
        return 1.0
    return 0.0 if denies or _share(piece.stems, frozenset(said)) >= 0.6 else 1.0


def _around(source: Source, near: Sequence[int]) -> list[int]:
    """The two nearest pieces with their neighbours."""
    places = {place + step for place in near[:2] for step in (-1, 0, 1)}
    return sorted(place for place in places if 0 <= place < len(source.pieces))


def _content(text: str) -> list[str]:
    return [stem(word) for word in words(text.lower()) if word not in STOP_WORDS]


def _bigrams(text: str) -> list[tuple[str, str]]:
    content = _content(text)
    return list(pairwise(content))


def _numbers(text: str) -> set[str]:
    found = {one.replace(",", "").rstrip("%") for one in _NUMBER.findall(text)}
    return found | {_NUMBER_WORDS[word] for word in words(text.lower()) if word in _NUMBER_WORDS and word != "one"}


def _order(claim: str, piece: str) -> float:
    """The longest run of content words that both have in the same order, as a share of the claim's that both have."""
    there = _content(piece)
    both = [word for word in _content(claim) if word in set(there)]
    if len(both) < 2:
        return 1.0
    row = [0] * (len(there) + 1)
    for word in both:
        before = 0
        for place, other in enumerate(there, start=1):
            kept = row[place]
            row[place] = before + 1 if word == other else max(row[place], row[place - 1])
            before = kept
    return row[-1] / len(both)


def _pieces(text: str) -> list[str]:
    found: list[str] = []
    for sentence in sentences(text):
        for start in range(0, len(sentence), PIECE_CHARS):
            found.append(sentence[start : start + PIECE_CHARS])
            if len(found) == MAX_PIECES:
                return found
    return found


__all__ = [
    "MAX_CLAIMS",
    "MAX_PIECES",
    "MAX_SOURCE_CHARS",
    "NAMES",
    "Piece",
    "Source",
    "nearest",
    "read_claims",
    "read_source",
    "word_figures",
]
