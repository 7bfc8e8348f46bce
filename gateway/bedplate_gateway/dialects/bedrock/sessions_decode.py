"""From the bodies of Bedrock's session operations to what the sessions take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import Image, MediaBytes, MediaUrl, Text
from bedplate_gateway.dialects.bedrock import sessions_wire as wire
from bedplate_gateway.dialects.bedrock.body_reader import BodyReader
from bedplate_gateway.dialects.bedrock.converse_wire import chosen
from bedplate_gateway.dialects.bedrock.sessions_ids import digits_of
from bedplate_sessions.session import NewSession
from bedplate_sessions.steps import StepBlock

_CREATE_SESSION: Final = BodyReader(wire.CreateSessionRequest)
_UPDATE_SESSION: Final = BodyReader(wire.UpdateSessionRequest)
_CREATE_INVOCATION: Final = BodyReader(wire.CreateInvocationRequest)
_PUT_STEP: Final = BodyReader(wire.PutInvocationStepRequest)
_GET_STEP: Final = BodyReader(wire.GetInvocationStepRequest)
_LIST_STEPS: Final = BodyReader(wire.ListInvocationStepsRequest)
_EMPTY: Final = BodyReader(wire.EmptyRequest)


class NewInvocation(msgspec.Struct, frozen=True, kw_only=True):
    """What CreateInvocation asks for. `id` is 32 hexadecimal digits."""

    id: str | None
    description: str | None


class NewStep(msgspec.Struct, frozen=True, kw_only=True):
    """What PutInvocationStep asks for. Ids are 32 hexadecimal digits; `time` is in UTC."""

    id: str | None
    invocation: str
    time: datetime
    blocks: tuple[StepBlock, ...]


def new_session(body: bytes, like: NewSession) -> NewSession:
    """The session that CreateSession asks for, else as `like`. Raises `InvalidRequest`, like all of these."""
    asked = _CREATE_SESSION(body)
    return msgspec.structs.replace(
        like,
        metadata=_metadata(asked.session_metadata or {}),
        tags=asked.tags or {},
        encryption_key_arn=asked.encryption_key_arn,
    )


def new_metadata(body: bytes) -> Mapping[str, str] | None:
    """The metadata in UpdateSession's body; None when it names none, which leaves what there is."""
    given = _UPDATE_SESSION(body).session_metadata
    return None if given is None else _metadata(given)


def new_invocation(body: bytes) -> NewInvocation:
    """What CreateInvocation asks for."""
    asked = _CREATE_INVOCATION(body)
    if asked.description is not None:
        _require_storable(asked.description, "description")
    return NewInvocation(id=_digits(asked.invocation_id, "invocationId"), description=asked.description)


def new_step(body: bytes) -> NewStep:
    """What PutInvocationStep asks for. How large it may be is not checked here."""
    asked = _PUT_STEP(body)
    chosen(asked.payload, "payload")
    blocks = [
        _block(block, f"payload.contentBlocks[{number}]")
        for number, block in enumerate(asked.payload.contentBlocks or ())
    ]
    return NewStep(
        id=_digits(asked.invocation_step_id, "invocationStepId"),
        invocation=digits_of(asked.invocation_identifier, "invocationIdentifier"),
        time=_in_utc(asked.invocation_step_time),
        blocks=tuple(blocks),
    )


def invocation_of_step(body: bytes) -> str:
    """The invocation in GetInvocationStep's body."""
    return digits_of(_GET_STEP(body).invocation_identifier, "invocationIdentifier")


def invocation_filter(body: bytes) -> str | None:
    """The invocation in ListInvocationSteps' body."""
    return _digits(_LIST_STEPS(body).invocation_identifier, "invocationIdentifier")


def require_empty(body: bytes) -> None:
    """Raise `InvalidRequest` for a body with members in it, where the operation has none."""
    _EMPTY(body)


def _block(block: wire.StepContentBlock, at: str) -> StepBlock:
    chosen(block, at)
    if block.image is None:
        return Text(text=block.text or "")
    source, media_type = block.image.source, f"image/{block.image.format}"
    chosen(source, f"{at}.image.source")
    if source.s3Location is not None:
        return Image(media=MediaUrl(url=source.s3Location.uri, media_type=media_type))
    return Image(media=MediaBytes(data=source.bytes or b"", media_type=media_type))


def _metadata(given: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in given.items():
        _require_storable(name + value, "sessionMetadata")
    return given


def _require_storable(text: str, param: str) -> None:
    if "\0" in text:  # Postgres has no text with this character in it
        raise InvalidRequest(f"{param}: cannot hold the character U+0000", param=param)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:  # a first or last day of all, in another zone
        raise InvalidRequest("invocationStepTime: is out of range", param="invocationStepTime") from None


def _digits(uuid: str | None, param: str) -> str | None:
    return None if uuid is None else digits_of(uuid, param)


__all__ = [
    "NewInvocation",
    "NewStep",
    "invocation_filter",
    "invocation_of_step",
    "new_invocation",
    "new_metadata",
    "new_session",
    "new_step",
    "require_empty",
]
