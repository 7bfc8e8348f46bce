"""Detectors made of an RE2 pattern and a check in code of what it matched."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from bedplate_guardrails.automaton import MAX_PATTERN_BYTES, Automaton, AutomatonGate
from bedplate_guardrails.detector import Decision
from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.expression import parse_expression


class Judged(NamedTuple):
    """What a check made of a candidate: whether it holds a match, and where the match ends and starts.

    `start` is None for a match that starts where the candidate does; it may not lie before. The search goes on at
    `end`, which must be past the candidate's start, for a candidate that is none as well.
    """

    accepted: bool
    end: int
    start: int | None = None


class Compiled:
    """A pattern with what finds its matches and the beginnings of them. Immutable and safe to share.

    `max_bytes` bounds the memory of what finds both at once; where the states of a large automaton do not fit, RE2 is
    a hundred times slower. Raises `ValueError` for a pattern that RE2 does not take or that matches the empty string.
    """

    def __init__(self, pattern: str, max_bytes: int = MAX_PATTERN_BYTES * 2) -> None:
        Automaton(pattern)  # RE2 says what is wrong with a pattern better than the parser does
        self.expression = parse_expression(pattern)
        if self.expression.min_chars == 0:
            raise ValueError("the pattern matches the empty string")
        self.gate = (self.expression.source, self.expression.prefixes)
        self.either = AutomatonGate([self.gate], max_bytes)

    @cached_property
    def matches(self) -> Automaton:
        """Finds the matches."""
        return Automaton(self.expression.source)

    @cached_property
    def beginnings(self) -> Automaton:
        """Finds the earliest beginning of a match that reaches to the end of the text."""
        return Automaton(rf"(?:{self.expression.prefixes})\z")


class PatternDetector(TextDetector):
    """Finds the leftmost-longest matches of a pattern that `judge` accepts.

    A place is held back while the text from there to the end is the beginning of a match, even when a shorter match
    is complete already; so which match is found does not depend on how the text arrived.

    `gate` may be given for less than the pattern, as long as it matches at the start of every candidate.
    """

    def __init__(self, compiled: Compiled, mask: str, gate: tuple[str, str] | None = None) -> None:
        super().__init__(mask)
        self._compiled = compiled
        self.max_match_chars = compiled.expression.max_chars
        self._gate = gate or compiled.gate

    @property
    def gate(self) -> tuple[str, str]:
        """See `Detector.gate`."""
        return self._gate

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Whether the candidate `text[start:end]`, the longest at its start, holds a match."""
        return Judged(True, end)

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; see `Detector.decide`."""
        quiet = None if ended else self._compiled.either.quiet_until(text, start)
        if quiet is not None:
            return Decision([], quiet)
        spans: list[tuple[int, int]] = []
        horizon = len(text) if ended else self._horizon(text, start)
        while (found := self._compiled.matches.search(text, start)) is not None:
            if not ended and found[0] >= horizon:
                break
            accepted, end, inner = self.judge(text, *found)
            if accepted:
                spans.append((found[0] if inner is None else inner, end))
            start = end
            if not ended and horizon < start:
                horizon = self._horizon(text, start)
        return Decision(spans, horizon)

    def _horizon(self, text: str, start: int) -> int:
        """The earliest place from which the rest of the text may still grow into a match."""
        found = self._compiled.beginnings.search(text, start)
        return len(text) if found is None else found[0]


__all__ = ["Compiled", "Judged", "PatternDetector"]
