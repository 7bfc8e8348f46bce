"""From a policy document to the rules that models, validators and whole answers are judged by, one side at a time."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bedplate_core.assessment import Confidence
from bedplate_core.verdicts import Side
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.document import (
    MODEL_PII,
    FilterType,
    GroundingFilterConfig,
    GuardrailDocument,
    InvalidPolicy,
    Tier,
    tiers_of,
)
from bedplate_guardrails.evaluation import (
    HIGH_SCORE,
    LOW_SCORE,
    MEDIUM_SCORE,
    Capabilities,
    ContentTask,
    EntitiesTask,
    GroundingTask,
    Task,
    Topic,
    TopicsTask,
    ValidatorTask,
)

_LEAST_SCORE = {Confidence.HIGH: LOW_SCORE, Confidence.MEDIUM: MEDIUM_SCORE, Confidence.LOW: HIGH_SCORE}
_WORD = "hello"
_MODEL_OF = {
    "contentPolicyConfig": "content",
    "topicPolicyConfig": "topics",
    "contextualGroundingPolicyConfig": "grounding",
}


class ContentRule(msgspec.Struct, frozen=True, kw_only=True):
    """A content filter on one side."""

    type: FilterType
    strength: Confidence
    action: RuleAction

    @property
    def least_score(self) -> float:
        """The score from which the filter acts."""
        return _LEAST_SCORE[self.strength]


class TopicRule(msgspec.Struct, frozen=True, kw_only=True):
    """A denied topic on one side."""

    topic: Topic
    action: RuleAction


class EntityRule(msgspec.Struct, frozen=True, kw_only=True):
    """A personal-information type that a model finds, on one side."""

    kind: str
    action: RuleAction

    @property
    def mask(self) -> str:
        """What a match is replaced with."""
        return f"{{{self.kind}}}"


class ValidatorRule(msgspec.Struct, frozen=True, kw_only=True):
    """A registered validator on one side. It judges whole texts."""

    name: str
    action: RuleAction


class ModelRules(msgspec.Struct, frozen=True, kw_only=True):
    """What runs on one side beside the patterns. `*_tier` says who evaluates."""

    content: tuple[ContentRule, ...] = ()
    content_tier: Tier = Tier.CLASSIC
    topics: tuple[TopicRule, ...] = ()
    topics_tier: Tier = Tier.CLASSIC
    entities: tuple[EntityRule, ...] = ()
    validators: tuple[ValidatorRule, ...] = ()
    grounding: tuple[GroundingFilterConfig, ...] = ()
    grounding_tier: Tier = Tier.CLASSIC
    timeout_s: float = 5.0
    fails_open: bool = False

    @property
    def by_window(self) -> bool:
        """Whether anything evaluates text window by window, as it comes."""
        return bool(self.content or self.topics or self.entities)

    @property
    def by_whole(self) -> bool:
        """Whether anything evaluates only whole texts, so that all text is held back to its end."""
        return bool(self.validators or self.grounding)

    def __bool__(self) -> bool:
        return self.by_window or self.by_whole


def compile_model_rules(document: GuardrailDocument, side: Side) -> ModelRules:
    """The rules of one side."""
    own = document.bedplate_config
    tiers = dict(tiers_of(document))
    return ModelRules(
        content=tuple(_content(document, side)),
        content_tier=tiers.get("contentPolicyConfig", Tier.CLASSIC),
        topics=tuple(_topics(document, side)),
        topics_tier=tiers.get("topicPolicyConfig", Tier.CLASSIC),
        entities=tuple(_entities(document, side)),
        validators=tuple(_validators(document, side)),
        grounding=document.grounding if side is Side.OUTPUT else (),
        grounding_tier=tiers.get("contextualGroundingPolicyConfig", Tier.CLASSIC),
        timeout_s=own.evaluation_timeout_ms / 1000,
        fails_open=own.failure_mode == "OPEN",
    )


def _content(document: GuardrailDocument, side: Side) -> Iterator[ContentRule]:
    for one in document.filters:
        action = one.action_on(side)
        if action is not None:
            yield ContentRule(type=one.type, strength=one.strength_on(side), action=action)


def _topics(document: GuardrailDocument, side: Side) -> Iterator[TopicRule]:
    for one in document.topics:
        action = one.action_on(side)
        if action is not None:
            topic = Topic(name=one.name, definition=one.definition, examples=one.examples)
            yield TopicRule(topic=topic, action=action)


def _entities(document: GuardrailDocument, side: Side) -> Iterator[EntityRule]:
    for one in document.pii_entities:
        action = one.action_on(side)
        if action is not None and one.type in MODEL_PII:
            yield EntityRule(kind=one.type.value, action=action)


def _validators(document: GuardrailDocument, side: Side) -> Iterator[ValidatorRule]:
    for one in document.bedplate_config.validators_config:
        action = one.action_on(side)
        if action is not None:
            yield ValidatorRule(name=one.name, action=action)


def rehearsal(rules: ModelRules) -> list[Task]:
    """One small task for everything that runs in this process's workers, so that it is loaded before it is needed."""
    tasks: list[Task] = []
    if rules.content and rules.content_tier is Tier.CLASSIC:
        tasks.append(ContentTask(text=_WORD, types=tuple(rule.type.value for rule in rules.content)))
    if rules.topics and rules.topics_tier is Tier.CLASSIC:
        tasks.append(TopicsTask(text=_WORD, topics=tuple(rule.topic for rule in rules.topics)))
    if rules.entities:
        tasks.append(EntitiesTask(text=_WORD, kinds=tuple(rule.kind for rule in rules.entities)))
    if rules.grounding and rules.grounding_tier is Tier.CLASSIC:
        types = tuple(rule.type.value for rule in rules.grounding)
        tasks.append(GroundingTask(source=_WORD, query=_WORD, answer=_WORD, types=types))
    tasks.extend(ValidatorTask(name=rule.name, text=_WORD) for rule in rules.validators)
    return tasks


def require_capabilities(document: GuardrailDocument, able: Capabilities) -> None:
    """Raise `InvalidPolicy`, naming the member, for what nothing in this installation could evaluate."""
    for member, tier in tiers_of(document):
        if tier is Tier.STANDARD and member not in able.judged:
            has = "the judge model of this installation cannot do this" if able.judged else "this installation has none"
            raise InvalidPolicy(
                f"{member}.tierConfig.tierName: STANDARD needs a judge model, and {has}; an administrator can name one "
                "in the Installation resource, or use CLASSIC"
            )
        if tier is Tier.CLASSIC and _MODEL_OF[member] not in able.models:
            raise InvalidPolicy(f"{member}: {able.missing}")
    for place, entity in enumerate(document.pii_entities):
        if entity.type in MODEL_PII and "entities" not in able.models:
            raise InvalidPolicy(
                f"sensitiveInformationPolicyConfig.piiEntitiesConfig[{place}].type: {entity.type} needs a model; "
                f"{able.missing}"
            )
    for place, validator in enumerate(document.bedplate_config.validators_config):
        if validator.name not in able.validators:
            known = ", ".join(sorted(able.validators)) or "none"
            raise InvalidPolicy(
                f"bedplateConfig.validatorsConfig[{place}].name: no validator {validator.name!r} is registered in this "
                f"installation; registered: {known}"
            )


__all__ = [
    "ContentRule",
    "EntityRule",
    "ModelRules",
    "TopicRule",
    "ValidatorRule",
    "compile_model_rules",
    "rehearsal",
    "require_capabilities",
]
