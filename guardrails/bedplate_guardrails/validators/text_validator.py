"""What makes a detector a guardrails-ai validator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from bedplate_guardrails.detectors.text_detector import TextDetector
from bedplate_guardrails.validators.frame import (
    ErrorSpan,
    FailResult,
    OnFailAction,
    PassResult,
    ValidationResult,
    Validator,
)

OnFail: TypeAlias = OnFailAction | Callable[[Any, FailResult], Any] | None


class TextValidator(Validator, TextDetector):
    """A validator that fails with the places of what it found and, as the fix, the text with them masked.

    A validator of ours inherits from this, then from its detector, and initialises both: first the detector, which is
    a `Detector` like any other, then this with the action on failure. It is registered under `bedplate/...`.
    """

    def __init__(self, on_fail: OnFail) -> None:
        Validator.__init__(self, on_fail=on_fail)

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        """guardrails-ai's entry: fails when `value` holds a match. A value that is no text has none."""
        spans = self.find(value) if isinstance(value, str) else ()
        if not spans:
            return PassResult()
        pieces: list[str] = []
        cursor = 0
        for start, end in spans:
            pieces += value[cursor:start], self.mask
            cursor = end
        return FailResult(
            error_message=f"found {self.mask} {len(spans)} times",
            fix_value="".join([*pieces, value[cursor:]]),
            error_spans=[ErrorSpan(start=start, end=end, reason=self.mask) for start, end in spans],
        )

    async def async_validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        """The same on the event loop: a scan is too short to be worth a thread."""
        return self._validate(value, metadata)


__all__ = ["OnFail", "TextValidator"]
