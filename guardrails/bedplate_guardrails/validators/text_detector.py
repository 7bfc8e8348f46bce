"""What the detectors have in common: a guardrails-ai validator over a text that is also a `Detector`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from bedplate_guardrails.detector import Decision
from bedplate_guardrails.validators.frame import (
    ErrorSpan,
    FailResult,
    OnFailAction,
    PassResult,
    ValidationResult,
    Validator,
)
from bedplate_guardrails.views import View, ViewName

OnFail: TypeAlias = OnFailAction | Callable[[Any, FailResult], Any] | None


class TextDetector(Validator):
    """A validator that fails with the places of what it found and, as the fix, the text with them masked.

    Subclasses set `view`, `max_match_chars`, `cost` and `gate` and implement `decide`, as
    `bedplate_guardrails.detector.Detector` says.
    """

    view: ViewName = "plain"
    max_match_chars: int | None = None
    cost: str = ""
    gate: tuple[str, str] | None = None

    def __init__(self, mask: str, on_fail: OnFail = None) -> None:
        super().__init__(on_fail=on_fail)
        self.mask = mask
        self._view = View(self.view)

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; see `Detector.decide`."""
        raise NotImplementedError

    def find(self, text: str) -> tuple[tuple[int, int], ...]:
        """Every match in a complete text, as `(start, end)` in its characters, in order, not overlapping."""
        view, places = self._view.of(text)
        spans = self.decide(view, 0, True).spans
        if places is None:
            return tuple(spans)
        return tuple((places[start], places[end - 1] + 1) for start, end in spans)

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


__all__ = ["OnFail", "TextDetector"]
