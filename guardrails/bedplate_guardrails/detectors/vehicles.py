"""What identifies a vehicle."""

from __future__ import annotations

from bedplate_guardrails.detectors.check_digits import vin_check
from bedplate_guardrails.detectors.pii_detector import DASH, EDGE, JOIN, PiiDetector, label_trigger, labelled
from bedplate_guardrails.document import PiiType


class LicensePlate(PiiDetector):
    """Number plates behind a label: four to eight letters and digits in up to three groups, a digit among them."""

    _LABELS = (
        r"(?:licen[cs]e|number|registration|reg|vehicle|car)[ _-]?plates?|plates?|vrm"
        r"|(?:vehicle|car)(?:'s)? (?:registration|reg)|registration mark"
    )
    kind = PiiType.LICENSE_PLATE
    pattern = labelled(_LABELS, rf"([A-Z0-9]{{1,8}}(?:(?: |{DASH}){{1,2}}[A-Z0-9]{{1,5}}){{0,2}}|[a-z0-9]{{5,8}})\b")
    trigger = label_trigger(_LABELS)

    def accepts(self, value: str, label: str) -> bool:
        """Whether the length is that of a plate and there is a digit, and a letter or many digits."""
        signs = [char for char in value if char.isalnum()]
        digits = sum(char.isdigit() for char in signs)
        return 4 <= len(signs) <= 8 and digits >= 1 and (digits < len(signs) or len(signs) >= 5)


class VehicleIdentificationNumber(PiiDetector):
    """Vehicle identification numbers: seventeen letters and digits without I, O and Q.

    Without a label the check digit must be right and the last four be digits, as in North America.
    """

    _NUMBER = r"([A-HJ-NPR-Z0-9]{17}|[a-hj-npr-z0-9]{17})"
    _LABELS = r"vin|vehicle identification|chassis"
    kind = PiiType.VEHICLE_IDENTIFICATION_NUMBER
    pattern = rf"\b{_NUMBER}\b|{EDGE}(?i:{_LABELS}){JOIN}{_NUMBER}\b"
    trigger = rf"\b{_NUMBER}\b|{label_trigger(_LABELS)}"

    def accepts(self, value: str, label: str) -> bool:
        """Whether letters and digits are mixed as in a VIN and the check digit is right or a label says what it is."""
        number = value.upper()
        if number.isdigit() or number.isalpha():
            return False
        return bool(label) or (number[13:].isdigit() and not number[:4].isdigit() and vin_check(number))


__all__ = ["LicensePlate", "VehicleIdentificationNumber"]
