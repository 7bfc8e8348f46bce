"""Payment card numbers."""

from __future__ import annotations

from bedplate_guardrails.detectors.pattern_detector import Judged, PatternDetector

MIN_DIGITS = 12
_SEPARATOR = r"[ .\x{2010}-\x{2015}\x{2212}-]"
_PATTERN = rf"[0-9](?:{_SEPARATOR}{{0,2}}[0-9]){{11,18}}"


class CardNumber(PatternDetector):
    """12 to 19 digits with a valid Luhn check digit (ISO/IEC 7812), alone or with up to two spaces, dots or dashes
    between them. Digits that belong to a longer unbroken number, or follow a `+`, are
    not a card.
    """

    cost = "one linear pass over the text, and a checksum for each run of 12 digits or more"

    def __init__(self) -> None:
        super().__init__(_PATTERN, "{CREDIT_DEBIT_CARD_NUMBER}")

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
    doubled = [digit if place % 2 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits[::-1], 1)]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


__all__ = ["CardNumber"]
