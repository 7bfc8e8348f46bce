"""ApplyGuardrail: texts evaluated by a guardrail without a model.

Source: botocore 1.44.8's model of `bedrock-runtime` (`ApplyGuardrailRequest`, `ApplyGuardrailResponse`), compared
November 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from bedplate_core.assessment import Assessment
from bedplate_core.errors import InvalidRequest, UnsupportedFeature
from bedplate_core.guardrail_choice import GuardrailChoice
from bedplate_core.messages import GuardQualifier
from bedplate_core.verdicts import Action, Side
from bedplate_gateway.dialects.base import WireReply
from bedplate_gateway.dialects.bedrock.guardrail_headers import check_version
from bedplate_gateway.dialects.bedrock.guardrail_trace import (
    Coverage,
    WireAssessment,
    WireUsage,
    action_reason,
    wire_assessment,
    wire_coverage,
    wire_usage,
    without_undetected,
)
from bedplate_gateway.dialects.bedrock.guardrails_ids import guardrail_id
from bedplate_gateway.dialects.decoding import invalid

MAX_TEXTS: Final = 1000


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of what is sent: nothing unknown is accepted."""


class GuardrailTextBlock(_Body, frozen=True, kw_only=True):
    """A text and what it is for."""

    text: str
    qualifiers: tuple[GuardQualifier, ...] = ()


class GuardrailContentBlock(_Body, frozen=True, kw_only=True):
    """Exactly one of the two; pictures are refused by name."""

    text: GuardrailTextBlock | None = None
    image: Any = None


class ApplyGuardrailRequest(_Body, frozen=True, kw_only=True):
    """The body of ApplyGuardrail."""

    source: Literal["INPUT", "OUTPUT"]
    content: tuple[GuardrailContentBlock, ...]
    outputScope: Literal["INTERVENTIONS", "FULL"] = "INTERVENTIONS"  # noqa: N815 # the wire's name


class GuardrailOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A text that stands for the content."""

    text: str


class ApplyGuardrailResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of the answer. `outputs` is empty when nothing was done."""

    usage: WireUsage
    action: Literal["NONE", "GUARDRAIL_INTERVENED"]
    outputs: tuple[GuardrailOutput, ...]
    assessments: tuple[WireAssessment, ...]
    guardrailCoverage: Coverage  # noqa: N815 # the wire's name
    actionReason: str | None = None  # noqa: N815 # the wire's name


_DECODER: Final = msgspec.json.Decoder(ApplyGuardrailRequest)


class AppliedText(msgspec.Struct, frozen=True, kw_only=True):
    """A text of the request."""

    text: str
    qualifiers: tuple[GuardQualifier, ...] = ()


class ApplyGuardrailExchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request: whose guardrail, which side, the texts; `full` asks for what found nothing as well."""

    choice: GuardrailChoice
    side: Side
    texts: tuple[AppliedText, ...]
    full: bool

    @classmethod
    def decode(cls, body: bytes, *, identifier: str, version: str) -> ApplyGuardrailExchange:
        """Decode a request's body and the path's two segments. Raises `InvalidRequest` or `UnsupportedFeature`."""
        guardrail_id(identifier)
        check_version(version, "guardrailVersion")
        try:
            sent = _DECODER.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(str(error)) from None
        except (msgspec.DecodeError, RecursionError, ValueError):
            raise InvalidRequest("the body is not a JSON object") from None
        if not 0 < len(sent.content) <= MAX_TEXTS:
            raise InvalidRequest(f"content: expected 1 to {MAX_TEXTS} blocks", param="content")
        return cls(
            choice=GuardrailChoice(identifier=identifier, version=version, param="guardrailIdentifier"),
            side=Side.INPUT if sent.source == "INPUT" else Side.OUTPUT,
            texts=tuple(_text(block, place) for place, block in enumerate(sent.content)),
            full=sent.outputScope == "FULL",
        )

    def reply(self, blocked_message: str | None, texts: Sequence[str], assessment: Assessment) -> WireReply:
        """The answer: nothing, the message that stands for all of it, or the texts with their masks."""
        shown = assessment if self.full else without_undetected([assessment])[0]
        masked = any(found.action is Action.MASK for found in assessment.detections)
        outputs = (blocked_message,) if blocked_message is not None else tuple(texts) if masked else ()
        body = ApplyGuardrailResponse(
            usage=wire_usage(assessment),
            action="GUARDRAIL_INTERVENED" if outputs else "NONE",
            outputs=tuple(GuardrailOutput(text=text) for text in outputs),
            assessments=(wire_assessment(shown),),
            guardrailCoverage=wire_coverage(assessment),
            actionReason=action_reason([assessment]) or "No action.",
        )
        return WireReply(status=200, body=msgspec.json.encode(body), headers={"content-type": "application/json"})


def _text(block: GuardrailContentBlock, place: int) -> AppliedText:
    at = f"content[{place}]"
    if block.image is not None:
        raise UnsupportedFeature(f"{at}.image: pictures are not evaluated here", param=f"{at}.image")
    if block.text is None:
        raise InvalidRequest(f"{at}: expected text", param=at)
    return AppliedText(text=block.text.text, qualifiers=block.text.qualifiers)


__all__ = ["AppliedText", "ApplyGuardrailExchange", "ApplyGuardrailRequest", "ApplyGuardrailResponse"]
