"""The tokens by which a list is read page by page."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from bedplate_core.errors import InvalidRequest

T = TypeVar("T")

KEY_BYTES: Final = 32
MAX_TOKEN_CHARS: Final = 2048
"""Bedrock's limit for `nextToken`."""

MAX_RESULTS: Final = 1000
DEFAULT_RESULTS: Final = 100
"""How long a page is that nobody gave a length for; Bedrock does not say how long its own are."""

_MAC_BYTES: Final = 16
_QUERY: Final = frozenset({"maxResults", "nextToken"})


class PageTokens:
    """Makes and opens tokens. A token opens only for what it was made for, in every process with the same key.

    It says where in a list the next page begins, and is no secret: whoever can ask for the list has seen the place.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes that clients do not know."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key for tokens has {KEY_BYTES} bytes")
        self._key = key

    def seal(self, place: object, bound: Sequence[str]) -> str:
        """The token of `place`, at most 2048 characters and none of them white space.

        `bound`: the operation, the project, and whatever else makes the list that list.
        """
        content = msgspec.json.encode(place)
        return _encoded(self._mac(content, bound) + content)

    def open(self, token: str, bound: Sequence[str], kind: type[T]) -> T:
        """The place that was sealed. Raises `InvalidRequest` for every other token, also for one of another list."""
        content = _decoded(token)
        mac, content = content[:_MAC_BYTES], content[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(content, bound)):
            raise InvalidRequest("nextToken: is not a token of this list", param="nextToken")
        return msgspec.json.decode(content, type=kind)

    def _mac(self, content: bytes, bound: Sequence[str]) -> bytes:
        # Encoded as an array, so that no two lists of names run together to the same bytes.
        named = msgspec.msgpack.encode([*bound, content])
        return hmac.digest(self._key, named, "sha256")[:_MAC_BYTES]


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """What a list was asked for: up to `limit` (1 to 1000), from where `token` says or from the beginning."""

    limit: int
    token: str | None

    @classmethod
    def decode(cls, names: Sequence[str], query: Callable[[str], str | None]) -> Paging:
        """From the query's names and values. Raises `InvalidRequest` naming the value that does not fit."""
        for name in names:
            if name not in _QUERY:
                raise InvalidRequest(f"{name[:64]}: is not a parameter of this list", param=name[:64])
        given, token = query("maxResults"), query("nextToken")
        limit = DEFAULT_RESULTS
        if given is not None:
            limit = int(given) if given.isascii() and given.isdigit() and len(given) <= 9 else 0
            if not 1 <= limit <= MAX_RESULTS:
                raise InvalidRequest(f"maxResults: expected a number from 1 to {MAX_RESULTS}", param="maxResults")
        if token is not None and not 1 <= len(token) <= MAX_TOKEN_CHARS:
            raise InvalidRequest(f"nextToken: expected 1 to {MAX_TOKEN_CHARS} characters", param="nextToken")
        return cls(limit=limit, token=token)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if _encoded(content) == token else b""  # the last letter has bits that say nothing


__all__ = ["DEFAULT_RESULTS", "KEY_BYTES", "MAX_RESULTS", "MAX_TOKEN_CHARS", "PageTokens", "Paging"]
