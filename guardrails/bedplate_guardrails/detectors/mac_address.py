"""Hardware addresses."""

from __future__ import annotations

from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

_BYTE = r"[0-9A-Fa-f]{2}"
_WORD = r"[0-9A-Fa-f]{4}"


class MacAddress(PiiDetector):
    """MAC addresses of six bytes, with colons, with dashes or in three groups with dots.

    More bytes than that are a fingerprint.
    """

    kind = PiiType.MAC_ADDRESS
    pattern = rf"\b({_BYTE}(?::{_BYTE}){{5}}|{_BYTE}(?:-{_BYTE}){{5}}|{_WORD}\.{_WORD}\.{_WORD})"
    tail = r"[:.-]?[0-9A-Fa-f]"
    not_after = ":-."


__all__ = ["MacAddress"]
