"""Reading a request's headers from its scope."""

from __future__ import annotations

from litestar.types import Scope


def header_of(scope: Scope, name: str) -> str | None:
    """The value of a request's header (the first, if it came twice), or None. `name` is in lower case."""
    wanted = name.encode("latin-1")
    for found, value in scope["headers"]:
        if found == wanted:
            return value.decode("latin-1")
    return None


__all__ = ["header_of"]
