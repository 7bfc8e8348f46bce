"""Numbers that states give to people."""

from __future__ import annotations

from bedplate_guardrails.detectors.check_digits import luhn
from bedplate_guardrails.detectors.pii_detector import (
    DASH,
    EDGE,
    JOIN,
    PiiDetector,
    digits_of,
    label_trigger,
    labelled,
)
from bedplate_guardrails.document import PiiType

_GAP = rf"(?: |{DASH})"
_NO_GAP = rf"(?: |{DASH})?"
_BEFORE = "-./:+#$"
_MORE = rf"(?:{DASH}[0-9A-Za-z]|[./:][0-9]|[0-9])"


class UsSocialSecurityNumber(PiiDetector):
    """Social security numbers: `123-45-6789`, or any way behind a label.

    The area is not 000, 666 or (without a label) 9xx, the group not 00 and the serial not 0000 (SSA, "Social Security
    Number Randomization", 2011).
    """

    _LABELS = r"ssn?|social(?: security)?|soc\.? sec\.?"
    kind = PiiType.US_SOCIAL_SECURITY_NUMBER
    pattern = (
        rf"\b([0-9]{{3}}{DASH}[0-9]{{2}}{DASH}[0-9]{{4}}|[0-9]{{3}} [0-9]{{2}} [0-9]{{4}})"
        rf"|{EDGE}(?i:{_LABELS}){JOIN}([0-9]{{3}}{_NO_GAP}[0-9]{{2}}{_NO_GAP}[0-9]{{4}})"
    )
    trigger = rf"\b[0-9]{{3}}{_GAP}[0-9]{{2}}{_GAP}[0-9]|{label_trigger(_LABELS)}"
    tail = _MORE
    not_after = _BEFORE

    def accepts(self, value: str, label: str) -> bool:
        """Whether the number can have been given out; behind a label, an area of 9xx is taken for one as well."""
        digits = digits_of(value)
        area, group, serial = digits[:3], digits[3:5], digits[5:]
        return area not in ("000", "666") and (bool(label) or area[0] != "9") and group != "00" and serial != "0000"


class UsTaxpayerNumber(PiiDetector):
    """Individual taxpayer identification numbers: `9xx-xx-xxxx` with a group that the IRS uses (50 to 65, 70 to 88,
    90 to 92, 94 to 99); without separators only behind a label.
    """

    _LABELS = r"itin|individual tax(?:payer)?(?: identification)?|tax(?:payer)? (?:id|identification)|tin"
    kind = PiiType.US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER
    pattern = (
        rf"\b(9[0-9]{{2}}{DASH}[5-9][0-9]{DASH}[0-9]{{4}}|9[0-9]{{2}} [5-9][0-9] [0-9]{{4}})"
        rf"|{EDGE}(?i:{_LABELS}){JOIN}(9[0-9]{{2}}{_NO_GAP}[5-9][0-9]{_NO_GAP}[0-9]{{4}})"
    )
    trigger = rf"\b9[0-9]{{2}}{_GAP}[5-9][0-9]{_GAP}[0-9]|{label_trigger(_LABELS)}"
    tail = _MORE
    not_after = _BEFORE

    def accepts(self, value: str, label: str) -> bool:
        """Whether the group is one that the IRS uses."""
        group = int(digits_of(value)[3:5])
        return group <= 65 or 70 <= group <= 88 or group in (90, 91, 92) or group >= 94


class UsPassportNumber(PiiDetector):
    """Passport numbers of six to nine letters and digits, behind a label."""

    _LABELS = r"passport"
    kind = PiiType.US_PASSPORT_NUMBER
    pattern = labelled(_LABELS, r"([A-Za-z]{0,2}[0-9]{6,9})")
    trigger = label_trigger(_LABELS)
    tail = _MORE

    def accepts(self, value: str, label: str) -> bool:
        """Whether the length is that of a passport's number."""
        return 6 <= len(value) <= 9


class DriverId(PiiDetector):
    """Driving licences: five to twenty letters and digits with at least four digits behind a label, and the
    sixteen characters of a British one anywhere.
    """

    _LABELS = (
        "driv(?:er|ing)[ _'\u2019]{0,2}s?[ _'\u2019-]{0,2}(?:licen[cs]e|id|permit)(?: card)?"
        "|dl[ _-]?(?:no\\.?|number|num|#)|dln?"
    )
    kind = PiiType.DRIVER_ID
    pattern = (
        labelled(_LABELS, rf"([A-Za-z0-9](?:{DASH}?[A-Za-z0-9]| [0-9]){{4,19}})")
        + r"|\b([A-Z]{2,5}9{0,3}[0-9]{6}[A-Z9]{2}[0-9A-Z][A-Z]{2})\b"
    )
    trigger = rf"{label_trigger(_LABELS)}|\b[A-Z]{{2,5}}9{{0,3}}[0-9]{{6}}[A-Z9]{{2}}"

    def accepts(self, value: str, label: str) -> bool:
        """Whether there are enough digits in it; a British one has a month and a day."""
        digits = digits_of(value)
        if label:
            return len(digits) >= 4
        return len(value) == 16 and value[6] in "0156" and "01" <= value[8:10] <= "31"


class CaHealthNumber(PiiDetector):
    """Provincial health numbers behind a label: ten digits, with a version code or not, or Quebec's twelve signs."""

    _LABELS = r"health[ _-]?(?:card|insurance|care)?(?: card)?|ohip|phn|ramq|msp|medicare"
    kind = PiiType.CA_HEALTH_NUMBER
    pattern = labelled(
        _LABELS,
        rf"([0-9]{{4}}{_NO_GAP}[0-9]{{3}}{_NO_GAP}[0-9]{{3}}(?:{_NO_GAP}[A-Z]{{2}}\b)?"
        rf"|[A-Za-z]{{4}}{_NO_GAP}[0-9]{{4}}{_NO_GAP}[0-9]{{4}})",
    )
    trigger = label_trigger(_LABELS)
    tail = _MORE


class CaSocialInsuranceNumber(PiiDetector):
    """Social insurance numbers: nine digits in threes with a valid Luhn digit, or any way behind a label."""

    _LABELS = r"sin|social insurance"
    kind = PiiType.CA_SOCIAL_INSURANCE_NUMBER
    pattern = (
        rf"\b([1-79][0-9]{{2}}{DASH}[0-9]{{3}}{DASH}[0-9]{{3}}|[1-79][0-9]{{2}} [0-9]{{3}} [0-9]{{3}})"
        rf"|{EDGE}(?i:{_LABELS}){JOIN}([0-9]{{3}}{_NO_GAP}[0-9]{{3}}{_NO_GAP}[0-9]{{3}})"
    )
    trigger = rf"\b[1-79][0-9]{{2}}{_GAP}[0-9]{{3}}{_GAP}[0-9]|{label_trigger(_LABELS)}"
    tail = rf"(?:{_GAP}?[0-9]|{DASH}[A-Za-z]|[./:][0-9])"
    not_after = _BEFORE

    def accepts(self, value: str, label: str) -> bool:
        """Whether the check digit is right, or a label says what it is."""
        return bool(label) or luhn([int(digit) for digit in digits_of(value)])


class UkNhsNumber(PiiDetector):
    """NHS numbers: ten digits, in groups of 3, 3 and 4 or not, behind a label."""

    _LABELS = r"nhs|national health(?: service)?"
    kind = PiiType.UK_NATIONAL_HEALTH_SERVICE_NUMBER
    pattern = labelled(_LABELS, rf"([0-9]{{3}}{_NO_GAP}[0-9]{{3}}{_NO_GAP}[0-9]{{4}})")
    trigger = label_trigger(_LABELS)
    tail = _MORE


class UkNationalInsuranceNumber(PiiDetector):
    """National insurance numbers: two letters, six digits and A to D. The prefix must be one that is given out (HMRC,
    NIM39110), but for a number behind a label.
    """

    kind = PiiType.UK_NATIONAL_INSURANCE_NUMBER
    _NUMBER = rf"{_NO_GAP}[0-9]{{2}}{_NO_GAP}[0-9]{{2}}{_NO_GAP}[0-9]{{2}}{_NO_GAP}(?i:[a-d])"
    _LABELS = r"nino?|national insurance|ni (?:number|no)"
    pattern = (
        rf"\b((?i:[a-ceghj-prtw-z][a-ceghj-nprtw-z]){_NUMBER})\b"
        rf"|{EDGE}(?i:{_LABELS}){JOIN}((?i:[a-z]{{2}}){_NUMBER})\b"
    )
    trigger = rf"\b(?i:[a-z]{{2}}){_NO_GAP}[0-9]{{2}}{_NO_GAP}[0-9]|{label_trigger(_LABELS)}"
    tail = rf"{DASH}[0-9A-Za-z]"

    def accepts(self, value: str, label: str) -> bool:
        """Whether the prefix is not one of those that are never given out."""
        return bool(label) or value[:2].upper() not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


class UkTaxpayerReference(PiiDetector):
    """Unique taxpayer references: ten digits behind a label."""

    _LABELS = r"utr|unique tax(?:payer)?(?:'?s)? ref(?:erence|\.)?|tax(?:payer)? reference"
    kind = PiiType.UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER
    pattern = labelled(_LABELS, rf"([0-9]{{5}}{_NO_GAP}[0-9]{{5}}|[0-9]{{4}}{_NO_GAP}[0-9]{{3}}{_NO_GAP}[0-9]{{3}})")
    trigger = label_trigger(_LABELS)
    tail = _MORE


__all__ = [
    "CaHealthNumber",
    "CaSocialInsuranceNumber",
    "DriverId",
    "UkNationalInsuranceNumber",
    "UkNhsNumber",
    "UkTaxpayerReference",
    "UsPassportNumber",
    "UsSocialSecurityNumber",
    "UsTaxpayerNumber",
]
