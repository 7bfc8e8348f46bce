"""Word lists as guardrails-ai validators."""

from __future__ import annotations

from collections.abc import Iterable

from bedplate_guardrails.detectors.profanity import Profanity as ProfanityDetector
from bedplate_guardrails.detectors.words import Words as WordsDetector
from bedplate_guardrails.validators.frame import register_validator
from bedplate_guardrails.validators.text_validator import OnFail, TextValidator


@register_validator(name="bedplate/words", data_type="string")
class Words(TextValidator, WordsDetector):
    """The detector of this name, which says what it finds, for a `Guard`."""

    def __init__(self, words: Iterable[str], on_fail: OnFail = None, *, leetspeak: bool = False) -> None:
        WordsDetector.__init__(self, words, leetspeak=leetspeak)
        TextValidator.__init__(self, on_fail)


@register_validator(name="bedplate/profanity", data_type="string")
class Profanity(TextValidator, ProfanityDetector):
    """The detector of this name, which says what it finds, for a `Guard`."""

    def __init__(self, on_fail: OnFail = None, *, leetspeak: bool = False) -> None:
        ProfanityDetector.__init__(self, leetspeak=leetspeak)
        TextValidator.__init__(self, on_fail)


__all__ = ["Profanity", "Words"]
