"""One session under the ids of its three faces: `sess_...`, `conv_...` and a UUID, all over the same 128 bits."""

from __future__ import annotations

import re
from typing import Final

from bedplate_core.ids import SessionId

_SESSION: Final = "sess_"
_CONVERSATION: Final = "conv_"
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def session_of(text: str) -> SessionId | None:
    """The session that any of the three forms names; None for a text that is none of them."""
    if _UUID.fullmatch(text):
        return SessionId(_SESSION + text.replace("-", ""))
    for prefix in (_SESSION, _CONVERSATION):
        if text.startswith(prefix) and _HEX.fullmatch(text, len(prefix)):
            return SessionId(_SESSION + text[len(prefix) :])
    return None


def conversation_id(session: SessionId) -> str:
    """The session's id as an OpenAI conversation."""
    return _CONVERSATION + session.removeprefix(_SESSION)


def session_uuid(session: SessionId) -> str:
    """The session's id as a Bedrock session: a UUID in lower case."""
    return uuid_of_hex(session.removeprefix(_SESSION))


def uuid_of_hex(digits: str) -> str:
    """32 hexadecimal digits as a UUID."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def hex_of_uuid(text: str) -> str | None:
    """The digits of a UUID in lower case; None for anything else."""
    return text.replace("-", "") if _UUID.fullmatch(text) else None


__all__ = ["conversation_id", "hex_of_uuid", "session_of", "session_uuid", "uuid_of_hex"]
