"""The policy document: the part of Bedrock's guardrail schema that this version enforces.

Names and limits are those of Bedrock's `CreateGuardrail`
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateGuardrail.html and the configuration types it
links to): words 1 to 10,000 of 1 to 100 characters; regular expressions 1 to 30, names 1 to 100, descriptions 1 to
1,000, patterns 1 to 500 characters; messages 1 to 500 characters. Bedrock's console also asks for at most three
words in a phrase; its API does not, and neither does this.

A part of Bedrock's schema that is not enforced here is refused by name. It is never accepted and ignored, because
a guardrail that looks complete and is not is worse than none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import msgspec

from bedplate_core.verdicts import Side

MAX_WORDS = 10_000
MAX_REGEXES = 30


class InvalidPolicy(ValueError):
    """A policy document that cannot be enforced as it is written. The message names the place and the reason."""


class RuleAction(StrEnum):
    """What happens on a match. `NONE` is detected and reported but not enforced."""

    BLOCK = "BLOCK"
    ANONYMIZE = "ANONYMIZE"
    NONE = "NONE"


class PiiType(StrEnum):
    """Bedrock's personal-information types. `ENFORCED_PII` lists those that this version finds."""

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


ENFORCED_PII = frozenset(
    {
        PiiType.EMAIL,
        PiiType.PHONE,
        PiiType.CREDIT_DEBIT_CARD_NUMBER,
        PiiType.IP_ADDRESS,
    }
)

Text100: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Text500: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Text1000: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class _Config(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """The base of every object in the document: camelCase on the wire, and no field that is not known."""


class _SidedConfig(_Config, frozen=True, kw_only=True):
    """What every rule says for the two sides. `*_enabled=False` means that the rule does not run on that side."""

    input_action: RuleAction | None = None
    output_action: RuleAction | None = None
    input_enabled: bool = True
    output_enabled: bool = True

    def _on(self, side: Side, default: RuleAction) -> RuleAction | None:
        if side is Side.INPUT:
            return (self.input_action or default) if self.input_enabled else None
        return (self.output_action or default) if self.output_enabled else None


class WordConfig(_SidedConfig, frozen=True, kw_only=True):
    """A word or phrase that blocks (Bedrock's `GuardrailWordConfig`). `ANONYMIZE` is not an action for words."""

    text: Text100

    def __post_init__(self) -> None:
        if RuleAction.ANONYMIZE in (self.input_action, self.output_action):
            raise ValueError("a word can only BLOCK or NONE, not ANONYMIZE")

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self._on(side, RuleAction.BLOCK)


class WordPolicyConfig(_Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailWordPolicyConfig`, without the managed lists."""

    words_config: Annotated[tuple[WordConfig, ...], msgspec.Meta(min_length=1, max_length=MAX_WORDS)] = ()
    managed_word_lists_config: Any = None

    def __post_init__(self) -> None:
        _refuse(self.managed_word_lists_config, "managedWordListsConfig", "managed word lists")


class PiiEntityConfig(_SidedConfig, frozen=True, kw_only=True):
    """A type of personal information (Bedrock's `GuardrailPiiEntityConfig`)."""

    type: PiiType
    action: RuleAction

    def __post_init__(self) -> None:
        if self.type not in ENFORCED_PII:
            enforced = ", ".join(sorted(ENFORCED_PII))
            raise ValueError(f"this version does not enforce the type {self.type}; it enforces {enforced}")

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self._on(side, self.action)


class RegexConfig(_SidedConfig, frozen=True, kw_only=True):
    """A regular expression in RE2's syntax (Bedrock's `GuardrailRegexConfig`, which allows no look-around either)."""

    name: Text100
    pattern: Text500
    action: RuleAction
    description: Text1000 | None = None

    def action_on(self, side: Side) -> RuleAction | None:
        """What the rule does on `side`; None when it does not run there."""
        return self._on(side, self.action)


class SensitiveInformationPolicyConfig(_Config, frozen=True, kw_only=True):
    """Bedrock's `GuardrailSensitiveInformationPolicyConfig`. A type and a name may each occur once."""

    pii_entities_config: Annotated[tuple[PiiEntityConfig, ...], msgspec.Meta(min_length=1)] = ()
    regexes_config: Annotated[tuple[RegexConfig, ...], msgspec.Meta(min_length=1, max_length=MAX_REGEXES)] = ()

    def __post_init__(self) -> None:
        _refuse_twice([entity.type.value for entity in self.pii_entities_config], "piiEntitiesConfig", "type")
        _refuse_twice([regex.name for regex in self.regexes_config], "regexesConfig", "name")


class GuardrailDocument(_Config, frozen=True, kw_only=True):
    """One guardrail's rules and the two messages that replace what it blocks.

    Built by `decode_document` or `convert_document`, which check every limit. Built directly, the limits on
    lengths and counts are checked by `compile_policy`.
    """

    blocked_input_messaging: Text500
    blocked_outputs_messaging: Text500
    word_policy_config: WordPolicyConfig | None = None
    sensitive_information_policy_config: SensitiveInformationPolicyConfig | None = None
    content_policy_config: Any = None
    topic_policy_config: Any = None
    contextual_grounding_policy_config: Any = None
    automated_reasoning_policy_config: Any = None
    cross_region_config: Any = None

    def __post_init__(self) -> None:
        _refuse(self.content_policy_config, "contentPolicyConfig", "content filters")
        _refuse(self.topic_policy_config, "topicPolicyConfig", "denied topics")
        _refuse(self.contextual_grounding_policy_config, "contextualGroundingPolicyConfig", "contextual grounding")
        _refuse(self.automated_reasoning_policy_config, "automatedReasoningPolicyConfig", "automated reasoning")
        _refuse(self.cross_region_config, "crossRegionConfig", "cross-region inference of guardrails")
        if not (self.words or self.pii_entities or self.regexes):
            raise ValueError("a guardrail needs at least one word, personal-information type or regular expression")

    @property
    def words(self) -> tuple[WordConfig, ...]:
        """The custom words, in the document's order."""
        return self.word_policy_config.words_config if self.word_policy_config else ()

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


def _refuse(value: object, field: str, what: str) -> None:
    if value is not None:
        raise ValueError(f"{field}: this version does not enforce {what}")


def _refuse_twice(values: list[str], field: str, what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{field}: the {what} {value!r} occurs twice")
        seen.add(value)


__all__ = [
    "ENFORCED_PII",
    "GuardrailDocument",
    "InvalidPolicy",
    "PiiEntityConfig",
    "PiiType",
    "RegexConfig",
    "RuleAction",
    "SensitiveInformationPolicyConfig",
    "WordConfig",
    "WordPolicyConfig",
    "checked_document",
    "convert_document",
    "decode_document",
]
