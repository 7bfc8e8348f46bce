"""Words and phrases."""

from __future__ import annotations

from collections.abc import Iterable

from bedplate_guardrails.detector import Decision
from bedplate_guardrails.detectors.leet_list import LeetList
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.detectors.word_edges import folded_word
from bedplate_guardrails.detectors.word_list import WordList
from bedplate_guardrails.views import ViewName


class Words(TextDetector):
    """Words and phrases in the folded view: case, accents, look-alike letters, width and invisible characters make
    no difference, and the words of a phrase may stand any white space apart. With `leetspeak`, nor do digits and signs
    for letters, repeated letters and single separators between them (`LeetList` says which).

    A word that begins or ends with a letter or digit is only found where no other letter or digit touches it there.
    Scripts that are written without spaces (Chinese, Japanese, Thai and others) have no such edges. Of several words
    that begin in one place, the longest is found. Raises `ValueError` for a word that is nothing but white space and
    invisible characters.
    """

    view: ViewName = "folded"
    joinable = True  # a space joins nothing to a word
    cost = "a few steps for each word of the text, whatever the length of the list"

    def __init__(self, words: Iterable[str] | WordList | LeetList, *, leetspeak: bool = False) -> None:
        super().__init__("{word}")
        if isinstance(words, WordList | LeetList):
            self._list = words
        else:
            self._list = LeetList(words) if leetspeak else WordList(words)
        self.max_match_chars = self._list.max_chars

    @property
    def gate(self) -> tuple[str, str] | None:
        """See `Detector.gate`."""
        return self._list.gate

    def quiet_until(self, text: str, start: int) -> int | None:
        """As `bedplate_guardrails.lane.Gate` says: the cheap answer for text without a word in it."""
        return self._list.quiet_until(text, start)

    def is_free_of_matches(self, text: str) -> bool:
        """As `bedplate_guardrails.lane.Gate` says."""
        return self._list.is_free_of_matches(text)

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; see `Detector.decide`."""
        spans: list[tuple[int, int]] = []
        at = self._list.next_start(text, start)
        while at is not None:
            end, open_ended = self._list.longest(text, at)
            if open_ended and not ended:
                return Decision(spans, at)
            if end:
                spans.append((at, end))
            at = self._list.next_start(text, end or at + 1)
        return Decision(spans, len(text))


__all__ = ["Words", "folded_word"]
