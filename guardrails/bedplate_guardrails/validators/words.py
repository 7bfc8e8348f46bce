"""`bedplate_guardrails.detectors.words` as a guardrails-ai validator."""

from __future__ import annotations

from collections.abc import Iterable

from bedplate_guardrails.detectors.words import Words as Detector
from bedplate_guardrails.validators.frame import register_validator
from bedplate_guardrails.validators.text_validator import OnFail, TextValidator


@register_validator(name="bedplate/words", data_type="string")
class Words(TextValidator, Detector):
    """The detector of this name, which says what it finds, for a `Guard`."""

    def __init__(self, words: Iterable[str], on_fail: OnFail = None) -> None:
        Detector.__init__(self, words)
        TextValidator.__init__(self, on_fail)


__all__ = ["Words"]
