"""Sessions, invocations and steps as Bedrock's operations answer them.

A step that is an item of a chat shows the item's parts as blocks: a text is a `text`; a PNG, JPEG, GIF or WebP picture
in bytes is an `image`. Bedrock's sessions have no block for anything else (calls of tools and their results, reasoning,
documents, sound), nor for a text without characters; each of these is a `text` that holds the part as JSON, with its
`kind`. A message without parts is one such text with the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, assert_never

import msgspec

from bedplate_core.ids import SessionId
from bedplate_core.messages import Image, MediaBytes, MediaUrl, Message, Part, Text
from bedplate_gateway.dialects.bedrock import sessions_wire as wire
from bedplate_gateway.dialects.bedrock.sessions_ids import session_arn
from bedplate_sessions.face_ids import session_uuid, uuid_of_hex
from bedplate_sessions.session import Session, SessionPage, SessionStatus
from bedplate_sessions.steps import Invocation, InvocationPage, Step, StepBlock, StepPage

_STATUSES: Final[Mapping[SessionStatus, wire.Status]] = MappingProxyType(
    {SessionStatus.ACTIVE: "ACTIVE", SessionStatus.EXPIRED: "EXPIRED", SessionStatus.ENDED: "ENDED"}
)
_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
)


def created_session(session: Session) -> bytes:
    """The body of CreateSession's answer."""
    return msgspec.json.encode(
        wire.CreateSessionResponse(
            created_at=session.created_at,
            session_arn=session_arn(session.id),
            session_id=session_uuid(session.id),
            session_status=_STATUSES[session.status],
        )
    )


def whole_session(session: Session) -> bytes:
    """The body of GetSession's answer."""
    return msgspec.json.encode(
        wire.GetSessionResponse(
            created_at=session.created_at,
            last_updated_at=session.updated_at,
            session_arn=session_arn(session.id),
            session_id=session_uuid(session.id),
            session_metadata=session.metadata,
            session_status=_STATUSES[session.status],
            encryption_key_arn=session.encryption_key_arn,
        )
    )


def updated_session(session: Session) -> bytes:
    """The body of UpdateSession's answer."""
    return msgspec.json.encode(_session_summary(session))


def ended_session(session: Session) -> bytes:
    """The body of EndSession's answer."""
    return msgspec.json.encode(
        wire.EndSessionResponse(
            session_arn=session_arn(session.id),
            session_id=session_uuid(session.id),
            session_status=_STATUSES[session.status],
        )
    )


def session_list(page: SessionPage, next_token: str | None) -> bytes:
    """The body of ListSessions' answer."""
    summaries = tuple([_session_summary(session) for session in page.sessions])
    return msgspec.json.encode(wire.ListSessionsResponse(session_summaries=summaries, next_token=next_token))


def created_invocation(session: SessionId, invocation: Invocation) -> bytes:
    """The body of CreateInvocation's answer."""
    return msgspec.json.encode(_invocation_summary(session, invocation))


def invocation_list(session: SessionId, page: InvocationPage, next_token: str | None) -> bytes:
    """The body of ListInvocations' answer."""
    summaries = tuple([_invocation_summary(session, invocation) for invocation in page.invocations])
    return msgspec.json.encode(wire.ListInvocationsResponse(invocation_summaries=summaries, next_token=next_token))


def put_step(step: str) -> bytes:
    """The body of PutInvocationStep's answer."""
    return msgspec.json.encode(wire.PutInvocationStepResponse(invocation_step_id=uuid_of_hex(step)))


def whole_step(session: SessionId, step: Step) -> bytes:
    """The body of GetInvocationStep's answer."""
    blocks = _message_blocks(step.message) if step.message is not None else [_block(each) for each in step.blocks]
    return msgspec.json.encode(
        wire.GetInvocationStepResponse(
            invocation_step=wire.InvocationStep(
                invocation_id=uuid_of_hex(step.invocation_id),
                invocation_step_id=uuid_of_hex(step.id),
                invocation_step_time=step.time,
                payload=wire.ReplyPayload(content_blocks=tuple(blocks)),
                session_id=session_uuid(session),
            )
        )
    )


def step_list(session: SessionId, page: StepPage, next_token: str | None) -> bytes:
    """The body of ListInvocationSteps' answer."""
    summaries = tuple(
        [
            wire.InvocationStepSummary(
                invocation_id=uuid_of_hex(step.invocation_id),
                invocation_step_id=uuid_of_hex(step.id),
                invocation_step_time=step.time,
                session_id=session_uuid(session),
            )
            for step in page.steps
        ]
    )
    return msgspec.json.encode(
        wire.ListInvocationStepsResponse(invocation_step_summaries=summaries, next_token=next_token)
    )


def _session_summary(session: Session) -> wire.SessionSummary:
    return wire.SessionSummary(
        created_at=session.created_at,
        last_updated_at=session.updated_at,
        session_arn=session_arn(session.id),
        session_id=session_uuid(session.id),
        session_status=_STATUSES[session.status],
    )


def _invocation_summary(session: SessionId, invocation: Invocation) -> wire.InvocationSummary:
    return wire.InvocationSummary(
        created_at=invocation.created_at,
        invocation_id=uuid_of_hex(invocation.id),
        session_id=session_uuid(session),
    )


def _message_blocks(message: Message) -> list[wire.ReplyContentBlock]:
    return [_part_block(part) for part in message.parts] or [_as_json(message)]


def _part_block(part: Part) -> wire.ReplyContentBlock:
    match part:
        case Text() if part.text:
            return _block(part)
        case Image(media=MediaBytes(media_type=media_type), detail=None) if media_type in _FORMATS:
            return _block(part)
        case _:
            return _as_json(part)


def _block(block: StepBlock) -> wire.ReplyContentBlock:
    if isinstance(block, Text):
        return wire.ReplyContentBlock(text=block.text)
    media = block.media
    match media:
        case MediaBytes():
            source = wire.ReplyImageSource(bytes=media.data)
        case MediaUrl():
            source = wire.ReplyImageSource(s3_location=wire.S3ObjectLocation(uri=media.url))
        case _:
            assert_never(media)
    return wire.ReplyContentBlock(
        image=wire.ReplyImageBlock(format=_FORMATS.get(media.media_type or "", "png"), source=source)
    )


def _as_json(value: Part | Message) -> wire.ReplyContentBlock:
    return wire.ReplyContentBlock(text=msgspec.json.encode(value).decode())


__all__ = [
    "created_invocation",
    "created_session",
    "ended_session",
    "invocation_list",
    "put_step",
    "session_list",
    "step_list",
    "updated_session",
    "whole_session",
    "whole_step",
]
