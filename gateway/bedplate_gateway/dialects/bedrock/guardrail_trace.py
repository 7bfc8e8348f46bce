"""What guardrails found, as Bedrock's runtime says it: in traces, and in ApplyGuardrail's assessments.

Source: botocore 1.44.8's model of `bedrock-runtime` (`GuardrailAssessment`, `GuardrailTraceAssessment`), compared
November 2026. Rules that Bedrock does not know (validators, schemas, tools, sizes) stand under `bedplatePolicy`, which
its SDKs do not show. There is no `modelOutput`, and an answer's findings have their mask in the place of the match:
what was kept back must not leave by this door.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from bedplate_core.assessment import Assessment, Detection, GuardrailTrace, GuardrailUnits, Origin, PolicyKind
from bedplate_core.verdicts import Action
from bedplate_gateway.dialects.bedrock.guardrails_ids import guardrail_arn

WireAction = Literal["BLOCKED", "ANONYMIZED", "NONE"]

_ACTIONS: Final[Mapping[Action, WireAction]] = MappingProxyType({Action.BLOCK: "BLOCKED", Action.MASK: "ANONYMIZED"})
_ORIGINS: Final[Mapping[Origin, str]] = MappingProxyType(
    {
        Origin.REQUEST: "REQUEST",
        Origin.PROJECT: "ACCOUNT_ENFORCED",
        Origin.INSTALLATION: "ORGANIZATION_ENFORCED",
    }
)


class _Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The base: what is not there is left out."""


class TopicFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailTopic`."""

    name: str
    type: Literal["DENY"]
    action: WireAction
    detected: bool


class ContentFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContentFilter`."""

    type: str
    confidence: str
    filter_strength: str
    action: WireAction
    detected: bool


class CustomWordFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailCustomWord`."""

    match: str
    action: WireAction
    detected: bool


class ManagedWordFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailManagedWord`."""

    match: str
    type: str
    action: WireAction
    detected: bool


class PiiFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailPiiEntityFilter`."""

    match: str
    type: str
    action: WireAction
    detected: bool


class RegexFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailRegexFilter`."""

    name: str
    match: str
    regex: str
    action: WireAction
    detected: bool


class GroundingFinding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContextualGroundingFilter`."""

    type: str
    threshold: float
    score: float
    action: WireAction
    detected: bool


class OwnFinding(_Wire, frozen=True, kw_only=True):
    """A finding of a rule that Bedrock does not know."""

    kind: str
    name: str
    action: WireAction
    detected: bool
    reason: str = ""


class Topics(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailTopicPolicyAssessment`."""

    topics: tuple[TopicFinding, ...]


class Filters(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContentPolicyAssessment`."""

    filters: tuple[ContentFinding, ...]


class Words(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailWordPolicyAssessment`; both lists are required."""

    custom_words: tuple[CustomWordFinding, ...]
    managed_word_lists: tuple[ManagedWordFinding, ...]


class SensitiveInformation(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailSensitiveInformationPolicyAssessment`; both lists are required."""

    pii_entities: tuple[PiiFinding, ...]
    regexes: tuple[RegexFinding, ...]


class Grounding(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContextualGroundingPolicyAssessment`."""

    filters: tuple[GroundingFinding, ...]


class Own(_Wire, frozen=True, kw_only=True):
    """What rules of our own found."""

    findings: tuple[OwnFinding, ...]


class WireUsage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bedrock's `GuardrailUsage`: text units by policy, all of them always there."""

    topic_policy_units: int = 0
    content_policy_units: int = 0
    word_policy_units: int = 0
    sensitive_information_policy_units: int = 0
    sensitive_information_policy_free_units: int = 0
    contextual_grounding_policy_units: int = 0


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what there was is guarded."""

    guarded: int
    total: int


class Coverage(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailCoverage`."""

    text_characters: Covered
    images: Covered | None = None


class InvocationMetrics(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailInvocationMetrics`."""

    guardrail_processing_latency: int
    usage: WireUsage
    guardrail_coverage: Coverage


class AppliedDetails(_Wire, frozen=True, kw_only=True):
    """Bedrock's `AppliedGuardrailDetails`."""

    guardrail_id: str
    guardrail_version: str
    guardrail_arn: str
    guardrail_origin: tuple[str, ...]
    guardrail_ownership: Literal["SELF"]


class WireAssessment(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailAssessment`."""

    topic_policy: Topics | None = None
    content_policy: Filters | None = None
    word_policy: Words | None = None
    sensitive_information_policy: SensitiveInformation | None = None
    contextual_grounding_policy: Grounding | None = None
    bedplate_policy: Own | None = None
    invocation_metrics: InvocationMetrics
    applied_guardrail_details: AppliedDetails


class WireTrace(_Wire, frozen=True, kw_only=True):
    """Bedrock's `GuardrailTraceAssessment`."""

    input_assessment: dict[str, WireAssessment] | None = None
    output_assessments: dict[str, tuple[WireAssessment, ...]] | None = None
    action_reason: str | None = None


class ConverseTrace(_Wire, frozen=True, kw_only=True):
    """Bedrock's `ConverseTrace` and `ConverseStreamTrace`."""

    guardrail: WireTrace


class InvokeWireTrace(_Wire, frozen=True, kw_only=True):
    """What `amazon-bedrock-trace` holds in InvokeModel's answers, by other names than Converse's.

    Source: the AWS user guide's page on testing a guardrail, read in November 2026.
    """

    input: dict[str, WireAssessment] | None = None
    outputs: tuple[dict[str, WireAssessment], ...] | None = None
    action_reason: str | None = None


class InvokeTrace(_Wire, frozen=True, kw_only=True):
    """The value of `amazon-bedrock-trace`."""

    guardrail: InvokeWireTrace


def converse_trace(trace: GuardrailTrace | None) -> ConverseTrace | None:
    """Converse's trace for a caller who asked for it; None for others."""
    if trace is None or not trace.shown:
        return None
    outputs: dict[str, tuple[WireAssessment, ...]] = {}
    for one in trace.output:
        outputs[one.guardrail.id] = (*outputs.get(one.guardrail.id, ()), wire_assessment(one))
    return ConverseTrace(
        guardrail=WireTrace(
            input_assessment=_by_guardrail(trace.input) or None,
            output_assessments=outputs or None,
            action_reason=action_reason((*trace.input, *trace.output)),
        )
    )


def invoke_trace(trace: GuardrailTrace | None) -> InvokeTrace | None:
    """InvokeModel's trace for a caller who asked for it; None for others."""
    if trace is None or not trace.shown:
        return None
    return InvokeTrace(
        guardrail=InvokeWireTrace(
            input=_by_guardrail(trace.input) or None,
            outputs=tuple({one.guardrail.id: wire_assessment(one)} for one in trace.output) or None,
            action_reason=action_reason((*trace.input, *trace.output)),
        )
    )


def _by_guardrail(assessments: Sequence[Assessment]) -> dict[str, WireAssessment]:
    """The assessments by the guardrail's id, of which the wire has one each.

    A guardrail that was applied for two reasons (the project's, and the request's choice) is one entry that says both:
    the second time it saw what the first had left.
    """
    groups: dict[str, list[Assessment]] = {}
    for one in assessments:
        groups.setdefault(one.guardrail.id, []).append(one)
    return {name: wire_assessment(*group) for name, group in groups.items()}


def action_reason(assessments: Iterable[Assessment]) -> str | None:
    """Why a guardrail intervened, in a sentence; None where none did."""
    actions = {found.action for each in assessments for found in each.detections}
    if Action.BLOCK in actions:
        return "Guardrail blocked."
    return "Guardrail masked." if Action.MASK in actions else None


def wire_assessment(assessment: Assessment, *again: Assessment) -> WireAssessment:
    """The wire form of one assessment. Policies that found nothing to say are left out.

    `again` are further ones of the same guardrail and side: what they found and cost is added.
    """
    origins = tuple(dict.fromkeys(_ORIGINS[each.origin] for each in (assessment, *again)))
    if again:
        assessment = _added(assessment, again)
    of: dict[PolicyKind, list[Detection]] = {}
    for found in assessment.detections:
        of.setdefault(found.kind, []).append(found)
    ref = assessment.guardrail
    own = [
        found
        for kind in (PolicyKind.VALIDATOR, PolicyKind.SCHEMA, PolicyKind.TOOL, PolicyKind.SIZE)
        for found in of.get(kind, ())
    ]
    words, managed = of.get(PolicyKind.WORD, ()), of.get(PolicyKind.MANAGED_WORDS, ())
    entities, regexes = of.get(PolicyKind.PII, ()), of.get(PolicyKind.REGEX, ())
    topics, filters = of.get(PolicyKind.TOPIC, ()), of.get(PolicyKind.CONTENT, ())
    grounding = of.get(PolicyKind.GROUNDING, ())
    return WireAssessment(
        topic_policy=Topics(topics=tuple(map(_topic, topics))) if topics else None,
        content_policy=Filters(filters=tuple(map(_filter, filters))) if filters else None,
        word_policy=Words(custom_words=tuple(map(_word, words)), managed_word_lists=tuple(map(_managed, managed)))
        if words or managed
        else None,
        sensitive_information_policy=SensitiveInformation(
            pii_entities=tuple(map(_entity, entities)), regexes=tuple(map(_regex, regexes))
        )
        if entities or regexes
        else None,
        contextual_grounding_policy=Grounding(filters=tuple(map(_grounding, grounding))) if grounding else None,
        bedplate_policy=Own(findings=tuple(map(_own, own))) if own else None,
        invocation_metrics=InvocationMetrics(
            guardrail_processing_latency=round(assessment.latency_ms),
            usage=wire_usage(assessment),
            guardrail_coverage=wire_coverage(assessment),
        ),
        applied_guardrail_details=AppliedDetails(
            guardrail_id=ref.id,
            guardrail_version=ref.version,
            guardrail_arn=guardrail_arn(ref.id),
            guardrail_origin=origins,
            guardrail_ownership="SELF",
        ),
    )


def _added(first: Assessment, more: Sequence[Assessment]) -> Assessment:
    """One assessment for several of the same content."""
    each = (first, *more)
    units = [msgspec.structs.asdict(one.units) for one in each]
    return msgspec.structs.replace(
        first,
        detections=tuple(found for one in each for found in one.detections),
        units=GuardrailUnits(**{name: sum(one[name] for one in units) for name in units[0]}),
        guarded_chars=max(one.guarded_chars for one in each),
        total_chars=max(one.total_chars for one in each),
        guarded_images=max(one.guarded_images for one in each),
        total_images=max(one.total_images for one in each),
        latency_ms=sum(one.latency_ms for one in each),
    )


def wire_usage(assessment: Assessment) -> WireUsage:
    """The units that were evaluated. Regular expressions are Bedrock's free part of sensitive information."""
    units = assessment.units
    return WireUsage(
        topic_policy_units=units.topic,
        content_policy_units=units.content,
        word_policy_units=units.word,
        sensitive_information_policy_units=units.pii,
        sensitive_information_policy_free_units=units.regex,
        contextual_grounding_policy_units=units.grounding,
    )


def wire_coverage(assessment: Assessment) -> Coverage:
    """How much text, and how many pictures, were guarded."""
    images = assessment.total_images
    return Coverage(
        text_characters=Covered(guarded=assessment.guarded_chars, total=assessment.total_chars),
        images=Covered(guarded=assessment.guarded_images, total=images) if images else None,
    )


def _action(found: Detection) -> WireAction:
    return _ACTIONS.get(found.action, "NONE")


def _detected(found: Detection) -> bool:
    return found.action is not Action.ALLOW


def _match(found: Detection) -> str:
    return found.match or f"{{{found.name.strip('{}')}}}"


def _topic(found: Detection) -> TopicFinding:
    return TopicFinding(name=found.name, type="DENY", action=_action(found), detected=_detected(found))


def _filter(found: Detection) -> ContentFinding:
    return ContentFinding(
        type=found.name,
        confidence=found.confidence.value if found.confidence else "NONE",
        filter_strength=found.strength.value if found.strength else "NONE",
        action=_action(found),
        detected=_detected(found),
    )


def _word(found: Detection) -> CustomWordFinding:
    return CustomWordFinding(match=_match(found), action=_action(found), detected=_detected(found))


def _managed(found: Detection) -> ManagedWordFinding:
    return ManagedWordFinding(match=_match(found), type="PROFANITY", action=_action(found), detected=_detected(found))


def _entity(found: Detection) -> PiiFinding:
    return PiiFinding(match=_match(found), type=found.name, action=_action(found), detected=_detected(found))


def _regex(found: Detection) -> RegexFinding:
    return RegexFinding(
        name=found.name,
        match=_match(found),
        regex=found.pattern,
        action=_action(found),
        detected=_detected(found),
    )


def _grounding(found: Detection) -> GroundingFinding:
    return GroundingFinding(
        type=found.name,
        threshold=found.threshold or 0.0,
        score=found.score or 0.0,
        action=_action(found),
        detected=_detected(found),
    )


def _own(found: Detection) -> OwnFinding:
    return OwnFinding(
        kind=found.kind.value,
        name=found.name,
        action=_action(found),
        detected=_detected(found),
        reason=found.reason,
    )


def without_undetected(assessments: Sequence[Assessment]) -> list[Assessment]:
    """The assessments with what was found, without what ran and found nothing."""
    return [
        msgspec.structs.replace(each, detections=tuple(found for found in each.detections if _detected(found)))
        for each in assessments
    ]


__all__ = [
    "ConverseTrace",
    "Coverage",
    "InvokeTrace",
    "WireAssessment",
    "WireUsage",
    "action_reason",
    "converse_trace",
    "invoke_trace",
    "wire_assessment",
    "wire_coverage",
    "wire_usage",
    "without_undetected",
]
