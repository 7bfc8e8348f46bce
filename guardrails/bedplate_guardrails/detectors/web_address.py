"""Web addresses."""

from __future__ import annotations

import re

from bedplate_guardrails.detectors.pattern_detector import Judged
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

_REST = r"[A-Za-z0-9!#$%&'()*+,./:;=?@\[\]_~-]"
_SCHEMES = r"(?i:https?|ftps?|sftp|wss?|ssh|git|s3|ldaps?|rtmps?)"
_SURE = r"com|org|net|edu|gov|mil|biz|(?:co|ac|gov|org|nhs)\.uk|com\.(?:au|br|mx|sg|tr|cn)|co\.(?:jp|kr|nz|za|in|il)"
_LIKELY = (
    "io|co|dev|app|ai|me|us|uk|ca|au|de|fr|es|it|nl|be|ch|at|se|no|dk|fi|pl|cz|pt|ie|eu|ru|jp|cn|in|br|mx|int|info"
    "|xyz|online|site|shop|store|blog|cloud|tech|club|live|news|gg|tv|to|ly|gl"
)
_WWW = "\\b(?i:www)\\.[0-9A-Za-z\u00c0-\u024f\u0370-\u052f.-]{3,80}"
_LABELS = r"\b[A-Za-z0-9][A-Za-z0-9.-]{0,80}\."
_BARE = rf"{_LABELS}(?:{_SURE})"
_SURE_END = re.compile(rf"(?:.*\.)(?:{_SURE})")
_STOPS = ".,;:!?'*_~"
_OPENING = {")": "(", "]": "["}


class WebAddress(PiiDetector):
    """Addresses with a scheme, those that begin with `www.`, and bare host names of common domains.

    Some domains (`.io`, `.in`) are as often part of a program and need a path behind them. Punctuation that ends a
    sentence does not belong to an address, and of what follows the host 300 characters do.
    """

    kind = PiiType.URL
    pattern = (
        rf"(?:\b{_SCHEMES}://{_REST}|{_WWW}[/?#:]|{_LABELS}(?:(?:{_SURE})[/?#:]|(?:{_LIKELY})/)){_REST}{{0,300}}"
        rf"|{_WWW}|{_BARE}(?:\.?[A-Za-z0-9_@-])?"
    )
    trigger = rf"\b{_SCHEMES}://|\b(?i:www)\.|{_LABELS}(?:(?:{_SURE})|(?:{_LIKELY})/)"

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts an address that is no part of an e-mail address or of a dotted name."""
        before = text[start - 1] if start else " "
        value = text[start:end]
        if "://" not in value[:9] and value[:4].lower() != "www.":
            whole = any(sign in value for sign in "/?#:") or _SURE_END.fullmatch(value) is not None
            followed = end < len(text) and (text[end] in "@_" or text[end].isalnum()) and value[-1].isalnum()
            if before in "@.-_" or before.isalnum() or followed or not whole:
                return Judged(False, end)
        return Judged(True, start + _kept(value))


def _kept(value: str) -> int:
    """How much of an address is left without the punctuation and the closing brackets of its sentence."""
    kept = len(value.rstrip(_STOPS))
    while value[kept - 1] in _OPENING and value.count(value[kept - 1], 0, kept) > value.count(
        _OPENING[value[kept - 1]], 0, kept
    ):
        kept = len(value[: kept - 1].rstrip(_STOPS))
    return kept


__all__ = ["WebAddress"]
