"""Finding the caller in a request's headers."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable, Mapping

import msgspec

from bedplate_core.errors import CredentialMissing, Unauthenticated
from bedplate_gateway.access.keyring import Keyring
from bedplate_gateway.access.principal import Principal
from bedplate_providers.credential import Credential

_MAX_TOKEN_CHARACTERS = 512
_SIGNED_SCHEME = b"aws4-hmac-sha256"
_MISSING = "no API key was given; send it as `Authorization: Bearer <key>` or in the x-api-key header"


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the snapshot knows of one live key. `expires_s` is seconds since 1970, or None for never."""

    principal: Principal
    expires_s: float | None = None

    def expired(self, now_s: float) -> bool:
        """Whether the key has stopped working by itself."""
        return self.expires_s is not None and self.expires_s <= now_s


class KeyPair(KeyEntry, frozen=True, kw_only=True):
    """What the snapshot knows of one key pair: whose it is, and the secret that its signatures are checked with."""

    secret: Credential


class Signed:
    """The `Authorization` header of a request that is signed instead of carrying a key."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value


def presented_credential(headers: Iterable[tuple[bytes, bytes]]) -> str | Signed | None:
    """The credential that a request carries: an API key, a signature, or none.

    An API key comes as `Authorization: Bearer`, `x-api-key`, `api-key`, or `Authorization: Basic` with the key as the
    password (so that a browser can open the documentation). These are equal: the same key gives the same principal
    whichever way it comes. A signature is `Authorization: AWS4-HMAC-SHA256`. Two different credentials in one request
    raise `Unauthenticated`.
    """
    found: set[str] = set()
    signed: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            scheme = scheme.lower()
            if scheme == b"bearer":
                found.add(rest.strip().decode("latin-1"))
            elif scheme == b"basic":
                found.add(_basic_password(rest.strip()))
            elif scheme == _SIGNED_SCHEME and signed is None:
                signed = value
            elif scheme == _SIGNED_SCHEME:
                raise Unauthenticated("the request carries two signatures; send one")
            else:
                raise Unauthenticated("the Authorization header must be: Bearer <API key>")
        elif name in (b"x-api-key", b"api-key"):
            found.add(value.strip().decode("latin-1"))
    found.discard("")
    if signed is not None:
        if found:
            raise Unauthenticated("the request carries a signature and an API key; send one of them")
        return Signed(signed)
    if len(found) > 1:
        raise Unauthenticated("the request carries two different API keys; send one")
    return found.pop() if found else None


def principal_of_token(token: str | None, keys: Mapping[bytes, KeyEntry], keyring: Keyring) -> Principal:
    """The principal whose key `token` is; None means that the request had none.

    Raises `Unauthenticated` for a missing, unknown, revoked or expired key, and never returns anything else
    than a principal with a project. Costs one keyed hash and one dictionary look-up; no I/O.
    """
    if token is None:
        raise CredentialMissing(_MISSING)
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise Unauthenticated("the API key is not valid")
    entry = keys.get(keyring.token_hash(token))
    if entry is None or entry.expired(time.time()):
        raise Unauthenticated("the API key is not valid; it may have been revoked or have expired")
    return entry.principal


def _basic_password(encoded: bytes) -> str:
    try:
        _, _, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Basic credentials cannot be read") from None
    return password


__all__ = ["KeyEntry", "KeyPair", "Signed", "presented_credential", "principal_of_token"]
