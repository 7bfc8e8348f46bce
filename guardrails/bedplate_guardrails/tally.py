"""What a policy decided on one side of a call, counted."""

from __future__ import annotations

from bedplate_core.errors import GuardrailUnavailable
from bedplate_core.verdicts import Action, Side, Verdict
from bedplate_guardrails.detector import DetectorFailure, Finding
from bedplate_guardrails.document import RuleAction

_ACTIONS = {
    RuleAction.BLOCK: Action.BLOCK,
    RuleAction.ANONYMIZE: Action.MASK,
    RuleAction.NONE: Action.DETECT,
}

MEDIA_RULE = "media"


class Tally:
    """Counts findings of one side and turns them into verdicts, in the order in which rules were first met."""

    __slots__ = ("_counts", "_failed", "_media", "_policy", "_side", "_version")

    def __init__(self, policy: str, version: str, side: Side) -> None:
        self._policy = policy
        self._version = version
        self._side = side
        self._counts: dict[tuple[str, RuleAction], int] = {}
        self._media = 0
        self._failed: str | None = None

    def add(self, finding: Finding) -> None:
        """Count a finding that was acted on, or that a rule with the action NONE made."""
        key = (finding.rule.name, finding.action)
        self._counts[key] = self._counts.get(key, 0) + 1

    def pass_media(self) -> None:
        """Count a picture, a sound, a film or a file that passed without being looked into."""
        self._media += 1

    def fail(self, error: Exception) -> GuardrailUnavailable:
        """Note that a detector failed; the answer is the error to raise, with `error` as its cause."""
        self._failed = error.rule if isinstance(error, DetectorFailure) else "*"
        return GuardrailFailed(
            f"guardrail {self._policy} could not check the {self._side.value}; nothing unchecked is let through",
            self.verdicts(ended=False),
        )

    def verdicts(self, *, ended: bool) -> tuple[Verdict, ...]:
        """The verdicts so far. With `ended`, the side was scanned to its end, and no finding is an `ALLOW`."""
        verdicts = [self._verdict(rule, _ACTIONS[action], count) for (rule, action), count in self._counts.items()]
        if ended and not verdicts:
            verdicts.append(self._verdict("*", Action.ALLOW, 0))
        if self._media:
            verdicts.append(self._verdict(MEDIA_RULE, Action.SKIPPED, self._media))
        if self._failed is not None:
            verdicts.append(self._verdict(self._failed, Action.FAILED_CLOSED, 0))
        return tuple(verdicts)

    def _verdict(self, rule: str, action: Action, count: int) -> Verdict:
        return Verdict(
            policy=self._policy, version=self._version, side=self._side, rule=rule, action=action, count=count
        )


class GuardrailFailed(GuardrailUnavailable):
    """A detector raised while a policy was checking. `verdicts` say which rule, as `FAILED_CLOSED`."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


__all__ = ["MEDIA_RULE", "GuardrailFailed", "Tally"]
