"""The detectors of personal information that are patterns, by Bedrock's type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bedplate_guardrails.detectors.age import Age
from bedplate_guardrails.detectors.bank_numbers import Iban, SwiftCode, UsBankAccount, UsRoutingNumber
from bedplate_guardrails.detectors.card_details import CardExpiry, CardVerificationValue
from bedplate_guardrails.detectors.card_number import CardNumber
from bedplate_guardrails.detectors.credentials import AwsAccessKey, AwsSecretKey, Password, Pin, Username
from bedplate_guardrails.detectors.email_address import EmailAddress
from bedplate_guardrails.detectors.ip_address import IpAddress
from bedplate_guardrails.detectors.mac_address import MacAddress
from bedplate_guardrails.detectors.national_numbers import (
    CaHealthNumber,
    CaSocialInsuranceNumber,
    DriverId,
    UkNationalInsuranceNumber,
    UkNhsNumber,
    UkTaxpayerReference,
    UsPassportNumber,
    UsSocialSecurityNumber,
    UsTaxpayerNumber,
)
from bedplate_guardrails.detectors.phone_number import PhoneNumber
from bedplate_guardrails.detectors.pii_detector import PiiDetector
from bedplate_guardrails.detectors.vehicles import LicensePlate, VehicleIdentificationNumber
from bedplate_guardrails.detectors.web_address import WebAddress
from bedplate_guardrails.document import PiiType

PII_DETECTORS: Mapping[PiiType, type[PiiDetector]] = MappingProxyType(
    {
        detector.kind: detector
        for detector in (
            Age,
            AwsAccessKey,
            AwsSecretKey,
            CaHealthNumber,
            CaSocialInsuranceNumber,
            CardExpiry,
            CardNumber,
            CardVerificationValue,
            DriverId,
            EmailAddress,
            Iban,
            IpAddress,
            LicensePlate,
            MacAddress,
            Password,
            PhoneNumber,
            Pin,
            SwiftCode,
            UkNationalInsuranceNumber,
            UkNhsNumber,
            UkTaxpayerReference,
            UsBankAccount,
            Username,
            UsPassportNumber,
            UsRoutingNumber,
            UsSocialSecurityNumber,
            UsTaxpayerNumber,
            VehicleIdentificationNumber,
            WebAddress,
        )
    }
)
"""All of Bedrock's types but those of `bedplate_guardrails.document.MODEL_PII`."""

__all__ = ["PII_DETECTORS"]
