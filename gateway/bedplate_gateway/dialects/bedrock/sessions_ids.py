"""How sessions, invocations and steps are named by Bedrock: UUIDs in lower case, and a session's ARN.

Source: botocore 1.44.8's model of `bedrock-agent-runtime` (2023-07-26; `SessionIdentifier`, `SessionArn`, `Uuid`,
`TaggableResourcesArn`), compared November 2026. Partition, region and account of an ARN that comes in say where AWS
would keep the session and are not looked at. Those that go out have the region of models' ARNs, and for the account,
which the pattern wants, twelve zeros.
"""

from __future__ import annotations

import re
from typing import Final

from bedplate_core.errors import InvalidRequest, NotFound
from bedplate_core.ids import SessionId
from bedplate_gateway.dialects.bedrock.foundation_models import REGION
from bedplate_gateway.dialects.decoding import clip
from bedplate_sessions.face_ids import hex_of_uuid, session_of, session_uuid

ACCOUNT: Final = "000000000000"
UUID_PATTERN: Final = r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"

_UUID: Final = re.compile(UUID_PATTERN)
_SESSION_ARN: Final = re.compile(
    rf"arn:aws(?:-[^:]+)?:bedrock:[a-zA-Z0-9-]{{1,63}}:[0-9]{{12}}:session/({UUID_PATTERN})"
)
_ARN: Final = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", re.DOTALL)
_MAX_ARN_CHARS: Final = 1011


def session_identifier(text: str) -> SessionId:
    """The session that a path names. Whether there is one is not checked. Raises `InvalidRequest`."""
    arn = _SESSION_ARN.fullmatch(text)
    uuid = arn[1] if arn else text
    session = session_of(uuid) if _UUID.fullmatch(uuid) else None
    if session is None:
        raise InvalidRequest(
            f"sessionIdentifier: expected a UUID in lower case or a session's ARN, got {clip(text, 64)!r}",
            param="sessionIdentifier",
        )
    return session


def tagged_session(text: str) -> SessionId:
    """The session that an ARN names. Raises `InvalidRequest` for what is no ARN, `NotFound` for another thing's."""
    if len(text) > _MAX_ARN_CHARS or _ARN.fullmatch(text) is None:
        raise InvalidRequest(f"resourceArn: {clip(text, 64)!r} is not an ARN", param="resourceArn")
    arn = _SESSION_ARN.fullmatch(text)
    session = session_of(arn[1]) if arn else None
    if session is None:
        raise NotFound("resourceArn: there is no resource with this ARN that has tags here", param="resourceArn")
    return session


def session_arn(session: SessionId) -> str:
    """The session's ARN."""
    return f"arn:aws:bedrock:{REGION}:{ACCOUNT}:session/{session_uuid(session)}"


def digits_of(uuid: str, param: str) -> str:
    """The 32 digits of a UUID. Raises `InvalidRequest` for anything else."""
    digits = hex_of_uuid(uuid)
    if digits is None:
        raise InvalidRequest(f"{param}: expected a UUID in lower case, got {clip(uuid, 64)!r}", param=param)
    return digits


__all__ = ["ACCOUNT", "UUID_PATTERN", "digits_of", "session_arn", "session_identifier", "tagged_session"]
