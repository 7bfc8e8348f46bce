"""A request as the routes that serve calls see it: its whole body, its headers, its path as the client wrote it."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from litestar.types import Scope

from bedplate_gateway.web.headers import header_of

SESSION_HEADER: Final = "x-bedplate-session"
IDEMPOTENCY_HEADER: Final = "idempotency-key"
GUARDRAIL_HEADER: Final = "x-bedplate-guardrail"
AMAZON_PREFIX: Final = b"x-amzn-bedrock-"
_SESSION: Final = SESSION_HEADER.encode()
_IDEMPOTENCY: Final = IDEMPOTENCY_HEADER.encode()
_GUARDRAIL: Final = GUARDRAIL_HEADER.encode()


class Incoming:
    """One request whose body has come whole."""

    __slots__ = ("body", "from_amazon", "guardrail", "idempotency_key", "scope", "session")

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.scope = scope
        self.body = body
        self.session: str | None = None
        """The value of the session header (the first, if it came twice), or None."""
        self.idempotency_key: str | None = None
        """The value of the header `Idempotency-Key`, or None; several are one with commas between them (RFC 9110)."""
        self.guardrail: str | None = None
        """The value of the guardrail header (the first, if it came twice), or None."""
        self.from_amazon = False
        """Whether there is a header of Bedrock's runtime."""
        for name, value in scope["headers"]:
            if name == _SESSION:
                self.session = self.session or value.decode("latin-1")
            elif name == _GUARDRAIL:
                self.guardrail = self.guardrail or value.decode("latin-1")
            elif name.startswith(AMAZON_PREFIX):
                self.from_amazon = True
            elif name == _IDEMPOTENCY:
                key = value.decode("latin-1")
                self.idempotency_key = key if self.idempotency_key is None else f"{self.idempotency_key}, {key}"

    def header(self, name: str) -> str | None:
        """The value of a header (the first, if it came twice), or None. `name` is in lower case."""
        return header_of(self.scope, name)

    def segment(self, number: int) -> str:
        """The path's segment of that number, counted from 0, decoded once.

        Read from the raw path: a `%2F` in it is part of the segment, as SDKs for AWS send it in model ARNs.
        """
        segments = self.scope["raw_path"].decode("ascii", "replace").split("/")
        # Routing takes `//` for `/`, so an empty segment is none.
        return unquote([segment for segment in segments if segment][number])


__all__ = ["GUARDRAIL_HEADER", "IDEMPOTENCY_HEADER", "SESSION_HEADER", "Incoming"]
