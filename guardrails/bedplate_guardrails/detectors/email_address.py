"""E-mail addresses."""

from __future__ import annotations

from bedplate_guardrails.detectors.pattern_detector import PatternDetector

_LETTERS = r"A-Za-z\x{C0}-\x{24F}\x{370}-\x{52F}"
_LABEL = rf"[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?"
_PATTERN = (
    rf"[{_LETTERS}0-9_](?:[{_LETTERS}0-9._%+'-]{{0,63}})@"
    rf"(?:{_LABEL}\.){{1,6}}(?:[{_LETTERS}]{{2,24}}|xn--[A-Za-z0-9-]{{1,40}})"
)


class EmailAddress(PatternDetector):
    """Addresses `local@domain` with a top-level domain, in Latin, Greek or Cyrillic letters.

    Lengths are those of RFC 5321 (64 for the local part, 63 for a label); quoted local parts and address
    literals in brackets are not found.
    """

    cost = "one linear pass over the text"

    def __init__(self) -> None:
        super().__init__(_PATTERN, "{EMAIL}")


__all__ = ["EmailAddress"]
