"""All rules of one side of a policy over one text that arrives in pieces.

What is found does not depend on the pieces. A candidate that is still undecided after `MAX_HOLD_CHARS` characters
of the original is given up: it counts as a finding that blocks, whatever the rule's action (unless that is NONE), so
that what is held back is bounded and is never released unjudged. Rules without an upper bound on their
matches, such as `key=.*`, and text padded with invisible characters or white space are what reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence

from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import Finding, Rule
from bedplate_guardrails.lane import Lane, LanePlan

MAX_HOLD_CHARS = 2048


class Scanner:
    """Scans one text from place `base` on. `horizon` is the place before which everything is decided."""

    __slots__ = ("_lanes", "end", "horizon")

    def __init__(self, plans: Sequence[LanePlan], base: int = 0) -> None:
        self._lanes = [Lane(plan, base) for plan in plans]
        self.end = base
        self.horizon = base

    def append(self, text: str) -> list[Finding]:
        """Take the next piece. Returns what became certain, in no order. Raises `DetectorFailure`."""
        findings: list[Finding] = []
        taken = 0
        while taken < len(text):
            piece = text[taken : taken + MAX_HOLD_CHARS - (self.end - self.horizon)]
            taken += len(piece)
            self.end += len(piece)
            for lane in self._lanes:
                found = lane.append(piece)
                if found:
                    findings.extend(map(_finding, found))
            self._settle_horizon()
            if self.end - self.horizon >= MAX_HOLD_CHARS:
                findings.extend(self._give_up())
        return findings

    def restart(self) -> None:
        """Begin a new text where this one ends. Everything in it must be decided: `horizon` is at the end."""
        for lane in self._lanes:
            lane.restart()

    def _settle_horizon(self) -> None:
        horizon = self.end
        for lane in self._lanes:
            if lane.horizon < horizon:
                horizon = lane.horizon
        self.horizon = horizon

    def settle(self) -> list[Finding]:
        """Make `horizon` exact, which `append` may leave earlier than it must. Returns what became certain."""
        findings = [_finding(found) for lane in self._lanes for found in lane.settle()]
        self._settle_horizon()
        return findings

    def ended(self) -> list[Finding]:
        """What there is besides if the text ends here. Changes nothing; the text may still go on."""
        return [_finding(found) for lane in self._lanes for found in lane.ended()]

    def _give_up(self) -> list[Finding]:
        findings = self.settle()
        for lane in self._lanes:
            for start, end, rule in lane.give_up(self.end - MAX_HOLD_CHARS):
                action = RuleAction.NONE if rule.action is RuleAction.NONE else RuleAction.BLOCK
                findings.append(Finding(start, end, rule, action))
        self._settle_horizon()
        return findings


def _finding(found: tuple[int, int, Rule]) -> Finding:
    start, end, rule = found
    return Finding(start, end, rule, rule.action)


__all__ = ["MAX_HOLD_CHARS", "Scanner"]
