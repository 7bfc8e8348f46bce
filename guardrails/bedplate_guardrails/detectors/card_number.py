"""Payment card numbers."""

from __future__ import annotations

from bedplate_guardrails.detectors.check_digits import luhn
from bedplate_guardrails.detectors.pattern_detector import Judged
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType

MIN_DIGITS = 12
_SEPARATOR = "[ .\u2010-\u2015\u2212-]"
_PATTERN = rf"[0-9](?:{_SEPARATOR}{{0,2}}[0-9]){{11,18}}"


class CardNumber(PiiDetector):
    """12 to 19 digits with a valid Luhn check digit (ISO/IEC 7812), alone or with up to two spaces, dots or dashes
    between them. Digits that belong to a longer unbroken number, or follow a `+`, are
    not a card.
    """

    kind = PiiType.CREDIT_DEBIT_CARD_NUMBER
    pattern = _PATTERN
    cost = "one linear pass over the text, and a checksum for each run of 12 digits or more"

    def judge(self, text: str, start: int, end: int) -> Judged:
        """Accepts the longest run of whole groups from `start` that is a card number."""
        if start == 0 or not (text[start - 1].isdigit() or text[start - 1] == "+"):
            places = [place for place in range(start, end) if text[place].isdigit()]
            digits = [int(text[place]) for place in places]
            for count in range(len(digits), MIN_DIGITS - 1, -1):
                after = places[count - 1] + 1
                inside_group = after < len(text) and text[after].isdigit()
                if not inside_group and _is_card(digits[:count]):
                    return Judged(True, after)
        after = start + 1
        while after < end and text[after].isdigit():
            after += 1
        return Judged(False, after)


def _is_card(digits: list[int]) -> bool:
    """Whether the Luhn sum is right and the digits are not all the same."""
    return luhn(digits) and len(set(digits)) > 1


__all__ = ["CardNumber"]
