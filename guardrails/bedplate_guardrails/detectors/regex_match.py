"""A guardrail's own regular expressions."""

from __future__ import annotations

from bedplate_guardrails.detectors.pattern_detector import Compiled, PatternDetector
from bedplate_guardrails.views import plain_char


class RegexMatch(PatternDetector):
    """Matches of a pattern in RE2's syntax, longest first, in the plain view of the text.

    Raises `ValueError` for a pattern that RE2 does not take (look-around and back-references among them), that
    matches the empty string, or that names a character which the view never shows, so that it could never match.
    """

    cost = "one linear pass over the text"

    def __init__(self, name: str, pattern: str) -> None:
        super().__init__(Compiled(pattern), f"{{{name}}}")
        for char in sorted(self._compiled.expression.literals):
            shown = plain_char(char)
            if shown != char:
                instead = f"write {shown!r}" if shown else "it is removed before matching"
                raise ValueError(f"the pattern names U+{ord(char):04X}, which is never seen: {instead}")


__all__ = ["RegexMatch"]
