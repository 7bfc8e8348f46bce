"""One view of a growing text and the detectors that look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bedplate_guardrails.detector import CONTEXT_CHARS, DetectorFailure, Rule
from bedplate_guardrails.views import View

TRIM_CHARS = 256


class Gate(Protocol):
    """Passes over text that holds nothing for any detector of a lane."""

    joinable: bool
    """Whether a text made of others with a space between them holds a match wherever one of these does."""

    def quiet_until(self, text: str, start: int) -> int | None:
        """The earliest place from `start` on where a match may be under way at the end of `text`.

        None when `text` holds something to decide from `start` on.
        """
        ...

    def is_free_of_matches(self, text: str) -> bool:
        """Whether `text`, which is complete, holds no match. False where that is not easily said."""
        ...


class LanePlan:
    """What the lanes of one view have in common: the view, its rules and their gate. Immutable."""

    __slots__ = ("gate", "rules", "view")

    def __init__(self, view: View, rules: Sequence[Rule], gate: Gate | None) -> None:
        self.view = view
        self.rules = tuple(rules)
        self.gate = gate


class Lane:
    """The rules of one view over one text, which arrives in pieces.

    Places are counted in characters of the original from the start of the text, `base` being where this lane begins.
    `horizon` is the place before which everything is decided. It may lie earlier than it must, never later;
    `settle` makes it exact.
    """

    __slots__ = ("_at", "_ats", "_base", "_end", "_origin", "_plan", "_text", "horizon")

    def __init__(self, plan: LanePlan, base: int) -> None:
        self._plan = plan
        self._text = ""  # the view, from at most some CONTEXT_CHARS before `_at`
        self._base = base  # the place of the first character of `_text`, when `_origin` is None
        self._origin: list[int] | None = None  # else the place of every character of `_text`
        self._end = base
        self._at = 0  # before this index of `_text` every rule has decided
        self._ats: list[int] | None = None  # how far each rule has decided, where they differ
        self.horizon = base

    def restart(self) -> None:
        """Begin a new text where this one, of which everything is decided, ends."""
        self._text = ""
        self._base = self._end
        self._origin = None
        self._at = 0
        self._ats = None

    def append(self, piece: str) -> list[tuple[int, int, Rule]]:
        """Take the next piece of the original. Returns the matches that became certain, by place, in no order.

        Raises `DetectorFailure`.
        """
        view, places = self._plan.view.of(piece)
        if self._at > TRIM_CHARS:
            self._trim()
        if places is not None and self._origin is None:
            self._origin = list(range(self._base, self._base + len(self._text)))
        if self._origin is not None:
            end = self._end
            self._origin.extend(range(end, end + len(view)) if places is None else [end + at for at in places])
        self._text += view
        self._end += len(piece)
        gate = self._plan.gate
        if gate is not None:
            try:
                quiet = gate.quiet_until(self._text, self._at)
            except Exception as error:
                raise DetectorFailure("*") from error
            if quiet is not None:
                self._at = quiet
                if self._ats is not None:
                    self._ats = [max(at, quiet) for at in self._ats]
                self.horizon = self._place(quiet)
                return []
        return self.settle()

    def settle(self) -> list[tuple[int, int, Rule]]:
        """Ask every rule what is certain now. Returns the new matches and makes `horizon` exact."""
        ats = self._ats or [self._at] * len(self._plan.rules)
        found: list[tuple[int, int, Rule]] = []
        for number, rule in enumerate(self._plan.rules):
            spans, ats[number] = self._decide(rule, ats[number], ended=False)
            found.extend((*self._places(span), rule) for span in spans)
        self._moved(ats)
        return found

    def ended(self) -> list[tuple[int, int, Rule]]:
        """The further matches there are if the text ends here. Changes nothing; the text may still go on."""
        ats = self._ats or [self._at] * len(self._plan.rules)
        found: list[tuple[int, int, Rule]] = []
        for at, rule in zip(ats, self._plan.rules, strict=True):
            found.extend((*self._places(span), rule) for span in self._decide(rule, at, ended=True)[0])
        return found

    def give_up(self, limit: int) -> list[tuple[int, int, Rule]]:
        """End the candidates that begin at or before place `limit`, each returned as reaching to the end.

        To be called after `settle`.
        """
        ats = self._ats or [self._at] * len(self._plan.rules)
        given_up: list[tuple[int, int, Rule]] = []
        for number, rule in enumerate(self._plan.rules):
            if ats[number] < len(self._text) and self._place(ats[number]) <= limit:
                given_up.append((self._place(ats[number]), self._end, rule))
                ats[number] = len(self._text)
        self._moved(ats)
        return given_up

    def _decide(self, rule: Rule, at: int, *, ended: bool) -> tuple[list[tuple[int, int]], int]:
        try:
            return rule.detector.decide(self._text, at, ended)
        except Exception as error:
            raise DetectorFailure(rule.name) from error

    def _moved(self, ats: list[int]) -> None:
        self._at = min(ats)
        self._ats = ats if max(ats) > self._at else None
        self.horizon = self._place(self._at)

    def _place(self, index: int) -> int:
        """The place in the original of the character at `index` of the view; the end, past the last."""
        if index >= len(self._text):
            return self._end
        return self._base + index if self._origin is None else self._origin[index]

    def _places(self, span: tuple[int, int]) -> tuple[int, int]:
        """A span of the view as a span of the original, which covers every character it touches."""
        start, end = span
        return self._place(start), self._place(end - 1) + 1

    def _trim(self) -> None:
        cut = self._at - CONTEXT_CHARS
        self._text = self._text[cut:]
        self._at -= cut
        if self._ats is not None:
            self._ats = [at - cut for at in self._ats]
        if self._origin is None:
            self._base += cut
        else:
            del self._origin[:cut]
            self._forget_origin()

    def _forget_origin(self) -> None:
        """Go back to counting where what is left corresponds one to one up to the end."""
        origin = self._origin
        if origin and origin[-1] + 1 == self._end and origin == list(range(origin[0], self._end)):
            self._base, self._origin = origin[0], None


__all__ = ["Gate", "Lane", "LanePlan"]
