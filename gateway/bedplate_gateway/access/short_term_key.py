"""AWS's short-term API keys: a signed statement that its bearer may call for a while.

The key is `bedrock-api-key-` and the base64 of a presigned query, as `aws-bedrock-token-generator` 1.1.0 makes it
from a key pair on the client's side (compared November 2026). Since the pair signs it, nothing is stored of it and
nothing is looked up but the pair: revoking the pair ends all of its short-term keys.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

import msgspec

from bedplate_core.errors import CredentialExpired, SignatureMismatch, Unauthenticated
from bedplate_gateway.access.credentials import KeyPair
from bedplate_gateway.access.signature import MAX_SKEW_S, seconds_of
from bedplate_providers.sigv4 import ALGORITHM, SERVICE, SigningScope, body_hash, canonical_request, signature

PREFIX = "bedrock-api-key-"
MAX_LIFETIME_S = 43_200
"""AWS's own bound, 12 hours."""

_HOST = "bedrock.amazonaws.com"
_MAX_CHARACTERS = 4096
_CREDENTIAL = re.compile(r"(\w{16,128})/(\d{8})/([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_-]{1,64})/aws4_request", re.ASCII)
_LIFETIME = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_FIXED = {
    "Action": "CallWithBearerToken",
    "X-Amz-Algorithm": ALGORITHM,
    "X-Amz-SignedHeaders": "host",
}
_SIGNED = frozenset({*_FIXED, "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires"})
_WHOLE = _SIGNED | {"X-Amz-Signature", "Version"}
_UNREADABLE = "the short-term API key cannot be read; make it with a key pair of this gateway"


class ShortTermKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a short-term key says of itself. Nothing of it is true until `verify` has returned."""

    access_key_id: str
    scope: SigningScope
    timestamp: str
    lifetime_s: int
    query: Mapping[str, str]
    signature: str

    def verify(self, pair: KeyPair | None, now_s: float) -> KeyPair:
        """The pair that made this key, if it did and the key is valid now.

        Raises `Unauthenticated` for a pair that is not known, `SignatureMismatch` when another secret made the key, and
        `CredentialExpired`.
        """
        if pair is None:
            raise Unauthenticated("the API key is not valid; the access key it was made with may have been revoked")
        if pair.expired(now_s):
            raise CredentialExpired("the access key that this API key was made with has expired")
        pairs = sorted(self.query.items())
        canonical = canonical_request(
            method="POST",
            raw_path=b"/",
            raw_query="&".join(
                f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs
            ).encode(),
            headers=[(b"host", _HOST.encode())],
            signed=(b"host",),
            payload=body_hash(b""),
        )
        if not hmac.compare_digest(signature(pair.secret, self.scope, self.timestamp, canonical), self.signature):
            raise SignatureMismatch("the short-term API key was not made with this access key's secret")
        began_s = seconds_of(self.timestamp)
        if began_s > now_s + MAX_SKEW_S:
            raise SignatureMismatch("the short-term API key begins in the future: check the clock of its maker")
        if began_s + self.lifetime_s <= now_s:
            raise CredentialExpired("the short-term API key has expired; make a new one")
        return pair


def read_short_term_key(token: str) -> ShortTermKey:
    """What a token that begins with `PREFIX` says. Raises `Unauthenticated` when that is no short-term key."""
    if len(token) > _MAX_CHARACTERS:
        raise Unauthenticated(_UNREADABLE)
    try:
        text = base64.b64decode(token.removeprefix(PREFIX), validate=True).decode("ascii")
        host, _, encoded = text.partition("/?")
        pairs = parse_qsl(encoded, keep_blank_values=True, strict_parsing=True, max_num_fields=len(_WHOLE) + 1)
    except (binascii.Error, ValueError):
        raise Unauthenticated(_UNREADABLE) from None
    query = dict(pairs)
    if "X-Amz-Security-Token" in query:
        raise Unauthenticated("this gateway issues no session tokens; make the API key with an access key alone")
    digits, version = query.pop("X-Amz-Signature", ""), query.pop("Version", "1")
    credential = _CREDENTIAL.fullmatch(query.get("X-Amz-Credential", ""))
    lifetime = query.get("X-Amz-Expires", "")
    well_formed = (
        host == _HOST
        and len(pairs) == len(dict(pairs))
        and query.keys() == _SIGNED
        and all(query[name] == value for name, value in _FIXED.items())
        and version == "1"
        and digits.isascii()
        and _LIFETIME.fullmatch(lifetime) is not None
        and int(lifetime) <= MAX_LIFETIME_S
    )
    if not well_formed or credential is None or credential[4] != SERVICE:
        raise Unauthenticated(_UNREADABLE)
    timestamp = query["X-Amz-Date"]
    if not timestamp.startswith(credential[2]):
        raise Unauthenticated(_UNREADABLE)
    seconds_of(timestamp)
    return ShortTermKey(
        access_key_id=credential[1],
        scope=SigningScope(date=credential[2], region=credential[3], service=credential[4]),
        timestamp=timestamp,
        lifetime_s=int(lifetime),
        query=query,
        signature=digits,
    )


__all__ = ["MAX_LIFETIME_S", "PREFIX", "ShortTermKey", "read_short_term_key"]
