"""What the scanner needs of a detector, and what it makes of it.

A detector looks at a view of a text (`bedplate_guardrails.views`) that may still grow, and says two things: which
matches are certain, and from where on nothing is certain yet. It has no state; the scanner keeps the place.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from bedplate_core.assessment import PolicyKind
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.views import ViewName

CONTEXT_CHARS = 8
"""How many characters of the view before a match a detector may look at."""


class Decision(NamedTuple):
    """What is certain about a text so far.

    `spans` are the certain matches in order, none overlapping another, as `(start, end)`. `horizon` is the
    earliest place where a match that is not in `spans` may still begin; the length of the text when there is none.
    """

    spans: list[tuple[int, int]]
    horizon: int


class Detector(Protocol):
    """Finds one kind of thing. Deterministic, without state, safe to share between threads.

    `view` names the view it looks at. `max_match_chars` is the length of the longest match in that view, None when
    there is no bound. `cost` says in words what a scan costs. `gate` is None or two RE2 expressions, one that matches
    wherever a match may be and one that matches every beginning of a match; with both the scanner passes over
    text that holds nothing for any of its detectors in one search.
    """

    @property
    def view(self) -> ViewName: ...

    @property
    def max_match_chars(self) -> int | None: ...

    @property
    def cost(self) -> str: ...

    @property
    def gate(self) -> tuple[str, str] | None: ...

    def decide(self, text: str, start: int, ended: bool) -> Decision:
        """What is certain from `start` on; with `ended`, the text is complete and everything is certain.

        A decision may depend on up to `CONTEXT_CHARS` characters before a match and one after it. It may not change
        when text is appended: what is in `spans` stays, and nothing that starts before `horizon` is added.
        """
        ...


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A detector with what to do about its matches.

    `name` is how verdicts name the rule, `label` how assessments do; `pattern` is a regular expression's source.
    """

    name: str
    kind: PolicyKind
    label: str
    detector: Detector
    action: RuleAction
    mask: str
    pattern: str = ""


class Finding(NamedTuple):
    """A match of a rule in a text, by its place in the original."""

    start: int
    end: int
    rule: Rule
    action: RuleAction

    @property
    def order(self) -> tuple[int, bool, int, str]:
        """Sorts findings: by start, then what blocks, then the longest, then by name."""
        return self.start, self.action is not RuleAction.BLOCK, -self.end, self.rule.name


class DetectorFailure(Exception):
    """A detector raised. `rule` names it; the cause is chained. Callers fail closed."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"the detector of rule {rule} failed")
        self.rule = rule


__all__ = ["CONTEXT_CHARS", "Decision", "Detector", "DetectorFailure", "Finding", "Rule"]
