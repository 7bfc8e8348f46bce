"""What is known of a session without reading what was said in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from bedplate_core.ids import SessionId


class Face(StrEnum):
    """Where a session began. Every face shows every session, under the id of its own form."""

    CHAT = "chat"
    BEDROCK = "bedrock"
    CONVERSATION = "conversation"


class SessionStatus(StrEnum):
    """ACTIVE: may be read and written. EXPIRED, by idleness or its absolute end, and ENDED: may be read."""

    ACTIVE = "active"
    EXPIRED = "expired"
    ENDED = "ended"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session. `updated_at` is its last write; reading is no activity.

    `metadata` and `tags` are searchable and therefore not encrypted.
    """

    id: SessionId
    face: Face
    status: SessionStatus
    created_at: datetime
    updated_at: datetime
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    encryption_key_arn: str | None = None
    idle_timeout_s: float | None = None
    expires_at: datetime | None = None
    legal_hold: bool = False


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is made with. Times are seconds; None: no such end."""

    face: Face = Face.CHAT
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    encryption_key_arn: str | None = None
    idle_timeout_s: float | None = None
    lifetime_s: float | None = None


class SessionPlace(msgspec.Struct, frozen=True, array_like=True):
    """A place in the list of a project's sessions: behind the one that was made then, which may be gone."""

    created_at: datetime
    id: SessionId


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions, newest first. `next_after` is the `after` of the next page; None: this is the last."""

    sessions: tuple[Session, ...]
    next_after: SessionPlace | None


__all__ = ["Face", "NewSession", "Session", "SessionPage", "SessionPlace", "SessionStatus"]
