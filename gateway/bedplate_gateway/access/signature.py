"""Checking that a request was signed by the owner of a key pair (AWS Signature Version 4).

Every AWS SDK signs like this when it has an access key. The rules are those of `bedplate_providers.sigv4`; on top of
them a request is accepted only if it names a key that is known and live, was signed for this service within
`MAX_SKEW_S` of now, and covers its host and every `x-amz-` header that it carries.

Checked in two steps, so that nobody can make the gateway read a body without naming a live key: `read_signature` and
`SignatureHeader.check` need the headers only, `verify` needs the body.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bedplate_core.errors import CredentialExpired, IncompleteSignature, SignatureMismatch, Unauthenticated
from bedplate_gateway.access.credentials import KeyPair
from bedplate_providers.sigv4 import SERVICE, UNSIGNED_PAYLOAD, SigningScope, canonical_request, signature

MAX_SKEW_S = 300
"""How far the client's clock may be from ours, in seconds; also how long a captured request can be sent again."""

_AUTHORIZATION = re.compile(
    rb"AWS4-HMAC-SHA256 +Credential=(\w{16,128})/(\d{8})/([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_-]{1,64})/aws4_request"
    rb" *, *SignedHeaders=([a-z0-9!#$%&'*+.^_`|~;-]{1,2048}) *, *Signature=([0-9a-f]{64})"
)
_TIMESTAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_SHA256 = re.compile(rb"[0-9a-f]{64}")
_ALWAYS_SIGNED = (b"x-amz-", b"x-amzn-bedrock-")
"""Headers of these kinds change what a request means. Every SDK signs all it sends, so one that is not signed was added
on the way."""


class SignatureHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a signed request says about its signature. `payload` is None when the client left hashing to the service."""

    access_key_id: str
    scope: SigningScope
    timestamp: str
    signed: tuple[bytes, ...]
    signature: str
    payload: str | None

    def check(self, pair: KeyPair | None, headers: Sequence[tuple[bytes, bytes]], now_s: float) -> KeyPair:
        """The pair, if the request may be signed by it now. Everything that can be known without the body.

        Raises `Unauthenticated` for a key that is not known, `CredentialExpired` for one that has expired, and
        `SignatureMismatch` when the date is off, or the signature does not cover what it must.
        """
        if pair is None:
            raise Unauthenticated("the access key is not valid; it may have been revoked")
        if pair.expired(now_s):
            raise CredentialExpired("the access key has expired")
        if abs(seconds_of(self.timestamp) - now_s) > MAX_SKEW_S:
            raise SignatureMismatch(
                f"the signature's date {self.timestamp} is over {MAX_SKEW_S // 60} minutes from the gateway's clock"
            )
        if self.scope.service != SERVICE:
            raise SignatureMismatch(f"the request is signed for the service {self.scope.service!r}, not {SERVICE!r}")
        if not self.timestamp.startswith(self.scope.date):
            raise SignatureMismatch("the date in Credential is not that of X-Amz-Date")
        if b"host" not in self.signed:
            raise SignatureMismatch("the signature does not cover the header host")
        for name, _ in headers:
            if name.startswith(_ALWAYS_SIGNED) and name not in self.signed:
                raise SignatureMismatch(f"the signature does not cover the header {name.decode('latin-1')}")
        return pair

    def verify(
        self,
        pair: KeyPair,
        *,
        method: str,
        raw_path: bytes,
        raw_query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body_hash: str,
    ) -> None:
        """Raise `SignatureMismatch` unless `pair` signed exactly this request.

        `body_hash` is the hash of the body as it came, or `UNSIGNED_PAYLOAD` when that is what the client declared.
        """
        if self.payload is not None and not hmac.compare_digest(self.payload, body_hash):
            raise SignatureMismatch("the body is not the one that X-Amz-Content-SHA256 describes")
        canonical = canonical_request(
            method=method,
            raw_path=raw_path,
            raw_query=raw_query,
            headers=headers,
            signed=self.signed,
            payload=body_hash,
        )
        expected = signature(pair.secret, self.scope, self.timestamp, canonical)
        if not hmac.compare_digest(expected, self.signature):
            raise SignatureMismatch(
                "the signature is not right for this request: check the secret access key, and that nothing between"
                " client and gateway changes the host, the path or the body"
            )


def read_signature(authorization: bytes, headers: Sequence[tuple[bytes, bytes]], *, secure: bool) -> SignatureHeader:
    """What the headers of a signed request say.

    `secure` tells whether the request came over TLS: only there may its body go unsigned. Raises `IncompleteSignature`
    for what cannot be read, and `Unauthenticated` for what this gateway never issued.
    """
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise IncompleteSignature(
            "the Authorization header must be: AWS4-HMAC-SHA256 Credential=<access key>/<date>/<region>/bedrock/"
            "aws4_request, SignedHeaders=<names>, Signature=<64 hexadecimal digits>"
        )
    key, date, region, service, names, digits = match.groups()
    signed = tuple(names.split(b";"))
    if list(signed) != sorted(set(signed)):
        raise IncompleteSignature("SignedHeaders must name each header once and in order")
    if _only(headers, b"x-amz-security-token") is not None:
        raise Unauthenticated(
            "this gateway issues no session tokens; leave X-Amz-Security-Token (AWS_SESSION_TOKEN) out"
        )
    timestamp = _only(headers, b"x-amz-date")
    if timestamp is None:
        raise IncompleteSignature("a signed request has the header X-Amz-Date")
    when = timestamp.decode("latin-1")
    seconds_of(when)
    return SignatureHeader(
        access_key_id=key.decode("ascii"),
        scope=SigningScope(date=date.decode("ascii"), region=region.decode("ascii"), service=service.decode("ascii")),
        timestamp=when,
        signed=signed,
        signature=digits.decode("ascii"),
        payload=_declared_payload(headers, secure=secure),
    )


def seconds_of(timestamp: str) -> float:
    """Seconds since 1970 at `YYYYMMDDTHHMMSSZ`. Raises `IncompleteSignature` for anything else."""
    match = _TIMESTAMP.fullmatch(timestamp)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise IncompleteSignature("X-Amz-Date must be a time in the form YYYYMMDDTHHMMSSZ") from None


def _declared_payload(headers: Sequence[tuple[bytes, bytes]], *, secure: bool) -> str | None:
    declared = _only(headers, b"x-amz-content-sha256")
    if declared is None:
        return None
    if declared == UNSIGNED_PAYLOAD.encode():
        if not secure:
            raise IncompleteSignature(f"{UNSIGNED_PAYLOAD} is accepted over TLS only")
        return UNSIGNED_PAYLOAD
    if _SHA256.fullmatch(declared) is None:
        raise IncompleteSignature(
            f"X-Amz-Content-SHA256 must be the body's SHA-256 in lower-case hexadecimal digits, or {UNSIGNED_PAYLOAD}"
        )
    return declared.decode("ascii")


def _only(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The value of a header, or None. Raises `IncompleteSignature` when it came more than once."""
    values = [value.strip() for name, value in headers if name == wanted]
    if len(values) > 1:
        raise IncompleteSignature(f"the header {wanted.decode()} came more than once")
    return values[0] if values else None


__all__ = ["MAX_SKEW_S", "SignatureHeader", "read_signature", "seconds_of"]
