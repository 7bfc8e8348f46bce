"""The bodies of `/v1/conversations` as OpenAI defines them.

Source: openai-python 3.57 and 2.54 (`openai.types.conversations`), compared November 2026. Items are decoded by
`responses_items`, like a response's input.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_gateway.dialects.decoding import FieldRules
from bedplate_gateway.dialects.openai.responses_wire import TAGS, Metadata

MAX_ITEMS: Final = 20
"""How many items one request may add."""

SentItem: TypeAlias = dict[str, Any]


class ConversationCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to make. `items` have the shapes of a response's input."""

    items: Annotated[list[SentItem], Meta(max_length=MAX_ITEMS)] | None = None
    metadata: Metadata | None = None


class ConversationUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata that take the place of what there was; null: none."""

    metadata: Metadata | None


class ItemsCreate(msgspec.Struct, frozen=True, kw_only=True):
    """Items to add to a conversation. They have the shapes of a response's input."""

    items: Annotated[list[SentItem], Meta(min_length=1, max_length=MAX_ITEMS)]


class ConversationObject(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation. `created_at` is in seconds since 1970."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that is gone."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


def _rules(kind: type[msgspec.Struct]) -> FieldRules:
    nothing: MappingProxyType[str, Any] = MappingProxyType({})
    return FieldRules(mapped=frozenset(kind.__struct_fields__), ignored=nothing, refused=nothing, tags=TAGS)


CREATE_FIELDS: Final = _rules(ConversationCreate)
UPDATE_FIELDS: Final = _rules(ConversationUpdate)
ITEMS_FIELDS: Final = _rules(ItemsCreate)

__all__ = [
    "CREATE_FIELDS",
    "ITEMS_FIELDS",
    "MAX_ITEMS",
    "UPDATE_FIELDS",
    "ConversationCreate",
    "ConversationObject",
    "ConversationUpdate",
    "DeletedConversation",
    "ItemsCreate",
    "SentItem",
]
