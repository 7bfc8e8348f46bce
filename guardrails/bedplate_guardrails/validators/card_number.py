"""`bedplate_guardrails.detectors.card_number` as a guardrails-ai validator."""

from __future__ import annotations

from bedplate_guardrails.detectors.card_number import CardNumber as Detector
from bedplate_guardrails.validators.frame import register_validator
from bedplate_guardrails.validators.text_validator import OnFail, TextValidator


@register_validator(name="bedplate/card", data_type="string")
class CardNumber(TextValidator, Detector):
    """The detector of this name, which says what it finds, for a `Guard`."""

    def __init__(self, on_fail: OnFail = None) -> None:
        Detector.__init__(self)
        TextValidator.__init__(self, on_fail)


__all__ = ["CardNumber"]
