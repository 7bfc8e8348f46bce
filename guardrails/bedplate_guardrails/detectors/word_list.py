"""A list of words, made ready to be looked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

from bedplate_guardrails.automaton import Automaton
from bedplate_guardrails.detectors.word_edges import folded_word, joins
from bedplate_guardrails.detectors.word_tree import MAX_TREE_CHARS, WordTree

_START_CHARS = 4
"""How much of a word is looked for at once; the rest is then followed character by character."""


class WordList:
    """Words as they are written. Immutable and safe to share.

    `max_chars` is the length of the longest, None where there is a phrase, which any white space may stand in. Raises
    `ValueError` for a word that is nothing but white space and invisible characters.
    """

    def __init__(self, words: Iterable[str]) -> None:
        folded = {folded_word(word) for word in words}
        self._words = frozenset(folded)
        self._beginnings = frozenset(word[:end] for word in folded for end in range(1, len(word) + 1))
        self._starts = re.compile("|".join(_start(first, folded) for first in sorted({word[0] for word in folded})))
        self._anywhere = _anywhere(folded)
        phrases = any(" " in word for word in folded)
        self.max_chars = None if phrases else max(map(len, folded), default=0)

    @cached_property
    def gate(self) -> tuple[str, str] | None:
        """As `Detector.gate`; None where it would be too large."""
        if sum(map(len, self._words)) > MAX_TREE_CHARS:
            return None
        tree = WordTree(self._words)
        return tree.matches(_letter, _end), tree.beginnings(_letter)

    def is_free_of_matches(self, text: str) -> bool:
        """Whether a complete text holds none of the words for sure."""
        if self._anywhere is not None:
            return not self._anywhere.occurs(text)
        return self.quiet_until(text, 0) == len(text)

    def quiet_until(self, text: str, start: int) -> int | None:
        """As `bedplate_guardrails.lane.Gate` says: the cheap answer for text without a word in it."""
        for found in self._starts.finditer(text, start):
            at = found.start()
            if at and joins(text[at]) and joins(text[at - 1]):
                continue
            end, open_ended = self.longest(text, at)
            if open_ended:
                return at
            if end:
                return None
        return len(text)

    def next_start(self, text: str, start: int) -> int | None:
        """The next place at or after `start` where a word may begin."""
        for found in self._starts.finditer(text, start):
            at = found.start()
            if not (at and joins(text[at]) and joins(text[at - 1])):
                return at
        return None

    def longest(self, text: str, at: int) -> tuple[int, bool]:
        """Where the longest word from `at` ends, 0 for none, and whether more text could make a longer one."""
        best = 0
        key = text[at]
        end = at + 1
        while key in self._beginnings:
            if key in self._words and not (end < len(text) and joins(key[-1]) and joins(text[end])):
                best = end
            while end < len(text) and text[end] == " " == key[-1]:
                end += 1
            if end == len(text):
                return best, True
            key += text[end]
            end += 1
        return best, False


def _letter(char: str, first: bool) -> str:
    if char == " ":
        return " +"
    edge = r"\b" if first and (char.isascii() and (char.isalnum() or char == "_")) else ""
    return edge + re.escape(char)


def _end(char: str) -> str:
    return r"\b" if char.isascii() and (char.isalnum() or char == "_") else ""


def _start(first: str, words: AbstractSet[str]) -> str:
    """An expression for where a word that begins with `first` may: its first characters, or fewer and the end.

    What must not stand before is asked after the first character, so that the search runs from one such character
    to the next and not through every place.
    """
    edge = rf"(?<![0-9a-z_]{re.escape(first)})" if joins(first) else ""
    return re.escape(first) + edge + _rest([word for word in words if word[0] == first], 1)


def _rest(words: Sequence[str], at: int) -> str:
    """An expression for how `words`, alike up to `at`, go on, as far as `_START_CHARS`; any of them may be cut off."""
    if at == _START_CHARS or words[0][at - 1] == " " or any(len(word) == at for word in words):
        return ""
    following = sorted({word[at] for word in words})
    branches = [re.escape(char) + _rest([word for word in words if word[at] == char], at + 1) for char in following]
    return rf"(?:{'|'.join(branches)}|\Z)"


def _anywhere(words: AbstractSet[str]) -> Automaton | None:
    """Finds any of `words` wherever it stands, inside of others too; None where that would be too large."""
    try:
        return Automaton("|".join(re.escape(word).replace(r"\ ", " +") for word in sorted(words)))
    except ValueError:
        return None


__all__ = ["WordList"]
