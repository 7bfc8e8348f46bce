"""Ages."""

from __future__ import annotations

import re

from bedplate_guardrails.detectors.pii_detector import DASH, EDGE, PiiDetector, label_trigger
from bedplate_guardrails.document import PiiType

_ONES = "one|two|three|four|five|six|seven|eight|nine"
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_COUNT = rf"(?:[0-9]{{1,3}}|(?i:(?:{_TENS})(?:[ -](?:{_ONES}))?|{_TEENS}|{_ONES}))"
_UNIT = r"(?i:years?|yrs?|months?|weeks?|days?)"
_MAX_YEARS = 129


class Age(PiiDetector):
    """An age with its unit ("45 years" in "45 years old"), or the number behind "aged", "age:", "turned" and the like.

    A range ("aged 18-25") and a span of time ("in 45 years") are none.
    """

    kind = PiiType.AGE
    _LABELS = r"age[ds]?|turn(?:s|ed|ing)?"
    pattern = (
        rf"\b({_COUNT}(?: |{DASH}){_UNIT})(?: |{DASH})(?i:old|of age)\b"
        r"|\b([0-9]{1,3} ?(?i:y/o|yo|y\.o\.))"
        rf"|{EDGE}(?i:{_LABELS})(?: (?i:of|is|was))?[ :=\"'`*]{{1,5}}({_COUNT}(?: {_UNIT})?)\b"
    )
    trigger = rf"\b{_COUNT}(?: |{DASH}){_UNIT}(?: |{DASH})(?i:o)|\b[0-9]{{1,3}} ?(?i:y[/o.])|{label_trigger(_LABELS)}"
    tail = rf" ?(?:{DASH} ?[0-9A-Za-z]|[%$/:+]|[.,][0-9]| (?:degrees|and (?:over|above|up|older)|or older)\b)"

    def accepts(self, value: str, label: str) -> bool:
        """Whether the number is an age at all; behind "turned" a small one is more likely something else."""
        number = re.match(r"[0-9]+", value)
        least = 10 if label.lower().startswith("turn") else 0
        return number is None or least <= int(number[0]) <= _MAX_YEARS


__all__ = ["Age"]
