"""The guardrails of one call, one after the other: what they make of its request, its answer, and what is said of it.

Mandatory guardrails come first, then the one that the request chose or the project's default. A request that one of
them blocks goes no further. An answer passes through all; each sees what the one before lets out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bedplate_core.assessment import Assessment, GuardrailTrace, Origin
from bedplate_core.events import EventStream
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.ids import ProjectId
from bedplate_core.requests import Request
from bedplate_core.verdicts import Verdict
from bedplate_gateway.catalogue.policy_set import AppliedPolicy
from bedplate_gateway.records.guardrail_use import GuardrailUse
from bedplate_guardrails.evaluation import Evaluators
from bedplate_guardrails.guarded_stream import GuardedStream
from bedplate_guardrails.guarding import AnswerContext, Guarding
from bedplate_guardrails.holdback import HoldBack
from bedplate_guardrails.input_check import InputCheck
from bedplate_guardrails.policy import Policy
from bedplate_guardrails.tagged_text import with_tags
from bedplate_guardrails.tally import GuardrailFailed

_NOTHING_ASKED = GuardrailChoice()


class GuardReport(Protocol):
    """What a call's record and last event say about guardrails."""

    @property
    def label(self) -> str:
        """The guardrails with their versions."""
        ...

    def verdicts(self) -> tuple[Verdict, ...]:
        """What was decided so far, in order."""
        ...

    def trace(self) -> GuardrailTrace | None:
        """What the dialects show of it: None where nobody asked and nothing intervened."""
        ...

    def uses(self) -> tuple[GuardrailUse, ...]:
        """What each guardrail evaluated."""
        ...


class CallGuard:
    """The guardrails that hold for one call, at least one. `check_input` comes before `guard_output`."""

    __slots__ = ("_applied", "_checks", "_choice", "_evaluators", "_failed", "_streams", "_tenant")

    def __init__(
        self,
        applied: Sequence[AppliedPolicy],
        evaluators: Evaluators,
        tenant: ProjectId,
        choice: GuardrailChoice | None,
    ) -> None:
        self._applied = applied
        self._evaluators = evaluators
        self._tenant = tenant
        self._choice = choice or _NOTHING_ASKED
        self._checks: list[InputCheck] = []
        self._streams: list[GuardedStream] = []
        self._failed: tuple[Verdict, ...] = ()

    @property
    def guards_output(self) -> bool:
        """Whether any rule runs on answers."""
        return any(applied.policy.guards_output for applied in self._applied)

    @property
    def label(self) -> str:
        """The guardrails with their versions, for the record."""
        refs = [applied.policy.ref for applied in self._applied]
        return ", ".join([f"{ref.name}:{ref.label}" for ref in refs])

    async def check_input(self, request: Request) -> tuple[Request, str | None]:
        """The request as it may be sent; or as it was, with the message that is the answer because it is blocked.

        Raises `GuardrailFailed`, `UnsupportedFeature`, and `InvalidRequest` for input tags that do not fit together.
        """
        if self._choice.tag_suffix is not None:
            request = with_tags(request, self._choice.tag_suffix)
        for applied in self._applied:
            try:
                check = await applied.policy.check_input(request, self._guarding(applied))
            except GuardrailFailed as error:
                self._failed = error.verdicts
                raise
            self._checks.append(check)
            if check.blocked_message is not None:
                return request, check.blocked_message
            request = check.request
        return request, None

    def guard_output(self, events: EventStream) -> EventStream:
        """The answer with every guardrail's rules enforced. Takes over `events`: closing it closes them."""
        for number, applied in enumerate(self._applied):
            if applied.policy.guards_output:
                context = self._checks[number].context if number < len(self._checks) else AnswerContext()
                guarded = applied.policy.guard_output(events, self._guarding(applied), context)
                self._streams.append(guarded)
                events = guarded
        return events

    @property
    def blocking_message(self) -> str:
        """What stands for an answer that is no stream and is blocked: the message of the guardrail that blocked it."""
        return self._policy_of_output().document.blocked_outputs_messaging

    def verdicts(self) -> tuple[Verdict, ...]:
        """What was decided so far, in order."""
        said = [verdict for check in self._checks for verdict in check.verdicts]
        said.extend(self._failed)
        said.extend(verdict for stream in self._streams for verdict in stream.verdicts)
        return tuple(said)

    def trace(self) -> GuardrailTrace | None:
        """What the dialects show of it: None where nobody asked and nothing intervened."""
        trace = GuardrailTrace(
            input=tuple(check.assessment for check in self._checks if check.assessment is not None),
            output=tuple(stream.assessment for stream in self._streams),
            shown=self._choice.trace,
            full=self._choice.full,
        )
        return trace if trace.shown or trace.intervened else None

    def uses(self) -> tuple[GuardrailUse, ...]:
        """What each guardrail evaluated, for the record."""
        uses = [use_of(check.assessment) for check in self._checks if check.assessment is not None]
        uses.extend(use_of(stream.assessment, policy.hold_back) for stream, policy in self._streamed())
        return tuple(uses)

    def _policy_of_output(self) -> Policy:
        for stream, policy in self._streamed():
            if stream.assessment.intervened:
                return policy
        return self._applied[-1].policy

    def _streamed(self) -> list[tuple[GuardedStream, Policy]]:
        """The answer's streams, each with its policy; none before there is an answer."""
        policies = [applied.policy for applied in self._applied if applied.policy.guards_output]
        return list(zip(self._streams, policies, strict=False))

    def _guarding(self, applied: AppliedPolicy) -> Guarding:
        choice = self._choice
        asked = applied.origin is Origin.REQUEST
        return Guarding(
            evaluators=self._evaluators,
            tenant=self._tenant,
            origin=applied.origin,
            selective=applied.selective,
            releases_first=asked and choice.releases_first,
            matches=choice.trace,
            full=choice.full,
        )


def use_of(assessment: Assessment, hold_back: HoldBack | None = None) -> GuardrailUse:
    """What the record keeps of an assessment; `hold_back` is what the guardrail declares, of one of an answer."""
    return GuardrailUse(
        id=assessment.guardrail.id,
        name=assessment.guardrail.name,
        version=assessment.guardrail.label,
        origin=assessment.origin.value,
        side=assessment.side.value,
        intervened=assessment.intervened,
        units=assessment.units,
        chars=assessment.guarded_chars,
        latency_ms=round(assessment.latency_ms, 3),
        hold_back_bytes=None if hold_back is None else hold_back.bytes,
    )


__all__ = ["CallGuard", "GuardReport", "use_of"]
