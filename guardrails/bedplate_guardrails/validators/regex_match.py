"""`bedplate_guardrails.detectors.regex_match` as a guardrails-ai validator."""

from __future__ import annotations

from bedplate_guardrails.detectors.regex_match import RegexMatch as Detector
from bedplate_guardrails.validators.frame import register_validator
from bedplate_guardrails.validators.text_validator import OnFail, TextValidator


@register_validator(name="bedplate/regex", data_type="string")
class RegexMatch(TextValidator, Detector):
    """The detector of this name, which says what it finds, for a `Guard`."""

    def __init__(self, name: str, pattern: str, on_fail: OnFail = None) -> None:
        Detector.__init__(self, name, pattern)
        TextValidator.__init__(self, on_fail)


__all__ = ["RegexMatch"]
