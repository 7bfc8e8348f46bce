"""What a provider alone can read, as this wire writes it: signatures of thoughts, and encrypted thoughts.

Both are strings that the client keeps and returns; see `dialects.signatures` for how they name their origin. A
thought that nobody signed has the empty string, which the wire needs there. Nothing that comes back is refused.
"""

from __future__ import annotations

import base64

from bedplate_core.messages import RedactedReasoning, Signature
from bedplate_gateway.dialects.signatures import (
    FOREIGN_ORIGIN,
    redacted_from_wire,
    signature_from_wire,
    wire_redacted,
    wire_signature,
)


def signature_text(signature: Signature | None) -> str:
    """The wire's `signature`."""
    return "" if signature is None else wire_signature(signature)


def signature_of(text: str) -> Signature | None:
    """The signature that a client sends back; None for an unsigned thought."""
    return signature_from_wire(text) if text else None


def redacted_text(part: RedactedReasoning) -> str:
    """The wire's `data` of a `redacted_thinking` block, in base64 as Anthropic's own."""
    return base64.b64encode(wire_redacted(part)).decode()


def redacted_of(text: str) -> RedactedReasoning:
    """The encrypted thought that a client sends back. What is no base64 was not made here and is kept as it is."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return RedactedReasoning(data=text.encode(), origin=FOREIGN_ORIGIN)
    return redacted_from_wire(data)


__all__ = ["redacted_of", "redacted_text", "signature_of", "signature_text"]
