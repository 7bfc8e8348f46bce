"""Finding the caller in a request's headers."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable, Mapping

import msgspec

from bedplate_core.errors import Unauthenticated
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.access.principal import Principal

_MAX_TOKEN_CHARACTERS = 512


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the snapshot knows of one live key. `expires_s` is seconds since 1970, or None for never."""

    principal: Principal
    expires_s: float | None = None


def presented_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The API key that a request carries, or None.

    Carriers: `Authorization: Bearer`, `x-api-key`, `api-key`, and `Authorization: Basic` with the key as
    the password (so that a browser can open the documentation). They are equal: the same key gives the same
    principal whichever way it comes. Two different keys in one request raise `Unauthenticated`.
    """
    found: set[str] = set()
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                found.add(rest.strip().decode("latin-1"))
            elif scheme.lower() == b"basic":
                found.add(_basic_password(rest.strip()))
            else:
                raise Unauthenticated("the Authorization header must be: Bearer <API key>")
        elif name in (b"x-api-key", b"api-key"):
            found.add(value.strip().decode("latin-1"))
    found.discard("")
    if len(found) > 1:
        raise Unauthenticated("the request carries two different API keys; send one")
    return found.pop() if found else None


def authenticate(headers: Iterable[tuple[bytes, bytes]], keys: Mapping[bytes, KeyEntry], keyring: Keyring) -> Principal:
    """The principal whose key the headers carry.

    Raises `Unauthenticated` for a missing, unknown, revoked or expired key, and never returns anything else
    than a principal with a project. Costs one keyed hash and one dictionary look-up; no I/O.
    """
    token = presented_token(headers)
    if token is None:
        raise Unauthenticated(
            "no API key was given; send it as `Authorization: Bearer <key>` or in the x-api-key header"
        )
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise Unauthenticated("the API key is not valid")
    entry = keys.get(keyring.token_hash(token))
    if entry is None or (entry.expires_s is not None and entry.expires_s <= time.time()):
        raise Unauthenticated("the API key is not valid; it may have been revoked or have expired")
    return entry.principal


def _basic_password(encoded: bytes) -> str:
    try:
        _, _, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Basic credentials cannot be read") from None
    return password


__all__ = ["KeyEntry", "authenticate", "presented_token"]
