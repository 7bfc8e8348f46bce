"""Words, stems and sentences of English text, cheaply and the same in every process."""

from __future__ import annotations

import re
from collections.abc import Iterator

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after again all also am an and any are as at be because been before being but by can could did do "
        "does doing down during each few for from get give had has have having he help her here hers him his how i "
        "if in into is it its just know like make many may me might more most must my need no nor not now of off "
        "on once only or other our out over own please question questions request requests said same shall she "
        "should so some such tell than that the their them then there these they this those to too under up us "
        "very want was we were what when where which while who whom why will with would you your ",
    )
)

_WORD = re.compile(r"[^\W_]+(?:['’][a-z]{1,2}\b)?")
_ENDINGS = re.findall(r"\w+", "ations ation ingly ings edly ing ies ied ers er ed es ly s e y")
_POSSESSIVE = re.compile(r"['’]s?$")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"')\]]*\s+|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|No|Inc|Ltd|Co|e\.g|i\.e|[A-Z]))\.$")


def words(text: str) -> list[str]:
    """The words of a text as written, in order; numbers are words."""
    return _WORD.findall(text)


def stem(word: str) -> str:
    """A lower-case word without its usual endings; at least three letters stay."""
    word = _POSSESSIVE.sub("", word)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems(text: str) -> set[str]:
    """The stems of the words that carry meaning: no stop words, no single letters."""
    return {stem(word) for word in words(text.lower()) if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, in order, without the white space around them; none is empty."""
    start = 0
    for cut in _SENTENCE_END.finditer(text):
        piece = text[start : cut.start()]
        if "\n" not in cut.group() and _ABBREVIATION.search(piece[-8:]):
            continue
        if piece.strip():
            yield piece.strip()
        start = cut.end()
    if text[start:].strip():
        yield text[start:].strip()


__all__ = ["STOP_WORDS", "sentences", "stem", "stems", "words"]
