"""Numbers of banks and of accounts."""

from __future__ import annotations

from bedplate_guardrails.detectors.check_digits import (
    BANK_COUNTRIES,
    aba_check,
    aba_prefix,
    iban_check,
    iban_length,
)
from bedplate_guardrails.detectors.pii_detector import (
    DASH,
    EDGE,
    JOIN,
    PiiDetector,
    digits_of,
    label_trigger,
    labelled,
    letters_and_digits_of,
)
from bedplate_guardrails.document import PiiType


class Iban(PiiDetector):
    """International bank account numbers of the length of their country, in groups or not, in either case.

    The check digits must be right, but for a number behind the word IBAN.
    """

    _NUMBER = rf"((?i:[a-z]{{2}})[0-9]{{2}}(?: ?{DASH}? ?[0-9A-Za-z]){{10,30}})"
    kind = PiiType.INTERNATIONAL_BANK_ACCOUNT_NUMBER
    pattern = rf"\b{_NUMBER}|{EDGE}(?i:iban){JOIN}{_NUMBER}"
    trigger = rf"\b(?i:[a-z]{{2}})[0-9]{{2}}(?: ?{DASH}? ?[0-9A-Za-z]){{4}}|{label_trigger('iban')}"

    def end_of(self, value: str) -> int:
        """As far as an IBAN of this country goes; nothing where it has no IBANs or the value is shorter."""
        length = iban_length(value[:2].upper())
        places = [place for place, char in enumerate(value) if char.isalnum()]
        return places[length - 1] + 1 if length is not None and length <= len(places) else 0

    def accepts(self, value: str, label: str) -> bool:
        """Whether the check digits are right or a label says what it is."""
        return bool(label) or iban_check(letters_and_digits_of(value))


class SwiftCode(PiiDetector):
    """Business identifier codes (ISO 9362) of 8 or 11 characters, in upper case, of a country that has banks.

    Without a label there must be a digit in the location or the branch XXX, since many words have that form.
    """

    _CODE = r"([A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)"
    kind = PiiType.SWIFT_CODE
    pattern = rf"\b{_CODE}\b|{EDGE}(?i:swift|bic|bank identifier)(?:[ /-](?i:bic|swift))?{JOIN}{_CODE}\b"
    trigger = rf"\b{_CODE}\b|{label_trigger('swift|bic|bank identifier')}"

    def accepts(self, value: str, label: str) -> bool:
        """Whether the country exists and the rest goes with it."""
        if value[4:6] not in BANK_COUNTRIES:
            return False
        if label:
            return True
        telling = any(char.isdigit() for char in value[6:8]) or value[8:] == "XXX"
        return telling and value[6] not in "01"


class UsBankAccount(PiiDetector):
    """Account numbers of 8 to 17 digits behind a label that says account."""

    _LABELS = (
        r"(?:bank|checking|savings|deposit)[ _-](?:account|acct)"
        r"|(?:account|acct|a/c)[ _.]{0,2}(?:number|no\b\.?|num|nr|#)|acct\.?|accountnumber|bankaccount"
    )
    kind = PiiType.US_BANK_ACCOUNT_NUMBER
    pattern = labelled(_LABELS, rf"([0-9](?:(?: |{DASH})?[0-9]){{7,16}})")
    trigger = label_trigger(_LABELS)
    tail = rf"(?:[.,/:]|{DASH})?[0-9]"


class UsRoutingNumber(PiiDetector):
    """Bank routing numbers: nine digits of the ABA's form behind a label; behind "aba", with their check digit."""

    _LABELS = r"routing(?:[ _-]transit)?|aba|rtn|transit"
    kind = PiiType.US_BANK_ROUTING_NUMBER
    pattern = labelled(_LABELS, rf"([0-9]{{9}}|[0-9]{{4}}{DASH}[0-9]{{4}}{DASH}[0-9])")
    trigger = label_trigger(_LABELS)
    tail = r"[-.,/:]?[0-9]"

    def accepts(self, value: str, label: str) -> bool:
        """Whether the number begins as the ABA gives them out."""
        digits = [int(digit) for digit in digits_of(value)]
        certain = any(word in label.lower() for word in ("routing", "rtn"))
        return aba_prefix(digits[0] * 10 + digits[1]) and (certain or aba_check(digits))


__all__ = ["Iban", "SwiftCode", "UsBankAccount", "UsRoutingNumber"]
