"""What a guardrail decided on one side of a call: verdicts for the record, an assessment for whoever may see more."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bedplate_core.assessment import Assessment, Detection, GuardrailRef, GuardrailUnits, Origin, PolicyKind
from bedplate_core.errors import GuardrailUnavailable
from bedplate_core.verdicts import Action, Side, Verdict
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.detector import DetectorFailure, Finding
from bedplate_guardrails.evaluation import EvaluationFailed

ACTIONS: Mapping[RuleAction, Action] = MappingProxyType(
    {
        RuleAction.BLOCK: Action.BLOCK,
        RuleAction.ANONYMIZE: Action.MASK,
        RuleAction.NONE: Action.DETECT,
    }
)

MEDIA_RULE = "media"
UNIT_CHARS = 1000
MAX_DETECTIONS = 200
"""More of one call's detections are counted and not listed."""

_PREFIXES: Mapping[PolicyKind, str] = MappingProxyType(
    {
        PolicyKind.CONTENT: "content:",
        PolicyKind.TOPIC: "topic:",
        PolicyKind.REGEX: "regex:",
        PolicyKind.GROUNDING: "grounding:",
        PolicyKind.VALIDATOR: "validator:",
        PolicyKind.TOOL: "tool:",
        PolicyKind.SIZE: "size:",
    }
)


def rule_name(kind: PolicyKind, name: str) -> str:
    """How verdicts name a rule: `content:HATE`, `regex:badge`, `EMAIL`; words are never named."""
    match kind:
        case PolicyKind.WORD:
            return "word"
        case PolicyKind.MANAGED_WORDS:
            return "profanity"
        case PolicyKind.SCHEMA:
            return "schema"
        case _:
            return f"{_PREFIXES.get(kind, '')}{name}"


class Tally:
    """Counts what rules found on one side, in the order in which rules were first met."""

    __slots__ = (
        "_counts", "_detections", "_failed", "_kinds", "_matches", "_media", "_rated", "_ref", "_side", "_skipped",
        "chars", "elapsed_s",
    )  # fmt: skip

    def __init__(
        self, ref: GuardrailRef, side: Side, *, kinds: frozenset[PolicyKind] = frozenset(), matches: bool = False
    ) -> None:
        """`kinds` are what the guardrail evaluates on this side. With `matches`, detections hold the matched text."""
        self._ref = ref
        self._side = side
        self._kinds = kinds
        self._matches = matches
        self._counts: dict[tuple[str, Action], int] = {}
        self._detections: list[Detection] = []
        self._rated: dict[tuple[PolicyKind, str], int] = {}
        self._media = 0
        self._failed: list[tuple[str, Action]] = []
        self._skipped: list[str] = []
        self.chars = 0
        """Characters evaluated so far."""
        self.elapsed_s = 0.0
        """Time that evaluating took so far."""

    def add(self, finding: Finding, match: str = "") -> None:
        """Count a finding that was acted on, or that a rule with the action NONE made."""
        rule, action = finding.rule, ACTIONS[finding.action]
        key = (rule.name, action)
        self._counts[key] = self._counts.get(key, 0) + 1
        if len(self._detections) < MAX_DETECTIONS:
            self._detections.append(
                Detection(
                    kind=rule.kind,
                    name=rule.label,
                    action=action,
                    match=match if self._matches else "",
                    pattern=rule.pattern,
                )
            )

    def detect(self, detection: Detection) -> None:
        """Count what a model, a validator or a rule about the whole found; `ALLOW` is listed and not counted."""
        if detection.action is not Action.ALLOW:
            key = (rule_name(detection.kind, detection.name), detection.action)
            self._counts[key] = self._counts.get(key, 0) + 1
        if len(self._detections) < MAX_DETECTIONS:
            self._detections.append(detection)

    def rate(self, detection: Detection) -> None:
        """Count what a model made of one text; of each filter and topic only the highest score is listed.

        As `detect`: `ALLOW` is not counted.
        """
        if detection.action is not Action.ALLOW:
            key = (rule_name(detection.kind, detection.name), detection.action)
            self._counts[key] = self._counts.get(key, 0) + 1
        place = self._rated.get((detection.kind, detection.name))
        if place is None:
            self._rated[detection.kind, detection.name] = len(self._detections)
            self._detections.append(detection)
        elif (detection.score or 0.0) > (self._detections[place].score or 0.0):
            self._detections[place] = detection

    @property
    def keeps_matches(self) -> bool:
        """Whether detections may hold the matched text."""
        return self._matches

    def pass_media(self) -> None:
        """Count a picture, a sound, a film or a file that passed without being looked into."""
        self._media += 1

    def skip(self, rule: str) -> None:
        """Note that a rule did not run although it was to, because it had nothing to run on."""
        if rule not in self._skipped:
            self._skipped.append(rule)

    def fail_open(self, rule: str) -> None:
        """Note that a rule could not run and that the policy lets the text pass then."""
        if (rule, Action.FAILED_OPEN) not in self._failed:
            self._failed.append((rule, Action.FAILED_OPEN))

    def fail(self, error: Exception) -> GuardrailUnavailable:
        """Note that a detector failed; the answer is the error to raise, with `error` as its cause."""
        rule = error.rule if isinstance(error, DetectorFailure | EvaluationFailed) else "*"
        self._failed.append((rule, Action.FAILED_CLOSED))
        return GuardrailFailed(
            f"guardrail {self._ref.name} could not check the {self._side.value}; nothing unchecked is let through",
            self.verdicts(ended=False),
            retry_after_s=error.retry_after_s if isinstance(error, EvaluationFailed) else None,
        )

    @property
    def blocked(self) -> bool:
        """Whether anything was blocked."""
        return any(action is Action.BLOCK for _, action in self._counts)

    def verdicts(self, *, ended: bool) -> tuple[Verdict, ...]:
        """The verdicts so far. With `ended`, the side was scanned to its end, and no finding is an `ALLOW`."""
        verdicts = [self._verdict(rule, action, count) for (rule, action), count in self._counts.items()]
        failed_open = any(action is Action.FAILED_OPEN for _, action in self._failed)
        if ended and not verdicts and not failed_open:
            verdicts.append(self._verdict("*", Action.ALLOW, 0))
        if self._media:
            verdicts.append(self._verdict(MEDIA_RULE, Action.SKIPPED, self._media))
        verdicts.extend(self._verdict(rule, Action.SKIPPED, 0) for rule in self._skipped)
        verdicts.extend(self._verdict(rule, action, 0) for rule, action in self._failed)
        return tuple(verdicts)

    def assessment(self, origin: Origin) -> Assessment:
        """What was found so far, in full."""
        units = -(-self.chars // UNIT_CHARS)
        kinds = self._kinds
        return Assessment(
            guardrail=self._ref,
            origin=origin,
            side=self._side,
            detections=tuple(self._detections),
            units=GuardrailUnits(
                topic=units if PolicyKind.TOPIC in kinds else 0,
                content=units if PolicyKind.CONTENT in kinds else 0,
                word=units if kinds & {PolicyKind.WORD, PolicyKind.MANAGED_WORDS} else 0,
                pii=units if PolicyKind.PII in kinds else 0,
                regex=units if PolicyKind.REGEX in kinds else 0,
                grounding=units if PolicyKind.GROUNDING in kinds else 0,
            ),
            guarded_chars=self.chars,
            total_chars=self.chars,
            total_images=self._media,
            latency_ms=self.elapsed_s * 1000,
        )

    def _verdict(self, rule: str, action: Action, count: int) -> Verdict:
        return Verdict(
            policy=self._ref.name,
            guardrail=self._ref.id,
            version=self._ref.label,
            side=self._side,
            rule=rule,
            action=action,
            count=count,
        )


class GuardrailFailed(GuardrailUnavailable):
    """A detector raised while a policy was checking. `verdicts` say which rule, as `FAILED_CLOSED`."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...], retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.verdicts = verdicts


__all__ = ["ACTIONS", "MEDIA_RULE", "UNIT_CHARS", "GuardrailFailed", "Tally", "rule_name"]
