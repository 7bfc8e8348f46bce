"""Tags of sessions as Bedrock's operations carry them.

Source: botocore 1.44.8's model of `bedrock-agent-runtime` (2023-07-26; `TagsMap`, `TagKey`, `TagValue`), compared
November 2026. White space is ASCII's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bedplate_core.errors import InvalidRequest
from bedplate_gateway.dialects.decoding import FieldRules, decode_body
from bedplate_sessions.session_tags import MAX_TAGS

_CHARS: Final = r"[a-zA-Z0-9 \t\n\r\f\v._:/=+@-]"
# `(?!\n)`: Python's `$` alone also matches before a last line feed.
TagKey: TypeAlias = Annotated[str, Meta(pattern=rf"^{_CHARS}{{1,128}}$(?!\n)")]
TagValue: TypeAlias = Annotated[str, Meta(pattern=rf"^{_CHARS}{{0,256}}$(?!\n)")]
Tags: TypeAlias = Annotated[dict[TagKey, TagValue], Meta(min_length=1, max_length=MAX_TAGS)]

_KEY: Final = re.compile(rf"{_CHARS}{{1,128}}")


class TagResourceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of TagResource."""

    tags: Tags


class ListTagsForResourceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ListTagsForResource's answer."""

    tags: Mapping[str, str]


_DECODER: Final = msgspec.json.Decoder(TagResourceRequest)
_RULES: Final = FieldRules(mapped=frozenset({"tags"}), ignored={}, refused={})


def tags_to_add(body: bytes) -> Mapping[str, str]:
    """The tags in TagResource's body. Raises `InvalidRequest`."""
    return decode_body(_DECODER, body, _RULES)[0].tags


def keys_to_remove(keys: Sequence[str]) -> Sequence[str]:
    """The `tagKeys` of UntagResource's query. Raises `InvalidRequest`."""
    if not 1 <= len(keys) <= MAX_TAGS or any(_KEY.fullmatch(key) is None for key in keys):
        raise InvalidRequest(
            f"tagKeys: expected 1 to {MAX_TAGS} keys of 1 to 128 letters, digits, spaces or ._:/=+@-", param="tagKeys"
        )
    return keys


def tags_body(tags: Mapping[str, str]) -> bytes:
    """The body of ListTagsForResource's answer."""
    return msgspec.json.encode(ListTagsForResourceResponse(tags=tags))


__all__ = [
    "ListTagsForResourceResponse",
    "TagResourceRequest",
    "Tags",
    "keys_to_remove",
    "tags_body",
    "tags_to_add",
]
