"""The detectors of personal information as guardrails-ai validators, one for each of Bedrock's types.

Each is registered as `bedplate/` and its type in small letters with dashes, such as
`bedplate/credit-debit-card-number`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from bedplate_guardrails.detectors import (
    age,
    bank_numbers,
    card_details,
    card_number,
    credentials,
    email_address,
    ip_address,
    mac_address,
    national_numbers,
    phone_number,
    vehicles,
    web_address,
)
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.document import PiiType
from bedplate_guardrails.validators.frame import register_validator
from bedplate_guardrails.validators.text_validator import OnFail, TextValidator


class PiiValidator(TextValidator, PiiDetector):
    """What the validators here have in common. Each is its detector, which says what it finds."""

    def __init__(self, on_fail: OnFail = None) -> None:
        PiiDetector.__init__(self)
        TextValidator.__init__(self, on_fail)


_V = TypeVar("_V", bound=type[PiiValidator])


def _registered(validator: _V) -> _V:
    register_validator(name=f"bedplate/{validator.kind.value.lower().replace('_', '-')}", data_type="string")(validator)
    return validator


@_registered
class Age(PiiValidator, age.Age): ...


@_registered
class AwsAccessKey(PiiValidator, credentials.AwsAccessKey): ...


@_registered
class AwsSecretKey(PiiValidator, credentials.AwsSecretKey): ...


@_registered
class CaHealthNumber(PiiValidator, national_numbers.CaHealthNumber): ...


@_registered
class CaSocialInsuranceNumber(PiiValidator, national_numbers.CaSocialInsuranceNumber): ...


@_registered
class CardExpiry(PiiValidator, card_details.CardExpiry): ...


@_registered
class CardNumber(PiiValidator, card_number.CardNumber): ...


@_registered
class CardVerificationValue(PiiValidator, card_details.CardVerificationValue): ...


@_registered
class DriverId(PiiValidator, national_numbers.DriverId): ...


@_registered
class EmailAddress(PiiValidator, email_address.EmailAddress): ...


@_registered
class Iban(PiiValidator, bank_numbers.Iban): ...


@_registered
class IpAddress(PiiValidator, ip_address.IpAddress): ...


@_registered
class LicensePlate(PiiValidator, vehicles.LicensePlate): ...


@_registered
class MacAddress(PiiValidator, mac_address.MacAddress): ...


@_registered
class Password(PiiValidator, credentials.Password): ...


@_registered
class PhoneNumber(PiiValidator, phone_number.PhoneNumber): ...


@_registered
class Pin(PiiValidator, credentials.Pin): ...


@_registered
class SwiftCode(PiiValidator, bank_numbers.SwiftCode): ...


@_registered
class UkNationalInsuranceNumber(PiiValidator, national_numbers.UkNationalInsuranceNumber): ...


@_registered
class UkNhsNumber(PiiValidator, national_numbers.UkNhsNumber): ...


@_registered
class UkTaxpayerReference(PiiValidator, national_numbers.UkTaxpayerReference): ...


@_registered
class UsBankAccount(PiiValidator, bank_numbers.UsBankAccount): ...


@_registered
class UsPassportNumber(PiiValidator, national_numbers.UsPassportNumber): ...


@_registered
class UsRoutingNumber(PiiValidator, bank_numbers.UsRoutingNumber): ...


@_registered
class UsSocialSecurityNumber(PiiValidator, national_numbers.UsSocialSecurityNumber): ...


@_registered
class UsTaxpayerNumber(PiiValidator, national_numbers.UsTaxpayerNumber): ...


@_registered
class Username(PiiValidator, credentials.Username): ...


@_registered
class VehicleIdentificationNumber(PiiValidator, vehicles.VehicleIdentificationNumber): ...


@_registered
class WebAddress(PiiValidator, web_address.WebAddress): ...


PII_VALIDATORS: Mapping[PiiType, type[PiiValidator]] = MappingProxyType(
    {validator.kind: validator for validator in PiiValidator.__subclasses__()}
)
"""The validators by their type."""

__all__ = [
    "PII_VALIDATORS",
    "Age",
    "AwsAccessKey",
    "AwsSecretKey",
    "CaHealthNumber",
    "CaSocialInsuranceNumber",
    "CardExpiry",
    "CardNumber",
    "CardVerificationValue",
    "DriverId",
    "EmailAddress",
    "Iban",
    "IpAddress",
    "LicensePlate",
    "MacAddress",
    "Password",
    "PhoneNumber",
    "PiiValidator",
    "Pin",
    "SwiftCode",
    "UkNationalInsuranceNumber",
    "UkNhsNumber",
    "UkTaxpayerReference",
    "UsBankAccount",
    "UsPassportNumber",
    "UsRoutingNumber",
    "UsSocialSecurityNumber",
    "UsTaxpayerNumber",
    "Username",
    "VehicleIdentificationNumber",
    "WebAddress",
]
