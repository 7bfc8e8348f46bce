"""What the record of an evaluation without a model says about its guardrail."""

from __future__ import annotations

from collections.abc import Awaitable

from bedplate_core.assessment import Assessment, GuardrailRef, GuardrailTrace
from bedplate_core.verdicts import Verdict
from bedplate_gateway.engine.call_guard import use_of
from bedplate_gateway.records.guardrail_use import GuardrailUse
from bedplate_guardrails.content_check import ContentCheck
from bedplate_guardrails.tally import GuardrailFailed


class ContentReport:
    """A `GuardReport` of one evaluation."""

    __slots__ = ("_assessment", "_ref", "_verdicts")

    def __init__(self, ref: GuardrailRef) -> None:
        self._ref = ref
        self._verdicts: tuple[Verdict, ...] = ()
        self._assessment: Assessment | None = None

    @property
    def label(self) -> str:
        """See `GuardReport`."""
        return f"{self._ref.name}:{self._ref.label}"

    async def of(self, evaluation: Awaitable[ContentCheck]) -> ContentCheck:
        """The evaluation's outcome, noted here, also when it fails."""
        try:
            check = await evaluation
        except GuardrailFailed as error:
            self._verdicts = error.verdicts
            raise
        self._verdicts, self._assessment = check.verdicts, check.assessment
        return check

    def verdicts(self) -> tuple[Verdict, ...]:
        """See `GuardReport`."""
        return self._verdicts

    def trace(self) -> GuardrailTrace | None:
        """See `GuardReport`: there is no stream to end."""
        return None

    def uses(self) -> tuple[GuardrailUse, ...]:
        """See `GuardReport`."""
        return () if self._assessment is None else (use_of(self._assessment),)


__all__ = ["ContentReport"]
