"""Everything that a guardrail runs on one side of a call."""

from __future__ import annotations

from bedplate_core.assessment import PolicyKind
from bedplate_core.verdicts import Side
from bedplate_guardrails.document import GuardrailDocument
from bedplate_guardrails.holdback import HoldBack
from bedplate_guardrails.lane import LanePlan
from bedplate_guardrails.model_rules import ModelRules, compile_model_rules
from bedplate_guardrails.rules import compile_lanes
from bedplate_guardrails.scanner import MAX_HOLD_CHARS
from bedplate_guardrails.segments import MAX_SEGMENT_CHARS, TAIL_CHARS
from bedplate_guardrails.shape_rules import ShapeRules


class SideRules:
    """The rules of one side: patterns in lanes, models, shapes. Immutable; false when there are none."""

    __slots__ = ("_any", "hold_back", "kinds", "lanes", "models", "shape", "side")

    def __init__(self, document: GuardrailDocument, side: Side) -> None:
        """Raises `InvalidPolicy` naming the rule that cannot be compiled."""
        self.side = side
        self.lanes: tuple[LanePlan, ...] = compile_lanes(document, side)
        self.models: ModelRules = compile_model_rules(document, side)
        self.shape = ShapeRules(document, side)
        self.kinds = frozenset(self._kinds())
        self.hold_back = self._hold_back()
        self._any = bool(self.lanes or self.models or self.shape)

    def __bool__(self) -> bool:
        return self._any

    def _kinds(self) -> list[PolicyKind]:
        kinds = [rule.kind for plan in self.lanes for rule in plan.rules]
        models = self.models
        if models.content:
            kinds.append(PolicyKind.CONTENT)
        if models.topics:
            kinds.append(PolicyKind.TOPIC)
        if models.entities:
            kinds.append(PolicyKind.PII)
        if models.grounding:
            kinds.append(PolicyKind.GROUNDING)
        return kinds

    def _hold_back(self) -> HoldBack:
        models = self.models
        if models.by_whole or self.shape.judges_whole_answer:
            return HoldBack(chars=None, evaluation_ms=round(models.timeout_s * 1000))
        longest = 0
        for plan in self.lanes:
            for rule in plan.rules:
                most = rule.detector.max_match_chars
                longest = max(longest, MAX_HOLD_CHARS if most is None else min(most, MAX_HOLD_CHARS))
        if models.by_window:
            return HoldBack(
                chars=longest + MAX_SEGMENT_CHARS + TAIL_CHARS, evaluation_ms=round(models.timeout_s * 1000)
            )
        return HoldBack(chars=longest, evaluation_ms=0)


__all__ = ["SideRules"]
