"""What guardrails found in one call, in full: what traces, `ApplyGuardrail` and moderations show.

The record of a call has only verdicts (`bedplate_core.verdicts`), which never hold content. An assessment may: `match`
is the text that a rule matched, and is filled in only where that text came from the caller. Of a model's answer it is
left empty, because what a rule kept back must not leave by another door.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bedplate_core.verdicts import Action, Side


class PolicyKind(StrEnum):
    """Which part of a guardrail's document a rule comes from."""

    CONTENT = "content"
    TOPIC = "topic"
    WORD = "word"
    MANAGED_WORDS = "managed_words"
    PII = "pii"
    REGEX = "regex"
    GROUNDING = "grounding"
    VALIDATOR = "validator"
    SCHEMA = "schema"
    TOOL = "tool"
    SIZE = "size"


class Confidence(StrEnum):
    """How sure a model is, and how sure it must be for a filter of this strength to act."""

    NONE = "NONE"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class Origin(StrEnum):
    """Why a guardrail was applied to a call."""

    REQUEST = "request"
    """The request named it, or it is the project's default for requests that name none."""
    PROJECT = "project"
    """It is mandatory in the caller's project."""
    INSTALLATION = "installation"
    """It is mandatory everywhere."""


class GuardrailRef(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one guardrail. `version` is `DRAFT` or a number; `revision` counts the changes of a draft."""

    id: str
    name: str
    version: str
    revision: int = 0

    @property
    def label(self) -> str:
        """What records and verdicts say: the version, for a draft with its revision."""
        return f"{self.version}.{self.revision}" if self.revision else self.version


class Detection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a rule found; with the action `ALLOW`, a rule that ran and found nothing.

    `name` is the filter's type, the topic, the personal-information type, the regular expression's or validator's name;
    for words it is the mask. `score` and `threshold` are from 0 to 1. `reason` is a validator's or schema's own words.
    """

    kind: PolicyKind
    name: str
    action: Action
    match: str = ""
    pattern: str = ""
    confidence: Confidence | None = None
    strength: Confidence | None = None
    score: float | None = None
    threshold: float | None = None
    reason: str = ""


class GuardrailUnits(msgspec.Struct, frozen=True, kw_only=True):
    """Text units (up to 1,000 characters each) that each kind of policy evaluated."""

    topic: int = 0
    content: int = 0
    word: int = 0
    pii: int = 0
    regex: int = 0
    grounding: int = 0


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What one guardrail made of one side of a call.

    `guarded_chars` of `total_chars` were evaluated. `latency_ms` is the time that evaluating took, not the time that
    the answer took to come.
    """

    guardrail: GuardrailRef
    origin: Origin
    side: Side
    detections: tuple[Detection, ...] = ()
    units: GuardrailUnits = GuardrailUnits()
    guarded_chars: int = 0
    total_chars: int = 0
    guarded_images: int = 0
    total_images: int = 0
    latency_ms: float = 0.0

    @property
    def intervened(self) -> bool:
        """Whether anything was blocked or masked."""
        return any(found.action in (Action.BLOCK, Action.MASK) for found in self.detections)


class GuardrailTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What all guardrails made of a call. `shown` says that the caller asked to see it, `full` also what passed."""

    input: tuple[Assessment, ...] = ()
    output: tuple[Assessment, ...] = ()
    shown: bool = False
    full: bool = False

    @property
    def intervened(self) -> bool:
        """Whether any of them blocked or masked anything."""
        return any(assessment.intervened for assessment in (*self.input, *self.output))


__all__ = [
    "Assessment",
    "Confidence",
    "Detection",
    "GuardrailRef",
    "GuardrailTrace",
    "GuardrailUnits",
    "Origin",
    "PolicyKind",
]
