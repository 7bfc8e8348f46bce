"""What the detectors have in common."""

from __future__ import annotations

from bedplate_guardrails.detector import Decision
from bedplate_guardrails.views import View, ViewName


class TextDetector:
    """A `Detector` that also searches complete texts in the original.

    Subclasses set `view`, `max_match_chars` and `cost` and implement `decide` and, where they have one, `gate`, as
    `bedplate_guardrails.detector.Detector` says. `mask` is what a match is replaced with.
    """

    view: ViewName = "plain"
    max_match_chars: int | None = None
    cost: str = ""

    def __init__(self, mask: str) -> None:
        self.mask = mask
        self._view = View(self.view)

    @property
    def gate(self) -> tuple[str, str] | None:
        """What the scanner may ask for before it asks the detector; see `Detector.gate`."""
        return None

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


__all__ = ["TextDetector"]
