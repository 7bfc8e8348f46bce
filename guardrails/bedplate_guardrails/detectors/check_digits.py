"""Check digits and the structure of public numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
"""How long an IBAN is, by country (SWIFT's IBAN registry, release 100, 2025)."""

BANK_COUNTRIES = frozenset(
    re.findall(
        "[A-Z]{2}",
        "AD AE AF AG AI AL AM AO AR AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA CD "
        "CF CG CH CI CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FO FR GA GB "
        "GD GE GG GH GI GL GM GN GQ GR GT GW GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE JM JO JP KE KG "
        "KH KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN MO MR MT MU MV MW "
        "MX MY MZ NA NE NG NI NL NO NP NZ OM PA PE PG PH PK PL PS PT PY QA RO RS RU RW SA SB SC SD SE SG SI "
        "SK SL SM SN SO SR SS ST SV SY SZ TC TD TG TH TJ TL TM TN TO TR TT TW TZ UA UG US UY UZ VA VC VE VG "
        "VN VU WS XK YE ZA ZM ZW",
    )
)
"""The countries of business identifier codes (ISO 9362 uses ISO 3166-1, and XK)."""

_VIN_VALUES = {char: value for value, chars in enumerate(
    ("0", "1AJ", "2BKS", "3CLT", "4DMU", "5ENV", "6FW", "7GPX", "8HY", "9RZ")) for char in chars
}  # fmt: skip
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit is the Luhn check digit of those before (ISO/IEC 7812-1, annex B)."""
    doubled = [digit if place % 2 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(digits[::-1], 1)]
    return sum(doubled) % 10 == 0


def iban_length(value: str) -> int | None:
    """How many characters an IBAN of the country that `value` begins with has; None for no such country."""
    return _IBAN_LENGTHS.get(value[:2])


def iban_check(value: str) -> bool:
    """Whether the check digits of an IBAN in upper case without separators are right (ISO 13616, mod 97)."""
    moved = value[4:] + value[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def aba_check(digits: Sequence[int]) -> bool:
    """Whether nine digits are a routing number of the American Bankers Association: its check digit is right."""
    return sum(weight * digit for weight, digit in zip((3, 7, 1) * 3, digits, strict=True)) % 10 == 0


def aba_prefix(first_two: int) -> bool:
    """Whether a routing number may begin with these two digits (Federal Reserve districts and their kin)."""
    return first_two <= 12 or 21 <= first_two <= 32 or 61 <= first_two <= 72 or first_two == 80


def vin_check(value: str) -> bool:
    """Whether the check digit of a vehicle identification number is right (49 CFR 565.15)."""
    total = sum(weight * _VIN_VALUES.get(char, 0) for weight, char in zip(_VIN_WEIGHTS, value, strict=True))
    return value[8] == "0123456789X"[total % 11]


__all__ = [
    "BANK_COUNTRIES",
    "aba_check",
    "aba_prefix",
    "iban_check",
    "iban_length",
    "luhn",
    "vin_check",
]
