"""What the lines of an archive say. Format 1.

Content stands here decrypted, as JSON; whoever has the file can read it. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw

from bedplate_core.events import StopReason
from bedplate_core.messages import Message, Role
from bedplate_core.usage import Usage
from bedplate_sessions.items import ItemKind, ItemStatus
from bedplate_sessions.session import Face
from bedplate_sessions.steps import StepBlock

FORMAT: Final = 1
NOTHING: Final = Raw(b"null")
"""Content that is gone: of an item that was deleted."""

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
SessionName: TypeAlias = Annotated[str, Meta(pattern="^sess_[0-9a-f]{32}$")]
ResponseName: TypeAlias = Annotated[str, Meta(pattern="^resp_[0-9a-f]{32}$")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
Number: TypeAlias = Annotated[int, Meta(ge=0, lt=100_000)]
Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """The base of every line's record."""


class Header(_Record, frozen=True, tag="header"):
    """The first line. `schema_version` is the newest that its messages may have."""

    format: int
    schema_version: int
    project: str
    created_at: Time


class SessionRecord(_Record, frozen=True, tag="session"):
    """A session; all lines up to the next session, or the manifest, belong to it."""

    id: SessionName
    face: Face
    created_at: Time
    updated_at: Time
    ended_at: Time | None
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    encryption_key_arn: str | None
    idle_timeout_s: Annotated[float, Meta(gt=0)] | None
    expires_at: Time | None
    legal_hold: bool
    branches: Annotated[int, Meta(ge=1, lt=100_000)]
    invocations: Count
    steps: Count


class BranchRecord(_Record, frozen=True, tag="branch"):
    """A branch. `turn_call` and what follows are set while a turn is open on it."""

    branch: Number
    parent_branch: Number | None
    fork_seq: Count
    head: Count
    turn_call: Id | None
    turn_from: Count | None
    turn_input: Count | None
    created_at: Time


class InvocationRecord(_Record, frozen=True, tag="invocation"):
    """A turn, or what a Bedrock client made."""

    id: Id
    number: Count
    call_id: Id
    description: str | None
    created_at: Time


class ItemRecord(_Record, frozen=True, tag="item"):
    """An item, dropped ones too. `message` is the canonical message, or null when the item was deleted.

    Large media of it are lines of their own; the message names them by `bedplate-blob:` and the blob's id.
    """

    id: Id
    branch: Number
    seq: Annotated[int, Meta(ge=1, le=2**62)]
    parent_seq: Count | None
    kind: ItemKind
    role: Role
    call_id: Id
    invocation_id: Id | None
    status: ItemStatus
    stop_reason: StopReason | None
    usage: Usage | None
    pinned: bool
    covers_seq: Count | None
    schema_version: Number
    created_at: Time
    deleted_at: Time | None
    message: Raw


class StepRecord(_Record, frozen=True, tag="step"):
    """A step that a Bedrock client put. `content_hash` tells whether the same step is put again."""

    id: Id
    seq: Count
    invocation_id: Id
    step_time: Time
    schema_version: Number
    content_hash: Digest
    created_at: Time
    blocks: tuple[StepBlock, ...]


class BlobRecord(_Record, frozen=True, tag="blob"):
    """Media of an item: base64, with the SHA-256 of the bytes."""

    id: Id
    sha256: Digest
    created_at: Time
    data: bytes


class ResponseRecord(_Record, frozen=True, tag="response"):
    """A stored response of the session. `content` has its input, output and the dialect's settings."""

    id: ResponseName
    parent_id: ResponseName | None
    model: str
    created_s: Count
    stop_reason: StopReason | None
    usage: Usage | None
    schema_version: Number
    content: Raw


class ResponseContent(msgspec.Struct, frozen=True):
    """What `ResponseRecord.content` holds."""

    input: tuple[Message, ...]
    output: Message
    settings: Mapping[str, object]


class Manifest(_Record, frozen=True, tag="manifest"):
    """The last line: how many lines there are before it, by type, and the SHA-256 of all their bytes."""

    lines: Count
    counts: Mapping[str, int]
    sha256: Digest


Record: TypeAlias = (
    Header
    | SessionRecord
    | BranchRecord
    | InvocationRecord
    | ItemRecord
    | StepRecord
    | BlobRecord
    | ResponseRecord
    | Manifest
)

__all__ = [
    "FORMAT",
    "NOTHING",
    "BlobRecord",
    "BranchRecord",
    "Header",
    "InvocationRecord",
    "ItemRecord",
    "Manifest",
    "Record",
    "ResponseContent",
    "ResponseRecord",
    "SessionRecord",
    "StepRecord",
]
