"""AWS Signature Version 4 as pure functions: what is signed, and the signature over it.

The rules are those of the AWS guide "Create a signed AWS API request" for every service but S3: the path is encoded
once more, the query is sorted and otherwise as it was sent, header values have their white space collapsed, and the
body counts by its SHA-256. Compared with botocore 1.44.8 (`botocore.auth.SigV4Auth`), November 2026. One rule is
stricter here: a path with empty, `.` or `..` segments is signed as it stands, where AWS would resolve them first, so
that a signature holds for one target and no other spelling of it.

Nothing here reads a clock or compares a signature.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import quote_from_bytes

import msgspec

from bedplate_providers.credential import Credential

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "bedrock"
TERMINATOR = "aws4_request"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

Headers = Iterable[tuple[bytes, bytes]]
"""Header names in lower case, with their values, in the order in which they are on the wire."""


class SigningScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a signing key is good for: one day (`YYYYMMDD`, UTC), one region, one service."""

    date: str
    region: str
    service: str = SERVICE

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def body_hash(body: bytes) -> str:
    """How a body counts in a canonical request: its SHA-256 in lower-case hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def canonical_request(
    *, method: str, raw_path: bytes, raw_query: bytes, headers: Headers, signed: Sequence[bytes], payload: str
) -> bytes:
    """The bytes whose hash is signed.

    `raw_path` and `raw_query` are as on the request line, without the `?`. `signed` names the headers that count, in
    lower case and in order; one that came several times counts with all its values, one that did not come with none.
    `payload` is `body_hash` of the body or `UNSIGNED_PAYLOAD`.
    """
    values: dict[bytes, list[bytes]] = {name: [] for name in signed}
    for name, value in headers:
        if name in values:
            values[name].append(b" ".join(value.split()))
    lines = [name + b":" + b",".join(values[name]) for name in signed]
    return b"\n".join(
        [
            method.encode("latin-1"),
            quote_from_bytes(raw_path or b"/", safe="/~").encode("ascii"),
            _canonical_query(raw_query),
            *lines,
            b"",
            b";".join(signed),
            payload.encode("latin-1"),
        ]
    )


def signature(secret: Credential, scope: SigningScope, timestamp: str, canonical: bytes) -> str:
    """The signature over a canonical request: 64 lower-case hexadecimal digits.

    `timestamp` is the value of `X-Amz-Date`, `YYYYMMDDTHHMMSSZ`.
    """
    hashed = hashlib.sha256(canonical).hexdigest()
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashed}".encode()
    return hmac.digest(_signing_key(secret, scope), to_sign, "sha256").hex()


def signing_headers(
    *,
    access_key_id: str,
    secret: Credential,
    session_token: Credential | None = None,
    scope: SigningScope,
    timestamp: str,
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> list[tuple[bytes, bytes]]:
    """The headers to add to a request to sign it: the date, the token of temporary credentials, the signature.

    Every header in `headers` is signed; `host` must be among them, since no service accepts a request without it.
    Raises `ValueError` otherwise.
    """
    if not any(name == b"host" for name, _ in headers):
        raise ValueError("a signed request names its host")
    added = [(b"x-amz-date", timestamp.encode("ascii"))]
    if session_token is not None:
        added.append((b"x-amz-security-token", session_token.reveal().encode("ascii")))
    every = [*headers, *added]
    signed = sorted({name for name, _ in every})
    canonical = canonical_request(
        method=method,
        raw_path=raw_path,
        raw_query=raw_query,
        headers=every,
        signed=signed,
        payload=body_hash(body),
    )
    value = (
        f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={b';'.join(signed).decode('latin-1')}, "
        f"Signature={signature(secret, scope, timestamp, canonical)}"
    )
    added.append((b"authorization", value.encode("latin-1")))
    return added


def _canonical_query(raw_query: bytes) -> bytes:
    """The pairs in order of name and value; `a` counts as `a=`."""
    if not raw_query:
        return b""
    pairs = sorted(pair.partition(b"=")[::2] for pair in raw_query.split(b"&"))
    return b"&".join(name + b"=" + value for name, value in pairs)


def _signing_key(secret: Credential, scope: SigningScope) -> bytes:
    key = b"AWS4" + secret.reveal().encode("ascii")
    for step in (scope.date, scope.region, scope.service, TERMINATOR):
        key = hmac.digest(key, step.encode("ascii"), "sha256")
    return key


__all__ = [
    "ALGORITHM",
    "SERVICE",
    "TERMINATOR",
    "UNSIGNED_PAYLOAD",
    "Headers",
    "SigningScope",
    "body_hash",
    "canonical_request",
    "signature",
    "signing_headers",
]
