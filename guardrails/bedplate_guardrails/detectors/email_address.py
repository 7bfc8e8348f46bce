"""E-mail addresses."""

from __future__ import annotations

from bedplate_guardrails.detectors.pattern_detector import Judged
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

_ODD = "\u00c0-\u024f\u0370-\u052f"
_LETTERS = f"A-Za-z{_ODD}"
_LABEL = rf"[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?"
_LOCAL = rf"(?:\b[A-Za-z0-9_]|[{_ODD}])(?:[{_LETTERS}0-9._%+'-]{{0,63}})@"
_PATTERN = _LOCAL + rf"(?:{_LABEL}\.){{1,6}}(?:[{_LETTERS}]{{2,24}}|xn--[A-Za-z0-9-]{{1,40}})"


class EmailAddress(PiiDetector):
    """Addresses `local@domain` with a top-level domain, in Latin, Greek or Cyrillic letters.

    Lengths are those of RFC 5321 (64 for the local part, 63 for a label); quoted local parts and address
    literals in brackets are not found.
    """

    kind = PiiType.EMAIL
    pattern = _PATTERN
    trigger = _LOCAL
    cost = "one linear pass over the text"

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts every candidate."""
        return Judged(True, end)


__all__ = ["EmailAddress"]
