"""Identifiers. An id says what it names by its prefix and is never guessable: 128 random bits."""

from __future__ import annotations

import secrets
from typing import NewType

CallId = NewType("CallId", str)
SessionId = NewType("SessionId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
ItemId = NewType("ItemId", str)


def new_call_id() -> CallId:
    """An id for one call through the gateway; also the response's request id."""
    return CallId(f"req_{secrets.token_hex(16)}")


def new_session_id() -> SessionId:
    """An id for one durable conversation."""
    return SessionId(f"sess_{secrets.token_hex(16)}")


def new_project_id() -> ProjectId:
    """An id for one project, the unit of tenancy."""
    return ProjectId(f"proj_{secrets.token_hex(16)}")


def new_key_id() -> KeyId:
    """An id for one API key; it names the key and is no secret."""
    return KeyId(f"key_{secrets.token_hex(16)}")


def new_item_id() -> ItemId:
    """An id for one item of a session."""
    return ItemId(f"item_{secrets.token_hex(16)}")


def new_tool_call_id() -> str:
    """An id for a tool call whose upstream gave none."""
    return f"call_{secrets.token_hex(12)}"


def new_response_id() -> str:
    """An id for a response whose upstream gave none."""
    return f"resp_{secrets.token_hex(16)}"


__all__ = [
    "CallId",
    "ItemId",
    "KeyId",
    "ProjectId",
    "SessionId",
    "new_call_id",
    "new_item_id",
    "new_key_id",
    "new_project_id",
    "new_response_id",
    "new_session_id",
    "new_tool_call_id",
]
