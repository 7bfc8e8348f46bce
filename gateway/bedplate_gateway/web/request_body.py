"""Reading a request's body within a limit."""

from __future__ import annotations

from litestar.types import Receive, Scope

from bedplate_core.errors import PayloadTooLarge
from bedplate_gateway.web.headers import header_of


class ClientLeft(Exception):
    """The client closed the connection before its whole body had come."""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body.

    Raises `PayloadTooLarge` as soon as it is announced to be over the limit or has grown over it, and `ClientLeft`.
    """
    announced = header_of(scope, "content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    left = limit_bytes
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        piece, more = message["body"], message["more_body"]
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise _too_large(limit_bytes)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request's body is larger than {limit_bytes} bytes")


__all__ = ["ClientLeft", "read_body"]
