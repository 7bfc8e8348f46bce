"""Detectors made of an RE2 pattern and a check in code of what it matched."""

from __future__ import annotations

from typing import NamedTuple

from bedplate_guardrails.automaton import MAX_PATTERN_BYTES, Automaton, AutomatonGate
from bedplate_guardrails.detector import Decision
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.expression import parse_expression


class Judged(NamedTuple):
    """What a check made of a candidate: whether it is a match, and where the match ends.

    For a candidate that is none, `end` is where the search goes on, which must be past the candidate's start.
    """

    accepted: bool
    end: int


class PatternDetector(TextDetector):
    """Finds the leftmost-longest matches of a pattern that `judge` accepts.

    A place is held back while the text from there to the end is the beginning of a match, even when a shorter match
    is complete already; so which match is found does not depend on how the text arrived.
    """

    def __init__(self, pattern: str, mask: str) -> None:
        super().__init__(mask)
        Automaton(pattern)  # RE2 says what is wrong with a pattern better than the parser does
        expression = parse_expression(pattern)
        if expression.min_chars == 0:
            raise ValueError("the pattern matches the empty string")
        self._expression = expression
        self._matches = Automaton(expression.source)
        self._beginnings = Automaton(rf"(?:{expression.prefixes})\z")
        self._either = AutomatonGate([(expression.source, expression.prefixes)], MAX_PATTERN_BYTES * 2)
        self.max_match_chars = expression.max_chars
        self.gate = (expression.source, expression.prefixes)

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Whether the candidate `text[start:end]`, the longest at its start, is a match."""
        return Judged(True, end)

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; see `Detector.decide`."""
        quiet = None if ended else self._either.quiet_until(text, start)
        if quiet is not None:
            return Decision([], quiet)
        spans: list[tuple[int, int]] = []
        horizon = len(text) if ended else self._horizon(text, start)
        while (found := self._matches.search(text, start)) is not None:
            if not ended and found[0] >= horizon:
                break
            accepted, end = self.judge(text, *found)
            if accepted:
                spans.append((found[0], end))
            start = end
            if not ended and horizon < start:
                horizon = self._horizon(text, start)
        return Decision(spans, horizon)

    def _horizon(self, text: str, start: int) -> int:
        """The earliest place from which the rest of the text may still grow into a match."""
        found = self._beginnings.search(text, start)
        return len(text) if found is None else found[0]


__all__ = ["Judged", "PatternDetector"]
