"""The policy document: Bedrock's guardrail schema, and beside it what Bedrock does not have.

Names and limits are those of Bedrock's `CreateGuardrail`
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateGuardrail.html and the configuration types it
links to, read in November 2026): 1 to 6 content filters; 1 to 30 topics with names of 1 to 100, definitions of 1 to 200
(1,000 in the standard tier) and 0 to 5 examples of 1 to 100 characters; words 1 to 10,000 of 1 to 100 characters;
regular expressions 1 to 30, names 1 to 100, descriptions 1 to 1,000, patterns 1 to 500 characters; thresholds from 0 to
0.99; messages 1 to 500 characters. Bedrock's console also asks for at most three words in a phrase; its API does
not, and neither does this.

What is ours stands under one member, `bedplateConfig` (`bedplate_guardrails.own_config`), which Bedrock's SDKs do not
know and do not send.

A part of Bedrock's schema that is not enforced here (automated reasoning, pictures) is refused by name. It is never
accepted and ignored, because a guardrail that looks complete and is not is worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from bedplate_core.assessment import Confidence
from bedplate_core.verdicts import Side
from bedplate_guardrails.config import Config, RuleAction, SidedConfig, Text100, Text500, Text1000, refuse_twice
from bedplate_guardrails.own_config import OwnConfig

MAX_WORDS = 10_000
MAX_REGEXES = 30
MAX_TOPICS = 30
MAX_CLASSIC_DEFINITION_CHARS = 200


class InvalidPolicy(ValueError):
    """A policy document that cannot be enforced as it is written. The message names the place and the reason."""


class PiiType(StrEnum):
    """Bedrock's personal-information types."""

    ADDRESS = "ADDRESS"
    AGE = "AGE"
    AWS_ACCESS_KEY = "AWS_ACCESS_KEY"
    AWS_SECRET_KEY = "AWS_SECRET_KEY"  # noqa: S105 - the name of a type, not a secret
    CA_HEALTH_NUMBER = "CA_HEALTH_NUMBER"
    CA_SOCIAL_INSURANCE_NUMBER = "CA_SOCIAL_INSURANCE_NUMBER"
    CREDIT_DEBIT_CARD_CVV = "CREDIT_DEBIT_CARD_CVV"
    CREDIT_DEBIT_CARD_EXPIRY = "CREDIT_DEBIT_CARD_EXPIRY"
    CREDIT_DEBIT_CARD_NUMBER = "CREDIT_DEBIT_CARD_NUMBER"
    DRIVER_ID = "DRIVER_ID"
    EMAIL = "EMAIL"
    INTERNATIONAL_BANK_ACCOUNT_NUMBER = "INTERNATIONAL_BANK_ACCOUNT_NUMBER"
    IP_ADDRESS = "IP_ADDRESS"
    LICENSE_PLATE = "LICENSE_PLATE"
    MAC_ADDRESS = "MAC_ADDRESS"
    NAME = "NAME"
    PASSWORD = "PASSWORD"  # noqa: S105 - the name of a type, not a secret
    PHONE = "PHONE"
    PIN = "PIN"
    SWIFT_CODE = "SWIFT_CODE"
    UK_NATIONAL_HEALTH_SERVICE_NUMBER = "UK_NATIONAL_HEALTH_SERVICE_NUMBER"
    UK_NATIONAL_INSURANCE_NUMBER = "UK_NATIONAL_INSURANCE_NUMBER"
    UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER = "UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER"
    URL = "URL"
    USERNAME = "USERNAME"
    US_BANK_ACCOUNT_NUMBER = "US_BANK_ACCOUNT_NUMBER"
    US_BANK_ROUTING_NUMBER = "US_BANK_ROUTING_NUMBER"
    US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER = "US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER"
    US_PASSPORT_NUMBER = "US_PASSPORT_NUMBER"
    US_SOCIAL_SECURITY_NUMBER = "US_SOCIAL_SECURITY_NUMBER"
    VEHICLE_IDENTIFICATION_NUMBER = "VEHICLE_IDENTIFICATION_NUMBER"


MODEL_PII = frozenset({PiiType.NAME, PiiType.ADDRESS})
"""The types that a named-entity model finds; all others are patterns."""


class Tier(StrEnum):
    """Who evaluates: `CLASSIC` is the local models, `STANDARD` a judge model on the fleet."""

    CLASSIC = "CLASSIC"
    STANDARD = "STANDARD"


class FilterType(StrEnum):
    """Bedrock's content filters."""

    SEXUAL = "SEXUAL"
    VIOLENCE = "VIOLENCE"
    HATE = "HATE"
    INSULTS = "INSULTS"
    MISCONDUCT = "MISCONDUCT"
    PROMPT_ATTACK = "PROMPT_ATTACK"


class GroundingType(StrEnum):
    """Bedrock's contextual grounding filters."""

    GROUNDING = "GROUNDING"
    RELEVANCE = "RELEVANCE"


Modality: TypeAlias = Literal["TEXT", "IMAGE"]


class TierConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `Guardrail...TierConfig`."""

    tier_name: Tier


class ContentFilterConfig(SidedConfig, frozen=True, kw_only=True):
    """A content filter (Bedrock's `GuardrailContentFilterConfig`).

    A strength is the least confidence that does not pass: `HIGH` acts on low, medium and high confidence, `MEDIUM` on
    medium and high, `LOW` on high only, `NONE` on nothing. Prompt attacks are looked for in inputs only, so their
    `outputStrength` must be NONE.
    """

    type: FilterType
    input_strength: Confidence
    output_strength: Confidence
    input_modalities: Annotated[tuple[Modality, ...], msgspec.Meta(min_length=1, max_length=2)] = ("TEXT",)
    output_modalities: Annotated[tuple[Modality, ...], msgspec.Meta(min_length=1, max_length=2)] = ("TEXT",)

    def __post_init__(self) -> None:
        self.refuse_anonymize("a content filter")
        for name, modalities in (("input", self.input_modalities), ("output", self.output_modalities)):
            if "IMAGE" in modalities:
                raise ValueError(f"{name}Modalities: pictures are not evaluated here; leave IMAGE out")
        if self.type is FilterType.PROMPT_ATTACK and self.output_strength is not Confidence.NONE:
            raise ValueError("outputStrength: a prompt attack is looked for in inputs only; set it to NONE")

    def strength_on(self, side: Side) -> Confidence:
        """The filter's strength on `side`."""
        return self.input_strength if side is Side.INPUT else self.output_strength

    def action_on(self, side: Side) -> RuleAction | None:
        """What the filter does on `side`; None when it does not run there."""
        if self.strength_on(side) is Confidence.NONE:
            return None
        return self.on(side, RuleAction.BLOCK)


class ContentPolicyConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContentPolicyConfig`. A type may occur once."""

    filters_config: Annotated[tuple[ContentFilterConfig, ...], msgspec.Meta(min_length=1, max_length=6)]
    tier_config: TierConfig = TierConfig(tier_name=Tier.CLASSIC)

    def __post_init__(self) -> None:
        refuse_twice([one.type.value for one in self.filters_config], "filtersConfig", "type")


class TopicConfig(SidedConfig, frozen=True, kw_only=True):
    """A denied topic (Bedrock's `GuardrailTopicConfig`)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[0-9a-zA-Z\-_ !?.]+$")]
    definition: Text1000
    type: Literal["DENY"]
    examples: Annotated[tuple[Text100, ...], msgspec.Meta(max_length=5)] = ()

    def __post_init__(self) -> None:
        self.refuse_anonymize("a topic")

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, RuleAction.BLOCK)


class TopicPolicyConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailTopicPolicyConfig`. A name may occur once."""

    topics_config: Annotated[tuple[TopicConfig, ...], msgspec.Meta(min_length=1, max_length=MAX_TOPICS)]
    tier_config: TierConfig = TierConfig(tier_name=Tier.CLASSIC)

    def __post_init__(self) -> None:
        refuse_twice([topic.name for topic in self.topics_config], "topicsConfig", "name")
        if self.tier_config.tier_name is Tier.CLASSIC:
            for place, topic in enumerate(self.topics_config):
                if len(topic.definition) > MAX_CLASSIC_DEFINITION_CHARS:
                    raise ValueError(
                        f"topicsConfig[{place}].definition: is longer than {MAX_CLASSIC_DEFINITION_CHARS} characters; "
                        "the tier STANDARD allows 1,000"
                    )


class WordConfig(SidedConfig, frozen=True, kw_only=True):
    """A word or phrase that blocks (Bedrock's `GuardrailWordConfig`). `ANONYMIZE` is not an action for words."""

    text: Text100

    def __post_init__(self) -> None:
        self.refuse_anonymize("a word")

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, RuleAction.BLOCK)


class ManagedWordsConfig(SidedConfig, frozen=True, kw_only=True):
    """A managed list (Bedrock's `GuardrailManagedWordsConfig`): profanity."""

    type: Literal["PROFANITY"]

    def __post_init__(self) -> None:
        self.refuse_anonymize("a managed list")

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, RuleAction.BLOCK)


class WordPolicyConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailWordPolicyConfig`."""

    words_config: Annotated[tuple[WordConfig, ...], msgspec.Meta(min_length=1, max_length=MAX_WORDS)] = ()
    managed_word_lists_config: Annotated[tuple[ManagedWordsConfig, ...], msgspec.Meta(max_length=1)] = ()


class PiiEntityConfig(SidedConfig, frozen=True, kw_only=True):
    """A type of personal information (Bedrock's `GuardrailPiiEntityConfig`)."""

    type: PiiType
    action: RuleAction

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, self.action)


class RegexConfig(SidedConfig, frozen=True, kw_only=True):
    """A regular expression in RE2's syntax (Bedrock's `GuardrailRegexConfig`, which allows no look-around either)."""

    name: Text100
    pattern: Text500
    action: RuleAction
    description: Text1000 | None = None

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self.on(side, self.action)


class SensitiveInformationPolicyConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailSensitiveInformationPolicyConfig`. A type and a name may each occur once."""

    pii_entities_config: Annotated[tuple[PiiEntityConfig, ...], msgspec.Meta(min_length=1)] = ()
    regexes_config: Annotated[tuple[RegexConfig, ...], msgspec.Meta(min_length=1, max_length=MAX_REGEXES)] = ()

    def __post_init__(self) -> None:
        refuse_twice([entity.type.value for entity in self.pii_entities_config], "piiEntitiesConfig", "type")
        refuse_twice([regex.name for regex in self.regexes_config], "regexesConfig", "name")


class GroundingFilterConfig(Config, frozen=True, kw_only=True):
    """A contextual grounding filter (Bedrock's `GuardrailContextualGroundingFilterConfig`): a score below acts."""

    type: GroundingType
    threshold: Annotated[float, msgspec.Meta(ge=0, le=0.99)]
    action: RuleAction = RuleAction.BLOCK
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.action is RuleAction.ANONYMIZE:
            raise ValueError("action: a grounding filter can only BLOCK or NONE, not ANONYMIZE")


class ContextualGroundingPolicyConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailContextualGroundingPolicyConfig`. A type may occur once."""

    filters_config: Annotated[tuple[GroundingFilterConfig, ...], msgspec.Meta(min_length=1)]
    tier_config: TierConfig = TierConfig(tier_name=Tier.CLASSIC)

    def __post_init__(self) -> None:
        refuse_twice([one.type.value for one in self.filters_config], "filtersConfig", "type")


class CrossRegionConfig(Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailCrossRegionConfig`. Kept and shown; everything is evaluated in this installation."""

    guardrail_profile_identifier: Annotated[str, msgspec.Meta(min_length=15, max_length=2048)]


class GuardrailDocument(Config, frozen=True, kw_only=True):
    """One guardrail's rules and the two messages that replace what it blocks.

    Built by `decode_document` or `convert_document`, which check every limit. Built directly, the limits on
    lengths and counts are checked by `compile_policy`.
    """

    blocked_input_messaging: Text500
    blocked_outputs_messaging: Text500
    content_policy_config: ContentPolicyConfig | None = None
    topic_policy_config: TopicPolicyConfig | None = None
    word_policy_config: WordPolicyConfig | None = None
    sensitive_information_policy_config: SensitiveInformationPolicyConfig | None = None
    contextual_grounding_policy_config: ContextualGroundingPolicyConfig | None = None
    automated_reasoning_policy_config: Any = None
    cross_region_config: CrossRegionConfig | None = None
    bedplate_config: OwnConfig = OwnConfig()

    def __post_init__(self) -> None:
        if self.automated_reasoning_policy_config is not None:
            raise ValueError("automatedReasoningPolicyConfig: this version does not enforce automated reasoning")
        if not self._has_rules():
            raise ValueError("a guardrail needs at least one policy")
        if self.bedplate_config.async_streaming and any(
            entity.type in MODEL_PII and entity.action_on(Side.OUTPUT) is RuleAction.ANONYMIZE
            for entity in self.pii_entities
        ):
            raise ValueError(
                "bedplateConfig.asyncStreaming: NAME and ADDRESS cannot be masked in text that left before it was "
                "evaluated; BLOCK them or do not stream asynchronously"
            )

    def _has_rules(self) -> bool:
        return bool(
            self.filters
            or self.topics
            or self.words
            or self.managed_words
            or self.pii_entities
            or self.regexes
            or self.grounding
            or self.bedplate_config.has_rules
        )

    @property
    def filters(self) -> tuple[ContentFilterConfig, ...]:
        """The content filters, in the document's order."""
        return self.content_policy_config.filters_config if self.content_policy_config else ()

    @property
    def topics(self) -> tuple[TopicConfig, ...]:
        """The denied topics, in the document's order."""
        return self.topic_policy_config.topics_config if self.topic_policy_config else ()

    @property
    def words(self) -> tuple[WordConfig, ...]:
        """The custom words, in the document's order."""
        return self.word_policy_config.words_config if self.word_policy_config else ()

    @property
    def managed_words(self) -> tuple[ManagedWordsConfig, ...]:
        """The managed word lists."""
        return self.word_policy_config.managed_word_lists_config if self.word_policy_config else ()

    @property
    def pii_entities(self) -> tuple[PiiEntityConfig, ...]:
        """The personal-information rules, in the document's order."""
        policy = self.sensitive_information_policy_config
        return policy.pii_entities_config if policy else ()

    @property
    def regexes(self) -> tuple[RegexConfig, ...]:
        """The regular expressions, in the document's order."""
        policy = self.sensitive_information_policy_config
        return policy.regexes_config if policy else ()

    @property
    def grounding(self) -> tuple[GroundingFilterConfig, ...]:
        """The contextual grounding filters that are enabled."""
        policy = self.contextual_grounding_policy_config
        return tuple(one for one in policy.filters_config if one.enabled) if policy else ()


def decode_document(body: bytes | str) -> GuardrailDocument:
    """The document in a JSON text. Raises `InvalidPolicy` naming the field and what is wrong with it."""
    try:
        return msgspec.json.decode(body, type=GuardrailDocument)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidPolicy(str(error)) from error


def convert_document(value: object) -> GuardrailDocument:
    """The document in a decoded JSON object. Raises `InvalidPolicy` naming the field and what is wrong with it."""
    try:
        return msgspec.convert(value, type=GuardrailDocument)
    except msgspec.ValidationError as error:
        raise InvalidPolicy(str(error)) from error


def checked_document(document: GuardrailDocument) -> GuardrailDocument:
    """`document` with every limit checked, for one that was built in code. Raises `InvalidPolicy`."""
    return convert_document(msgspec.to_builtins(document))


def tiers_of(document: GuardrailDocument) -> Iterable[tuple[str, Tier]]:
    """The parts of a document that a model evaluates, by their member's name, with who is to evaluate them."""
    if document.content_policy_config:
        yield "contentPolicyConfig", document.content_policy_config.tier_config.tier_name
    if document.topic_policy_config:
        yield "topicPolicyConfig", document.topic_policy_config.tier_config.tier_name
    if document.grounding and document.contextual_grounding_policy_config:
        yield "contextualGroundingPolicyConfig", document.contextual_grounding_policy_config.tier_config.tier_name


__all__ = [
    "MODEL_PII",
    "ContentFilterConfig",
    "ContentPolicyConfig",
    "ContextualGroundingPolicyConfig",
    "CrossRegionConfig",
    "FilterType",
    "GroundingFilterConfig",
    "GroundingType",
    "GuardrailDocument",
    "InvalidPolicy",
    "ManagedWordsConfig",
    "PiiEntityConfig",
    "PiiType",
    "RegexConfig",
    "RuleAction",
    "SensitiveInformationPolicyConfig",
    "Tier",
    "TierConfig",
    "TopicConfig",
    "TopicPolicyConfig",
    "WordConfig",
    "WordPolicyConfig",
    "checked_document",
    "convert_document",
    "decode_document",
    "tiers_of",
]
