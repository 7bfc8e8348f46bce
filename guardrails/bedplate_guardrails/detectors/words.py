"""Words and phrases."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from bedplate_guardrails.automaton import Automaton
from bedplate_guardrails.detector import Decision
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.views import View, ViewName

_UNSPACED = (
    (0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip

_START_CHARS = 4
"""How much of a word is looked for at once; the rest is then followed character by character."""


class Words(TextDetector):
    """Words and phrases in the folded view: case, accents, look-alike letters, width and invisible characters make
    no difference, and the words of a phrase may stand any white space apart.

    A word that begins or ends with a letter or digit is only found where no other letter or digit touches it there.
    Scripts that are written without spaces (Chinese, Japanese, Thai and others) have no such edges. Of several words
    that begin in one place, the longest is found. Raises `ValueError` for a word that is nothing but white space and
    invisible characters.
    """

    view: ViewName = "folded"
    joinable = True  # a space joins nothing to a word
    cost = "a few steps for each word of the text, whatever the length of the list"

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__("{word}")
        folded = {folded_word(word) for word in words}
        self._words = frozenset(folded)
        self._beginnings = frozenset(word[:end] for word in folded for end in range(1, len(word) + 1))
        self._starts = re.compile("|".join(_start(first, folded) for first in sorted({word[0] for word in folded})))
        self._anywhere = _anywhere(folded)

    def quiet_until(self, text: str, start: int) -> int | None:
        """As `bedplate_guardrails.lane.Gate` says: the cheap answer for text without a word in it."""
        for found in self._starts.finditer(text, start):
            at = found.start()
            if at and _joins(text[at]) and _joins(text[at - 1]):
                continue
            end, open_ended = self._longest(text, at)
            if open_ended:
                return at
            if end:
                return None
        return len(text)

    def is_free_of_matches(self, text: str) -> bool:
        """As `bedplate_guardrails.lane.Gate` says."""
        if self._anywhere is not None:
            return not self._anywhere.occurs(text)
        return self.quiet_until(text, 0) == len(text)

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; see `Detector.decide`."""
        spans: list[tuple[int, int]] = []
        for found in self._starts.finditer(text, start):
            at = found.start()
            if at < start or (at and _joins(text[at]) and _joins(text[at - 1])):
                continue
            end, open_ended = self._longest(text, at)
            if open_ended and not ended:
                return Decision(spans, at)
            if end:
                spans.append((at, end))
                start = end
        return Decision(spans, len(text))

    def _longest(self, text: str, at: int) -> tuple[int, bool]:
        """Where the longest word from `at` ends, 0 for none, and whether more text could make a longer one."""
        best = 0
        key = text[at]
        end = at + 1
        while key in self._beginnings:
            if key in self._words and not (end < len(text) and _joins(key[-1]) and _joins(text[end])):
                best = end
            while end < len(text) and text[end] == " " == key[-1]:
                end += 1
            if end == len(text):
                return best, True
            key += text[end]
            end += 1
        return best, False


def _start(first: str, words: AbstractSet[str]) -> str:
    """An expression for where a word that begins with `first` may: its first characters, or fewer and the end.

    What must not stand before is asked after the first character, so that the search runs from one such character
    to the next and not through every place.
    """
    edge = rf"(?<![0-9a-z_]{re.escape(first)})" if _joins(first) else ""
    return re.escape(first) + edge + _rest([word for word in words if word[0] == first], 1)


def _rest(words: list[str], at: int) -> str:
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


def folded_word(word: str) -> str:
    """A word as the folded view shows it, with single spaces. Raises `ValueError` when nothing is left."""
    folded = " ".join(View("folded").of(word)[0].split())
    if not folded:
        raise ValueError(f"the word {word!r} has no visible character")
    return folded


def _joins(char: str) -> bool:
    """Whether `char` makes one word with a letter or digit beside it."""
    if char.isascii():
        return char.isalnum() or char == "_"
    code = ord(char)
    if any(low <= code <= high for low, high in _UNSPACED):
        return False
    return char.isalnum() or unicodedata.category(char).startswith("M")


__all__ = ["Words", "folded_word"]
