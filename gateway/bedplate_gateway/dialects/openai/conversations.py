"""Conversations: what a client sends to make, change and fill one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest
from bedplate_core.messages import Message
from bedplate_gateway.dialects.decoding import FieldRules, clip, decode_body
from bedplate_gateway.dialects.openai import conversations_wire as wire
from bedplate_gateway.dialects.openai.responses_items import canonical_input
from bedplate_sessions.face_ids import conversation_id
from bedplate_sessions.session import Session

T = TypeVar("T")

_CREATE: Final = msgspec.json.Decoder(wire.ConversationCreate)
_UPDATE: Final = msgspec.json.Decoder(wire.ConversationUpdate)
_ITEMS: Final = msgspec.json.Decoder(wire.ItemsCreate)


class NewConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to make."""

    messages: tuple[Message, ...]
    metadata: Mapping[str, str]


def decode_create(body: bytes) -> NewConversation:
    """Decode `POST /v1/conversations`; no body at all asks for an empty one.

    Raises `InvalidRequest` or `UnsupportedFeature`, with `param` naming the field, as the others here do.
    """
    sent = _decoded(_CREATE, body or b"{}", wire.CREATE_FIELDS)
    return NewConversation(messages=_messages(sent.items or ()), metadata=_metadata(sent.metadata))


def decode_update(body: bytes) -> Mapping[str, str]:
    """Decode `POST /v1/conversations/{id}`: the metadata."""
    return _metadata(_decoded(_UPDATE, body, wire.UPDATE_FIELDS).metadata)


def decode_items(body: bytes) -> tuple[Message, ...]:
    """Decode `POST /v1/conversations/{id}/items`: at least one message."""
    return _messages(_decoded(_ITEMS, body, wire.ITEMS_FIELDS).items)


def conversation_object(session: Session) -> wire.ConversationObject:
    """The session as a conversation."""
    return wire.ConversationObject(
        id=conversation_id(session.id),
        created_at=int(session.created_at.timestamp()),
        metadata=dict(session.metadata),
    )


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, rules: FieldRules) -> T:
    sent, unknown = decode_body(decoder, body, rules)
    for name in unknown:
        shown = clip(name, 64)
        raise InvalidRequest(f"{shown}: unknown field", param=shown)
    return sent


def _messages(items: Sequence[wire.SentItem]) -> tuple[Message, ...]:
    return canonical_input(items, continues=True, field="items", ends=False) if items else ()


def _metadata(sent: Mapping[str, str] | None) -> Mapping[str, str]:
    for name, value in (sent or {}).items():
        if "\0" in name or "\0" in value:  # Postgres has no text with this character in it
            raise InvalidRequest("metadata: cannot hold the character U+0000", param="metadata")
    return sent or {}


__all__ = ["NewConversation", "conversation_object", "decode_create", "decode_items", "decode_update"]
