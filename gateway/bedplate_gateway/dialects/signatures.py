"""Reasoning signatures on wires that have one opaque string for them.

A signature is only ever sent back to the provider that made it, so the string that a client keeps and returns must
say which one that was: `bedplate.1.<origin in base64url>.<value>`. A string that the gateway did not make (a
conversation begun elsewhere) is kept whole under `FOREIGN_ORIGIN`, which is no provider's, and written back as it was.
A client may invent an origin; all it gains is that this provider is shown a signature, which it checks itself.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from bedplate_core.messages import RedactedReasoning, Signature

FOREIGN_ORIGIN: Final = ""

_MARK: Final = b"bedplate.1."


def wire_signature(signature: Signature) -> str:
    """The string for a client; `signature_from_wire` reads it back."""
    return _marked(signature.origin, signature.value.encode()).decode()


def signature_from_wire(value: str) -> Signature:
    """The signature that a client sent back. Any string is one."""
    try:
        origin, rest = _unmarked(value.encode())
        return Signature(origin=origin, value=rest.decode())
    except UnicodeError:  # a lone surrogate; what the gateway writes has none
        return Signature(origin=FOREIGN_ORIGIN, value=value)


def wire_redacted(part: RedactedReasoning) -> bytes:
    """The opaque bytes for a client; `redacted_from_wire` reads them back."""
    return _marked(part.origin, part.data)


def redacted_from_wire(data: bytes) -> RedactedReasoning:
    """The encrypted reasoning that a client sent back. Any bytes are one."""
    origin, rest = _unmarked(data)
    return RedactedReasoning(data=rest, origin=origin)


def _marked(origin: str, value: bytes) -> bytes:
    if origin == FOREIGN_ORIGIN and not value.startswith(_MARK):
        return value
    return b"".join((_MARK, base64.urlsafe_b64encode(origin.encode()).rstrip(b"="), b".", value))


def _unmarked(data: bytes) -> tuple[str, bytes]:
    if not data.startswith(_MARK):
        return FOREIGN_ORIGIN, data
    encoded, dot, rest = data[len(_MARK) :].partition(b".")
    try:
        decoded = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        origin = decoded.decode()
    except (binascii.Error, UnicodeDecodeError):
        return FOREIGN_ORIGIN, data
    if not dot:
        return FOREIGN_ORIGIN, data
    return origin, rest


__all__ = ["FOREIGN_ORIGIN", "redacted_from_wire", "signature_from_wire", "wire_redacted", "wire_signature"]
