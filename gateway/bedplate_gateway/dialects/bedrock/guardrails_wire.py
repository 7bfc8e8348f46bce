"""The bodies of Bedrock's guardrail operations.

Source: botocore 1.44.8's model of `bedrock` (2023-04-20) with its lengths, ranges and patterns, which boto3 itself does
not check, compared November 2026. Policies are those of `bedplate_guardrails.document`; the names of models are the
catalogue's and not bound to AWS's pattern.

Names are the wire's. Nothing unknown is accepted, at any level. `bedplateConfig` is ours: boto3 neither sends nor shows
it, unless its model is extended.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_core.jsonvalue import JSONObject
from bedplate_gateway.dialects.bedrock.guardrails_errors import TooManyTagsBody
from bedplate_gateway.dialects.bedrock.tags import TagKey, TagValue
from bedplate_guardrails.config import Text500
from bedplate_guardrails.document import (
    ContentPolicyConfig,
    ContextualGroundingPolicyConfig,
    CrossRegionConfig,
    SensitiveInformationPolicyConfig,
    TopicPolicyConfig,
    WordPolicyConfig,
)
from bedplate_guardrails.own_config import OwnConfig

# `(?!\n)`: Python's `$` alone also matches before a last line feed.
Name: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-zA-Z\-_]{1,50}$(?!\n)")]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
ClientToken: TypeAlias = Annotated[
    str, Meta(max_length=256, pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]{0,254}[a-zA-Z0-9])?$(?!\n)")
]
ModelName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Guarding: TypeAlias = Literal["SELECTIVE", "COMPREHENSIVE"]
Status: TypeAlias = Literal["READY", "FAILED"]

MAX_MODELS: Final = 1000
"""Models that one configuration can name; Bedrock says nothing."""


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of requests and of what is in them."""


class _Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The base of answers: required members are always there, others are left out."""


class GuardrailTag(_Body, frozen=True, kw_only=True):
    """A tag (Bedrock's `Tag`)."""

    key: TagKey
    value: TagValue


class UpdateGuardrailRequest(_Body, frozen=True, kw_only=True):
    """The body of UpdateGuardrail."""

    name: Name
    blocked_input_messaging: Text500
    blocked_outputs_messaging: Text500
    description: Description | None = None
    topic_policy_config: TopicPolicyConfig | None = None
    content_policy_config: ContentPolicyConfig | None = None
    word_policy_config: WordPolicyConfig | None = None
    sensitive_information_policy_config: SensitiveInformationPolicyConfig | None = None
    contextual_grounding_policy_config: ContextualGroundingPolicyConfig | None = None
    automated_reasoning_policy_config: Any = None
    cross_region_config: CrossRegionConfig | None = None
    bedplate_config: OwnConfig | None = None
    kms_key_id: Any = None


class CreateGuardrailRequest(UpdateGuardrailRequest, frozen=True, kw_only=True):
    """The body of CreateGuardrail."""

    tags: tuple[GuardrailTag, ...] | None = None
    client_request_token: ClientToken | None = None


class CreateGuardrailVersionRequest(_Body, frozen=True, kw_only=True):
    """The body of CreateGuardrailVersion."""

    description: Description | None = None
    client_request_token: ClientToken | None = None


class SelectiveContentGuarding(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """Whether marks in a request count. One answer for both parts."""

    system: Guarding = "COMPREHENSIVE"
    messages: Guarding = "COMPREHENSIVE"


class ModelEnforcement(_Body, frozen=True, kw_only=True):
    """The models that a guardrail is enforced for. `ALL` includes all."""

    included_models: Annotated[tuple[ModelName, ...], Meta(min_length=1, max_length=MAX_MODELS)]
    excluded_models: Annotated[tuple[ModelName, ...], Meta(max_length=MAX_MODELS)]


class EnforcedGuardrailInput(_Body, frozen=True, kw_only=True):
    """What is to be enforced (Bedrock's `AccountEnforcedGuardrailInferenceInputConfiguration`)."""

    guardrail_identifier: str
    guardrail_version: str
    selective_content_guarding: SelectiveContentGuarding | None = None
    model_enforcement: ModelEnforcement | None = None


class PutEnforcedGuardrailConfigurationRequest(_Body, frozen=True, kw_only=True):
    """The body of PutEnforcedGuardrailConfiguration."""

    guardrail_inference_config: EnforcedGuardrailInput
    config_id: Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9]+$(?!\n)")] | None = None


class TagGuardrailRequest(_Body, frozen=True, kw_only=True):
    """The body of TagResource."""

    resource_arn: str = msgspec.field(name="resourceARN")
    tags: tuple[GuardrailTag, ...]


class UntagGuardrailRequest(_Body, frozen=True, kw_only=True):
    """The body of UntagResource."""

    resource_arn: str = msgspec.field(name="resourceARN")
    tag_keys: Annotated[tuple[TagKey, ...], Meta(max_length=200)]


class ListGuardrailTagsRequest(_Body, frozen=True, kw_only=True):
    """The body of ListTagsForResource."""

    resource_arn: str = msgspec.field(name="resourceARN")


class CreateGuardrailResponse(_Reply, frozen=True, kw_only=True):
    """The body of CreateGuardrail's answer."""

    guardrail_id: str
    guardrail_arn: str
    version: str
    created_at: datetime


class UpdateGuardrailResponse(_Reply, frozen=True, kw_only=True):
    """The body of UpdateGuardrail's answer."""

    guardrail_id: str
    guardrail_arn: str
    version: str
    updated_at: datetime


class CreateGuardrailVersionResponse(_Reply, frozen=True, kw_only=True):
    """The body of CreateGuardrailVersion's answer."""

    guardrail_id: str
    version: str


class CrossRegionDetails(_Reply, frozen=True, kw_only=True):
    """The guardrail profile, which is kept and shown."""

    guardrail_profile_id: str
    guardrail_profile_arn: str


class GuardrailSummary(_Reply, frozen=True, kw_only=True):
    """One entry of a list."""

    id: str
    arn: str
    status: Status
    name: str
    version: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    cross_region_details: CrossRegionDetails | None = None


class ListGuardrailsResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListGuardrails' answer."""

    guardrails: tuple[GuardrailSummary, ...]
    next_token: str | None = None


class HoldBackDetails(_Reply, frozen=True, kw_only=True):
    """The most that a guardrail keeps back of one text of a streamed answer; `bytes` is null where it is all of it."""

    bytes: int | None
    evaluation_ms: int


class GetGuardrailResponse(_Reply, frozen=True, kw_only=True):
    """The body of GetGuardrail's answer. Policies are as they were given, under Bedrock's names for answers."""

    name: str
    guardrail_id: str
    guardrail_arn: str
    version: str
    status: Status
    created_at: datetime
    updated_at: datetime
    blocked_input_messaging: str
    blocked_outputs_messaging: str
    description: str | None = None
    topic_policy: JSONObject | None = None
    content_policy: JSONObject | None = None
    word_policy: JSONObject | None = None
    sensitive_information_policy: JSONObject | None = None
    contextual_grounding_policy: JSONObject | None = None
    cross_region_details: CrossRegionDetails | None = None
    status_reasons: tuple[str, ...] = ()
    failure_recommendations: tuple[str, ...] = ()
    bedplate_config: JSONObject | None = None
    bedplate_hold_back: HoldBackDetails | None = None


class PutEnforcedGuardrailConfigurationResponse(_Reply, frozen=True, kw_only=True):
    """The body of PutEnforcedGuardrailConfiguration's answer."""

    config_id: str
    updated_at: datetime
    updated_by: str


class EnforcedGuardrail(_Reply, frozen=True, kw_only=True):
    """One entry of what is enforced (Bedrock's `AccountEnforcedGuardrailOutputConfiguration`).

    What the installation's files declare has the `configId` `declared` and no times; `guardrailVersion` is left out
    when it is the draft.
    """

    config_id: str
    guardrail_arn: str
    guardrail_id: str
    input_tags: Literal["HONOR", "IGNORE"]
    owner: Literal["ACCOUNT"]
    selective_content_guarding: JSONObject | None = None
    guardrail_version: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None
    model_enforcement: JSONObject | None = None


class ListEnforcedGuardrailsConfigurationResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListEnforcedGuardrailsConfiguration's answer."""

    guardrails_config: tuple[EnforcedGuardrail, ...]


class GuardrailTagsResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListTagsForResource's answer."""

    tags: tuple[GuardrailTag, ...]


GUARDRAIL_BODIES: Final = (
    CreateGuardrailRequest,
    CreateGuardrailResponse,
    CreateGuardrailVersionRequest,
    CreateGuardrailVersionResponse,
    GetGuardrailResponse,
    GuardrailTagsResponse,
    ListEnforcedGuardrailsConfigurationResponse,
    ListGuardrailTagsRequest,
    ListGuardrailsResponse,
    PutEnforcedGuardrailConfigurationRequest,
    PutEnforcedGuardrailConfigurationResponse,
    TagGuardrailRequest,
    TooManyTagsBody,
    UntagGuardrailRequest,
    UpdateGuardrailRequest,
    UpdateGuardrailResponse,
)
"""Every request and answer, for the OpenAPI document."""

__all__ = [
    "GUARDRAIL_BODIES",
    "CreateGuardrailRequest",
    "CreateGuardrailResponse",
    "CreateGuardrailVersionRequest",
    "CreateGuardrailVersionResponse",
    "CrossRegionDetails",
    "EnforcedGuardrail",
    "EnforcedGuardrailInput",
    "GetGuardrailResponse",
    "GuardrailSummary",
    "GuardrailTag",
    "GuardrailTagsResponse",
    "ListEnforcedGuardrailsConfigurationResponse",
    "ListGuardrailTagsRequest",
    "ListGuardrailsResponse",
    "ModelEnforcement",
    "PutEnforcedGuardrailConfigurationRequest",
    "PutEnforcedGuardrailConfigurationResponse",
    "SelectiveContentGuarding",
    "Status",
    "TagGuardrailRequest",
    "UntagGuardrailRequest",
    "UpdateGuardrailRequest",
    "UpdateGuardrailResponse",
]
