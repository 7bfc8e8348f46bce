"""The bodies of Bedrock's session operations.

Source: botocore 1.44.8's model of `bedrock-agent-runtime` (2023-07-26) with its lengths, ranges and patterns, which
boto3 itself does not check, compared November 2026. `MAX_BLOCKS` is this gateway's.

Names are the wire's. Nothing unknown is accepted, at any level.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_gateway.dialects.bedrock.converse_wire import Blob, ImageFormat, Nested, Union, Words
from bedplate_gateway.dialects.bedrock.sessions_ids import UUID_PATTERN
from bedplate_gateway.dialects.bedrock.tags import ListTagsForResourceResponse, TagResourceRequest, Tags

MAX_BLOCKS: Final = 10_000
"""Content blocks of one step: what they hold is bounded elsewhere, how many objects they become is here."""

# `(?!\n)`: Python's `$` alone also matches before a last line feed.
Uuid: TypeAlias = Annotated[str, Meta(pattern=rf"^{UUID_PATTERN}$(?!\n)")]
KmsKeyArn: TypeAlias = Annotated[
    str,
    Meta(max_length=2048, pattern=r"^arn:aws(|-cn|-us-gov):kms:[a-zA-Z0-9-]*:[0-9]{12}:key/[a-zA-Z0-9-]{36}$(?!\n)"),
]
SessionMetadata: TypeAlias = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=5000)]],
    Meta(max_length=50),
]
S3ObjectUri: TypeAlias = Annotated[
    str, Meta(max_length=1024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}$(?!\n)")
]
Base64: TypeAlias = bytes
Status: TypeAlias = Literal["ACTIVE", "EXPIRED", "ENDED"]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of requests."""


class _Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The base of answers: required members are always there, others are left out."""


class CreateSessionRequest(_Body, frozen=True, kw_only=True):
    """The body of CreateSession."""

    encryption_key_arn: KmsKeyArn | None = None
    session_metadata: SessionMetadata | None = None
    tags: Tags | None = None


class UpdateSessionRequest(_Body, frozen=True, kw_only=True):
    """The body of UpdateSession."""

    session_metadata: SessionMetadata | None = None


class CreateInvocationRequest(_Body, frozen=True, kw_only=True):
    """The body of CreateInvocation."""

    description: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    invocation_id: Uuid | None = None


class EmptyRequest(_Body, frozen=True, kw_only=True):
    """The body of operations that have none."""


class S3ObjectLocation(Nested, frozen=True, kw_only=True):
    """An object in a bucket: kept as an address and never fetched."""

    uri: S3ObjectUri


class StepImageSource(Union, frozen=True, kw_only=True):
    """Where a picture is."""

    bytes: Blob | None = None
    s3Location: S3ObjectLocation | None = None  # noqa: N815 # the wire's name


class StepImageBlock(Nested, frozen=True, kw_only=True):
    """A picture."""

    format: ImageFormat
    source: StepImageSource


class StepContentBlock(Union, frozen=True, kw_only=True):
    """One block of a step."""

    text: Words | None = None
    image: StepImageBlock | None = None


class InvocationStepPayload(Union, frozen=True, kw_only=True):
    """What a step holds."""

    contentBlocks: (  # noqa: N815 # the wire's name
        Annotated[tuple[StepContentBlock, ...], Meta(min_length=1, max_length=MAX_BLOCKS)] | None
    ) = None


class PutInvocationStepRequest(_Body, frozen=True, kw_only=True):
    """The body of PutInvocationStep."""

    invocation_identifier: Uuid
    invocation_step_id: Uuid | None = None
    invocation_step_time: Annotated[datetime, Meta(tz=True)]
    payload: InvocationStepPayload


class GetInvocationStepRequest(_Body, frozen=True, kw_only=True):
    """The body of GetInvocationStep."""

    invocation_identifier: Uuid


class ListInvocationStepsRequest(_Body, frozen=True, kw_only=True):
    """The body of ListInvocationSteps."""

    invocation_identifier: Uuid | None = None


class CreateSessionResponse(_Reply, frozen=True, kw_only=True):
    """The body of CreateSession's answer."""

    created_at: datetime
    session_arn: str
    session_id: str
    session_status: Status


class GetSessionResponse(_Reply, frozen=True, kw_only=True):
    """The body of GetSession's answer."""

    created_at: datetime
    last_updated_at: datetime
    session_arn: str
    session_id: str
    session_metadata: Mapping[str, str]
    session_status: Status
    encryption_key_arn: str | None = None


class SessionSummary(_Reply, frozen=True, kw_only=True):
    """A session in a list; also the body of UpdateSession's answer."""

    created_at: datetime
    last_updated_at: datetime
    session_arn: str
    session_id: str
    session_status: Status


class EndSessionResponse(_Reply, frozen=True, kw_only=True):
    """The body of EndSession's answer."""

    session_arn: str
    session_id: str
    session_status: Status


class ListSessionsResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListSessions' answer."""

    session_summaries: tuple[SessionSummary, ...]
    next_token: str | None = None


class InvocationSummary(_Reply, frozen=True, kw_only=True):
    """An invocation in a list; also the body of CreateInvocation's answer."""

    created_at: datetime
    invocation_id: str
    session_id: str


class ListInvocationsResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListInvocations' answer."""

    invocation_summaries: tuple[InvocationSummary, ...]
    next_token: str | None = None


class PutInvocationStepResponse(_Reply, frozen=True, kw_only=True):
    """The body of PutInvocationStep's answer."""

    invocation_step_id: str


class InvocationStepSummary(_Reply, frozen=True, kw_only=True):
    """A step in a list."""

    invocation_id: str
    invocation_step_id: str
    invocation_step_time: datetime
    session_id: str


class ListInvocationStepsResponse(_Reply, frozen=True, kw_only=True):
    """The body of ListInvocationSteps' answer."""

    invocation_step_summaries: tuple[InvocationStepSummary, ...]
    next_token: str | None = None


class ReplyImageSource(_Reply, frozen=True, kw_only=True):
    """Where a picture is: exactly one of both."""

    bytes: Base64 | None = None
    s3_location: S3ObjectLocation | None = None


class ReplyImageBlock(_Reply, frozen=True, kw_only=True):
    """A picture."""

    format: str
    source: ReplyImageSource


class ReplyContentBlock(_Reply, frozen=True, kw_only=True):
    """One block of a step: exactly one of both."""

    text: str | None = None
    image: ReplyImageBlock | None = None


class ReplyPayload(_Reply, frozen=True, kw_only=True):
    """What a step holds."""

    content_blocks: tuple[ReplyContentBlock, ...]


class InvocationStep(_Reply, frozen=True, kw_only=True):
    """One step."""

    invocation_id: str
    invocation_step_id: str
    invocation_step_time: datetime
    payload: ReplyPayload
    session_id: str


class GetInvocationStepResponse(_Reply, frozen=True, kw_only=True):
    """The body of GetInvocationStep's answer."""

    invocation_step: InvocationStep


SESSION_BODIES: Final = (
    CreateSessionRequest,
    CreateSessionResponse,
    GetSessionResponse,
    UpdateSessionRequest,
    SessionSummary,
    EndSessionResponse,
    ListSessionsResponse,
    CreateInvocationRequest,
    InvocationSummary,
    ListInvocationsResponse,
    PutInvocationStepRequest,
    PutInvocationStepResponse,
    GetInvocationStepRequest,
    GetInvocationStepResponse,
    ListInvocationStepsRequest,
    ListInvocationStepsResponse,
    EmptyRequest,
    TagResourceRequest,
    ListTagsForResourceResponse,
)
"""For the OpenAPI document."""

__all__ = [
    "MAX_BLOCKS",
    "SESSION_BODIES",
    "CreateInvocationRequest",
    "CreateSessionRequest",
    "CreateSessionResponse",
    "EmptyRequest",
    "EndSessionResponse",
    "GetInvocationStepRequest",
    "GetInvocationStepResponse",
    "GetSessionResponse",
    "InvocationStep",
    "InvocationStepPayload",
    "InvocationStepSummary",
    "InvocationSummary",
    "ListInvocationStepsRequest",
    "ListInvocationStepsResponse",
    "ListInvocationsResponse",
    "ListSessionsResponse",
    "PutInvocationStepRequest",
    "PutInvocationStepResponse",
    "ReplyContentBlock",
    "ReplyImageBlock",
    "ReplyImageSource",
    "ReplyPayload",
    "S3ObjectLocation",
    "SessionSummary",
    "Status",
    "StepContentBlock",
    "StepImageBlock",
    "StepImageSource",
    "UpdateSessionRequest",
]
