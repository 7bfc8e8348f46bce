"""A request as the routes that serve calls see it: its whole body, its headers, its path as the client wrote it."""

from __future__ import annotations

from urllib.parse import unquote

from litestar.types import Scope

from bedplate_gateway.web.headers import header_of

SESSION_HEADER = "x-bedplate-session"


class Incoming:
    """One request whose body has come whole."""

    __slots__ = ("_scope", "body", "session")

    def __init__(self, scope: Scope, body: bytes) -> None:
        self._scope = scope
        self.body = body
        self.session = header_of(scope, SESSION_HEADER)
        """The value of the session header: `auto`, a session's id, or None."""

    def header(self, name: str) -> str | None:
        """The value of a header (the first, if it came twice), or None. `name` is in lower case."""
        return header_of(self._scope, name)

    def segment(self, number: int) -> str:
        """The path's segment of that number, counted from 0, decoded once.

        Read from the raw path: a `%2F` in it is part of the segment, as SDKs for AWS send it in model ARNs.
        """
        segments = self._scope["raw_path"].decode("ascii", "replace").split("/")
        # Routing takes `//` for `/`, so an empty segment is none.
        return unquote([segment for segment in segments if segment][number])


__all__ = ["SESSION_HEADER", "Incoming"]
